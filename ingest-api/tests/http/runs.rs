//! Runs of a detector: asked for, shown, cancelled; the detector is played by the test.

use domain::{Anomaly, AnomalyKind, PropertyId, Run, RunId, RunState, SensorId, SensorTypeId, Severity, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hub::{GOOD, Hub, problem};

async fn begin(hub: &Hub, request: &Value) -> (StatusCode, Value) {
    hub.send(Method::POST, "/v1/runs", "application/json", &request.to_string()).await
}

async fn get(hub: &Hub, path: &str) -> Value {
    let (status, answer) = hub.send(Method::GET, path, "", "").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A hub that knows sensor `emb3`.
async fn with_sensor() -> Hub {
    let hub = Hub::start().await;
    let answer = hub.post("/v1/readings/emb", "application/json", None, format!("[{GOOD}]")).await;
    assert_eq!(answer.0, 202, "{}", answer.1);
    hub
}

fn february() -> Value {
    json!({"sensor_type": "emb", "from": "2017-02-01T00:00:00Z", "to": "2017-03-01T00:00:00Z"})
}

fn with(mut request: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().expect("members") {
        request[name] = value.clone();
    }
    request
}

#[tokio::test]
async fn a_run_waits_among_the_findings_as_it_was_asked_for() {
    let hub = with_sensor().await;
    let detection = json!({"mode": "strict", "period": 24, "gaps": "interpolate"});
    let request = json!({"sensor_ids": ["emb3"], "properties": ["sec"], "detection": detection, "dry": true});
    let (status, begun) = begin(&hub, &with(february(), &request)).await;
    assert_eq!((status.as_u16(), &begun["state"], &begun["dry"]), (202, &json!("waiting"), &json!(true)), "{begun}");
    assert_eq!(begun["request"], json!({"sensor_ids": ["emb3"], "properties": ["sec"], "detection": detection}));
    let id = RunId::parse(begun["id"].as_str().expect("an id")).expect("an id");
    assert_eq!(get(&hub, &format!("/v1/runs/{id}")).await, begun);
    let stored = hub.ports.findings.run(&id).await.expect("answered").expect("it is there");
    assert_eq!((stored.state, stored.from.to_string().as_str()), (RunState::Waiting, "2017-02-01T00:00:00Z"));

    let found = Anomaly {
        sensor_type: SensorTypeId::parse("emb").expect("an id"),
        sensor_id: SensorId::parse("emb3").expect("an id"),
        property: PropertyId::parse("sec").expect("an id"),
        phenomenon_time: Timestamp::parse("2017-02-08T15:00:00Z").expect("a time"),
        until: None,
        kind: AnomalyKind::Point,
        value: Some(904.0),
        expected: Some(845.0),
        score: 0.9,
        severity: Severity::of(0.9),
        detector: "s-h-esd".to_owned(),
        detector_version: 1,
        settings: "00000000000000ff".to_owned(),
        run: id.clone(),
        found_at: stored.started_at,
    };
    let parameters = r#"{"sec":{"mode":"strict"}}"#.to_owned();
    let done = Run { state: RunState::Done, anomalies: 1, parameters, found: vec![found], ..stored };
    hub.ports.findings.put_run(&done).await.expect("stored");
    let shown = get(&hub, &format!("/v1/runs/{id}")).await;
    assert_eq!(shown["parameters"]["sec"]["mode"], "strict");
    assert_eq!(shown["found"][0]["id"], "emb3/sec/2017-02-08T15:00:00Z/s-h-esd/00000000000000ff");
    let listed = get(&hub, "/v1/runs?sensor_type=emb&state=done&trigger=request").await;
    assert_eq!(get(&hub, "/v1/runs?trigger=schedule").await["items"], json!([]));
    assert_eq!((&listed["items"][0]["id"], listed["items"][0].get("found")), (&shown["id"], None), "{listed}");
    problem(hub.send(Method::DELETE, &format!("/v1/runs/{id}"), "", "").await, 409, "has ended");
}

#[tokio::test]
async fn runs_are_listed_page_by_page_and_can_be_cancelled() {
    let hub = with_sensor().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (status, begun) = begin(&hub, &february()).await;
        assert_eq!(status, 202, "{begun}");
        ids.push(begun["id"].as_str().expect("an id").to_owned());
    }
    let (mut path, mut seen) = ("/v1/runs?limit=2&state=waiting".to_owned(), Vec::new());
    loop {
        let page = get(&hub, &path).await;
        seen.extend(
            page["items"].as_array().expect("items").iter().map(|run| run["id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/runs?limit=2&state=waiting&cursor={cursor}");
    }
    ids.sort();
    seen.sort();
    assert_eq!(seen, ids);
    let (status, cancelled) = hub.send(Method::DELETE, &format!("/v1/runs/{}", ids[1]), "", "").await;
    assert_eq!((status.as_u16(), &cancelled["cancel_requested"]), (202, &json!(true)), "{cancelled}");
    assert_eq!(get(&hub, &format!("/v1/runs/{}", ids[1])).await["cancel_requested"], true);
    assert_eq!(get(&hub, &format!("/v1/runs/{}", ids[0])).await["cancel_requested"], false);
}

#[tokio::test]
async fn runs_that_wait_are_bounded() {
    let hub = with_sensor().await;
    for _ in 0..100 {
        assert_eq!(begin(&hub, &february()).await.0, 202);
    }
    problem(begin(&hub, &february()).await, 429, "`100` runs");
}

#[tokio::test]
async fn what_is_wrong_with_a_run_is_named() {
    let hub = with_sensor().await;
    for (members, status, part) in [
        (json!({"sensor_type": "emc"}), 404, "`emc`"),
        (json!({"sensor_ids": ["emb9"]}), 404, "`emb9`"),
        (json!({"sensor_type": "power", "sensor_ids": ["emb3"]}), 422, "`emb`"),
        (json!({"sensor_ids": []}), 422, "`sensor_ids`"),
        (json!({"properties": []}), 422, "`properties`"),
        (json!({"properties": ["power"]}), 422, "`power`"),
        (json!({"from": "2017-03-01T00:00:00Z"}), 422, "`to`"),
        (json!({"from": null}), 422, "null"),
        (json!({"until": "now"}), 422, "until"),
        (json!({"detector": "iforest"}), 422, "`iforest`"),
        (json!({"detection": {"periods": 24}}), 422, "periods"),
        (json!({"detection": {"every": "1m"}}), 422, "`detection.every` = `1m`"),
    ] {
        problem(begin(&hub, &with(february(), &members)).await, status, part);
    }
    let refused = begin(&hub, &with(february(), &json!({"detection": {"alpha": 2, "max_anoms": 0.5}}))).await;
    let refused = problem(refused, 422, "`detection.alpha` = `2`");
    assert_eq!(refused["faults"][0]["key"], "detection.max_anoms", "{refused}");
    for (method, path, status, part) in [
        (Method::GET, "/v1/runs/none", 404, "`none`"),
        (Method::DELETE, "/v1/runs/none", 404, "`none`"),
        (Method::GET, "/v1/runs?limit=101", 400, "`limit`"),
        (Method::GET, "/v1/runs?state=lost", 400, "`lost`"),
        (Method::GET, "/v1/runs?trigger=chance", 400, "`chance`"),
        (Method::GET, "/v1/runs?sensor_type=emc", 404, "`emc`"),
        (Method::GET, "/v1/runs?cursor=AA", 400, "next_cursor"),
        (Method::GET, "/v1/runs?colour=red", 400, "colour"),
    ] {
        problem(hub.send(method, path, "", "").await, status, part);
    }
    let foreign = hub.client.post(hub.url("/v1/runs")).header("origin", "http://elsewhere.example");
    let foreign = foreign.header("content-type", "application/json").body(february().to_string());
    problem(crate::hub::answer(foreign).await, 403, "origin");
}
