//! Runs that somebody asked for: found among the findings, taken by a lease, carried out over a range of phenomenon times.
//!
//! Several processes look for them side by side. A run whose process has died is begun anew by another once its lease has run out.
//!
//! **Invariant:** a run that is done has seen every reading of its range that was stored when it came to its sensor; carried out again it
//! finds the same ids, so that nothing is recorded twice.

mod progress;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use domain::{Detection, DetectionMode, Run, RunId, RunState, SensorId, SensorType, Timestamp, Trigger};
use ports::{Claim, ErrorKind, Lease, PortError, ReadingQuery, RunQuery, SensorQuery, TimeRange, leases};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    aside,
    groups::Groups,
    judge::{self, Settings, TypeSettings, Work},
    metrics::Metrics,
    schedule::{self, Ports},
    window::{self, Bounds},
};
use progress::{Failure, Judging, Progress, Stopped};

/// Runs looked at in one round, of those that wait and of those that are under way.
const LOOKED_AT_MAX: usize = 100;
/// Pause before a round or a run that failed for a while is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long giving a run back may take when the process stops; then its lease runs out by itself.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How runs are carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of this process, which no other has.
    pub owner: String,
    /// Time between two looks at what was asked for.
    pub poll: Duration,
    /// How long a process that gives no sign is waited for.
    pub lease: Duration,
    /// Time between two writes of how far a run is, and between two looks at whether it is to stop.
    pub progress: Duration,
    /// How many runs a process carries out at once.
    pub runs_at_once: usize,
    /// How much a run takes on at a time.
    pub bounds: Bounds,
    /// How values are judged where neither request nor type says.
    pub settings: Settings,
}

impl From<&schedule::Config> for Config {
    /// What the schedule goes by, as far as it is the same.
    fn from(schedule: &schedule::Config) -> Self {
        let schedule::Config { owner, lease, poll, bounds, settings, .. } = schedule.clone();
        Self { lease, poll, bounds, settings, ..Self::new(owner) }
    }
}

impl Config {
    /// A look each second, two runs at once; `owner` is a name that no other process has.
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            progress: Duration::from_secs(1),
            runs_at_once: 2,
            bounds: Bounds::default(),
            settings: Settings::default(),
        }
    }
}

/// Carries out runs until the stop signal; one that is under way then is given back, to be begun anew.
///
/// # Errors
/// What no retry mends; while a port is merely away, it is tried again.
pub async fn run(
    ports: Ports,
    config: Config,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) -> Result<(), PortError> {
    let jobs = Arc::new(Jobs { ports, config, metrics, stop: stop.clone() });
    let mut at_work = AtWork::default();
    while !*stop.borrow() {
        match jobs.round(&mut at_work).await {
            Err(error) if error.is_transient() => tracing::warn!(%error, "runs that were asked for wait"),
            round => round?,
        }
        tokio::select! {
            () = sleep(jobs.config.poll) => (),
            // A sender that is gone is a stop as well.
            _ = stop.wait_for(|stop| *stop) => (),
        }
    }
    at_work.finish().await
}

/// Runs that this process is carrying out.
#[derive(Default)]
struct AtWork {
    tasks: JoinSet<Result<(), PortError>>,
    ids: HashMap<task::Id, RunId>,
}

impl AtWork {
    /// Takes note of what has ended.
    fn take_ended(&mut self) -> Result<(), PortError> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended)?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), PortError> {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(task::Id, Result<(), PortError>), JoinError>) -> Result<(), PortError> {
        match ended {
            Ok((task, outcome)) => {
                self.ids.remove(&task);
                outcome
            }
            Err(error) => {
                self.ids.remove(&error.id());
                Err(PortError::new(ErrorKind::Corrupt, "a run ended early").with_source(error))
            }
        }
    }
}

/// What every run is carried out with.
struct Jobs {
    ports: Ports,
    config: Config,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
}

impl Jobs {
    /// Takes what waits, the oldest first, as far as there is room.
    async fn round(self: &Arc<Self>, at_work: &mut AtWork) -> Result<(), PortError> {
        at_work.take_ended()?;
        if at_work.tasks.len() >= self.config.runs_at_once.max(1) {
            return Ok(());
        }
        for run in self.open_runs().await? {
            if at_work.tasks.len() >= self.config.runs_at_once.max(1) {
                return Ok(());
            }
            if at_work.ids.values().any(|id| *id == run.id) {
                continue;
            }
            let Some(lease) = self.claim(&run.id).await? else { continue };
            let (jobs, id) = (Arc::clone(self), run.id.clone());
            let task = at_work.tasks.spawn(async move { jobs.carry_out_leased(run, lease).await });
            at_work.ids.insert(task.id(), id);
        }
        Ok(())
    }

    /// Runs that were asked for and have not ended, the oldest first.
    async fn open_runs(&self) -> Result<Vec<Run>, PortError> {
        let mut open = Vec::new();
        for state in [RunState::Running, RunState::Waiting] {
            let trigger = Some(Trigger::Request);
            let query = RunQuery { state: Some(state), trigger, ..RunQuery::all(LOOKED_AT_MAX) };
            open.extend(self.ports.findings.runs(&query).await?.into_iter().rev());
        }
        Ok(open)
    }

    async fn claim(&self, id: &RunId) -> Result<Option<Lease>, PortError> {
        let now = self.ports.clock.now();
        let (share, owner) = (leases::of_run(id.as_str()), self.config.owner.clone());
        self.ports.findings.claim(&Claim { share, owner, now, until: now.saturating_add(self.config.lease) }).await
    }

    /// Carries out a run until it has ended, another process has it or this one is to stop; gives the lease back.
    async fn carry_out_leased(&self, run: Run, lease: Lease) -> Result<(), PortError> {
        let mut stop = self.stop.clone();
        let carried_out = tokio::select! {
            carried_out = self.carry_out_while_away(&run.id) => carried_out,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        };
        match timeout(RELEASE_WAIT_MAX, self.ports.findings.release(&lease)).await {
            Ok(Err(error)) if !error.is_transient() => carried_out.and(Err(error)),
            // Else it runs out by itself.
            _ => carried_out,
        }
    }

    /// Carries out a run, again and again while ports are away.
    async fn carry_out_while_away(&self, id: &RunId) -> Result<(), PortError> {
        loop {
            match self.carry_out(id).await {
                Ok(()) | Err(Stopped::Lost) => return Ok(()),
                Err(Stopped::Port(error)) if error.is_transient() => {
                    tracing::warn!(run = %id, %error, "a run can't go on; it is begun again");
                    sleep(PAUSE).await;
                }
                Err(Stopped::Port(error)) => return Err(error),
            }
        }
    }

    /// Carries out a run from its beginning, if it has not ended.
    async fn carry_out(&self, id: &RunId) -> Result<(), Stopped> {
        let Some(mut progress) = Progress::begin(self, id).await? else { return Ok(()) };
        match self.judge_all(&mut progress).await {
            Ok(()) if progress.is_cancelled() => progress.end(RunState::Cancelled).await,
            Ok(()) => progress.end(RunState::Done).await,
            Err(Failure::Stopped(stopped)) => Err(stopped),
            Err(Failure::Run(reason)) => progress.fail(reason).await,
        }
    }

    /// Reads and judges group by group, in order, until all is seen or the run is to stop.
    async fn judge_all(&self, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let settings = Arc::new(self.settings(progress.run()).map_err(Failure::Run)?);
        let sensors = self.sensors(progress.run()).await?;
        progress.set_out(&settings, &sensors).await?;
        let mut judging = VecDeque::new();
        let ranges = sensors.into_iter().map(|(id, (first, last))| (id, first, last));
        let mut groups = Groups::new(ranges, &settings, &self.config.bounds);
        while let Some(group) = groups.next() {
            if judging.len() >= self.config.bounds.groups_at_once.max(1)
                && let Some(judged) = judging.pop_front()
            {
                progress.take_in(judged).await?;
            }
            if progress.is_cancelled() {
                break;
            }
            let ends = progress.ends_in(&group);
            let work = window::read(&*self.ports.store, group, &settings).await?;
            if !work.iter().any(Work::has_new)
                && let Some((sensor_id, from, _)) = groups.next_part().cloned()
            {
                groups.jump(self.first_time(&settings, sensor_id, from).await?);
            }
            let (settings, id, now) = (Arc::clone(&settings), progress.run().id.clone(), self.ports.clock.now());
            let judged = aside::compute(move || judge::judge(&work, &settings, &id, now))?;
            judging.push_back(Judging { judged, ends });
        }
        for judged in judging {
            progress.take_in(judged).await?;
        }
        Ok(())
    }

    /// How values are judged.
    ///
    /// # Errors
    /// Why they can't be.
    fn settings(&self, run: &Run) -> Result<TypeSettings, String> {
        let gone = || format!("there is no sensor type `{}` any more", run.sensor_type);
        let sensor_type = self.ports.registry.sensor_type(run.sensor_type.as_str()).ok_or_else(gone)?;
        let request = run.request.clone().unwrap_or_default();
        let mut definition = sensor_type.definition.with_detection(&request.detection).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!("the settings do not fit version {} of the type: {}", sensor_type.version, faults.join("; "))
        })?;
        if let Some(wanted) = &request.properties {
            for property in definition.properties.iter_mut().filter(|property| !wanted.contains(&property.id)) {
                property.detection = Detection { mode: Some(DetectionMode::Off), ..Detection::default() };
            }
        }
        let (id, number, version) = (sensor_type.id.clone(), sensor_type.number, sensor_type.version);
        Ok(self.config.settings.for_type(&SensorType::assemble(id, number, version, definition)))
    }

    /// When a sensor's first reading from a time on is.
    async fn first_time(
        &self,
        settings: &TypeSettings,
        sensor_id: SensorId,
        from: Timestamp,
    ) -> Result<Option<Timestamp>, PortError> {
        let times = TimeRange { from, ..TimeRange::ALL };
        let query =
            ReadingQuery { sensor_ids: Some(vec![sensor_id]), times, keys_only: true, ..ReadingQuery::default() };
        let mut scan = self.ports.store.scan(settings.sensor_type(), &query).await?;
        Ok(scan.next(1).await?.and_then(|part| part.rows.times().first().copied()))
    }

    /// The sensors that have readings in the range of a run, each with the times of these, both ends inclusive.
    async fn sensors(&self, run: &Run) -> Result<BTreeMap<SensorId, (Timestamp, Timestamp)>, PortError> {
        let sensor_ids = run.request.as_ref().and_then(|request| request.sensor_ids.clone());
        let query = SensorQuery { sensor_ids, after: None, count_max: usize::MAX };
        let summaries = match self.ports.store.summaries(&run.sensor_type, &query).await {
            // Nothing of this type was ever stored.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            summaries => summaries?,
        };
        let to = Timestamp::from_micros(run.to.as_micros().saturating_sub(1));
        let of_run = summaries
            .into_iter()
            .map(|summary| (summary.sensor_id, (summary.first.max(run.from), summary.last.min(to))))
            .filter(|(_, (first, last))| first <= last);
        Ok(of_run.collect())
    }
}
