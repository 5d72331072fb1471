//! What scheduled detection takes for imports that lie years apart: each sensor brings a minute of values now and a minute long ago, all in one
//! window.
//!
//! `cargo bench -p ad-jobs --bench imports -- [--sensors 100] [--years 6] [--stored 0]`; `stored` is how many rows each sensor has already
//! between the two.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ad_jobs::{
    judge::Settings,
    metrics::Metrics,
    window::{self, Bounds, Ports, Share, Task},
};
use domain::{
    Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, QualityControl, Row, Rows, SensorId,
    SensorType, SensorTypeDraft, SensorTypeId, Timestamp, TypeVersion, Value,
};
use embedded::Folder;
use ports::{
    Judge, Store, SystemClock, TimeRange,
    memory::{Call, Faulty},
};

const SECOND_MICROS: i64 = 1_000_000;
const YEAR_SECONDS: i64 = 365 * 86_400;
/// Readings of an import: a minute of one a second.
const IMPORT: i64 = 60;
/// When the newer import begins: 10 December 2025.
const NEWER: i64 = 1_765_324_800;
/// When both are accepted.
const ACCEPTED: i64 = NEWER + 86_400;
/// Sensors whose rows are written at once.
const SENSORS_AT_ONCE: usize = 1_000;

struct AlwaysGood;

impl Judge for AlwaysGood {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(default)
    };
    let (sensors, years, stored) = (given("--sensors", 100), given("--years", 6), given("--stored", 0));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(sensors, years as i64, stored as i64));
}

async fn run(sensors: usize, years: i64, stored: i64) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::open(place.path(), embedded::Settings::default(), Arc::new(SystemClock)).expect("it opens");
    let sensor_type = sensor_type();
    let ids: Vec<SensorId> =
        (0..sensors).map(|number| SensorId::parse(&format!("meter-{number:07}")).expect("an id")).collect();
    let older = NEWER - years * YEAR_SECONDS;
    fill(&*folder.store(), &sensor_type, &ids, (older, stored)).await;
    let before = peak_mb();

    let store = Faulty::new(folder.store());
    let ports = Ports {
        store: Arc::new(store.clone()),
        findings: folder.findings(),
        log: folder.log(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::register(&prometheus::Registry::new()).expect("none is registered yet"),
    };
    let task = Task {
        sensor_type: &sensor_type,
        share: Share { number: 0, count: 1 },
        window: TimeRange { from: second(ACCEPTED), to: second(ACCEPTED + 900) },
        interval: Duration::from_secs(900),
        settings: &Settings::default(),
    };
    let scanning = Instant::now();
    let done = window::scan(&ports, &Bounds::default(), task).await.expect("scanned").expect("something arrived");
    println!(
        "{sensors} sensors, imports {years} years apart, {stored} rows between: {:.2} s, {} scans, {} rows read, {} \
         values judged; peak memory {} MB, {before} MB before",
        scanning.elapsed().as_secs_f64(),
        store.calls(Call::Scan),
        store.rows_scanned(),
        done.points,
        peak_mb(),
    );
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(second * SECOND_MICROS)
}

fn sensor_type() -> SensorType {
    let property = ObservedProperty {
        id: PropertyId::parse("power").expect("an id"),
        name: String::new(),
        unit: "W".to_owned(),
        gross_range: None,
        required: true,
        resolution: Some(0.1),
        qc: QualityControl::default(),
        detection: Default::default(),
    };
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: vec![property],
        csv: None,
        detection: Default::default(),
    };
    SensorType::assemble(SensorTypeId::parse("power").expect("an id"), 1, 1, definition)
}

/// Writes what is stored between the imports, accepted long ago, and then both imports.
async fn fill(store: &dyn Store, sensor_type: &SensorType, ids: &[SensorId], (older, stored): (i64, i64)) {
    store.prepare(sensor_type).await.expect("room for the type");
    let step = (NEWER - older) / (stored + 1);
    let between = (1..=stored).map(|index| older + index * step);
    let between: Vec<i64> = between.collect();
    let imports: Vec<i64> = (older..older + IMPORT).chain(NEWER..NEWER + IMPORT).collect();
    let mut position = 0;
    for (times, accepted) in [(&between, ACCEPTED - 86_400), (&imports, ACCEPTED)] {
        for some in ids.chunks(SENSORS_AT_ONCE) {
            for times in times.chunks(120) {
                write(store, sensor_type, some, (times, accepted, &mut position)).await;
            }
        }
    }
}

async fn write(
    store: &dyn Store,
    sensor_type: &SensorType,
    ids: &[SensorId],
    (times, accepted, position): (&[i64], i64, &mut u64),
) {
    let (mut rows, mut values, mut sensor_ids) = (Vec::new(), Vec::new(), Vec::new());
    for id in ids {
        for time in times {
            let at = Position(*position);
            *position += 1;
            rows.push(Row {
                phenomenon_time: second(*time),
                accepted_at: Timestamp::from_micros(accepted * SECOND_MICROS + 1),
                position: at,
                first_position: at,
                type_version: 1,
                label: Label::Normal,
            });
            values.push(Value::number((*time % 7) as f64 / 10.0).expect("finite"));
            sensor_ids.push(id.clone());
        }
    }
    let flags = vec![Flag::Good; values.len()];
    let judged = Judged { rows: Rows::from_columns(1, rows.into_iter(), values, flags), sensor_ids };
    while let Err(error) = store.write(&sensor_type.id, &judged, &AlwaysGood).await {
        assert!(error.is_transient(), "{error}");
    }
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
