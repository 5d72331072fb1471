//! One window of one share: what arrived in it is read with its history, judged aside, and what is found is recorded and
//! published.
//!
//! **Invariant:** a window scanned again is the same run and finds the same ids, so that a crash in the middle costs time alone; a run is
//! done only after all that it found was recorded and published.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use domain::{Run, RunId, RunState, SensorId, SensorType, Timestamp, Trigger};
use ports::{Clock, Effect, ErrorKind, Findings, Log, PortError, ReadingQuery, Recorded, Store, TimeRange};

use crate::{
    aside::{self, Computing},
    judge::{self, Judged, Settings, TypeSettings, Work},
    metrics::Metrics,
    publish::publish,
};

/// The most rows asked for at once.
const ROWS_AT_ONCE: usize = 8_192;
/// About the most values of a group, where its sensors are read with their history: 24 MB.
const SAMPLES_AT_ONCE: usize = 1_000_000;

/// What a scan works on.
#[derive(Clone)]
pub struct Ports {
    /// Where readings are.
    pub store: Arc<dyn Store>,
    /// Where anomalies and runs go.
    pub findings: Arc<dyn Findings>,
    /// Where anomalies are published.
    pub log: Arc<dyn Log>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

/// How much a scan takes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// How many sensors are read in one scan of the store.
    pub sensors_at_once: usize,
    /// How many such groups are read or judged at a time.
    pub groups_at_once: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sensors_at_once: 64, groups_at_once: 2 }
    }
}

/// Which of the sensors: those whose id's hash falls on this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub number: u32,
    /// Of how many, at least 1.
    pub count: u32,
}

impl Share {
    /// Says whether a sensor is in this share.
    pub fn has(self, sensor_id: &SensorId) -> bool {
        judge::fingerprint(sensor_id.as_str().as_bytes()) % u64::from(self.count.max(1)) == u64::from(self.number)
    }
}

/// What is to be scanned.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Kind of the sensors.
    pub sensor_type: &'a SensorType,
    /// Which of them.
    pub share: Share,
    /// Acceptance times.
    pub window: TimeRange,
    /// Phenomenon times are judged in whole intervals of this width, aligned to the epoch: a late reading has its neighbours judged anew.
    pub interval: Duration,
    /// How values are judged.
    pub settings: &'a Settings,
}

/// Scans a window; `None` where nothing arrived in it. One that was scanned before is left as it is.
///
/// # Errors
/// Those of the ports. What was found until then is recorded; scan the window again.
pub async fn scan(ports: &Ports, bounds: &Bounds, task: Task<'_>) -> Result<Option<Run>, PortError> {
    let arrived = arrivals(ports, task).await?;
    if arrived.is_empty() {
        return Ok(None);
    }
    let settings = Arc::new(task.settings.for_type(task.sensor_type));
    let run = new_run(ports, task, &settings, arrived.len());
    let before = ports.findings.run(&run.id).await?;
    let is_again = match before {
        Some(done) if done.state == RunState::Done => return Ok(Some(done)),
        before => before.is_some(),
    };
    ports.findings.put_run(&run).await?;
    let mut under_way = UnderWay { ports, run, is_again };
    let mut judging = VecDeque::new();
    for group in groups(arrived, &settings, bounds) {
        if judging.len() >= bounds.groups_at_once.max(1)
            && let Some(judged) = judging.pop_front()
        {
            under_way.take_in(judged).await?;
        }
        let work = read(&*ports.store, group, &settings).await?;
        let (settings, id, now) = (Arc::clone(&settings), under_way.run.id.clone(), ports.clock.now());
        judging.push_back(aside::compute(move || judge::judge(&work, &settings, &id, now))?);
    }
    for judged in judging {
        under_way.take_in(judged).await?;
    }
    let mut run = under_way.run;
    run.state = RunState::Done;
    run.ended_at = Some(ports.clock.now());
    ports.findings.put_run(&run).await?;
    Ok(Some(run))
}

/// The sensors of which something arrived, with the range of phenomenon times to judge, both ends inclusive: that of what arrived, in
/// whole intervals.
async fn arrivals(ports: &Ports, task: Task<'_>) -> Result<BTreeMap<SensorId, (Timestamp, Timestamp)>, PortError> {
    let query = ReadingQuery { accepted: task.window, ..ReadingQuery::default() };
    let mut arrived = BTreeMap::new();
    let mut scan = match ports.store.scan(&task.sensor_type.id, &query).await {
        // Nothing of this type was ever stored.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(arrived),
        scan => scan?,
    };
    while let Some(part) = scan.next(ROWS_AT_ONCE).await? {
        let (Some(first), Some(last)) = (part.rows.times().first(), part.rows.times().last()) else { continue };
        if task.share.has(&part.sensor_id) {
            let (first, last) = whole_intervals(*first, *last, task.interval);
            let range = arrived.entry(part.sensor_id).or_insert((first, last));
            *range = (range.0.min(first), range.1.max(last));
        }
    }
    Ok(arrived)
}

/// A range of times, both ends inclusive, widened to whole intervals.
fn whole_intervals(first: Timestamp, last: Timestamp, interval: Duration) -> (Timestamp, Timestamp) {
    let width = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let start = |time: Timestamp| time.as_micros().saturating_sub(time.as_micros().rem_euclid(width));
    let end = start(last).saturating_add(width - 1);
    (Timestamp::from_micros(start(first)), Timestamp::from_micros(end))
}

fn new_run(ports: &Ports, task: Task<'_>, settings: &TypeSettings, sensors: usize) -> Run {
    let Task { sensor_type, share, window, .. } = task;
    let id = format!(
        "{}.{}-of-{}.{}.{}",
        sensor_type.id,
        share.number,
        share.count,
        window.from.as_micros().unsigned_abs(),
        settings.fingerprint
    );
    Run {
        id: RunId::parse(&id).expect("its parts are of letters, digits, `-` and `.`, and short"),
        detector: judge::DETECTOR.to_owned(),
        detector_version: judge::DETECTOR_VERSION,
        settings: settings.fingerprint.clone(),
        parameters: settings.parameters.clone(),
        sensor_type: sensor_type.id.clone(),
        share: Some(share.number),
        from: window.from,
        to: window.to,
        trigger: Trigger::Schedule,
        dry: false,
        state: RunState::Running,
        started_at: ports.clock.now(),
        ended_at: None,
        datastreams: (sensors * settings.datastreams()) as u64,
        datastreams_done: 0,
        points: 0,
        anomalies: 0,
        failures: BTreeMap::new(),
        cancel_requested: false,
        request: None,
        found: Vec::new(),
        place: None,
    }
}

/// A sensor and the range of phenomenon times of what is to be judged, both ends inclusive.
pub(crate) type Arrived = (SensorId, Timestamp, Timestamp);

/// What is read at once: many sensors of which little arrived, or one part of what arrived of a sensor whose history was replayed.
pub(crate) fn groups(
    arrived: BTreeMap<SensorId, (Timestamp, Timestamp)>,
    settings: &TypeSettings,
    bounds: &Bounds,
) -> Vec<Vec<Arrived>> {
    let at_once = settings.history();
    let (mut groups, mut short): (Vec<Vec<Arrived>>, Vec<Arrived>) = (Vec::new(), Vec::new());
    for (sensor_id, (first, last)) in arrived {
        if last.since(first) <= at_once {
            short.push((sensor_id, first, last));
            continue;
        }
        let mut from = first;
        while from <= last {
            let behind = from.saturating_add(at_once);
            let to = Timestamp::from_micros(behind.as_micros().saturating_sub(1)).min(last);
            groups.push(vec![(sensor_id.clone(), from, to)]);
            from = behind;
        }
    }
    short.sort_by_key(|(_, first, _)| *first);
    let samples = 2 * settings.history_steps() * settings.datastreams().max(1);
    let sensors_at_once = bounds.sensors_at_once.min(SAMPLES_AT_ONCE / samples).max(1);
    let mut group: Vec<Arrived> = Vec::new();
    for sensor in short {
        let is_near = group.first().is_none_or(|(_, first, _)| sensor.2.since(*first) <= 2 * at_once);
        if group.len() >= sensors_at_once || !is_near {
            groups.push(std::mem::take(&mut group));
        }
        group.push(sensor);
    }
    groups.push(group);
    groups.retain(|group| !group.is_empty());
    groups
}

/// Reads a group's rows with the history before them, in one scan.
pub(crate) async fn read(
    store: &dyn Store,
    group: Vec<Arrived>,
    settings: &TypeSettings,
) -> Result<Vec<Work>, PortError> {
    let from = group.iter().map(|(_, first, _)| *first).min().unwrap_or(Timestamp::MIN);
    let last = group.iter().map(|(_, _, last)| *last).max().unwrap_or(Timestamp::MIN);
    let times =
        TimeRange { from: from.saturating_sub(settings.history()), to: last.saturating_add(Duration::from_micros(1)) };
    let sensor_ids = Some(group.iter().map(|(id, _, _)| id.clone()).collect());
    let mut work: BTreeMap<SensorId, Work> =
        group.into_iter().map(|(id, first, last)| (id.clone(), Work::new(id, first, last, settings))).collect();
    let query = ReadingQuery { sensor_ids, times, ..ReadingQuery::default() };
    let mut scan = store.scan(settings.sensor_type(), &query).await?;
    while let Some(part) = scan.next(ROWS_AT_ONCE).await? {
        if let Some(work) = work.get_mut(&part.sensor_id) {
            work.take(&part.rows, settings);
        }
    }
    Ok(work.into_values().collect())
}

/// A run that is under way.
struct UnderWay<'a> {
    ports: &'a Ports,
    run: Run,
    /// Whether it began before and did not end: what it had recorded by then may not have been published.
    is_again: bool,
}

impl UnderWay<'_> {
    /// Records, publishes and counts what came of a group.
    async fn take_in(&mut self, judged: Computing<Judged>) -> Result<(), PortError> {
        let judged = judged
            .await
            .map_err(|error| PortError::new(ErrorKind::Corrupt, "a detector ended early").with_source(error))?;
        let recorded = self.ports.findings.record(&judged.anomalies).await?;
        let is_news = |recorded: &&Recorded| recorded.effect != Effect::Known || self.is_again;
        publish(&self.ports.log, recorded.iter().filter(is_news).map(|recorded| &recorded.kept)).await?;
        self.ports.metrics.found(&recorded);
        let run = &mut self.run;
        run.datastreams_done += judged.datastreams;
        run.points += judged.points;
        run.anomalies += judged.anomalies.len() as u64;
        for (reason, count) in judged.failures {
            *run.failures.entry(reason.to_owned()).or_default() += count;
        }
        Ok(())
    }
}
