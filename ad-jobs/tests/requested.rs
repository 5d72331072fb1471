//! Runs that were asked for, over the ports in memory: carried out, dry, cancelled, taken over, repeated.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ad_jobs::{
    metrics::Metrics,
    requested::{Config, run},
    schedule::Ports,
};
use domain::{
    Anomaly, AnomalyKind, Detection, DetectionMode, PropertyId, Run, RunId, RunRequest, RunState, S_H_ESD, SensorId,
    Timestamp, Trigger,
};
use ports::{
    AnomalyQuery, Claim, Clock, Log, ManualClock, leases,
    memory::{Faulty, LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};
use registry::Registry;
use support::{HOUR_MICROS, Stored, definition, store, type_id};
use tokio::sync::watch;

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).expect("fresh")
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_micros(hour * HOUR_MICROS)
}

/// A quiet borehole with a spike at hour 1,000 and an outage from 1,100 to 1,109.
fn value(hour: i64) -> f64 {
    match hour {
        1_000 => 904.0,
        1_100..1_110 => 0.0,
        _ => 844.0 + ((hour * hour * 31 + hour / 7) % 3) as f64,
    }
}

struct Hub {
    ports: Ports,
    clock: Arc<ManualClock>,
}

impl Hub {
    /// Two sensors with 1,500 hours each.
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(at(2_000)));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::clone(&clock) as _, LogSettings::default()));
        let registry = Registry::open(Arc::clone(&log), registry::Settings::default()).await.expect("opens");
        registry.seed(vec![(type_id(), definition())]).await.expect("seeded");
        let ports = Ports {
            log,
            registry,
            store: Arc::new(MemoryStore::new()),
            findings: Arc::new(MemoryFindings::new()),
            clock: Arc::clone(&clock) as _,
        };
        for (number, sensor) in ["emb2", "emb3"].into_iter().enumerate() {
            for hour in 0..1_500 {
                let position = (number as i64 * 1_500 + hour) as u64;
                let value = if sensor == "emb3" { value(hour) } else { 700.0 };
                store(&*ports.store, Stored { sensor, hour, value, accepted_at: at(1_999), position }).await;
            }
        }
        Self { ports, clock }
    }

    /// Asks for a run.
    async fn ask(&self, id: &str, change: impl FnOnce(&mut Run)) -> RunId {
        let mut run = Run {
            id: RunId::parse(id).expect("an id"),
            detector: S_H_ESD.to_owned(),
            detector_version: 0,
            settings: String::new(),
            parameters: "{}".to_owned(),
            sensor_type: type_id(),
            share: None,
            from: at(0),
            to: at(1_500),
            trigger: Trigger::Request,
            dry: false,
            state: RunState::Waiting,
            started_at: self.clock.now(),
            ended_at: None,
            datastreams: 0,
            datastreams_done: 0,
            points: 0,
            anomalies: 0,
            failures: BTreeMap::new(),
            cancel_requested: false,
            request: Some(RunRequest::default()),
            found: Vec::new(),
            place: None,
        };
        change(&mut run);
        self.ports.findings.put_run(&run).await.expect("stored");
        run.id
    }

    /// Lets a process carry out what was asked for, until the run is in this state.
    async fn until(&self, owner: &str, id: &RunId, state: RunState) -> Run {
        let (stop, stopped) = watch::channel(false);
        let config = Config { poll: Duration::from_millis(2), progress: Duration::ZERO, ..Config::new(owner) };
        let process = tokio::spawn(run(self.ports.clone(), config, metrics(), stopped));
        let mut last = None;
        for _ in 0..5_000 {
            last = self.ports.findings.run(id).await.expect("answered");
            if last.as_ref().is_some_and(|run| run.state == state) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send_replace(true);
        process.await.expect("no panic").expect("the ports are there");
        let last = last.expect("it is stored");
        assert_eq!(last.state, state, "{last:?}");
        last
    }

    async fn anomalies(&self) -> Vec<Anomaly> {
        self.ports.findings.anomalies(&AnomalyQuery::all(1_000)).await.expect("answered")
    }
}

fn found(anomalies: &[Anomaly]) -> Vec<(AnomalyKind, i64, Option<i64>)> {
    let hour = |time: Timestamp| time.as_micros() / HOUR_MICROS;
    anomalies.iter().map(|a| (a.kind, hour(a.phenomenon_time), a.until.map(hour))).collect()
}

const EXPECTED: [(AnomalyKind, i64, Option<i64>); 2] =
    [(AnomalyKind::Point, 1_000, None), (AnomalyKind::Outage, 1_100, Some(1_110))];

#[tokio::test]
async fn a_range_is_judged_and_again_changes_nothing() {
    let hub = Hub::new().await;
    let id = hub.ask("first", |_| ()).await;
    let run = hub.until("one", &id, RunState::Done).await;
    assert_eq!((run.datastreams, run.datastreams_done, run.points, run.anomalies), (2, 2, 3_000, 2), "{run:?}");
    assert!(run.ended_at.is_some() && run.found.is_empty() && run.parameters.contains("guarded"), "{run:?}");
    let anomalies = hub.anomalies().await;
    assert_eq!(found(&anomalies), EXPECTED);
    let again = hub.ask("second", |_| ()).await;
    let again = hub.until("two", &again, RunState::Done).await;
    assert_eq!((again.anomalies, &again.settings), (2, &run.settings));
    assert_eq!(hub.anomalies().await, anomalies);
}

#[tokio::test]
async fn a_dry_run_keeps_what_it_would_record() {
    let hub = Hub::new().await;
    let id = hub.ask("dry", |run| run.dry = true).await;
    let run = hub.until("one", &id, RunState::Done).await;
    assert_eq!((found(&run.found), run.anomalies), (EXPECTED.to_vec(), 2));
    assert_eq!(hub.anomalies().await, []);
}

#[tokio::test]
async fn sensors_range_and_settings_are_those_asked_for() {
    let hub = Hub::new().await;
    let request = |sensor: &str, detection: Detection| {
        let sensor_ids = SensorId::parse(sensor).ok().map(|id| vec![id]);
        Some(RunRequest { sensor_ids, properties: PropertyId::parse("sec").ok().map(|id| vec![id]), detection })
    };
    let id = hub.ask("quiet", |run| run.request = request("emb2", Detection::default())).await;
    let quiet = hub.until("one", &id, RunState::Done).await;
    assert_eq!((quiet.datastreams, quiet.points, quiet.anomalies), (1, 1_500, 0));
    let id = hub
        .ask("early", |run| {
            run.request = request("emb3", Detection::default());
            (run.from, run.to) = (at(900), at(1_100));
        })
        .await;
    let early = hub.until("one", &id, RunState::Done).await;
    assert_eq!((early.points, early.anomalies), (200, 1));
    let strict = Detection { mode: Some(DetectionMode::Strict), period: Some(7), ..Detection::default() };
    let id = hub.ask("strict", |run| (run.request, run.dry) = (request("emb3", strict), true)).await;
    let strict = hub.until("one", &id, RunState::Done).await;
    // The published method takes the zeros of the outage for points.
    assert_eq!(strict.found.iter().filter(|anomaly| anomaly.value == Some(0.0)).count(), 10, "{strict:?}");
    assert!(strict.found.iter().all(|anomaly| anomaly.kind == AnomalyKind::Point));
    assert_ne!(strict.settings, early.settings);
}

#[tokio::test]
async fn a_run_that_is_to_stop_is_cancelled_and_one_that_cannot_be_carried_out_says_why() {
    let hub = Hub::new().await;
    let id = hub.ask("cancelled", |_| ()).await;
    hub.ports.findings.cancel_run(&id).await.expect("asked");
    let run = hub.until("one", &id, RunState::Cancelled).await;
    assert_eq!(run.datastreams_done, 0);
    let id = hub
        .ask("odd", |run| {
            let detection = Detection { period: Some(7), history: Some(10), ..Detection::default() };
            run.request = Some(RunRequest { detection, ..RunRequest::default() });
        })
        .await;
    let run = hub.until("one", &id, RunState::Failed).await;
    assert!(run.failures.keys().any(|reason| reason.contains("`detection.history` = `10`")), "{run:?}");
}

#[tokio::test]
async fn a_run_of_a_process_that_is_gone_is_taken_over_once_its_lease_is_out() {
    let hub = Hub::new().await;
    let id = hub.ask("orphan", |run| (run.state, run.points) = (RunState::Running, 77)).await;
    let now = hub.clock.now();
    let lease = Claim {
        share: leases::of_run(id.as_str()),
        owner: "gone".to_owned(),
        now,
        until: now.saturating_add(Duration::from_secs(60)),
    };
    hub.ports.findings.claim(&lease).await.expect("answered").expect("nobody has it");
    let (stop, stopped) = watch::channel(false);
    let config = Config { poll: Duration::from_millis(1), ..Config::new("two") };
    let process = tokio::spawn(run(hub.ports.clone(), config, metrics(), stopped));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = hub.ports.findings.run(&id).await.expect("answered").expect("it is stored");
    assert_eq!((waiting.state, waiting.points), (RunState::Running, 77), "another process has it");
    stop.send_replace(true);
    process.await.expect("no panic").expect("the ports are there");
    hub.clock.set(now.saturating_add(Duration::from_secs(61)));
    let run = hub.until("two", &id, RunState::Done).await;
    assert_eq!((run.points, run.anomalies), (3_000, 2));
}

/// The run that needs what can't be read fails with the reason; the process goes on with the next.
#[tokio::test]
async fn a_run_over_damaged_readings_fails_alone() {
    let mut hub = Hub::new().await;
    let faulty = Faulty::new(Arc::clone(&hub.ports.store));
    faulty.damage(&SensorId::parse("emb3").expect("an id"), true);
    hub.ports.store = Arc::new(faulty);
    let id = hub.ask("damaged", |_| ()).await;
    let run = hub.until("one", &id, RunState::Failed).await;
    assert!(run.failures.keys().any(|reason| reason.starts_with("what the run needs is damaged")), "{run:?}");
    let of_emb2 = |run: &mut Run| {
        let sensor_ids = SensorId::parse("emb2").ok().map(|id| vec![id]);
        run.request = Some(RunRequest { sensor_ids, ..RunRequest::default() });
    };
    let id = hub.ask("whole", of_emb2).await;
    assert_eq!(hub.until("one", &id, RunState::Done).await.points, 1_500);
}
