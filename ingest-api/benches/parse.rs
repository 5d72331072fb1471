//! Measures the parsers: nanoseconds per reading of `power`, 500 to a body, of 20,000 known sensors.

use std::{collections::HashMap, hint::black_box, time::Instant};

use domain::{Sensor, SensorId, SensorType, Timestamp};
use ingest_api::input::{BodyFault, Bounds, Parsed, Target, csv, json, ndjson, paper};

/// Readings in a body.
const READINGS: usize = 500;
/// Sensors that send.
const SENSORS: usize = 20_000;
/// Bodies of one measurement.
const BODIES: usize = 2_000;

/// A parser and what it reads.
type Case<'a> = (&'a str, fn(&[u8], &Target<'_>) -> Result<Parsed, BodyFault>, Vec<Vec<u8>>);

fn main() {
    let sensor_type = power();
    let sensors = sensors(&sensor_type);
    let now = Timestamp::parse("2020-01-01T00:00:00Z").expect("a time");
    let bounds = Bounds { items_max: 100_000, rejected_max: 1_000 };
    let target = Target { sensor_type: &sensor_type, sensors: &sensors, now, bounds, repeated_hour: None };
    let json_item = |sensor: usize, second: usize| {
        let power = 100.0 + (sensor % 97) as f64 / 10.0;
        format!(
            r#"{{"sensor_id":"power-{sensor:05}","phenomenon_time":"2019-12-31T23:{:02}:{:02}Z","power":{power}}}"#,
            second / 60,
            second % 60
        )
    };
    let csv_line = |sensor: usize, second: usize| {
        let power = 100.0 + (sensor % 97) as f64 / 10.0;
        format!("power-{sensor:05},2019-12-31T23:{:02}:{:02}Z,{power}", second / 60, second % 60)
    };
    let cases: [Case<'_>; 4] = [
        ("json", json::parse, bodies(|items| format!("[{}]", items.join(",")), json_item)),
        ("ndjson", ndjson::parse, bodies(|items| items.join("\n"), json_item)),
        ("csv", csv::parse, bodies(|items| format!("sensor_id,phenomenon_time,power\n{}", items.join("\n")), csv_line)),
        ("paper", paper::parse, bodies(|items| items.join("\r\n"), csv_line)),
    ];
    for (name, parse, bodies) in cases {
        let best = (0..5).map(|_| measure(parse, &bodies, &target)).fold(f64::INFINITY, f64::min);
        let size_bytes = bodies.iter().map(Vec::len).sum::<usize>() / (bodies.len() * READINGS);
        println!("{name:<7} {best:7.1} ns/reading ({size_bytes} bytes each)");
    }
}

/// The type `power`, with a dialect.
fn power() -> SensorType {
    let (id, mut draft) = registry::built_in_types().into_iter().find(|(id, _)| id.as_str() == "power").expect("power");
    draft.csv = Some(serde_json::from_str(r#"{"columns":["phenomenon_time","power"]}"#).expect("a dialect"));
    SensorType::first(id, 1, draft).expect("a valid type")
}

fn sensors(sensor_type: &SensorType) -> HashMap<SensorId, Sensor> {
    let sensor = |number: usize| {
        let id = SensorId::parse(&format!("power-{number:05}")).expect("an id");
        let sensor_type = sensor_type.id.clone();
        (id.clone(), Sensor { id, number: number as u64, sensor_type, name: None, place: None, group: None })
    };
    (0..SENSORS).map(sensor).collect()
}

fn bodies(join: impl Fn(Vec<String>) -> String, item: impl Fn(usize, usize) -> String) -> Vec<Vec<u8>> {
    let body = |number: usize| {
        let items = (0..READINGS).map(|index| item((number * READINGS + index) % SENSORS, number % 3600));
        join(items.collect()).into_bytes()
    };
    (0..BODIES).map(body).collect()
}

/// Nanoseconds per reading.
fn measure(parse: fn(&[u8], &Target<'_>) -> Result<Parsed, BodyFault>, bodies: &[Vec<u8>], target: &Target<'_>) -> f64 {
    let start = Instant::now();
    for body in bodies {
        let parsed = parse(black_box(body), target).expect("a body that can be read");
        assert_eq!(black_box(&parsed).readings.len(), READINGS);
    }
    start.elapsed().as_nanos() as f64 / (bodies.len() * READINGS) as f64
}
