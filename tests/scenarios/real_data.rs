//! Real boreholes: the readings of the British Geological Survey's energy monitoring boreholes are judged as the field judges them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use harness::{Hub, seeded};
use rand::{rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

use crate::{folder, launch};

/// Sensor, readings and anomalies by gross range and missing values, from an independent implementation (ioos_qc 3.0.0).
const EXPECTED: [(&str, usize, usize); 2] = [("emb2", 3_523, 485), ("emb3", 3_828, 47)];

/// Anomalies by all tests of `emb-qartod`, from the same.
const BY_EVERY_TEST: [(&str, usize); 2] = [("emb2", 997), ("emb3", 611)];
/// Lines in one request.
const LINES_AT_ONCE: usize = 600;

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

/// The reference's flags of a sensor as CSV, if they are there; says so if not.
fn reference_of(sensor: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/qartod");
    let text = fs::read_to_string(root.join(format!("{sensor}_flags.csv"))).ok();
    if text.is_none() {
        println!("real_data: NOT RUN: `../shared/reference/qartod` is not beside this workspace");
    }
    text
}

/// Rolled-up flags and label of each reading, as the reference has them: `emb2 2017-01-01T00:00:00Z 1,1,1,1,1 normal`.
fn reference() -> Option<Vec<String>> {
    let mut judged = Vec::new();
    for (sensor, _) in BY_EVERY_TEST {
        let text = reference_of(sensor)?;
        let named = text.lines().map(|line| format!("{sensor},{line}")).collect::<Vec<_>>().join("\n");
        judged.extend(judgements(&named, |column| !column.contains('.') && column != "label", "label"));
    }
    Some(judged)
}

/// What CSV with a header says of each reading: sensor, time, the columns of flags and the label.
fn judgements(csv: &str, is_flag: impl Fn(&str) -> bool, label: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let judgement = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let columns = || header.iter().zip(&cells).skip(2);
        let flags: Vec<&str> = columns().filter(|(column, _)| is_flag(column)).map(|(_, cell)| *cell).collect();
        let label = columns().find(|(column, _)| **column == label).expect("a label").1;
        format!("{} {} {} {label}", cells[0], cells[1], flags.join(","))
    };
    lines.map(judgement).collect()
}

/// Posts lines to `emb-qartod`, a part of each sensor's in turn; answers with what is judged in the end.
async fn judged_by_every_test(sensors: &[(&str, Vec<String>)]) -> Vec<String> {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let mut accepted = 0;
    let parts_max = sensors.iter().map(|(_, lines)| lines.len().div_ceil(LINES_AT_ONCE)).max().unwrap_or(0);
    for part in 0..parts_max {
        for (sensor, lines) in sensors {
            let Some(part) = lines.chunks(LINES_AT_ONCE).nth(part) else { continue };
            let path = format!("/v1/readings/emb-qartod?sensor_id={sensor}");
            let answer = hub.post(&path, "text/csv", part.join("\n")).await.expect(202).json();
            assert_eq!(answer["accepted"], part.len(), "{answer}");
            accepted += part.len() as u64;
        }
    }
    hub.processed("emb-qartod", accepted).await;
    for (sensor, _) in sensors {
        check_tests(&hub, sensor).await;
    }
    let csv = String::from_utf8(hub.export("emb-qartod", "csv").await).expect("text");
    judgements(&csv, |column| column.ends_with("_flag"), "qc")
}

/// Compares the flag of every test, every roll-up and every label of a sensor with the reference, and the counts with what was compared.
async fn check_tests(hub: &Hub, sensor: &str) {
    let Some(reference) = reference_of(sensor) else { return };
    let mut lines = reference.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let mut counts: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let mut page = Value::Null;
    for line in lines.by_ref() {
        let cells: Vec<&str> = line.split(',').collect();
        if page["items"].as_array().is_none_or(Vec::is_empty) {
            let cursor = page["next_cursor"].as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            page = hub.get(&format!("/v1/qc/flags?sensor_id={sensor}&limit=700{cursor}")).await.expect(200).json();
            page["items"].as_array_mut().expect("items").reverse();
        }
        let item = page["items"].as_array_mut().expect("items").pop().expect("as many readings as in the reference");
        assert_eq!(item["phenomenon_time"], cells[0]);
        for (column, cell) in header.iter().zip(&cells).skip(1) {
            let found = match column.split_once('.') {
                Some((property, test)) => {
                    *counts.entry((property, test, cell)).or_default() += 1;
                    &item["tests"][property][test]
                }
                None if *column == "label" => &item["qc"],
                None => &item["flags"][column],
            };
            let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            assert_eq!(found, *cell, "{column} of {sensor} at {}", cells[0]);
        }
    }
    assert_eq!(page["next_cursor"], Value::Null, "no more readings than in the reference");
    let path = format!("/v1/qc/summary?sensor_type=emb-qartod&sensor_id={sensor}");
    let summary = hub.get(&path).await.expect(200).json();
    for ((property, test, flag), count) in counts {
        assert_eq!(summary["items"][0]["tests"][property][test][flag], count, "{property}.{test} = {flag} of {sensor}");
    }
}

#[tokio::test]
async fn boreholes_have_every_flag_of_the_reference_in_any_order_of_arrival() {
    let (Some(files), Some(expected)) = (files(), reference()) else { return };
    for (sensor, anomalies) in BY_EVERY_TEST {
        let of_sensor = |row: &&String| row.starts_with(sensor) && row.ends_with(" anomaly");
        assert_eq!(expected.iter().filter(of_sensor).count(), anomalies, "anomalies of {sensor} in the reference");
    }
    let read = |file: &PathBuf| fs::read_to_string(file).expect("a text");
    let lines_of = |files: &Vec<PathBuf>| files.iter().flat_map(|file| lines(&read(file))).collect::<Vec<_>>();
    let mut sensors: Vec<_> = files.iter().map(|(sensor, files)| (*sensor, lines_of(files))).collect();
    assert_same(&judged_by_every_test(&sensors).await, &expected);
    let mut rng: StdRng = seeded("real_data");
    sensors.iter_mut().for_each(|(_, lines)| lines.shuffle(&mut rng));
    assert_same(&judged_by_every_test(&sensors).await, &expected);
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim_end().to_owned()).collect()
}

#[track_caller]
fn assert_same(judged: &[String], expected: &[String]) {
    assert_eq!(judged.len(), expected.len());
    for (judged, expected) in judged.iter().zip(expected) {
        assert_eq!(judged, expected);
    }
}
