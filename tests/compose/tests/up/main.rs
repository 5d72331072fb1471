//! The stack of `compose/compose.yaml`, really brought up on a Docker engine, Kibana apart: it takes real months while its services and
//! servers are killed, and ends with the answers of the embedded stack.

mod feeding;
mod programs;
mod stack;

use std::time::Duration;

use compose::{Elasticsearch, Objects, Panel};
use harness::{Hub, Launch, wait_for};
use serde_json::{Value, json};

use self::{feeding::months, stack::Stack};

/// What runs in the scenario: all but Kibana, of which there is no image everywhere.
const SERVICES: &[&str] = &["kafka", "elasticsearch", "ingest-api", "qc-consumer", "ad-jobs", "prometheus"];
/// What is killed, one after the other, while readings come in.
const VICTIMS: &[&str] = &["qc-consumer", "ingest-api", "kafka", "elasticsearch"];
/// How long all readings may take to be queryable, a killed server among them.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(60);
/// Queries whose answers the two stacks must share byte for byte.
const QUERIES: &[&str] = &[
    "/v1/readings/emb?format=csv",
    "/v1/readings/emb?format=ndjson",
    "/v1/readings/emb?format=csv&qc=anomaly&order=desc",
    "/v1/readings/emb/latest",
];

#[tokio::test(flavor = "multi_thread")]
async fn stack_takes_real_months_through_kills_and_answers_like_the_embedded_one() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let embedded = Launch::new(programs::built("iot-hub"), data.path()).start().await;
    let stack = Stack::build();
    stack.check_rules();
    stack.up(SERVICES);

    let months = months();
    for (number, month) in months.iter().enumerate() {
        let victim = VICTIMS.get(number).copied();
        if let Some(victim) = victim {
            stack.kill(victim);
        }
        // The feeder waits for what is down.
        feeding::replay(month, &stack.hub());
        feeding::replay(month, &embedded.url(""));
        if let Some(victim) = victim {
            stack.wait_until_healthy(victim).await;
        }
    }
    same_answers(&stack, &embedded).await;
    panels_show_what_is_stored(&stack, &embedded).await;
    map_shows_where_sensors_are(&stack).await;
    scientist_reads_and_does_not_write(&stack).await;
    prometheus_sees_every_process(&stack).await;
}

async fn get(url: String) -> Result<(u16, String), String> {
    let answer = stack::client().get(url).send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(|error| error.to_string())?))
}

async fn same_answers(stack: &Stack, embedded: &Hub) {
    for query in QUERIES {
        wait_for(&format!("the same answer to {query}"), SETTLE_TIMEOUT, async || {
            let (status, theirs) = get(format!("{}{query}", stack.hub())).await?;
            let ours = embedded.get(query).await.expect(200).text();
            let lines = [theirs.lines().count(), ours.lines().count()];
            if status == 200 && theirs == ours { Ok(()) } else { Err(format!("{status}, {lines:?} lines")) }
        })
        .await;
    }
}

/// How many rows of a query the embedded stack has.
async fn count(embedded: &Hub, query: &str) -> f64 {
    let csv = embedded.get(&format!("/v1/readings/emb?format=csv&{query}")).await.expect(200).text();
    (csv.lines().count() - 1) as f64
}

async fn panels_show_what_is_stored(stack: &Stack, embedded: &Hub) {
    let (normal, anomalies) = (count(embedded, "qc=normal").await, count(embedded, "qc=anomaly").await);
    assert!(normal > 0.0 && anomalies > 0.0);
    let objects = Objects::read();
    let elasticsearch = stack.elasticsearch("scientist");
    let shown = async |id: &str| Panel::of(objects.get("lens", id), &objects).shown(&elasticsearch, "").await;
    assert_eq!(shown("iot-hub-water-level").await.values().sum::<f64>(), normal);
    let by_label = shown("iot-hub-labels").await;
    assert_eq!(by_label, [(vec!["anomaly".to_owned()], anomalies), (vec!["normal".to_owned()], normal)].into());
    let over_time = shown("iot-hub-anomalies-over-time").await;
    for sensor in ["emb2", "emb3"] {
        let of_sensor = over_time.iter().filter(|(labels, _)| labels[0] == sensor).map(|(_, count)| count);
        let of_sensor = of_sensor.sum::<f64>();
        assert_eq!(of_sensor, count(embedded, &format!("qc=anomaly&sensor_id={sensor}")).await);
        if let Some(known) = feeding::known_anomalies(sensor) {
            assert_eq!(of_sensor, known, "anomalies of {sensor}");
        }
    }
}

async fn map_shows_where_sensors_are(stack: &Stack) {
    let place = json!({"sensor_type": "emb", "place": {"latitude": 53.8, "longitude": -2.9}});
    let put = stack::client().put(format!("{}/v1/sensors/emb3", stack.hub())).json(&place);
    assert_eq!(put.send().await.expect("an answer").status(), 200);
    let objects = Objects::read();
    let (map, elasticsearch) =
        (Panel::of(objects.get("map", "iot-hub-map"), &objects), stack.elasticsearch("scientist"));
    wait_for("emb3 on the map", SETTLE_TIMEOUT, async || {
        let shown = map.shown(&elasticsearch, "").await;
        if shown.values().sum::<f64>() == 1.0 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

async fn scientist_reads_and_does_not_write(stack: &Stack) {
    let scientist = stack.elasticsearch("scientist");
    let (status, _) = scientist.ask("DELETE", "/readings-emb.2017", "").await;
    assert_eq!(status, 403);
    let (status, _) = scientist.ask("GET", "/readings-*/_count", "").await;
    assert_eq!(status, 200);
    let nobody = Elasticsearch::open(stack.elasticsearch_url());
    assert_eq!(nobody.ask("GET", "/readings-*/_count", "").await.0, 401);
}

async fn prometheus_sees_every_process(stack: &Stack) {
    wait_for("all targets of Prometheus", PROMETHEUS_TIMEOUT, async || {
        let (_, answer) = get(format!("{}/api/v1/targets", stack.prometheus())).await?;
        let targets: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let targets = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let health = |job: &str| targets.iter().find(|target| target["labels"]["job"] == job).map(|it| &it["health"]);
        let is_up = |job: &&str| health(job).is_some_and(|health| health == "up");
        if ["ingest-api", "qc-consumer", "ad-jobs", "prometheus"].iter().all(is_up) { Ok(()) } else { Err(answer) }
    })
    .await;
}
