//! What one window of scheduled detection costs on the data folder: every datastream has a new reading, each is judged by its four weeks.
//!
//! `cargo bench -p ad-jobs -- [--sensors 100000]`

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use ad_jobs::{
    judge::Settings,
    metrics::Metrics,
    window::{self, Bounds, Ports, Share, Task},
};
use detect::{Direction, EsdSettings, decompose, esd, find_period};
use domain::{
    Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, QualityControl, Row, Rows, SensorId,
    SensorType, SensorTypeDraft, SensorTypeId, Timestamp, TypeVersion, Value,
};
use embedded::Folder;
use ports::{Judge, ReadingQuery, Store, SystemClock, TimeRange};

/// Hours that each datastream has.
const HOURS: usize = 672;
const HOUR_MICROS: i64 = 3_600_000_000;
/// Sensors whose history is written at once.
const SENSORS_AT_ONCE: usize = 50;
/// Series that the parts of the method are measured on.
const SAMPLE: usize = 400;

struct AlwaysGood;

impl Judge for AlwaysGood {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == "--sensors");
    let given = place.and_then(|place| arguments.get(place + 1)?.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(given.unwrap_or(100_000)));
}

async fn run(sensors: usize) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::open(place.path(), embedded::Settings::default(), Arc::new(SystemClock)).expect("it opens");
    let (sensor_type, ids) = (sensor_type(), ids(sensors));
    let filled = Instant::now();
    fill(&*folder.store(), &sensor_type, &ids).await;
    println!("{sensors} datastreams of {HOURS} hourly values, filled in {:.0} s", filled.elapsed().as_secs_f64());

    let reading = Instant::now();
    let rows = read(&*folder.store(), &sensor_type, &ids).await;
    let (reading, before) = (reading.elapsed(), cpu_time());
    println!("reading alone: {rows} rows in {:.1} s", reading.as_secs_f64());

    let ports = Ports {
        store: folder.store(),
        findings: folder.findings(),
        log: folder.log(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::register(&prometheus::Registry::new()).expect("none is registered yet"),
    };
    let hour = |hour: usize| Timestamp::from_micros(hour as i64 * HOUR_MICROS);
    let task = Task {
        sensor_type: &sensor_type,
        share: Share { number: 0, count: 1 },
        window: TimeRange { from: hour(HOURS), to: hour(HOURS + 1) },
        interval: Duration::from_secs(900),
        settings: &Settings::default(),
    };
    let scanning = Instant::now();
    let done = window::scan(&ports, &Bounds::default(), task).await.expect("scanned").expect("something arrived");
    let (took, cpu) = (scanning.elapsed(), cpu_time() - before);
    assert_eq!((done.datastreams_done, done.points), (sensors as u64, sensors as u64));
    let per_second = sensors as f64 / took.as_secs_f64();
    println!("scanned in {:.1} s: {per_second:.0} series/s, {} anomalies", took.as_secs_f64(), done.anomalies);
    println!("on one core {:.0} series/s ({:.1} s of processor time)", sensors as f64 / cpu, cpu);
    print_shares(sensors, cpu, reading);
    println!("peak memory {} MB", peak_mb());
}

/// The shares of reading and of the parts of the method in the processor time of a scan.
fn print_shares(sensors: usize, cpu: f64, reading: Duration) {
    let series: Vec<Vec<f64>> =
        (0..SAMPLE).map(|sensor| (0..HOURS).map(|hour| value(sensor, hour)).collect()).collect();
    let test = EsdSettings { candidates_max: HOURS / 5, alpha: 0.05, direction: Direction::Both, scale_min: 0.0 };
    let of_all = |took: Duration| 100.0 * took.as_secs_f64() * sensors as f64 / SAMPLE as f64 / cpu;
    println!("reading {:.0} %", 100.0 * reading.as_secs_f64() / cpu);
    println!("season by autocorrelation {:.0} %", of_all(time(&series, |values| find_period(values, &[24, 168]))));
    println!("STL {:.0} %", of_all(time(&series, |values| decompose(values, 24))));
    println!("ESD {:.0} %", of_all(time(&series, |values| esd(values, &test))));
}

fn time<T>(series: &[Vec<f64>], work: impl Fn(&[f64]) -> T) -> Duration {
    let started = Instant::now();
    series.iter().for_each(|values| drop(black_box(work(black_box(values)))));
    started.elapsed()
}

/// Days with noise, and now and then a spike in the last hour.
fn value(sensor: usize, hour: usize) -> f64 {
    let mixed = ((sensor * HOURS + hour) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
    let spike = if sensor % 100 == 7 && hour == HOURS - 1 { 30.0 } else { 0.0 };
    let day = 5.0 * (std::f64::consts::TAU * hour as f64 / 24.0).sin();
    // In tenths, as sensors say it.
    ((20.0 + day + spike + noise as f64 / f64::from(1_u32 << 24)) * 10.0).round() / 10.0
}

fn sensor_type() -> SensorType {
    let property = ObservedProperty {
        id: PropertyId::parse("level").expect("an id"),
        name: String::new(),
        unit: "m".to_owned(),
        gross_range: None,
        required: true,
        resolution: Some(0.1),
        qc: QualityControl::default(),
        detection: Default::default(),
    };
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(3_600),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: vec![property],
        csv: None,
        detection: Default::default(),
    };
    SensorType::assemble(SensorTypeId::parse("well").expect("an id"), 1, 1, definition)
}

fn ids(sensors: usize) -> Vec<SensorId> {
    (0..sensors).map(|number| SensorId::parse(&format!("well-{number:06}")).expect("an id")).collect()
}

/// Writes the history of all sensors, accepted long ago, and then the last hour, accepted in the window.
async fn fill(store: &dyn Store, sensor_type: &SensorType, ids: &[SensorId]) {
    store.prepare(sensor_type).await.expect("room for the type");
    let mut position = 0;
    for first in (0..ids.len()).step_by(SENSORS_AT_ONCE) {
        let some = first..(first + SENSORS_AT_ONCE).min(ids.len());
        write(store, sensor_type, (ids, some), (0..HOURS - 1, 0), &mut position).await;
    }
    for first in (0..ids.len()).step_by(10_000) {
        let some = first..(first + 10_000).min(ids.len());
        write(store, sensor_type, (ids, some), (HOURS - 1..HOURS, HOURS), &mut position).await;
    }
}

async fn write(
    store: &dyn Store,
    sensor_type: &SensorType,
    (ids, sensors): (&[SensorId], std::ops::Range<usize>),
    (hours, accepted): (std::ops::Range<usize>, usize),
    position: &mut u64,
) {
    let (mut rows, mut values, mut sensor_ids) = (Vec::new(), Vec::new(), Vec::new());
    for sensor in sensors {
        for hour in hours.clone() {
            let at = Position(*position);
            *position += 1;
            rows.push(Row {
                phenomenon_time: Timestamp::from_micros(hour as i64 * HOUR_MICROS),
                accepted_at: Timestamp::from_micros(accepted as i64 * HOUR_MICROS + 1),
                position: at,
                first_position: at,
                type_version: 1,
                label: Label::Normal,
            });
            values.push(Value::number(value(sensor, hour)).expect("finite"));
            sensor_ids.push(ids[sensor].clone());
        }
    }
    let flags = vec![Flag::Good; values.len()];
    let judged = Judged { rows: Rows::from_columns(1, rows.into_iter(), values, flags), sensor_ids };
    while let Err(error) = store.write(&sensor_type.id, &judged, &AlwaysGood).await {
        assert!(error.is_transient(), "{error}");
    }
}

/// Reads what a scan of a window reads, and nothing more.
async fn read(store: &dyn Store, sensor_type: &SensorType, ids: &[SensorId]) -> usize {
    let mut rows = 0;
    for some in ids.chunks(Bounds::default().sensors_at_once) {
        let query = ReadingQuery { sensor_ids: Some(some.to_vec()), ..ReadingQuery::default() };
        let mut scan = store.scan(&sensor_type.id, &query).await.expect("a scan");
        while let Some(part) = scan.next(8_192).await.expect("rows") {
            rows += part.rows.len();
        }
    }
    rows
}

/// Processor time of this process, in seconds.
fn cpu_time() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
