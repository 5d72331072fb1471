//! Two boreholes' real readings: exactly the known anomalies, whatever the order, duplication and batching of arrival.

use std::{collections::BTreeMap, fs, sync::Arc};

use crate::support::{Hub, data_folder, sensor_id};
use domain::{PropertyId, Readings, SensorId, Timestamp, Value};
use ports::{Batch, memory::LogSettings};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

type Line = (SensorId, Timestamp, [Value; 5]);

/// Reads a sensor's files: `date,time,sec,ph,water_level,water_temp,tdg` in UTC, `(na)` for missing.
fn lines(sensor: &str) -> Option<Vec<Line>> {
    let folder = data_folder()?.join("emb").join(sensor);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        for line in fs::read_to_string(file).expect("a text").lines().filter(|line| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.trim_end().split(',').collect();
            let time = Timestamp::parse(&format!("{}T{}Z", fields[0], fields[1])).expect("a time");
            let value = |field: &str| match field {
                "(na)" => Value::MISSING,
                number => Value::number(number.parse().expect("a number")).expect("finite"),
            };
            lines.push((sensor_id(sensor), time, std::array::from_fn(|index| value(fields[index + 2]))));
        }
    }
    Some(lines)
}

async fn replay(sensor_type: &str, lines: &[Line], batch: usize, records_max: usize) -> Vec<String> {
    let mut hub = Hub::new(LogSettings::default()).await;
    hub.records_max = records_max;
    let running = hub.start();
    let properties: Arc<[PropertyId]> = hub.registry.sensor_type(sensor_type).expect("built in").property_ids.clone();
    for part in lines.chunks(batch) {
        let mut readings = Readings::new(Arc::clone(&properties));
        for (sensor, time, values) in part {
            readings.push(sensor.clone(), *time, values);
        }
        hub.append(sensor_type, Batch::Readings { type_version: 1, readings }).await;
    }
    let totals = hub.drained(sensor_type).await;
    assert_eq!(totals.sum(), lines.len() as u64);
    running.stop().await.expect("stops");
    hub.rows(sensor_type).await
}

#[tokio::test]
async fn boreholes_have_their_known_anomalies_however_they_arrive() {
    let (Some(emb2), Some(emb3)) = (lines("emb2"), lines("emb3")) else {
        println!("skipped: ../shared/data is not there");
        return;
    };
    let mut all = [emb2, emb3].concat();
    let in_order = replay("emb", &all, 500, 32_768).await;
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in &in_order {
        let count = counts.entry(row.split(' ').next().expect("a sensor")).or_default();
        count.0 += usize::from(row.ends_with(" anomaly"));
        count.1 += 1;
    }
    assert_eq!(counts, BTreeMap::from([("emb2", (485, 3_523)), ("emb3", (47, 3_828))]));
    let seed = 20_170_208;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    all.shuffle(&mut random);
    assert_eq!(replay("emb", &all, 333, 100).await, in_order);
    let mut doubled = [all.clone(), all].concat();
    doubled.shuffle(&mut random);
    assert_eq!(replay("emb", &doubled, 777, 5_000).await, in_order);
}

/// The rolled-up flags and the label of every reading, as ioos_qc has them: `emb2 2017-01-01T00:00:00Z [1, 1, 1, 1, 1] normal`.
fn reference(sensor: &str) -> Option<Vec<String>> {
    let file = data_folder()?.join(format!("../reference/qartod/{sensor}_flags.csv"));
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let flags = |cells: &[&str]| {
        let rolled_up =
            header.iter().zip(cells).skip(1).filter(|(column, _)| !column.contains('.') && **column != "label");
        rolled_up.map(|(_, cell)| *cell).collect::<Vec<_>>().join(", ")
    };
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        format!("{sensor} {} [{}] {}", cells[0], flags(&cells), cells[cells.len() - 1])
    };
    Some(lines.map(line).collect())
}

/// The same of a row as text.
fn judged(row: &str) -> String {
    let (identity, rest) = row.split_once(" [").expect("values");
    let (flags, label) = rest.split_once("] [").expect("flags").1.split_once("] ").expect("a label");
    let code = |flag: &str| match flag {
        "Good" => "1",
        "NotEvaluated" => "2",
        "Suspect" => "3",
        "Fail" => "4",
        _ => "9",
    };
    format!("{identity} [{}] {label}", flags.split(", ").map(code).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn boreholes_have_every_flag_of_the_reference_however_they_arrive() {
    let (Some(emb2), Some(emb3)) = (lines("emb2"), lines("emb3")) else {
        println!("skipped: ../shared/data is not there");
        return;
    };
    let (Some(flags2), Some(flags3)) = (reference("emb2"), reference("emb3")) else {
        println!("skipped: ../shared/reference is not there");
        return;
    };
    let (mut all, expected) = ([emb2, emb3].concat(), [flags2, flags3].concat());
    let anomalies =
        |sensor: &str| expected.iter().filter(|row| row.starts_with(sensor) && row.ends_with(" anomaly")).count();
    assert_eq!((anomalies("emb2"), anomalies("emb3")), (997, 611));
    let check = async |lines: &[Line], batch, records_max| {
        let rows = replay("emb-qartod", lines, batch, records_max).await;
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(judged(row), *expected, "{row}");
        }
    };
    check(&all, 500, 32_768).await;
    let seed = 20_170_208;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    all.shuffle(&mut random);
    check(&all, 333, 1_000).await;
    let mut doubled = [all.clone(), all].concat();
    doubled.sort_by_key(|(_, time, _)| *time);
    // Up to a day late, every one of them.
    let delay = |index: usize| (index as i64).wrapping_mul(2_654_435_761).rem_euclid(86_400) * 1_000_000;
    let delayed = |(index, line): (usize, Line)| (line.1.as_micros() + delay(index), line);
    let mut late: Vec<_> = doubled.into_iter().enumerate().map(delayed).collect();
    late.sort_by_key(|(arrival, _)| *arrival);
    let late: Vec<Line> = late.into_iter().map(|(_, line)| line).collect();
    check(&late, 37, 32_768).await;
}
