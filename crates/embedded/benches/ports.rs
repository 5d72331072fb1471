//! What one disk gives: readings appended durably, stored and scanned, at growing numbers of stored readings.
//!
//! `cargo bench -p embedded -- [--sensors 20000] [--readings 20000000] [--properties 1]`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    Flag, Judged, Label, LabelRule, Position, PropertyId, Readings, Row, Rows, SensorId, SensorType, SensorTypeDraft,
    SensorTypeId, Timestamp, Topic, TypeVersion, Value,
};
use embedded::{Folder, Settings};
use ports::{Batch, Content, Judge, ReadingQuery, SensorQuery, SystemClock, TimeRange, TopicKind};

struct AlwaysGood;

impl Judge for AlwaysGood {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

/// What the command line asks for.
struct Options {
    sensors: usize,
    readings: usize,
    properties: usize,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { sensors: 20_000, readings: 4_000_000, properties: 1 };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut number = || args.next().and_then(|text| text.parse().ok()).expect("a number behind the option");
            match name.as_str() {
                "--sensors" => options.sensors = number(),
                "--readings" => options.readings = number(),
                "--properties" => options.properties = number(),
                _ => {}
            }
        }
        options
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(Options::parse()));
}

async fn run(options: Options) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::open(place.path(), Settings::default(), Arc::new(SystemClock)).expect("the folder opens");
    let properties: Arc<[PropertyId]> =
        (0..options.properties).map(|index| PropertyId::parse(&format!("p{index}")).expect("an id")).collect();
    let type_id = SensorTypeId::parse("power").expect("an id");
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: Vec::new(),
        csv: None,
        detection: Default::default(),
    };
    let mut sensor_type = SensorType::assemble(type_id.clone(), 1, 1, definition);
    sensor_type.property_ids = Arc::clone(&properties);
    let (log, store) = (folder.log(), folder.store());
    store.prepare(&sensor_type).await.expect("room for the type");
    let topic = Topic::readings(&type_id);
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let ids: Vec<SensorId> =
        (0..options.sensors).map(|n| SensorId::parse(&format!("sim-{n:06}")).expect("an id")).collect();

    let producer = tokio::spawn(produce(Arc::clone(&log), topic.clone(), ids.clone(), properties, options.readings));
    let started = Instant::now();
    let (mut stored, mut shown, mut last) = (0, 0, Instant::now());
    let mut consumer = log.consumer("bench").await.expect("a consumer");
    consumer.subscribe(std::slice::from_ref(&topic)).await.expect("subscribed");
    while stored < options.readings {
        for delivery in consumer.poll(32_768, Duration::from_secs(10)).await.expect("records") {
            let Content::Readings { readings, .. } = delivery.content else { continue };
            let judged = judge(readings, delivery.first_position, delivery.accepted_at);
            stored += judged.rows.len();
            while let Err(error) = store.write(&type_id, &judged, &AlwaysGood).await {
                assert!(error.is_transient(), "{error}");
                println!("{error}");
            }
        }
        if stored - shown >= options.readings / 10 {
            let rate = (stored - shown) as f64 / last.elapsed().as_secs_f64();
            println!("{stored:>10} stored, {rate:>9.0} readings/s lately, {} MB resident", resident_mb());
            (shown, last) = (stored, Instant::now());
        }
    }
    producer.await.expect("the producer ends");
    println!("appended and stored at {:.0} readings/s", stored as f64 / started.elapsed().as_secs_f64());
    scan(&*store, &type_id, &ids[options.sensors / 2]).await;
    println!("disk: {} MB", size_mb(place.path()));
}

async fn produce(
    log: Arc<dyn ports::Log>,
    topic: Topic,
    ids: Vec<SensorId>,
    properties: Arc<[PropertyId]>,
    count: usize,
) {
    const IN_FLIGHT: usize = 8;
    let mut pending = tokio::task::JoinSet::new();
    let mut made = 0;
    while made < count {
        let mut readings = Readings::with_capacity(Arc::clone(&properties), 500);
        for _ in 0..500 {
            let (sensor, tick) = (made % ids.len(), made / ids.len());
            let time = Timestamp::from_micros(1_600_000_000_000_000 + tick as i64 * 1_000_000);
            let value = Value::number(((sensor * 31 + tick * 7) % 5_000) as f64 / 10.0).expect("finite");
            readings.push(ids[sensor].clone(), time, &vec![value; properties.len()]);
            made += 1;
        }
        if pending.len() == IN_FLIGHT {
            pending.join_next().await;
        }
        let (log, topic) = (Arc::clone(&log), topic.clone());
        pending.spawn(async move {
            log.append(&topic, Batch::Readings { type_version: 1, readings }).await.expect("appended");
        });
    }
    pending.join_all().await;
}

fn judge(readings: Readings, first: Position, accepted_at: Timestamp) -> Judged {
    let (properties, sensor_ids, times, values) = readings.into_columns();
    let flags = vec![Flag::Good; values.len()];
    let rows = times.iter().enumerate().map(|(index, time)| {
        let position = first.after(index as u64);
        let label = Label::Normal;
        Row { phenomenon_time: *time, accepted_at, position, first_position: position, type_version: 1, label }
    });
    Judged { rows: Rows::from_columns(properties.len(), rows, values, flags), sensor_ids }
}

async fn scan(store: &dyn ports::Store, type_id: &SensorTypeId, id: &SensorId) {
    let week = TimeRange { from: Timestamp::from_micros(1_600_000_000_000_000), to: Timestamp::MAX };
    let query = ReadingQuery { sensor_ids: Some(vec![id.clone()]), times: week, ..ReadingQuery::default() };
    for _ in 0..3 {
        let started = Instant::now();
        let mut scan = store.scan(type_id, &query).await.expect("a scan");
        let mut rows = 0;
        while let Some(chunk) = scan.next(4_096).await.expect("rows") {
            rows += chunk.rows.len();
        }
        println!("scan of one sensor: {rows} rows in {:?}", started.elapsed());
    }
    let started = Instant::now();
    let latest = store.latest(type_id, &SensorQuery::first(usize::MAX)).await.expect("rows");
    println!("latest of {} sensors in {:?}", latest.sensor_ids.len(), started.elapsed());
    let started = Instant::now();
    let mut scan = store.scan(type_id, &ReadingQuery::default()).await.expect("a scan");
    let mut rows = 0;
    while let Some(chunk) = scan.next(4_096).await.expect("rows") {
        rows += chunk.rows.len();
    }
    println!("scan of everything: {rows} rows in {:?}", started.elapsed());
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) / 256
}

fn size_mb(path: &std::path::Path) -> u64 {
    let mut size = 0;
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        size += if meta.is_dir() { size_mb(&entry.path()) } else { meta.len() >> 20 };
    }
    size
}
