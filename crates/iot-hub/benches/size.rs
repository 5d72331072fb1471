//! How the hub bears size: many sensor types, end to end over HTTP.
//!
//! `cargo bench -p iot-hub --bench size [-- PART... [--hub PROGRAM]... [--types COUNT]...]` with part `types`. Each part starts a hub of its own
//! over an empty folder, for each program that is given in turn: so that two builds are compared in one run. The page docs/benchmarks.md says
//! what each figure means.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use feeder::simulate::{self, Backfill, Options};
use futures_util::{StreamExt, stream};
use harness::{Hub, Launch};
use serde_json::json;

/// Numbers of sensor types.
const TYPES: [usize; 2] = [5, 10_000];
/// Requests under way at once.
const REQUESTS: usize = 64;
/// How long an idle hub is watched.
const IDLE: Duration = Duration::from_secs(20);
/// Sensors of the busy type, and readings of each.
const SENSORS: u32 = 20_000;
const TICKS: u32 = 100;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What is measured, and of which programs.
struct Arguments {
    parts: Vec<String>,
    programs: Vec<PathBuf>,
    types: Vec<usize>,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { parts: Vec::new(), programs: Vec::new(), types: Vec::new() };
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("something behind the option");
            match argument.as_str() {
                "--hub" => read.programs.push(value().into()),
                "--types" => read.types.push(value().parse().expect("a number")),
                _ => read.parts.push(argument),
            }
        }
        if read.programs.is_empty() {
            read.programs.push(env!("CARGO_BIN_EXE_iot-hub").into());
        }
        if read.types.is_empty() {
            read.types.extend(TYPES);
        }
        read
    }
}

fn main() {
    let arguments = Arguments::read();
    let wants = |part: &str| arguments.parts.is_empty() || arguments.parts.iter().any(|wanted| wanted == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for program in &arguments.programs {
            for types in &arguments.types {
                if wants("types") {
                    many_types(program, *types).await;
                }
            }
        }
    });
}

/// A hub with so many sensor types of its own: made, idle, with a reading each, and with a busy type beside them.
async fn many_types(program: &Path, types: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hub = Launch::new(program, folder.path()).key("TRACING__FILTER", "warn").start().await;
    let show = |what: &str| println!("{} with {types} types: {what}", program.display());
    let began = Instant::now();
    each(types, async |number| {
        let definition = json!({
            "sampling_interval": "1m", "properties": [{"id": "value", "unit": "1"}],
        });
        hub.put(&format!("/v1/sensor-types/t{number}"), &definition).await.expect(201);
    })
    .await;
    show(&format!("made in {:.1} s", began.elapsed().as_secs_f64()));
    show(&format!("idle without a reading, {}", idle(&hub).await));

    let began = Instant::now();
    each(types, async |number| {
        let reading =
            format!("{{\"sensor_id\":\"s{number}\",\"phenomenon_time\":\"2024-01-01T00:00:00Z\",\"value\":1}}");
        hub.post(&format!("/v1/readings/t{number}"), "application/json", reading).await.expect(202);
    })
    .await;
    let accepted = began.elapsed().as_secs_f64();
    processed(&hub, types as u64).await;
    show(&format!("a reading each accepted in {accepted:.1} s, stored in {:.1} s", began.elapsed().as_secs_f64()));
    show(&format!("idle with a reading each, {}", idle(&hub).await));
    let (began, metrics) = (Instant::now(), hub.get("/metrics").await.expect(200).body.len());
    show(&format!("metrics of {} KiB in {:.0} ms", metrics >> 10, began.elapsed().as_secs_f64() * 1e3));

    for (name, ticks, seed) in [("warming up", 1, 1), ("busy type", TICKS, 2)] {
        let interval = Duration::from_secs(1);
        let options = Options {
            hub: hub.url(""),
            sensor_type: "power".to_owned(),
            sensors: SENSORS,
            sensor_prefix: "power-sim".to_owned(),
            backfill: Some(Backfill { start: None, span: interval * ticks, interval: Some(interval) }),
            settle_timeout: PATIENCE,
            quiet: true,
            seed,
            ..Options::default()
        };
        let report = simulate::run(options).await.expect("the load runs");
        let stored = report.queryable.as_ref().map_or(0.0, |queryable| queryable.stored_per_second);
        if ticks > 1 {
            show(&format!("{name}: {:.0} accepted/s, {stored:.0} stored/s", report.accepted_per_second));
        }
    }
    show(&format!("peak memory {} MB", hub.memory_peak_bytes() >> 20));
}

/// Does something for each number, many at once.
async fn each(count: usize, work: impl AsyncFn(usize)) {
    stream::iter(0..count).map(|number| work(number)).buffer_unordered(REQUESTS).collect::<()>().await;
}

/// What a hub takes of a core while nothing is asked of it.
async fn idle(hub: &Hub) -> String {
    harness::a_moment(Duration::from_secs(2)).await;
    let (began, before) = (Instant::now(), hub.cpu_time());
    harness::a_moment(IDLE).await;
    let used = hub.cpu_time() - before;
    format!("{:.1} % of a core", 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Waits until so many readings have been processed and none is pending. Not by looking all the time: at many types that is work by itself.
async fn processed(hub: &Hub, readings: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = hub.metrics().await;
        let of = |name| metrics.sum(name, "");
        let (appended, pending) = (of("iot_hub_readings_appended_total"), of("iot_hub_readings_pending"));
        if appended >= readings && pending == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{appended} appended, {pending} pending");
        harness::a_moment(Duration::from_millis(200)).await;
    }
}
