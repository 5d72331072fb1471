//! Replays: settings that are changed judge what is stored already, as if it had come after the change.

use std::time::Duration;

use harness::{Hub, seeded, wait_for};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use crate::{folder, launch};

/// Readings of each sensor.
const COUNT: u64 = 3_000;
/// The sensors.
const SENSORS: [&str; 3] = ["w1", "w2", "w3"];

fn well(spike: f64, anomaly_flags: &[u8]) -> Value {
    json!({
        "id": "well", "name": "Well", "sampling_interval": "1h", "anomaly_flags": anomaly_flags,
        "properties": [{
            "id": "level", "name": "Water level", "unit": "m", "required": true, "gross_range": {"fail": [0, 100]},
            "qc": {"spike": {"suspect": spike, "fail": 2.0 * spike}, "flat_line": {"tolerance": 0.01, "suspect": "4h", "fail": "8h"}},
        }],
    })
}

async fn put(hub: &Hub, spike: f64) {
    put_with(hub, spike, &[4, 9]).await;
}

async fn put_with(hub: &Hub, spike: f64, anomaly_flags: &[u8]) {
    let put = hub.put("/v1/sensor-types/well", &well(spike, anomaly_flags)).await;
    assert!((200..300).contains(&put.status), "{}", put.text());
}

async fn post(hub: &Hub, lines: &[String]) {
    let body = format!("sensor_id,phenomenon_time,level\n{}\n", lines.join("\n"));
    let answer = hub.post("/v1/readings/well", "text/csv", body).await.expect(202).json();
    assert_eq!(answer["accepted"], lines.len(), "{answer}");
}

/// The replay, once it does not run any more.
async fn finished(hub: &Hub, request: &Value) -> Value {
    let begun = hub.post("/v1/qc/replays", "application/json", request.to_string()).await.expect(202).json();
    let path = format!("/v1/qc/replays/{}", begun["id"].as_str().expect("an id"));
    wait_for("the replay to be done", Duration::from_secs(120), async || {
        let replay = hub.get(&path).await.expect(200).json();
        if replay["state"] == "running" { Err(replay.to_string()) } else { Ok(replay) }
    })
    .await
}

#[tokio::test]
async fn replayed_readings_have_the_flags_of_readings_that_came_after_the_change() {
    let mut rng: StdRng = seeded("replays");
    let line = |sensor: &str, hour: u64, rng: &mut StdRng| {
        let (day, hour) = (hour / 24, hour % 24);
        let level = 20.0 + f64::from(rng.random_range(0..40)) / 10.0;
        format!("{sensor},2020-{:02}-{:02}T{hour:02}:00:00Z,{level}", day / 28 + 1, day % 28 + 1)
    };
    let lines: Vec<String> = SENSORS
        .iter()
        .flat_map(|sensor| (0..COUNT).map(|hour| (*sensor, hour)))
        .map(|(sensor, hour)| line(sensor, hour, &mut rng))
        .collect();
    let (before, after) = lines.split_at(lines.len() - 500);

    let here = folder();
    let hub = launch(here.path()).start().await;
    put(&hub, 4.0).await;
    post(&hub, before).await;
    hub.processed("well", before.len() as u64).await;
    let first = hub.export("well", "csv").await;
    put(&hub, 1.0).await;

    let dry = finished(&hub, &json!({"sensor_type": "well", "dry": true})).await;
    assert_eq!((&dry["state"], &dry["type_version"]), (&json!("done"), &json!(2)), "{dry}");
    assert_eq!(dry["changes"]["readings"], before.len(), "{dry}");
    assert!(dry["changes"]["to_anomaly"].as_u64() > Some(1_000), "{dry}");
    assert!(hub.export("well", "csv").await == first, "a dry replay changes nothing");

    // Readings come while the replay is at work.
    let request = json!({"sensor_type": "well"});
    let (replay, ()) = tokio::join!(finished(&hub, &request), async {
        for lines in after.chunks(50) {
            post(&hub, lines).await;
        }
    });
    assert_eq!(replay["state"], "done", "{replay}");
    let metrics = hub.processed("well", lines.len() as u64).await;
    assert_eq!(metrics.outcome("well", "stored"), lines.len() as u64);
    assert!(metrics.outcome("well", "rejudgement") >= 2 * SENSORS.len() as u64);

    let there = folder();
    let fresh = launch(there.path()).start().await;
    put(&fresh, 1.0).await;
    post(&fresh, &lines).await;
    fresh.processed("well", lines.len() as u64).await;
    let [one, other] = [&hub, &fresh].map(|hub| async { hub.export("well", "csv").await });
    let (one, other) = (String::from_utf8(one.await).expect("text"), String::from_utf8(other.await).expect("text"));
    let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    assert_eq!((differing, one.len()), (None, other.len()));
    let again = finished(&hub, &json!({"sensor_type": "well", "sensor_ids": ["w2"]})).await;
    assert_eq!(
        (&again["changes"]["readings"], &again["changes"]["readings_changed"]),
        (&json!(COUNT), &json!(0)),
        "{again}"
    );
}

/// How many readings are labelled as anomalies, and how many have a value that is suspect.
async fn anomalies_and_suspects(hub: &Hub) -> (usize, usize) {
    let csv = String::from_utf8(hub.export("well", "csv").await).expect("text");
    let rows = || csv.lines().skip(1);
    (rows().filter(|row| row.contains(",anomaly,")).count(), rows().filter(|row| row.ends_with(",3")).count())
}

#[tokio::test]
async fn flags_that_make_an_anomaly_are_settings_like_any_other() {
    let line = |hour: u64| {
        let level = if hour % 7 == 3 { 21.5 } else { 20.0 + (hour % 3) as f64 / 10.0 };
        format!("w1,2020-01-{:02}T{:02}:00:00Z,{level}", hour / 24 + 1, hour % 24)
    };
    let lines: Vec<String> = (0..200).map(line).collect();
    let (before, after) = lines.split_at(150);
    let here = folder();
    let hub = launch(here.path()).start().await;
    put_with(&hub, 1.0, &[4, 9]).await;
    post(&hub, before).await;
    hub.processed("well", 150).await;
    let (anomalies, suspects) = anomalies_and_suspects(&hub).await;
    assert!(anomalies == 0 && suspects > 15, "{anomalies} anomalies, {suspects} suspects");

    let refused = hub.put("/v1/sensor-types/well", &well(1.0, &[1, 4])).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("at least one of the flags 3, 4 and 9"), "{}", refused.text());
    put_with(&hub, 1.0, &[3, 4, 9]).await;
    let dry = finished(&hub, &json!({"sensor_type": "well", "dry": true})).await;
    assert_eq!(
        (&dry["changes"]["to_anomaly"], &dry["changes"]["readings_changed"]),
        (&json!(suspects), &json!(suspects))
    );
    post(&hub, after).await;
    hub.processed("well", 200).await;
    let newer = anomalies_and_suspects(&hub).await;
    assert!(0 < newer.0 && newer.0 < newer.1, "what came before has the older label: {newer:?}");

    let replay = finished(&hub, &json!({"sensor_type": "well"})).await;
    assert_eq!(replay["changes"]["to_anomaly"].as_u64(), Some((newer.1 - newer.0) as u64), "{replay}");
    let (anomalies, suspects) = anomalies_and_suspects(&hub).await;
    assert_eq!(anomalies, suspects, "every suspect reading is an anomaly now");
    drop(hub);
    let hub = launch(here.path()).start().await;
    assert_eq!(anomalies_and_suspects(&hub).await, (anomalies, suspects), "after a restart");
}
