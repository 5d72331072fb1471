//! Detection: a real month has the anomalies that the field knows, each window is looked at once whoever is killed, and what is found is
//! published.

use std::{collections::BTreeSet, fs, ops::Range, path::Path, time::Duration};

use domain::{Anomaly, Partition, Position, Run, RunState, Topic};
use harness::{Hub, Launch, Metrics, seeded, wait_for};
use ports::{AnomalyQuery, Content, Findings, Log, RunQuery};
use rand::{RngExt, rngs::StdRng};

use crate::{
    folder,
    samples::{Sample, csv},
    stack,
};

/// Lines of EMB3 in February 2017.
const READINGS: u64 = 672;
/// What is observed of each.
const PROPERTIES: u64 = 5;
/// What is found of its conductance, whichever stack finds it.
const EXPECTED: &str = include_str!("../fixtures/detection/emb3-2017-02-sec.ndjson");
/// How long detection may take for what is posted.
const DETECT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it is left alone at first before what it has left is looked at.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often processes with detection are killed.
const KILLS: usize = 5;
/// Sensors and hours of a window that takes a while to scan.
const SENSORS: u32 = 300;
const HOURS: u32 = 120;
/// How long after a post its scan is under way, in milliseconds: window and grace take up to two seconds.
const SCAN_MS: Range<u64> = 1_200..4_000;
/// The most kills until one comes in the middle of a scan.
const KILLS_MAX: usize = 20;
/// Longer than windows, grace and lease together.
const LIFE_MAX_MS: u64 = 5_000;

fn february() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/emb/emb3/61402.2017.02.csv");
    let text = fs::read_to_string(file).ok();
    if text.is_none() {
        println!("detection: NOT RUN: the borehole data of `../shared/data/emb` are not beside this workspace");
    }
    text
}

fn launch(folder: &Path) -> Launch {
    stack::launch_detecting(folder)
        .key("DETECTION__EVERY", "1s")
        .key("DETECTION__GRACE", "1s")
        .key("DETECTION__LEASE", "3s")
}

async fn post(hub: &Hub, lines: String) -> u64 {
    let answer = hub.post("/v1/readings/emb?sensor_id=emb3", "text/csv", lines).await.expect(202).json();
    answer["accepted"].as_u64().expect("a count")
}

/// Waits until this many values were judged since the processes started.
async fn judged(hub: &Hub, points: u64) {
    wait_for("detection", DETECT_TIMEOUT, async || {
        let mut judged = 0;
        for answer in hub.metrics_of_all().await {
            judged += Metrics::parse(&answer.text()).sum("iot_hub_detection_points_total", "\"emb\"");
        }
        if judged >= points { Ok(()) } else { Err(format!("{judged} values judged")) }
    })
    .await;
}

/// What detection left.
struct Left {
    anomalies: Vec<Anomaly>,
    runs: Vec<Run>,
    /// Ids of the anomalies that were published.
    published: BTreeSet<String>,
}

async fn look_at(log: &dyn Log, findings: &dyn Findings) -> Left {
    // Detection may go on meanwhile. A run ends after all that it found: read first, it tells nothing that is not there in what is read next.
    let runs = findings.runs(&RunQuery::all(10_000)).await.expect("runs");
    let anomalies = findings.anomalies(&AnomalyQuery::all(100_000)).await.expect("anomalies");
    Left { runs, anomalies, published: published(log).await }
}

async fn published(log: &dyn Log) -> BTreeSet<String> {
    let topic = Topic::anomalies();
    // Nothing was found yet where the topic is not there.
    let Ok(extents) = log.extents(&topic).await else { return BTreeSet::new() };
    let end = extents[0].end;
    let mut reader = log.reader(&topic, Partition(0), Position(0)).await.expect("the topic is there");
    let (mut ids, mut next) = (BTreeSet::new(), 0);
    while next < end.0 {
        for delivery in reader.next(1_000, Duration::from_millis(100)).await.expect("records") {
            let Content::Documents(documents) = delivery.content else { panic!("no documents") };
            next = delivery.first_position.0 + documents.len() as u64;
            ids.extend(documents.into_iter().map(|document| document.key));
        }
    }
    ids
}

/// The anomalies of a property as lines of JSON, without the run that found them, its time and the fingerprint of its settings.
fn lines_of(anomalies: &[Anomaly], property: &str) -> String {
    let line = |anomaly: &Anomaly| {
        let mut document = serde_json::to_value(anomaly).expect("JSON");
        let fields = document.as_object_mut().expect("an object");
        for field in ["run", "found_at", "settings"] {
            fields.shift_remove(field);
        }
        format!("{document}\n")
    };
    anomalies.iter().filter(|anomaly| anomaly.property.as_str() == property).map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_month_has_the_anomalies_that_the_field_knows() {
    let Some(february) = february() else { return };
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    assert_eq!(post(&hub, february).await, READINGS);
    judged(&hub, READINGS * PROPERTIES).await;
    hub.get("/health/ready").await.expect(200);
    let left = stack::look(&mut hub, look_at).await;
    assert!(hub.stop().await.status.success(), "{}", hub.said());

    assert_eq!(lines_of(&left.anomalies, "sec"), EXPECTED);
    let ids: BTreeSet<String> = left.anomalies.iter().map(|anomaly| anomaly.id().to_string()).collect();
    assert_eq!(left.published, ids);
    let [run] = left.runs.as_slice() else { panic!("{:?}", left.runs) };
    assert_eq!((run.state, run.points, run.datastreams_done), (RunState::Done, READINGS * PROPERTIES, PROPERTIES));
    assert_eq!(run.anomalies, left.anomalies.len() as u64);
    stack::verify(data.path());
}

/// Posts a month day by day while whoever looks for anomalies is killed over and over.
#[tokio::test(flavor = "multi_thread")]
async fn every_window_is_looked_at_once_whoever_is_killed() {
    let Some(february) = february() else { return };
    let mut rng: StdRng = seeded("detection");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let lines: Vec<&str> = february.lines().collect();
    let mut days = lines.chunks(24).peekable();
    for _ in 0..KILLS {
        for day in days.by_ref().take(5) {
            post(&hub, day.join("\n")).await;
            harness::a_moment(Duration::from_millis(rng.random_range(0..LIFE_MAX_MS / 5))).await;
        }
        stack::kill_detection(&mut hub).await;
    }
    for day in days {
        post(&hub, day.join("\n")).await;
    }
    settled(&mut hub, READINGS * PROPERTIES).await;
    assert!(hub.stop().await.status.success(), "{}", hub.said());
}

/// Much arrives at once, and whoever scans it is killed until that came in the middle of a scan.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_cut_short_is_done_again_as_the_same_run() {
    let mut rng: StdRng = seeded("detection: cut short");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let (mut cut_short, mut hours) = (BTreeSet::new(), 0..HOURS);
    for _ in 0..KILLS_MAX {
        hub.post("/v1/readings/emb", "text/csv", of_all_sensors(hours.clone(), &mut rng)).await.expect(202);
        harness::a_moment(Duration::from_millis(rng.random_range(SCAN_MS))).await;
        let left = stack::kill_detection_and_look(&mut hub, look_at).await;
        cut_short = left.runs.iter().filter(|run| run.state == RunState::Running).map(|run| run.id.clone()).collect();
        if !cut_short.is_empty() {
            break;
        }
        hours = hours.end..hours.end + 24;
    }
    assert!(!cut_short.is_empty(), "no kill came in the middle of a scan");
    let left = settled(&mut hub, u64::from(SENSORS * hours.end) * PROPERTIES).await;
    assert!(cut_short.iter().all(|id| left.runs.iter().any(|run| run.id == *id)));
    assert!(hub.stop().await.status.success(), "{}", hub.said());
}

/// Readings of all sensors in a range of hours.
fn of_all_sensors(hours: Range<u32>, rng: &mut StdRng) -> String {
    let of_sensor = |number: u32| hours.clone().map(move |hour| (format!("emb3.{number}"), hour));
    let samples: Vec<Sample> =
        (0..SENSORS).flat_map(of_sensor).map(|(id, hour)| Sample::random(&id, hour, rng)).collect();
    csv(&samples)
}

/// What is left once so many values were judged and every run has ended; each in one window, and all that was found is published.
async fn settled(hub: &mut Hub, points: u64) -> Left {
    // A hub that is stopped to be looked at begins its scan anew: it is given longer each time.
    let mut patience = PATIENCE;
    let left = wait_for("detection", DETECT_TIMEOUT, async || {
        harness::a_moment(patience).await;
        patience *= 2;
        let left = stack::look(hub, look_at).await;
        let judged: u64 = left.runs.iter().map(|run| run.points).sum();
        let is_done = left.runs.iter().all(|run| run.state == RunState::Done);
        if judged >= points && is_done { Ok(left) } else { Err(format!("{judged} values judged")) }
    })
    .await;
    assert_eq!(left.runs.iter().map(|run| run.points).sum::<u64>(), points, "{:?}", left.runs);
    let windows: BTreeSet<_> = left.runs.iter().map(|run| (run.share, run.from)).collect();
    assert_eq!(windows.len(), left.runs.len());
    let ids: BTreeSet<String> = left.anomalies.iter().map(|anomaly| anomaly.id().to_string()).collect();
    assert_eq!(left.published, ids);
    assert!(!ids.is_empty());
    left
}
