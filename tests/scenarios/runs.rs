//! Runs that are asked for: a scientist has months that are stored looked at, dry or not, and finds what there is, once.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{Hub, Launch, wait_for};
use serde_json::{Value, json};

use crate::{folder, stack};

/// What a run finds of EMB3's conductance in February 2017, with January before it, whichever stack it is on.
const EXPECTED: &str = include_str!("../fixtures/detection/emb3-2017-02-sec-run.ndjson");
/// How long a run may take.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// January and February 2017 of EMB3, if they are there; says so if not.
fn months() -> Option<[PathBuf; 2]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/emb/emb3");
    let months = ["61402.2017.01.csv", "61402.2017.02.csv"].map(|name| root.join(name));
    let are_there = months.iter().all(|month| month.is_file());
    if !are_there {
        println!("runs: NOT RUN: the borehole data of `../shared/data/emb` are not beside this workspace");
    }
    are_there.then_some(months)
}

/// A hub whose schedule comes to nothing while a test runs.
fn launch(folder: &Path) -> Launch {
    let launch = stack::launch_detecting(folder);
    launch.key("DETECTION__EVERY", "1d").key("DETECTION__GRACE", "1h").key("DETECTION__LEASE", "3s")
}

async fn post(hub: &Hub, months: &[PathBuf]) {
    let mut accepted = 0;
    for month in months {
        let lines = fs::read(month).expect("a readable file");
        let answer = hub.post("/v1/readings/emb?sensor_id=emb3", "text/csv", lines).await.expect(202).json();
        accepted += answer["accepted"].as_u64().expect("a count");
    }
    hub.processed("emb", accepted).await;
}

/// A run over conductance in a month of 2017.
fn request(month: u32, others: &Value) -> Value {
    let mut request = json!({
        "sensor_type": "emb", "sensor_ids": ["emb3"], "properties": ["sec"],
        "from": format!("2017-{month:02}-01T00:00:00Z"), "to": format!("2017-{:02}-01T00:00:00Z", month + 1),
    });
    for (name, value) in others.as_object().expect("members") {
        request[name] = value.clone();
    }
    request
}

async fn ask(hub: &Hub, request: &Value) -> String {
    let begun = hub.post("/v1/runs", "application/json", request.to_string()).await.expect(202).json();
    begun["id"].as_str().expect("an id").to_owned()
}

/// A run, once it has ended.
async fn ended(hub: &Hub, id: &str) -> Value {
    wait_for("the end of a run", RUN_TIMEOUT, async || {
        let run = hub.get(&format!("/v1/runs/{id}")).await.expect(200).json();
        if run["ended_at"].is_null() { Err(run.to_string()) } else { Ok(run) }
    })
    .await
}

async fn done(hub: &Hub, request: &Value) -> Value {
    let run = ended(hub, &ask(hub, request).await).await;
    assert_eq!(run["state"], "done", "{run}");
    assert_eq!(run["datastreams_done"], run["datastreams"], "{run}");
    run
}

async fn anomalies(hub: &Hub, query: &str) -> Vec<Value> {
    let answer = hub.get(&format!("/v1/anomalies?{query}")).await.expect(200).json();
    answer["items"].as_array().expect("items").clone()
}

/// Anomalies as lines, without the run that found them and its time.
fn lines(anomalies: &[Value]) -> String {
    let line = |anomaly: &Value| {
        let mut anomaly = anomaly.clone();
        let fields = anomaly.as_object_mut().expect("an object");
        fields.retain(|name, _| !matches!(name.as_str(), "run" | "found_at"));
        format!("{anomaly}\n")
    };
    anomalies.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_what_the_field_knows_and_again_changes_nothing() {
    let Some(months) = months() else { return };
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    post(&hub, &months).await;

    let dry = done(&hub, &request(2, &json!({"dry": true}))).await;
    assert_eq!((&dry["points"], &dry["parameters"]["sec"]["mode"]), (&json!(672), &json!("guarded")), "{dry}");
    let found = dry["found"].as_array().expect("what it would record");
    assert_eq!(lines(found), EXPECTED);
    assert_eq!(anomalies(&hub, "").await, [] as [Value; 0]);

    let quiet = done(&hub, &request(1, &json!({}))).await;
    assert_eq!((&quiet["points"], &quiet["anomalies"]), (&json!(732), &json!(0)), "{quiet}");

    let stored = done(&hub, &request(2, &json!({}))).await;
    assert_eq!(stored["anomalies"], found.len());
    assert_eq!(lines(&anomalies(&hub, "").await), EXPECTED);
    let export = async || hub.get("/v1/anomalies?format=csv&sensor_id=emb3").await.expect(200).text();
    let first = export().await;
    let again = done(&hub, &request(2, &json!({}))).await;
    assert_eq!((&again["anomalies"], &again["settings"]), (&stored["anomalies"], &stored["settings"]));
    assert_eq!(export().await, first, "the first finding stays");
    assert_eq!(anomalies(&hub, &format!("run={}", again["id"].as_str().expect("an id"))).await.len(), 0);
    filters(&hub, &stored).await;

    let listed = hub.get("/v1/runs?sensor_type=emb&state=done&limit=3").await.expect(200).json();
    let ids: Vec<&Value> = listed["items"].as_array().expect("items").iter().map(|run| &run["id"]).collect();
    assert_eq!(ids, [&again["id"], &stored["id"], &quiet["id"]]);
    assert!(listed["next_cursor"].is_string(), "{listed}");
    hub.stop().await;
    stack::verify(data.path());
}

/// Every filter leaves what it should of February's anomalies.
async fn filters(hub: &Hub, stored: &Value) {
    let all = anomalies(hub, "").await;
    let run = format!("run={}", stored["id"].as_str().expect("an id"));
    assert_eq!(anomalies(hub, &run).await.len(), all.len());
    let outages = anomalies(hub, "detector=outage&sensor_type=emb&property=sec").await;
    let outage = (&outages[0]["phenomenon_time"], &outages[0]["until"]);
    assert_eq!((outages.len(), outage), (1, (&json!("2017-02-08T18:00:00Z"), &json!("2017-02-09T18:00:00Z"))));
    let spike = anomalies(hub, "from=2017-02-08T15:00:00Z&to=2017-02-08T16:00:00Z").await;
    assert_eq!((spike.len(), &spike[0]["value"]), (1, &json!(904)), "{spike:?}");
    let certain = anomalies(hub, "min_score=0.9").await;
    assert!(certain.len() < all.len() && certain.iter().all(|one| one["score"].as_f64() >= Some(0.9)), "{certain:?}");
    assert_eq!(anomalies(hub, "property=ph").await.len(), 0);
    let first = hub.get("/v1/anomalies?limit=2").await.expect(200).json();
    let cursor = first["next_cursor"].as_str().expect("there are more");
    let second = hub.get(&format!("/v1/anomalies?limit=1000&cursor={cursor}")).await.expect(200).json();
    let pages = [&first, &second].map(|page| page["items"].as_array().expect("items").clone()).concat();
    assert_eq!(pages, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_over_cancelled_and_has_the_settings_that_were_asked_for() {
    let Some(months) = months() else { return };
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    post(&hub, &months).await;

    let strict =
        json!({"detection": {"mode": "strict", "period": 24, "gaps": "interpolate", "history": 744}, "dry": true});
    let strict = done(&hub, &request(1, &strict)).await;
    // The published program finds as many in this month, which is looked at as a whole where the history is as long.
    assert_eq!((&strict["anomalies"], strict["found"].as_array().map(Vec::len)), (&json!(146), Some(146)));

    let id = ask(&hub, &request(2, &json!({}))).await;
    stack::kill_detection(&mut hub).await;
    let run = ended(&hub, &id).await;
    assert_eq!((&run["state"], &run["points"]), (&json!("done"), &json!(672)), "{run}");
    assert_eq!(lines(&anomalies(&hub, "").await), EXPECTED);

    let id =
        ask(&hub, &json!({"sensor_type": "emb", "from": "2017-01-01T00:00:00Z", "to": "2018-01-01T00:00:00Z"})).await;
    let cancel = hub.delete(&format!("/v1/runs/{id}")).await;
    let run = ended(&hub, &id).await;
    // One that ends before it looks again is done.
    let expected = if run["state"] == "done" { &run["datastreams"] } else { &run["datastreams_done"] };
    assert_eq!(&run["datastreams_done"], expected, "{run}");
    assert!(cancel.status == 409 || run["cancel_requested"] == true, "{} {run}", cancel.text());
    assert!(run["state"] == "cancelled" || run["state"] == "done", "{run}");
    assert_eq!(hub.delete(&format!("/v1/runs/{id}")).await.status, 409);
}
