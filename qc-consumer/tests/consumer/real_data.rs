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

async fn replay(lines: &[Line], batch: usize, records_max: usize) -> Vec<String> {
    let mut hub = Hub::new(LogSettings::default()).await;
    hub.records_max = records_max;
    let running = hub.start();
    let properties: Arc<[PropertyId]> = hub.registry.sensor_type("emb").expect("built in").property_ids.clone();
    for part in lines.chunks(batch) {
        let mut readings = Readings::new(Arc::clone(&properties));
        for (sensor, time, values) in part {
            readings.push(sensor.clone(), *time, values);
        }
        hub.append("emb", Batch::Readings { type_version: 1, readings }).await;
    }
    let totals = hub.drained("emb").await;
    assert_eq!(totals.sum(), lines.len() as u64);
    running.stop().await.expect("stops");
    hub.rows("emb").await
}

#[tokio::test]
async fn boreholes_have_their_known_anomalies_however_they_arrive() {
    let (Some(emb2), Some(emb3)) = (lines("emb2"), lines("emb3")) else {
        println!("skipped: ../shared/data is not there");
        return;
    };
    let mut all = [emb2, emb3].concat();
    let in_order = replay(&all, 500, 32_768).await;
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
    assert_eq!(replay(&all, 333, 100).await, in_order);
    let mut doubled = [all.clone(), all].concat();
    doubled.shuffle(&mut random);
    assert_eq!(replay(&doubled, 777, 5_000).await, in_order);
}
