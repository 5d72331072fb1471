//! Order does not matter: late, shuffled, interleaved and doubled arrival ends in the same exports; corrections merge by rule.

use harness::{Hub, seeded};
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use crate::{
    folder, launch,
    samples::{Sample, csv, json_array, ndjson},
};

/// Formats of an export.
const FORMATS: [&str; 5] = ["json", "ndjson", "csv", "parquet", "arrow"];
/// Readings of each sensor.
const HOURS: u32 = 800;
/// The sensors.
const SENSORS: [&str; 3] = ["emb2", "emb3", "a:b.c_d-e"];

async fn post(hub: &Hub, rng: &mut StdRng, samples: &[Sample]) {
    let (media_type, body) = match rng.random_range(0..3) {
        0 => ("application/json", json_array(samples)),
        1 => ("application/x-ndjson", ndjson(samples)),
        _ => ("text/csv", csv(samples)),
    };
    let answer = hub.post("/v1/readings/emb", media_type, body).await.expect(202).json();
    assert_eq!(answer["accepted"], samples.len(), "{answer}");
}

/// Posts samples in batches of random size, and answers with the exports in every format.
async fn exports(rng: &mut StdRng, samples: &[Sample]) -> Vec<Vec<u8>> {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let mut rest = samples;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(rng.random_range(1..=rest.len().min(700)));
        post(&hub, rng, batch).await;
        rest = later;
        if rng.random_bool(0.1) {
            hub.kill();
            hub.restart().await;
        }
    }
    hub.processed("emb", samples.len() as u64).await;
    let mut exports = Vec::new();
    for format in FORMATS {
        exports.push(hub.export("emb", format).await);
    }
    exports.push(hub.get("/v1/readings/emb?format=csv&order=desc").await.expect(200).body);
    exports.push(hub.get("/v1/readings/emb?format=csv&qc=anomaly&properties=ph,sec").await.expect(200).body);
    exports.push(hub.get("/v1/readings/emb/latest").await.expect(200).body);
    let buckets = "/v1/datastreams/emb3/ph/buckets?interval=1d&statistics=count,min,max&qc=normal";
    exports.push(hub.get(buckets).await.expect(200).body);
    exports
}

#[tokio::test]
async fn any_order_of_arrival_ends_in_the_same_exports() {
    let mut rng = seeded("arrival");
    let mut samples: Vec<Sample> = Vec::new();
    for sensor in SENSORS {
        samples.extend((0..HOURS).map(|hour| Sample::random(sensor, hour, &mut rng)));
    }
    let ordered = exports(&mut rng, &samples).await;

    let doubled = samples.clone();
    samples.extend(doubled.into_iter().filter(|_| rng.random_bool(0.3)));
    samples.shuffle(&mut rng);
    let shuffled = exports(&mut rng, &samples).await;
    for (index, (ordered, shuffled)) in ordered.iter().zip(&shuffled).enumerate() {
        assert!(!ordered.is_empty(), "export {index} is empty");
        assert_eq!(ordered, shuffled, "export {index} depends on the order of arrival");
    }
}

#[tokio::test]
async fn corrections_merge_by_rule_and_are_counted_as_revised() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let at = r#""sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z""#;
    let post = async |values: &str| {
        let body = format!("{{{at},{values}}}");
        hub.post("/v1/readings/emb", "application/json", body).await.expect(202);
    };
    post(r#""sec":904,"ph":null,"water_level":27.24,"water_temp":11.3,"tdg":885"#).await;
    post(r#""sec":905,"ph":7.34"#).await;
    post(r#""sec":905"#).await;
    let metrics = hub.processed("emb", 3).await;
    let outcomes = ["stored", "revised", "duplicate"].map(|outcome| metrics.outcome("emb", outcome));
    assert_eq!(outcomes, [1, 1, 1]);
    let items = hub.get("/v1/readings/emb").await.expect(200).json();
    let expected = serde_json::json!({
        "sensor_id": "emb3", "phenomenon_time": "2017-02-08T15:00:00Z",
        "sec": 905, "ph": 7.34, "water_level": 27.24, "water_temp": 11.3, "tdg": 885,
        "qc": "normal", "flags": {"sec": 1, "ph": 1, "water_level": 1, "water_temp": 1, "tdg": 1},
    });
    assert_eq!(items["items"], serde_json::json!([expected]));
}
