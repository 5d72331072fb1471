//! End to end over HTTP: the real program, the real load generator, one machine.
//!
//! `cargo bench -p iot-hub --bench end_to_end [-- PART...]` with parts `batches`, `tests`, `singles`, `freshness`, `growth`, `week`; all of them by
//! default. Each part starts a hub of its own over an empty folder. The page docs/benchmarks.md says what each figure means.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use feeder::simulate::{self, Backfill, Live, Options, Report};
use harness::{Hub, Launch};
use tempfile::TempDir;

/// Sensors of the load.
const SENSORS: u32 = 20_000;
/// Sensors that post by themselves.
const SINGLE_SENSORS: u32 = 640;
/// Half of the rate the hub is to hold, in readings per second: also the sensors, at one reading a second each.
const HALF_LOAD: u32 = 75_000;
/// Look-ups of a sensor's week.
const WEEKS: usize = 200;

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if wants("batches") {
            batches("power", 200).await;
            batches("emb", 60).await;
        }
        if wants("tests") {
            tests("emb").await;
            tests("emb-qartod").await;
        }
        if wants("singles") {
            singles().await;
        }
        if wants("freshness") {
            freshness().await;
        }
        if wants("growth") {
            growth().await;
        }
        if wants("week") {
            week().await;
        }
    });
}

async fn start(folder: &TempDir) -> Hub {
    let launch = Launch::new(PathBuf::from(env!("CARGO_BIN_EXE_iot-hub")), folder.path());
    launch.key("TRACING__FILTER", "warn").start().await
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Settings for a run in batches as fast as possible, `ticks` readings of each sensor one second apart.
fn load(hub: &Hub, sensor_type: &str, ticks: u64) -> Options {
    let interval = Duration::from_secs(1);
    Options {
        hub: hub.url(""),
        sensor_type: sensor_type.to_owned(),
        sensors: SENSORS,
        sensor_prefix: format!("{sensor_type}-sim"),
        backfill: Some(Backfill { start: None, span: interval * ticks as u32, interval: Some(interval) }),
        settle_timeout: Duration::from_secs(600),
        quiet: true,
        ..Options::default()
    }
}

async fn run(options: Options) -> Report {
    let report = simulate::run(options).await.expect("the load runs");
    assert_eq!(report.rejected, 0, "{:?}", report.rejections);
    report
}

fn show(what: &str, hub: &Hub, report: &Report) {
    let stored = report.queryable.as_ref().map_or(0.0, |queryable| queryable.stored_per_second);
    let (latency, memory) = (report.latency_ms, hub.memory_peak_bytes() >> 20);
    println!(
        "{what}: {:.0} accepted/s, {stored:.0} stored/s, {:.0} requests/s; latency p50 {:.1} p99 {:.1} max {:.1} ms; peak memory {memory} MB",
        report.accepted_per_second, report.requests_per_second, latency.p50, latency.p99, latency.max
    );
}

/// Batches of 500, durable.
async fn batches(sensor_type: &str, ticks: u64) {
    let folder = folder();
    let hub = start(&folder).await;
    run(load(&hub, sensor_type, 1)).await;
    let mut options = load(&hub, sensor_type, ticks);
    options.seed = 2;
    let report = run(options).await;
    show(&format!("{sensor_type}, batches of 500"), &hub, &report);
}

/// Hourly readings of boreholes in batches of 500: `emb` has gross range alone, `emb-qartod` all tests. Then all are judged again.
async fn tests(sensor_type: &str) {
    let folder = folder();
    let hub = start(&folder).await;
    let hourly = |first: i64, ticks: u32| {
        let interval = Duration::from_secs(3_600);
        let start = Some(jiff::Timestamp::from_second(1_577_836_800 + 3_600 * first).expect("a time"));
        let backfill = Some(Backfill { start, span: interval * ticks, interval: Some(interval) });
        Options { backfill, ..load(&hub, sensor_type, 1) }
    };
    run(hourly(0, 1)).await;
    let report = run(hourly(1, 60)).await;
    show(&format!("{sensor_type}, hourly"), &hub, &report);
    let started = Instant::now();
    let request = format!("{{\"sensor_type\":\"{sensor_type}\"}}");
    let begun = hub.post("/v1/qc/replays", "application/json", request).await.expect(202).json();
    let path = format!("/v1/qc/replays/{}", begun["id"].as_str().expect("an id"));
    let done = harness::wait_for("the replay", Duration::from_secs(600), async || {
        let replay = hub.get(&path).await.expect(200).json();
        if replay["state"] == "done" { Ok(replay) } else { Err(replay.to_string()) }
    });
    let readings = done.await["changes"]["readings"].as_u64().expect("a count");
    let rate = readings as f64 / started.elapsed().as_secs_f64();
    println!("{sensor_type}, replayed: {readings} readings in {} parts, {rate:.0} readings/s", SENSORS);
}

/// One reading a request on 64 connections.
async fn singles() {
    let folder = folder();
    let hub = start(&folder).await;
    let options = || Options { sensors: SINGLE_SENSORS, batch: 1, connections: 64, ..load(&hub, "power", 400) };
    run(Options { backfill: load(&hub, "power", 1).backfill, ..options() }).await;
    let report = run(options()).await;
    show("single readings on 64 connections", &hub, &report);
}

/// Half of the load, paced: how long from accepted to queryable.
async fn freshness() {
    let folder = folder();
    let hub = start(&folder).await;
    let mut options = Options { sensors: HALF_LOAD, ..load(&hub, "power", 1) };
    run(options.clone()).await;
    options.backfill = None;
    options.live =
        Some(Live { duration: Some(Duration::from_secs(30)), every: Some(Duration::from_secs(1)), start: None });
    let report = run(options).await;
    show("half load, paced", &hub, &report);
    println!("half load, paced: freshness {:?}", report.queryable.map(|queryable| queryable.freshness_ms));
}

/// The same load at growing numbers of stored readings.
async fn growth() {
    let folder = folder();
    let hub = start(&folder).await;
    let mut next = 0;
    for (millions, ticks) in [(1, 50), (3, 100), (10, 350), (18, 400), (20, 100), (23, 150)] {
        let mut options = load(&hub, "power", ticks);
        let start = jiff::Timestamp::from_second(1_577_836_800 + next).expect("a time");
        options.backfill = options.backfill.map(|backfill| Backfill { start: Some(start), ..backfill });
        next += ticks as i64;
        let report = run(options).await;
        show(&format!("power, up to {millions} million stored"), &hub, &report);
    }
}

/// A sensor's week out of ten million readings: hourly, 168 rows, and every minute, 10,080 rows.
async fn week() {
    for (sensors, interval) in [(20_000u32, 3_600u64), (400, 60)] {
        let folder = folder();
        let hub = start(&folder).await;
        let ticks = 10_000_000 / sensors;
        let interval = Duration::from_secs(interval);
        let backfill = Backfill { start: None, span: interval * ticks, interval: Some(interval) };
        run(Options { sensors, backfill: Some(backfill), ..load(&hub, "power", 1) }).await;
        for format in ["json", "ndjson", "csv"] {
            let mut took = Vec::with_capacity(WEEKS);
            let mut rows = 0;
            for number in 0..WEEKS {
                let sensor = 1 + number * 7_919 % sensors as usize;
                let path = format!(
                    "/v1/readings/power?sensor_id=power-sim{sensor}&from=2020-01-08T00:00:00Z&to=2020-01-15T00:00:00Z&format={format}{}",
                    if format == "json" { "&limit=10000" } else { "" }
                );
                let started = Instant::now();
                let text = hub.get(&path).await.expect(200).text();
                took.push(started.elapsed());
                rows = text.matches(&format!("power-sim{sensor}")).count();
            }
            took.sort_unstable();
            let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
            println!(
                "a week of 10 million, every {interval:?}, {format}: {rows} rows, p50 {:?} p99 {:?}",
                at(0.5),
                at(0.99)
            );
        }
        println!("a week of 10 million: peak memory {} MB", hub.memory_peak_bytes() >> 20);
    }
}
