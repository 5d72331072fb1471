//! The scheduled job over the ports in memory: windows are caught up, waited for, shared and taken over.

mod support;

use std::{sync::Arc, time::Duration};

use ad_jobs::{
    metrics::Metrics,
    schedule::{Config, Ports, Schedule, run},
};
use domain::{Position, Readings, Run, SensorId, Timestamp, Topic, Value};
use ports::{
    Batch, Claim, Clock, Committed, Log, ManualClock, RunQuery, Totals,
    memory::{LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};
use registry::Registry;
use support::{HOUR_MICROS, Stored, definition, sensor_type, store, type_id};
use tokio::sync::watch;

const MINUTE_MICROS: i64 = 60_000_000;
/// The hub starts at this hour.
const START: i64 = 1_000;
/// The group that stores readings.
const STORED_BY: &str = "quality-control";
/// How long a process that gives no sign is waited for.
const LEASE: Duration = Duration::from_secs(600);

struct Hub {
    ports: Ports,
    clock: Arc<ManualClock>,
    position: u64,
}

impl Hub {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(START * HOUR_MICROS)));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::clone(&clock) as _, LogSettings::default()));
        let registry = Registry::open(Arc::clone(&log), registry::Settings::default()).await.expect("opens");
        registry.seed(vec![(type_id(), definition())]).await.expect("seeded");
        let ports = Ports {
            log,
            store: Arc::new(MemoryStore::new()),
            findings: Arc::new(MemoryFindings::new()),
            registry,
            clock: Arc::clone(&clock) as _,
        };
        Self { ports, clock, position: 0 }
    }

    /// A process with the job, with one share for all sensors.
    fn process(&self, owner: &str) -> Schedule {
        Schedule::new(self.ports.clone(), config(owner), metrics())
    }

    fn set(&self, minutes: i64) {
        self.clock.set(Timestamp::from_micros(START * HOUR_MICROS + minutes * MINUTE_MICROS));
    }

    /// Accepts a reading now; answers where it is in the log.
    async fn accept(&mut self, hour: i64) -> Position {
        let mut readings = Readings::new(sensor_type().property_ids);
        let time = Timestamp::from_micros(hour * HOUR_MICROS);
        readings.push(SensorId::parse("emb3").expect("an id"), time, &[Value::number(844.0).expect("finite")]);
        let batch = Batch::Readings { type_version: 1, readings };
        self.ports.log.append(&Topic::readings(&type_id()), batch).await.expect("appended");
        self.position += 1;
        Position(self.position - 1)
    }

    /// Stores a reading that is accepted now.
    async fn store(&mut self, hour: i64) {
        let position = self.accept(hour).await;
        let accepted_at = self.clock.now();
        let reading = Stored { sensor: "emb3", hour, value: 844.0, accepted_at, position: position.0 };
        store(&*self.ports.store, reading).await;
        let topic = Topic::readings(&type_id());
        let mut consumer = self.ports.log.consumer(STORED_BY).await.expect("a consumer");
        consumer.subscribe(std::slice::from_ref(&topic)).await.expect("subscribed");
        let delivery = consumer.poll(1, Duration::ZERO).await.expect("a record").remove(0);
        let next = position.after(1);
        let totals = Totals { stored: next.0, ..Totals::default() };
        let committed = Committed { partition: delivery.partition, position: next, totals };
        consumer.commit(&topic, committed).await.expect("committed");
    }

    async fn runs(&self) -> Vec<Run> {
        let mut runs = self.ports.findings.runs(&RunQuery::all(1_000)).await.expect("answered");
        runs.sort_by_key(|run| run.from);
        runs
    }

    /// From which minute the windows went that had arrivals.
    async fn windows(&self) -> Vec<i64> {
        let minute = |run: &Run| (run.from.as_micros() - START * HOUR_MICROS) / MINUTE_MICROS;
        self.runs().await.iter().map(minute).collect()
    }
}

fn config(owner: &str) -> Config {
    Config { lease: LEASE, ..Config::new(owner, STORED_BY) }
}

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).expect("none is registered yet")
}

async fn round(process: &mut Schedule) {
    let (_stop, stopped) = watch::channel(false);
    process.round(&stopped).await.expect("the ports are there");
}

#[tokio::test]
async fn windows_are_scanned_once_over_and_missed_ones_are_caught_up() {
    let mut hub = Hub::new().await;
    let mut process = hub.process("one");
    round(&mut process).await;
    hub.set(5);
    hub.store(1).await;
    hub.set(15);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0; 0], "an append may be under way");
    hub.set(16);
    round(&mut process).await;
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0]);
    for minutes in [20, 50, 95] {
        hub.set(minutes);
        hub.store(minutes).await;
    }
    hub.set(200);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0, 15, 45, 90]);
    assert!(hub.runs().await.iter().all(|run| run.points == 1));
}

#[tokio::test]
async fn a_window_waits_until_what_was_accepted_in_it_is_stored() {
    let mut hub = Hub::new().await;
    let mut process = hub.process("one");
    round(&mut process).await;
    hub.accept(1).await;
    hub.set(300);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0; 0]);
    // However long it waits, it is not left out.
    let until = hub.clock.now().saturating_add(Duration::from_secs(600));
    let claim = Claim { share: "emb/0-of-1".to_owned(), owner: "me".to_owned(), now: hub.clock.now(), until };
    let lease = hub.ports.findings.claim(&claim).await.expect("answered").expect("it was given back");
    assert!(lease.done.expect("it has begun").to <= Timestamp::from_micros(START * HOUR_MICROS));
}

#[tokio::test]
async fn a_share_of_a_process_that_died_is_taken_over() {
    let mut hub = Hub::new().await;
    let mut process = hub.process("two");
    round(&mut process).await;
    hub.set(5);
    hub.store(1).await;
    hub.set(16);
    let dead = Claim {
        share: "emb/0-of-1".to_owned(),
        owner: "one".to_owned(),
        now: hub.clock.now(),
        until: hub.clock.now().saturating_add(Duration::from_secs(600)),
    };
    hub.ports.findings.claim(&dead).await.expect("answered").expect("nobody has it");
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0; 0]);
    hub.set(26);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0]);
}

/// A process saw the type before anything of it was accepted, and died before it worked on any share.
#[tokio::test]
async fn a_share_begins_where_its_type_was_first_looked_at_whoever_claims_it() {
    let mut hub = Hub::new().await;
    round(&mut hub.process("dead")).await;
    hub.set(5);
    hub.store(1).await;
    hub.set(100);
    let mut process = hub.process("two");
    hub.set(300);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0]);
}

#[tokio::test]
async fn processes_side_by_side_scan_each_window_once() {
    let mut hub = Hub::new().await;
    let mut processes = [hub.process("one"), hub.process("two"), hub.process("three")];
    for process in &mut processes {
        round(process).await;
    }
    for minutes in (0..240).step_by(10) {
        hub.set(minutes);
        hub.store(minutes).await;
        for process in &mut processes {
            round(process).await;
        }
    }
    hub.set(300);
    round(&mut processes[1]).await;
    let runs = hub.runs().await;
    assert_eq!(runs.len(), 16);
    assert_eq!(runs.iter().map(|run| run.points).sum::<u64>(), 24);
}

#[tokio::test]
async fn the_job_ends_when_it_is_told_to() {
    let hub = Hub::new().await;
    let (stop, stopped) = watch::channel(false);
    let ports = hub.ports.clone();
    let job = tokio::spawn(async move { run(ports, config("one"), metrics(), stopped).await });
    stop.send_replace(true);
    job.await.expect("no panic").expect("the ports are there");
}

#[tokio::test]
async fn a_type_can_choose_its_windows_and_change_them() {
    let mut hub = Hub::new().await;
    let mut process = hub.process("one");
    let with_every = |minutes: u64| {
        let mut definition = definition();
        definition.detection.every = Some(std::time::Duration::from_secs(60 * minutes));
        definition
    };
    hub.ports.registry.put_sensor_type(type_id(), with_every(5)).await.expect("changed");
    round(&mut process).await;
    hub.store(1).await;
    hub.set(6);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0]);
    hub.ports.registry.put_sensor_type(type_id(), with_every(60)).await.expect("changed");
    hub.set(7);
    hub.store(2).await;
    hub.set(59);
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0]);
    hub.ports.registry.put_sensor_type(type_id(), with_every(10)).await.expect("changed");
    round(&mut process).await;
    assert_eq!(hub.windows().await, [0, 5]);
}
