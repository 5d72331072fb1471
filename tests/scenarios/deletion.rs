//! Deletions are records: what is deleted stays so after a restart, and what comes later counts again.

use std::time::Duration;

use harness::{Hub, wait_for};

use crate::{
    folder, launch,
    samples::{Sample, hour_of, json_array},
};

async fn times(hub: &Hub) -> Vec<String> {
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    csv.lines().skip(1).filter_map(|line| line.split(',').nth(1).map(str::to_owned)).collect()
}

/// How soon every process has heard of what another has done.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn deleted_readings_stay_deleted_after_a_restart() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let samples: Vec<Sample> = (0..10).map(|hour| Sample::plain("emb3", hour, hour)).collect();
    hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await.expect(202);
    let range = format!("from={}&to={}", hour_of(3), hour_of(6));
    let deleted = hub.delete(&format!("/v1/readings/emb?sensor_id=emb3&{range}")).await;
    assert!((200..300).contains(&deleted.status), "{}", deleted.text());
    let expected: Vec<String> = (0..3).chain(6..10).map(hour_of).collect();
    let metrics = hub.processed("emb", 11).await;
    assert_eq!(metrics.outcome("emb", "deletion"), 1);
    assert_eq!(times(&hub).await, expected);
    for _ in 0..2 {
        hub.kill();
        hub.restart().await;
        hub.processed("emb", 11).await;
        assert_eq!(times(&hub).await, expected);
    }
    hub.post("/v1/readings/emb", "application/json", samples[4].json()).await.expect(202);
    hub.processed("emb", 12).await;
    assert_eq!(times(&hub).await.len(), expected.len() + 1, "a reading that came after the deletion counts");
}

#[tokio::test]
async fn removed_sensor_goes_with_its_readings_and_comes_back_with_later_ones() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let samples: Vec<Sample> = (0..10).map(|hour| Sample::plain("emb3", hour, hour)).collect();
    hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await.expect(202);
    hub.processed("emb", 10).await;
    let removed = hub.delete("/v1/sensors/emb3").await;
    assert_eq!(removed.status, 202, "{}", removed.text());
    hub.processed("emb", 11).await;
    for _ in 0..2 {
        // Quality control removes the sensor; other processes hear of it a moment later.
        wait_for("removing the sensor", NOTICED_WITHIN, async || {
            let status = hub.get("/v1/sensors/emb3").await.status;
            if status == 404 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        assert!(times(&hub).await.is_empty());
        hub.kill();
        hub.restart().await;
    }
    hub.post("/v1/readings/emb", "application/json", samples[4].json()).await.expect(202);
    hub.processed("emb", 12).await;
    assert_eq!(times(&hub).await, [hour_of(4)], "a reading that came after the removal counts");
    assert_eq!(hub.get("/v1/sensors/emb3").await.status, 200);
}

#[tokio::test]
async fn deletion_without_a_sensor_is_refused() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let refused = hub.delete("/v1/readings/emb").await;
    assert!((400..500).contains(&refused.status), "{}: {}", refused.status, refused.text());
    assert!(refused.text().contains("sensor_id"), "{}", refused.text());
}
