//! Real boreholes: the readings of the British Geological Survey's energy monitoring boreholes are judged as the field judges them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::Hub;

use crate::{folder, launch};

/// Sensor, readings and anomalies by gross range and missing values, from an independent implementation (ioos_qc 3.0.0).
const EXPECTED: [(&str, usize, usize); 2] = [("emb2", 3_523, 485), ("emb3", 3_828, 47)];

/// The CSV files of each sensor, if they are there; says so if not.
fn files() -> Option<Vec<(&'static str, Vec<PathBuf>)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/emb");
    let files_of = |sensor: &'static str| {
        let entries = fs::read_dir(root.join(sensor)).ok()?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        Some((sensor, files))
    };
    let found: Option<Vec<_>> = EXPECTED.iter().map(|(sensor, ..)| files_of(sensor)).collect();
    if found.is_none() {
        println!("real_data: NOT RUN: the borehole data of `../shared/data/emb` are not beside this workspace");
    }
    found
}

async fn count(hub: &Hub, query: &str) -> usize {
    let csv = hub.get(&format!("/v1/readings/emb?format=csv&{query}")).await.expect(200).text();
    csv.lines().count() - 1
}

#[tokio::test]
async fn boreholes_have_the_anomalies_that_the_field_finds() {
    let Some(files) = files() else { return };
    let data = folder();
    let hub = launch(data.path()).start().await;
    let mut accepted = 0;
    for (sensor, files) in files.iter().chain(&files) {
        for file in files {
            let path = format!("/v1/readings/emb?sensor_id={sensor}");
            let answer = hub.post(&path, "text/csv", fs::read(file).expect("a readable file")).await.expect(202).json();
            assert_eq!(answer["rejected"], serde_json::json!([]), "{}", file.display());
            accepted += answer["accepted"].as_u64().expect("a count");
        }
    }
    let metrics = hub.processed("emb", accepted).await;
    for (sensor, readings, anomalies) in EXPECTED {
        assert_eq!(count(&hub, &format!("sensor_id={sensor}")).await, readings, "readings of {sensor}");
        assert_eq!(count(&hub, &format!("sensor_id={sensor}&qc=anomaly")).await, anomalies, "anomalies of {sensor}");
    }
    let readings: usize = EXPECTED.iter().map(|(_, readings, _)| readings).sum();
    assert_eq!(metrics.outcome("emb", "stored"), readings as u64);
    assert_eq!(metrics.outcome("emb", "duplicate"), accepted - readings as u64);
}
