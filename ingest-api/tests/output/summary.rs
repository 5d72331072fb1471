//! The counts of flags.

use serde_json::json;

use crate::hub::{Hub, items};

#[tokio::test]
async fn flags_are_counted_by_sensor_and_property() {
    let hub = Hub::with_rows().await;
    let answer = hub.get("/v1/qc/summary?sensor_type=emb&sensor_id=emb3").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let expected = json!({
        "sensor_type": "emb",
        "items": [{
            "sensor_id": "emb3", "readings": 60, "anomalies": 19,
            "flags": {"ph": {"3": 52, "9": 8}, "sec": {"1": 48, "4": 12}},
            "tests": {"ph": {"gross_range": {"2": 52, "9": 8}}, "sec": {"gross_range": {"2": 60}}}
        }]
    });
    assert_eq!(answer.json(), expected);
    let all = hub.get("/v1/qc/summary?sensor_type=emb").await.json();
    let ids: Vec<_> = items(&all).iter().map(|item| item["sensor_id"].as_str()).collect();
    assert_eq!(ids, ["emb10", "emb2", "emb3"].map(Some));
    let none = hub.get("/v1/qc/summary?sensor_type=emb&from=2100-01-01T00:00:00Z").await.json();
    assert_eq!(none, json!({"sensor_type": "emb", "items": []}));
    let head = hub.request("HEAD", "/v1/qc/summary?sensor_type=power").send().await.expect("an answer");
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_counts_is_named() {
    let hub = Hub::with_rows().await;
    for (path, status, part) in [
        ("/v1/qc/summary", 400, "`sensor_type`"),
        ("/v1/qc/summary?sensor_type=emc", 404, "`emc`"),
        ("/v1/qc/summary?sensor_type=emb&sensor_id=emb9", 404, "`emb9`"),
        ("/v1/qc/summary?sensor_type=power&sensor_id=emb3", 400, "`emb`"),
        ("/v1/qc/summary?sensor_type=emb&until=now", 400, "`until`"),
    ] {
        let answer = hub.ask(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn more_sensors_than_an_answer_holds_are_refused() {
    let hub = Hub::empty().await;
    for n in 0..1_001 {
        let mut rows = domain::Rows::new(1);
        crate::hub::push(&mut rows, 0, &[crate::hub::number(1.0)], &[domain::Flag::Good]);
        hub.write("power", &format!("p{n}"), &rows).await;
    }
    let answer = hub.ask("/v1/qc/summary?sensor_type=power").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("1,000 sensors"), "{}", answer.text());
}
