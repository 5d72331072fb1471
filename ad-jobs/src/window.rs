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

use domain::{Run, RunId, RunPlace, RunState, SensorId, SensorType, Timestamp, Trigger};
use ports::{Clock, Effect, ErrorKind, Findings, Log, PortError, ReadingQuery, Recorded, Store, TimeRange};

use crate::{
    aside::{self, Computing},
    groups::{Arrived, Groups, Ranges},
    judge::{self, Judged, Settings, TypeSettings, Work},
    metrics::Metrics,
    publish::publish,
};

/// The most rows asked for at once.
const ROWS_AT_ONCE: usize = 8_192;

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
    /// How many ranges of time, each of one sensor, a round of a window takes on: about 100 bytes each.
    pub ranges_in_round: usize,
    /// After how many rows that arrived a round of a window ends, where it can.
    pub rows_in_round: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sensors_at_once: 64, groups_at_once: 2, ranges_in_round: 65_536, rows_in_round: 4_000_000 }
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

/// Scans a window, or as much of it as one round takes: then the run is still under way and the next call goes on where it is. `None` where
/// nothing arrived. A window that was scanned before is left as it is.
///
/// # Errors
/// Those of the ports. What was found until then is recorded; scan the window again.
pub async fn scan(ports: &Ports, bounds: &Bounds, task: Task<'_>) -> Result<Option<Run>, PortError> {
    let settings = Arc::new(task.settings.for_type(task.sensor_type));
    let mut run = new_run(ports, task, &settings);
    let before = ports.findings.run(&run.id).await?;
    let is_again = match before {
        Some(done) if done.state == RunState::Done => return Ok(Some(done)),
        Some(left) if left.place.is_some() => {
            run = left;
            true
        }
        before => before.is_some(),
    };
    let round = arrivals(ports, bounds, task, &settings, run.place.clone()).await?;
    if round.ranges.is_empty() && !is_again {
        return Ok(None);
    }
    run.datastreams += round.sensors * settings.datastreams() as u64;
    ports.findings.put_run(&run).await?;
    let mut under_way = UnderWay { ports, run, is_again };
    let mut judging = VecDeque::new();
    for group in Groups::new(round.ranges, &settings, bounds) {
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
    run.datastreams_done = run.datastreams;
    run.place = round.rest;
    if run.place.is_none() {
        run.state = RunState::Done;
        run.ended_at = Some(ports.clock.now());
    }
    ports.findings.put_run(&run).await?;
    Ok(Some(run))
}

/// What is judged in one round.
struct Round {
    /// Ranges of phenomenon times in whole intervals, by sensor and time.
    ranges: Vec<Arrived>,
    /// Of how many sensors that earlier rounds had nothing of.
    sensors: u64,
    /// Where the next round begins; `None` where this is the last.
    rest: Option<RunPlace>,
}

/// What arrived from a place on, as much of it as one round takes.
async fn arrivals(
    ports: &Ports,
    bounds: &Bounds,
    task: Task<'_>,
    settings: &TypeSettings,
    place: Option<RunPlace>,
) -> Result<Round, PortError> {
    let after =
        place.as_ref().map(|place| (place.sensor_id.clone(), place.before.saturating_sub(Duration::from_micros(1))));
    let query = ReadingQuery { accepted: task.window, keys_only: true, after, ..ReadingQuery::default() };
    let mut ranges = Ranges::new(task.interval, settings, place);
    let mut scan = match ports.store.scan(&task.sensor_type.id, &query).await {
        // Nothing of this type was ever stored.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Round { ranges: Vec::new(), sensors: 0, rest: None });
        }
        scan => scan?,
    };
    let (mut rows, mut rest) = (0, None);
    'scan: while let Some(part) = scan.next(ROWS_AT_ONCE).await? {
        if !task.share.has(&part.sensor_id) {
            continue;
        }
        for time in part.rows.times() {
            if ranges.len() >= bounds.ranges_in_round.max(1) || rows >= bounds.rows_in_round.max(1) {
                rest = ranges.end_before(&part.sensor_id, *time);
                if rest.is_some() {
                    break 'scan;
                }
            }
            ranges.take(&part.sensor_id, *time);
            rows += 1;
        }
    }
    let (ranges, sensors) = ranges.finish();
    Ok(Round { ranges, sensors, rest })
}

fn new_run(ports: &Ports, task: Task<'_>, settings: &TypeSettings) -> Run {
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
        datastreams: 0,
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
        run.points += judged.points;
        run.anomalies += judged.anomalies.len() as u64;
        for (reason, count) in judged.failures {
            *run.failures.entry(reason.to_owned()).or_default() += count;
        }
        Ok(())
    }
}
