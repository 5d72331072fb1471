//! The flags of tests.

use serde_json::{Value as Json, json};

use crate::hub::{Hub, items};

#[tokio::test]
async fn pages_of_flags_hold_every_reading_of_the_range_once() {
    let hub = Hub::with_rows().await;
    let range = "sensor_id=emb3&from=2017-02-08T16:00:00Z&to=2017-02-09T15:00:00Z";
    let (mut found, mut cursor): (Vec<Json>, String) = (Vec::new(), String::new());
    loop {
        let page = hub.get(&format!("/v1/qc/flags?{range}&limit=10{cursor}")).await.json();
        assert_eq!((&page["sensor_type"], &page["sensor_id"]), (&json!("emb"), &json!("emb3")));
        found.extend(items(&page).iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        assert_eq!(items(&page).len(), 10);
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found.len(), 23);
    let expected = json!({
        "phenomenon_time": "2017-02-08T21:00:00Z", "type_version": 1, "qc": "anomaly", "flags": {"sec": 1, "ph": 9},
        "tests": {"sec": {"gross_range": 2}, "ph": {"gross_range": 9}}
    });
    assert_eq!(found[5], expected);
    let whole = hub.get(&format!("/v1/qc/flags?{range}&limit=23")).await.json();
    assert_eq!((items(&whole), &whole["next_cursor"]), (&found, &Json::Null));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_flags_is_named() {
    let hub = Hub::with_rows().await;
    let page = hub.get("/v1/qc/flags?sensor_id=emb3&limit=1").await.json();
    let foreign = format!("/v1/qc/flags?sensor_id=emb2&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    for (path, status, part) in [
        ("/v1/qc/flags", 400, "`sensor_id`"),
        ("/v1/qc/flags?sensor_id=emb9", 404, "`emb9`"),
        ("/v1/qc/flags?sensor_id=emb3&limit=10001", 400, "from 1 to 10,000"),
        ("/v1/qc/flags?sensor_id=emb3&qc=normal", 400, "`qc`"),
        (foreign.as_str(), 400, "other query parameters"),
    ] {
        let answer = hub.ask(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
}
