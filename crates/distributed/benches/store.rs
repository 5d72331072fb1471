//! Stored readings per second of the store on Elasticsearch against a raw bulk load of the same documents, in turns, in the same run.
//!
//! `cargo bench -p distributed --bench store -- [--rows 200000] [--rounds 3]`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use distributed::store::{ElasticStore, Settings};
use domain::{
    Flag, Judged, Label, LabelRule, Position, PropertyId, Row, Rows, SensorId, SensorType, SensorTypeDraft,
    SensorTypeId, Timestamp, TypeVersion, Value, write_number,
};
use elasticsearch::http::{
    Method,
    headers::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
    transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
};
use ports::{Judge, Outcome, ReadingQuery, Store};
use tokio::task::JoinSet;

const WIDTH: usize = 8;
const SENSORS: usize = 100;
/// As many as the quality control hands over at the most.
const ROWS_PER_WRITE: usize = 32_768;
const START: i64 = 1_486_566_000_000_000;

struct NeverAsked;

impl Judge for NeverAsked {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

/// What the command line asks for.
struct Options {
    url: String,
    rows: usize,
    rounds: usize,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { url: servers::elasticsearch().url(), rows: 200_000, rounds: 3 };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut next = || args.next().expect("a value behind the option");
            match name.as_str() {
                "--rows" => options.rows = next().parse().expect("a number"),
                "--rounds" => options.rounds = next().parse().expect("a number"),
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
    let prefix = format!("bench-{}-", std::process::id());
    let settings =
        Settings { urls: vec![options.url.clone()], index_prefix: prefix.clone(), replicas: 0, ..Settings::default() };
    let store = ElasticStore::new(settings.clone()).expect("settings that make sense");
    let writes: Vec<Judged> = (0..options.rows)
        .step_by(ROWS_PER_WRITE)
        .map(|from| judged(from, options.rows.min(from + ROWS_PER_WRITE)))
        .collect();
    let loads = bulks(&writes, &settings);
    let (mut rates_raw, mut rates_store) = (Vec::new(), Vec::new());
    // The first round of each warms the servers up and does not count.
    for round in 0..=options.rounds {
        let raw = sensor_type(&format!("raw{round}"));
        store.prepare(&raw).await.expect("a type");
        // Makes the index as the store does.
        store.write(&raw.id, &judged(options.rows, options.rows + 1), &NeverAsked).await.expect("a write");
        let rate =
            load(&options.url, &format!("{prefix}readings-raw{round}.2017"), &loads, settings.bulks_in_flight_max)
                .await;
        println!("round {round}: raw bulk load {:>9.0} documents/s", options.rows as f64 / rate.as_secs_f64());
        let written = sensor_type(&format!("written{round}"));
        store.prepare(&written).await.expect("a type");
        store.write(&written.id, &judged(options.rows, options.rows + 1), &NeverAsked).await.expect("a write");
        let started = Instant::now();
        for judged in &writes {
            let outcomes = store.write(&written.id, judged, &NeverAsked).await.expect("a write");
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored));
        }
        let took = started.elapsed();
        println!("round {round}: store         {:>9.0} readings/s", options.rows as f64 / took.as_secs_f64());
        if round > 0 {
            rates_raw.push(rate.as_secs_f64());
            rates_store.push(took.as_secs_f64());
        }
        compare(&store, &raw.id, &written.id, options.rows + 1).await;
        for id in [raw.id, written.id] {
            store.remove(&id).await.expect("a removal");
        }
    }
    let ratio = rates_raw.iter().sum::<f64>() / rates_store.iter().sum::<f64>();
    println!("store at {ratio:.2} of the raw bulk load over {} rounds", options.rounds);
}

/// Both have the same rows, and says how fast a scan reads them.
async fn compare(store: &ElasticStore, raw: &SensorTypeId, written: &SensorTypeId, rows: usize) {
    let started = Instant::now();
    let mut scans = [raw, written].map(|id| store.scan(id, &QUERY));
    let mut count = 0;
    let (mut left, mut right) = (scans[0].as_mut().await.expect("a scan"), scans[1].as_mut().await.expect("a scan"));
    while let Some(some) = left.next(8_192).await.expect("rows") {
        assert_eq!(right.next(8_192).await.expect("rows"), Some(some.clone()), "both have the same rows");
        count += some.rows.len();
    }
    assert_eq!(count, rows);
    println!("         scans         {:>9.0} readings/s", 2.0 * rows as f64 / started.elapsed().as_secs_f64());
}

const QUERY: ReadingQuery = ReadingQuery {
    sensor_ids: None,
    times: ports::TimeRange::ALL,
    accepted: ports::TimeRange::ALL,
    label: None,
    order: ports::Order::Ascending,
    after: None,
    changed_from: Position(0),
    keys_only: false,
};

fn sensor_type(id: &str) -> SensorType {
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
    let mut sensor_type = SensorType::assemble(SensorTypeId::parse(id).expect("an id"), 1, 1, definition);
    sensor_type.property_ids = (0..WIDTH).map(|n| PropertyId::parse(&format!("p{n}")).expect("an id")).collect();
    sensor_type
}

/// Readings as they come live: one of each sensor, then the next second.
fn judged(from: usize, to: usize) -> Judged {
    let sensor_ids: Vec<SensorId> =
        (0..SENSORS).map(|n| SensorId::parse(&format!("sim-{n:06}")).expect("an id")).collect();
    let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::with_capacity(WIDTH, to - from) };
    for index in from..to {
        let position = Position(index as u64);
        let row = Row {
            phenomenon_time: Timestamp::from_micros(START + (index / SENSORS) as i64 * 1_000_000),
            accepted_at: Timestamp::from_micros(START + index as i64),
            position,
            first_position: position,
            type_version: 1,
            label: Label::Normal,
        };
        let value = |n: usize| Value::number(((index * 31 + n * 1_009) % 50_000) as f64 / 100.0).expect("finite");
        let values: Vec<Value> = (0..WIDTH).map(value).collect();
        judged.rows.push(domain::RowRef { row, values: &values, flags: &[Flag::Good; WIDTH] });
        judged.sensor_ids.push(sensor_ids[index % SENSORS].clone());
    }
    judged
}

/// The same rows as bodies of bulk requests, within the same bounds.
fn bulks(writes: &[Judged], settings: &Settings) -> Vec<Bytes> {
    let (mut bulks, mut body, mut count) = (Vec::new(), Vec::new(), 0);
    for judged in writes {
        for (sensor_id, row) in judged.sensor_ids.iter().zip(judged.rows.iter()) {
            push_document(sensor_id, &row, &mut body);
            count += 1;
            if count == settings.bulk_rows_max || body.len() >= settings.bulk_size_max {
                bulks.push(Bytes::from(std::mem::take(&mut body)));
                count = 0;
            }
        }
    }
    bulks.extend((!body.is_empty()).then(|| Bytes::from(body)));
    bulks
}

fn push_document(sensor_id: &SensorId, row: &domain::RowRef<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"create\":{\"_id\":\"");
    row.row.phenomenon_time.write_to(out);
    out.extend_from_slice(format!("@{sensor_id}\"}}}}\n").as_bytes());
    let micros = row.row.phenomenon_time.as_micros();
    let head = format!(
        r#"{{"sensor_id":"{sensor_id}","phenomenon_time":{micros},"@timestamp":{},"qc":"{}""#,
        micros / 1_000,
        row.row.label.as_str()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, value) in row.values.iter().enumerate() {
        out.extend_from_slice(format!(",\"p{index}\":").as_bytes());
        write_number(value.as_number().expect("a number"), out);
    }
    let flags: Vec<String> =
        row.flags.iter().enumerate().map(|(n, flag)| format!("\"p{n}\":{}", flag.code())).collect();
    let tail = format!(
        ",\"flags\":{{{}}},\"type_version\":1,\"accepted_at\":{},\"@position\":{},\"@first_position\":{}}}\n",
        flags.join(","),
        row.row.accepted_at.as_micros(),
        row.row.position,
        row.row.first_position
    );
    out.extend_from_slice(tail.as_bytes());
}

/// Sends the bodies, so many at once; answers how long it took.
async fn load(url: &str, index: &str, bodies: &[Bytes], in_flight: usize) -> Duration {
    let pool = SingleNodeConnectionPool::new(url.parse().expect("an address"));
    let transport = Arc::new(TransportBuilder::new(pool).disable_proxy().build().expect("a transport"));
    let started = Instant::now();
    let mut sending = JoinSet::new();
    for body in bodies {
        if sending.len() == in_flight {
            sending.join_next().await.expect("one under way").expect("no panic");
        }
        sending.spawn(send(Arc::clone(&transport), format!("/{index}/_bulk?filter_path=errors"), body.clone()));
    }
    sending.join_all().await;
    started.elapsed()
}

async fn send(transport: Arc<Transport>, path: String, body: Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let sent = transport.send(Method::Post, &path, headers, None::<&()>, Some(body), None).await;
    let answer = sent.expect("an answer").bytes().await.expect("a body");
    assert_eq!(&answer[..], b"{\"errors\":false}");
}
