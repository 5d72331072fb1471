//! Windows over the ports in memory: a borehole's day arrives hour by hour, or a month at once.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ad_jobs::{
    judge::Settings,
    metrics::Metrics,
    window::{Bounds, Ports, Share, Task, scan},
};
use domain::{Anomaly, AnomalyKind, Partition, Position, Run, RunState, SensorType, Timestamp, Topic};
use ports::{
    AnomalyQuery, Content, Document, ManualClock, Store, TimeRange,
    memory::{Call, Faulty, LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};
use support::{HOUR_MICROS, Stored, sensor_type, store};

const ALL: Share = Share { number: 0, count: 1 };

struct Hub {
    ports: Ports,
    sensor_type: SensorType,
    clock: Arc<ManualClock>,
    position: u64,
    interval: Duration,
    bounds: Bounds,
}

impl Hub {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let ports = Ports {
            store: Arc::new(MemoryStore::new()),
            findings: Arc::new(MemoryFindings::new()),
            log: Arc::new(MemoryLog::new(Arc::clone(&clock) as _, LogSettings::default())),
            clock: Arc::clone(&clock) as _,
            metrics: Metrics::register(&prometheus::Registry::new()).expect("none is registered yet"),
        };
        Self {
            ports,
            sensor_type: sensor_type(),
            clock,
            position: 0,
            interval: Duration::from_secs(900),
            bounds: Bounds::default(),
        }
    }

    /// Stores a sensor's value of an hour, accepted in an hour.
    async fn store(&mut self, sensor: &str, hour: i64, value: f64, accepted_hour: i64) {
        let accepted_at = Timestamp::from_micros(accepted_hour * HOUR_MICROS);
        let reading = Stored { sensor, hour, value, accepted_at, position: self.position };
        self.position += 1;
        store(&*self.ports.store, reading).await;
    }

    /// Scans what was accepted in the hours.
    async fn scan(&self, from_hour: i64, to_hour: i64, share: Share) -> Option<Run> {
        let at = |hour: i64| Timestamp::from_micros(hour * HOUR_MICROS);
        self.clock.set(at(to_hour));
        let window = TimeRange { from: at(from_hour), to: at(to_hour) };
        let task = Task {
            sensor_type: &self.sensor_type,
            share,
            window,
            interval: self.interval,
            settings: &Settings::default(),
        };
        scan(&self.ports, &self.bounds, task).await.expect("scanned")
    }

    /// Scans the hour from 9,000 on while the store is away.
    async fn break_off(&self, faulty: &Faulty<dyn Store>) {
        faulty.fail_next(Call::Scan, 2, ports::memory::Effect::None);
        let at = |hour: i64| Timestamp::from_micros(hour * HOUR_MICROS);
        let window = TimeRange { from: at(9_000), to: at(9_001) };
        let (sensor_type, interval, settings) = (&self.sensor_type, self.interval, &Settings::default());
        let task = Task { sensor_type, share: ALL, window, interval, settings };
        scan(&self.ports, &self.bounds, task).await.expect_err("the store is away");
        faulty.fail_next(Call::Scan, 0, ports::memory::Effect::None);
    }

    async fn anomalies(&self) -> Vec<Anomaly> {
        self.ports.findings.anomalies(&AnomalyQuery::all(1_000)).await.expect("answered")
    }
}

/// A quiet borehole with a spike at hour 100 and an outage from 110 to 119.
fn value(hour: i64) -> f64 {
    match hour {
        100 => 904.0,
        110..120 => 0.0,
        _ => 844.0 + f64::from(u8::from(hour % 7 == 0)),
    }
}

fn found(anomalies: &[Anomaly]) -> Vec<(AnomalyKind, i64, Option<i64>)> {
    let hour = |time: Timestamp| time.as_micros() / HOUR_MICROS;
    anomalies.iter().map(|a| (a.kind, hour(a.phenomenon_time), a.until.map(hour))).collect()
}

const EXPECTED: [(AnomalyKind, i64, Option<i64>); 2] =
    [(AnomalyKind::Point, 100, None), (AnomalyKind::Outage, 110, Some(120))];

#[tokio::test]
async fn what_arrives_hour_by_hour_is_found_as_it_arrives() {
    let mut hub = Hub::new().await;
    for hour in 0..140 {
        hub.store("emb3", hour, value(hour), hour).await;
        let run = hub.scan(hour, hour + 1, ALL).await.expect("something arrived");
        assert_eq!((run.state, run.datastreams_done, run.points), (RunState::Done, 1, 1));
        assert_eq!(run.failures.values().sum::<u64>(), u64::from(hour < 72), "hour {hour}");
        assert_eq!(run.anomalies, u64::from([100, 110, 120].contains(&hour)), "hour {hour}");
    }
    let anomalies = hub.anomalies().await;
    assert_eq!(found(&anomalies), EXPECTED);
    assert_eq!((anomalies[0].value, anomalies[0].expected), (Some(904.0), Some(844.0)));
    let run = hub.ports.findings.run(&anomalies[0].run).await.expect("answered").expect("it is stored");
    assert_eq!(run.from, Timestamp::from_micros(100 * HOUR_MICROS));
}

#[tokio::test]
async fn history_that_arrives_at_once_is_scanned_whole_and_again_changes_nothing() {
    let mut hub = Hub::new().await;
    for hour in (0..1_500).rev() {
        hub.store("emb3", hour, value(hour), 2_000).await;
    }
    let run = hub.scan(2_000, 2_001, ALL).await.expect("something arrived");
    assert_eq!(run.points, 1_500);
    let first = hub.anomalies().await;
    assert_eq!(found(&first), EXPECTED);
    let again = hub.scan(2_000, 2_001, ALL).await.expect("something arrived");
    assert_eq!(again.id, run.id);
    assert_eq!(hub.anomalies().await, first);
}

#[tokio::test]
async fn a_late_reading_gets_its_time_scanned_again() {
    let mut hub = Hub::new().await;
    for hour in (0..140).filter(|hour| *hour != 100) {
        hub.store("emb3", hour, value(hour), hour).await;
    }
    hub.scan(0, 140, ALL).await.expect("something arrived");
    assert_eq!(found(&hub.anomalies().await), EXPECTED[1..]);
    hub.store("emb3", 100, value(100), 150).await;
    assert_eq!(hub.scan(140, 150, ALL).await, None);
    let run = hub.scan(150, 151, ALL).await.expect("something arrived");
    assert_eq!((run.points, run.anomalies), (1, 1));
    assert_eq!(found(&hub.anomalies().await), EXPECTED);
}

/// With too little history before it, the spike was left; the reading that was missing arrives, and its interval is judged anew.
#[tokio::test]
async fn a_late_reading_has_its_neighbours_judged_anew() {
    let mut hub = Hub { interval: Duration::from_secs(24 * 3600), ..Hub::new().await };
    for hour in (28..=105).filter(|hour| *hour != 98) {
        hub.store("emb3", hour, value(hour), hour).await;
    }
    let run = hub.scan(0, 106, ALL).await.expect("something arrived");
    assert_eq!((run.anomalies, run.failures.len()), (0, 0));
    hub.store("emb3", 98, value(98), 150).await;
    let run = hub.scan(150, 151, ALL).await.expect("something arrived");
    assert_eq!(run.points, 10);
    assert_eq!(found(&hub.anomalies().await), EXPECTED[..1]);
}

/// What is published, by id: how often, and the newest.
async fn published(hub: &Hub) -> BTreeMap<String, (usize, serde_json::Value)> {
    let topic = Topic::anomalies();
    let mut reader = hub.ports.log.reader(&topic, Partition(0), Position(0)).await.expect("the topic is there");
    let mut published = BTreeMap::new();
    for delivery in reader.next(1_000, Duration::ZERO).await.expect("records") {
        let Content::Documents(documents) = delivery.content else { panic!("no documents") };
        for Document { key, body } in documents {
            let body = serde_json::from_slice(&body.expect("a document")).expect("JSON");
            let entry = published.entry(key).or_insert((0, serde_json::Value::Null));
            *entry = (entry.0 + 1, body);
        }
    }
    published
}

#[tokio::test]
async fn what_is_found_is_published_once_and_once_more_when_it_ends() {
    let mut hub = Hub::new().await;
    for hour in 0..140 {
        hub.store("emb3", hour, value(hour), hour).await;
        hub.scan(hour, hour + 1, ALL).await.expect("something arrived");
    }
    let published = published(&hub).await;
    let counts: Vec<(usize, &str)> =
        published.values().map(|(count, body)| (*count, body["kind"].as_str().expect("a text"))).collect();
    assert_eq!(counts, [(1, "point"), (2, "outage")]);
    let (id, (_, outage)) = published.last_key_value().expect("an outage");
    let kept = hub.anomalies().await.pop().expect("an outage");
    assert_eq!((outage["id"].as_str(), outage["format"].as_u64()), (Some(id.as_str()), Some(1)));
    assert_eq!(serde_json::from_value::<Anomaly>(outage.clone()).expect("an anomaly"), kept);
}

/// A process that dies when it has recorded and not yet published: whoever goes on publishes what is known already.
#[tokio::test]
async fn what_was_recorded_before_a_crash_is_published_by_the_next_run() {
    let mut hub = Hub::new().await;
    for hour in 0..140 {
        hub.store("emb3", hour, value(hour), 200).await;
    }
    let done = hub.scan(200, 201, ALL).await.expect("something arrived");
    let first = hub.anomalies().await;
    hub.ports.log.delete_topic(&Topic::anomalies()).await.expect("deleted");
    hub.scan(200, 201, ALL).await.expect("something arrived");
    assert!(hub.ports.log.extents(&Topic::anomalies()).await.is_err(), "a run that is done is left as it is");
    hub.ports.findings.put_run(&Run { state: RunState::Running, ended_at: None, ..done }).await.expect("stored");
    hub.scan(200, 201, ALL).await.expect("something arrived");
    assert_eq!(published(&hub).await.len(), first.len());
    assert_eq!(hub.anomalies().await, first);
}

#[tokio::test]
async fn shares_have_each_sensor_once() {
    let mut hub = Hub::new().await;
    for number in 0..40 {
        hub.store(&format!("sensor-{number}"), 1, 844.0, 1).await;
    }
    let mut datastreams = 0;
    for number in 0..4 {
        let run = hub.scan(1, 2, Share { number, count: 4 }).await.expect("each share has some");
        datastreams += run.datastreams_done;
    }
    assert_eq!(datastreams, 40);
}

/// One reading of 1900 among those of today: the time between costs nothing.
#[tokio::test]
async fn imports_a_century_apart_cost_what_they_bring() {
    let mut hub = Hub::new().await;
    let faulty = Faulty::new(Arc::clone(&hub.ports.store));
    let now = 490_000;
    for sensor in ["emb2", "emb3"] {
        hub.store(sensor, -613_608, 844.0, now).await;
        for hour in 0..40 {
            hub.store(sensor, now - 40 + hour, 844.0, now).await;
        }
    }
    hub.ports.store = Arc::new(faulty.clone());
    let run = hub.scan(now, now + 1, ALL).await.expect("something arrived");
    assert_eq!((run.points, run.datastreams, run.datastreams_done), (82, 2, 2));
    // What arrived, then the century before and today, of both sensors at once.
    assert_eq!(faulty.calls(Call::Scan), 3);
}

/// What is read between two places of arrival is judged with them; what is far from all is left as it is.
#[tokio::test]
async fn rows_far_from_what_arrived_are_not_judged_again() {
    let mut hub = Hub::new().await;
    for hour in 1..3_000 {
        hub.store("emb3", hour, 844.0, 3_000).await;
    }
    for hour in [0, 3_000] {
        hub.store("emb3", hour, 844.0, 4_000).await;
    }
    let run = hub.scan(4_000, 4_001, ALL).await.expect("something arrived");
    assert_eq!(run.points, 2);
}

/// A window of many rounds has the same findings as one at once, each value judged in one of them; a round that broke off is repeated.
#[tokio::test]
async fn rounds_of_a_window_have_each_value_once() {
    let (mut whole, mut in_rounds) = (Hub::new().await, Hub::new().await);
    in_rounds.bounds = Bounds { ranges_in_round: 3, rows_in_round: 100, ..Bounds::default() };
    for hub in [&mut whole, &mut in_rounds] {
        for sensor in 0..10 {
            for hour in [0, 2_000, 4_000].into_iter().chain(6_000..6_140) {
                hub.store(&format!("emb{sensor}"), hour, value(hour - 6_000), 9_000).await;
            }
        }
        for hour in 6_000..8_500 {
            hub.store("emb-long", hour, value(hour - 6_000), 9_000).await;
        }
    }
    let at_once = whole.scan(9_000, 9_001, ALL).await.expect("something arrived");
    let faulty = Faulty::new(Arc::clone(&in_rounds.ports.store));
    in_rounds.ports.store = Arc::new(faulty.clone());
    let mut rounds = 0;
    let done = loop {
        rounds += 1;
        if rounds == 3 {
            in_rounds.break_off(&faulty).await;
        }
        let run = in_rounds.scan(9_000, 9_001, ALL).await.expect("something arrived");
        assert_eq!(run.datastreams, run.datastreams_done);
        if run.state == RunState::Done {
            break run;
        }
    };
    assert!(rounds > 10, "{rounds} rounds");
    assert_eq!((done.points, done.datastreams, &done.failures), (at_once.points, 11, &at_once.failures));
    assert_eq!((done.anomalies, done.place), (at_once.anomalies, None));
    let without_time = |anomaly: Anomaly| (anomaly.id(), anomaly.until, anomaly.value, anomaly.score);
    let expected: Vec<_> = whole.anomalies().await.into_iter().map(without_time).collect();
    let found: Vec<_> = in_rounds.anomalies().await.into_iter().map(without_time).collect();
    assert_eq!(found, expected);
    assert_eq!(published(&in_rounds).await.len(), expected.len());
}
