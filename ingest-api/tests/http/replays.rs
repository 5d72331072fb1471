//! Replays, with the consumer played by the test.

use std::time::Duration;

use domain::{Changes, PartReport, Partition, Position, Rejudgement, SensorTypeId, Topic};
use ports::{Batch, Content, Document, TopicKind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::hub::{Hub, problem};

/// Parts that were appended, once there are so many.
async fn parts(hub: &Hub, count: usize) -> Vec<Rejudgement> {
    let topic = Topic::readings(&SensorTypeId::parse("emb").expect("an id"));
    for _ in 0..1_000 {
        let mut reader = hub.ports.log.reader(&topic, Partition(0), Position(0)).await.expect("a reader");
        let mut parts = Vec::new();
        for delivery in reader.next(100_000, Duration::ZERO).await.expect("records") {
            if let Content::Rejudgements(here) = delivery.content {
                parts.extend(here);
            }
        }
        if parts.len() >= count {
            return parts;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{count} parts were not appended");
}

async fn tell(hub: &Hub, part: &Rejudgement, readings_changed: u64) {
    let changes = Changes { readings: 10, readings_changed, ..Changes::default() };
    let report = PartReport { format: PartReport::FORMAT, part: part.part, changes, ..PartReport::default() };
    let body = serde_json::to_vec(&report).expect("JSON");
    let document = Document { key: part.replay.clone(), body: Some(body.into()) };
    let topic = Topic::replay_parts();
    hub.ports.log.create_topic(&topic, TopicKind::Notices).await.expect("a topic");
    hub.ports.log.append(&topic, Batch::Documents(vec![document])).await.expect("told");
}

async fn begin(hub: &Hub, request: &Value) -> (reqwest::StatusCode, Value) {
    hub.send(Method::POST, "/v1/qc/replays", "application/json", &request.to_string()).await
}

/// The replay, once it is in this state.
async fn replay(hub: &Hub, id: &str, state: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..1_000 {
        last = hub.send(Method::GET, &format!("/v1/qc/replays/{id}"), "", "").await.1;
        if last["state"] == state {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the replay is not {state}: {last}");
}

async fn with_readings() -> Hub {
    let hub = Hub::start().await;
    let item = |sensor: &str, hour: u32| {
        format!(r#"{{"sensor_id":"{sensor}","phenomenon_time":"2017-02-08T{hour:02}:00:00Z","sec":904,"ph":7.3}}"#)
    };
    let items: Vec<_> = (0..10).flat_map(|hour| ["emb2", "emb3"].map(|sensor| item(sensor, hour))).collect();
    let answer = hub.post("/v1/readings/emb", "application/json", None, format!("[{}]", items.join(","))).await;
    assert_eq!(answer.0, 202, "{}", answer.1);
    hub.process("emb").await;
    hub
}

#[tokio::test]
async fn replay_is_cut_into_parts_whose_reports_add_up() {
    let hub = with_readings().await;
    let request = json!({"sensor_type": "emb", "from": "2017-02-08T03:00:00Z", "dry": true});
    let (status, begun) = begin(&hub, &request).await;
    assert_eq!(
        (status.as_u16(), &begun["state"], &begun["type_version"]),
        (202, &json!("running"), &json!(1)),
        "{begun}"
    );
    let id = begun["id"].as_str().expect("an id").to_owned();
    let parts = parts(&hub, 2).await;
    let named: Vec<_> = parts.iter().map(|part| (part.sensor_id.as_str(), part.part, part.is_dry)).collect();
    assert_eq!(named, [("emb2", 0, true), ("emb3", 1, true)]);
    let spans: Vec<_> = parts.iter().map(|part| (part.from.to_string(), part.to.to_string())).collect();
    assert!(
        spans.iter().all(|(from, to)| from == "2017-02-08T03:00:00Z" && to == "2017-02-08T09:00:00.000001Z"),
        "{spans:?}"
    );
    tell(&hub, &parts[1], 3).await;
    tell(&hub, &parts[1], 3).await;
    tell(&hub, &parts[0], 1).await;
    let done = replay(&hub, &id, "done").await;
    assert_eq!((&done["parts"], &done["parts_done"]), (&json!(2), &json!(2)), "{done}");
    assert_eq!((&done["changes"]["readings"], &done["changes"]["readings_changed"]), (&json!(20), &json!(4)), "{done}");
    let (_, all) = hub.send(Method::GET, "/v1/qc/replays", "", "").await;
    assert_eq!(all["items"], json!([done]));
    let ended = hub.send(Method::DELETE, &format!("/v1/qc/replays/{id}"), "", "").await;
    problem(ended, 409, "does not run");
}

#[tokio::test]
async fn replays_are_bounded_and_can_be_ended() {
    let hub = with_readings().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (status, begun) = begin(&hub, &json!({"sensor_type": "emb", "sensor_ids": ["emb3"]})).await;
        assert_eq!(status, 202, "{begun}");
        ids.push(begun["id"].as_str().expect("an id").to_owned());
    }
    problem(begin(&hub, &json!({"sensor_type": "emb"})).await, 429, "`4` replays");
    parts(&hub, 4).await;
    let (status, answer) = hub.send(Method::DELETE, &format!("/v1/qc/replays/{}", ids[2]), "", "").await;
    assert_eq!(status, 202, "{answer}");
    replay(&hub, &ids[2], "cancelled").await;
    let (_, other) = hub.send(Method::GET, &format!("/v1/qc/replays/{}", ids[1]), "", "").await;
    assert_eq!(other["state"], "running");
}

#[tokio::test]
async fn replay_of_nothing_is_done_at_once() {
    let hub = with_readings().await;
    for request in [json!({"sensor_type": "power"}), json!({"sensor_type": "emb", "from": "2030-01-01T00:00:00Z"})] {
        let (_, begun) = begin(&hub, &request).await;
        let done = replay(&hub, begun["id"].as_str().expect("an id"), "done").await;
        assert_eq!(done["parts"], 0);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_replay_is_named() {
    let hub = with_readings().await;
    for (request, status, part) in [
        (json!({"sensor_type": "emc"}), 404, "`emc`"),
        (json!({"sensor_type": "emb", "sensor_ids": ["emb9"]}), 404, "`emb9`"),
        (json!({"sensor_type": "power", "sensor_ids": ["emb3"]}), 422, "`emb`"),
        (json!({"sensor_type": "emb", "sensor_ids": []}), 422, "`sensor_ids`"),
        (json!({"sensor_type": "emb", "until": "now"}), 422, "until"),
        (json!({"sensor_type": "emb", "from": "2020-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"}), 422, "`to`"),
    ] {
        problem(begin(&hub, &request).await, status, part);
    }
    problem(hub.send(Method::GET, "/v1/qc/replays/none", "", "").await, 404, "`none`");
    problem(hub.send(Method::DELETE, "/v1/qc/replays/none", "", "").await, 404, "`none`");
}
