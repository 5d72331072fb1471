//! Dead letters: what can't be processed is kept with its reason and can be replayed; where nothing went wrong there is none.

use std::path::Path;

use domain::{Readings, SensorId, SensorTypeId, Timestamp, Topic, Value};
use ports::Batch;

use crate::{folder, launch, samples::Sample, stack};

/// A version of `emb` that no hub here has, as a newer one writes it that shares the log.
const UNKNOWN_VERSION: u32 = 99;

/// Appends a reading of a version that the hub does not know to the log of a hub that is stopped.
async fn append_unknown(data: &Path) {
    let properties = crate::samples::PROPERTIES.map(|id| domain::PropertyId::parse(id).expect("an id"));
    let mut readings = Readings::new(properties.to_vec().into());
    let time = Timestamp::from_micros(1_486_566_000_000_000);
    let values = [904.0, 7.34, 27.24, 11.3, 885.0].map(|number| Value::number(number).expect("a finite number"));
    readings.push(SensorId::parse("emb3").expect("an id"), time, &values);
    let topic = Topic::readings(&SensorTypeId::parse("emb").expect("an id"));
    let batch = Batch::Readings { type_version: UNKNOWN_VERSION, readings };
    stack::append(data, &topic, batch).await;
}

#[tokio::test]
async fn what_cannot_be_judged_is_kept_with_its_reason_and_can_be_replayed() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    hub.stop().await;
    append_unknown(data.path()).await;
    hub.restart().await;
    let metrics = hub.processed("emb", 1).await;
    assert_eq!((metrics.outcome("emb", "dead_lettered"), metrics.outcome("emb", "stored")), (1, 0));
    let letters = hub.get("/v1/dead-letters").await.expect(200).json();
    let letter = &letters["items"][0];
    assert_eq!((&letter["topic"], &letter["position"]), (&"readings.emb".into(), &0.into()), "{letters}");
    assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains("`99`")), "{letters}");

    let replay = hub.post(&format!("/v1/dead-letters/{}/replay", letter["id"]), "application/json", "").await;
    assert!((200..300).contains(&replay.status), "{}", replay.text());
    let metrics = hub.processed("emb", 2).await;
    assert_eq!((metrics.outcome("emb", "dead_lettered"), metrics.outcome("emb", "stored")), (1, 1));
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    assert!(csv.contains("emb3,2017-02-08T15:00:00Z,904,7.34,27.24,11.3,885,normal"), "{csv}");
}

#[tokio::test]
async fn sound_readings_leave_no_dead_letter() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    let metrics = hub.processed("emb", 1).await;
    assert_eq!(metrics.outcome("emb", "dead_lettered"), 0);
    let letters = hub.get("/v1/dead-letters").await.expect(200).json();
    assert_eq!(letters["items"], serde_json::json!([]), "{letters}");
    for id in ["1", "nonsense", "%00", "..%2f"] {
        let answer = hub.post(&format!("/v1/dead-letters/{id}/replay"), "application/json", "").await;
        assert!((400..500).contains(&answer.status), "{id}: {}", answer.text());
    }
}
