//! How far a run is: what it has counted and found, written from time to time under its lease.
//!
//! **Invariant:** only who has the lease writes; who has lost it stops without a word.

use std::collections::{BTreeMap, HashMap, HashSet, btree_map::Entry};

use domain::{Anomaly, AnomalyId, AnomalyKind, RUN_FOUND_MAX, Run, RunId, RunState, SensorId, Timestamp};
use ports::{Effect, ErrorKind, PortError, Recorded};
use tokio::time::Instant;

use super::Jobs;
use crate::{
    aside::Computing,
    groups::Arrived,
    judge::{DETECTOR_VERSION, Judged, TypeSettings},
    publish::publish,
};

/// Why a run is left as it is.
pub(super) enum Stopped {
    /// Another process has it, or this one is to stop.
    Lost,
    /// A port failed.
    Port(PortError),
}

/// Why a run is not done.
pub(super) enum Failure {
    /// It is left as it is.
    Stopped(Stopped),
    /// It can't be carried out, for a reason that a person should read.
    Run(String),
}

impl From<PortError> for Stopped {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<PortError> for Failure {
    /// What a backend refuses it would refuse again, and what is damaged stays so; anything else is the process' affair.
    fn from(error: PortError) -> Self {
        if error.kind() == ErrorKind::Corrupt {
            tracing::error!(%error, "a run fails");
            return Self::Run(format!("what the run needs is damaged: {}", error.message()));
        }
        if !matches!(error.kind(), ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::Conflict) {
            return Self::Stopped(Stopped::Port(error));
        }
        tracing::warn!(%error, "a run fails");
        Self::Run("a backend of the hub refuses what the run needs".to_owned())
    }
}

/// A group that is being judged.
pub(super) struct Judging {
    pub judged: Computing<Judged>,
    /// How many sensors have nothing behind it.
    pub ends: u64,
}

/// A run under way.
pub(super) struct Progress<'a> {
    jobs: &'a Jobs,
    run: Run,
    /// Whether it began before and did not end: what it had recorded by then may not have been published.
    is_again: bool,
    /// Of a dry run what it has found.
    found: BTreeMap<(Timestamp, AnomalyId), Anomaly>,
    /// Outages without an end so far: the next part of their sensor finds them again.
    open: HashSet<AnomalyId>,
    /// When each sensor's last reading of the range is.
    last: HashMap<SensorId, Timestamp>,
    /// Datastreams of a sensor.
    width: u64,
    written_at: Instant,
}

impl<'a> Progress<'a> {
    /// Says that a run has begun; `None` where it has ended already.
    pub async fn begin(jobs: &'a Jobs, id: &RunId) -> Result<Option<Self>, Stopped> {
        let Some(run) = jobs.ports.findings.run(id).await? else { return Ok(None) };
        if !matches!(run.state, RunState::Waiting | RunState::Running) {
            return Ok(None);
        }
        let is_again = run.state == RunState::Running;
        let run = Run {
            state: RunState::Running,
            started_at: jobs.ports.clock.now(),
            detector_version: DETECTOR_VERSION,
            datastreams_done: 0,
            points: 0,
            anomalies: 0,
            failures: BTreeMap::new(),
            found: Vec::new(),
            ..run
        };
        let mut progress = Self {
            jobs,
            run,
            is_again,
            found: BTreeMap::new(),
            open: HashSet::new(),
            last: HashMap::new(),
            width: 0,
            written_at: Instant::now(),
        };
        progress.write().await?;
        Ok(Some(progress))
    }

    /// The run as it is now.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Says whether somebody has asked it to stop.
    pub fn is_cancelled(&self) -> bool {
        self.run.cancel_requested
    }

    /// Says what is going to be judged, and how.
    pub async fn set_out(
        &mut self,
        settings: &TypeSettings,
        sensors: &BTreeMap<SensorId, (Timestamp, Timestamp)>,
    ) -> Result<(), Stopped> {
        self.width = settings.datastreams() as u64;
        self.last = sensors.iter().map(|(id, (_, last))| (id.clone(), *last)).collect();
        self.run.settings.clone_from(&settings.fingerprint);
        self.run.parameters.clone_from(&settings.parameters);
        self.run.datastreams = sensors.len() as u64 * self.width;
        self.write().await
    }

    /// How many sensors have nothing behind this group.
    pub fn ends_in(&self, group: &[Arrived]) -> u64 {
        group.iter().filter(|(id, _, last)| self.last.get(id) == Some(last)).count() as u64
    }

    /// Takes in what came of a group, once that is known: records and publishes it unless the run is dry.
    pub async fn take_in(&mut self, judging: Judging) -> Result<(), Failure> {
        let judged = judging.judged.await.map_err(|error| {
            tracing::error!(run = %self.run.id, %error, "a detector ended early");
            Failure::Run("the detector has a fault and ended early; the hub's log says more".to_owned())
        })?;
        self.run.datastreams_done += judging.ends * self.width;
        self.run.points += judged.points;
        for (reason, count) in judged.failures {
            *self.run.failures.entry(reason.to_owned()).or_default() += count;
        }
        if !self.run.dry {
            let recorded = self.jobs.ports.findings.record(&judged.anomalies).await?;
            let is_news = |recorded: &&Recorded| recorded.effect != Effect::Known || self.is_again;
            publish(&self.jobs.ports.log, recorded.iter().filter(is_news).map(|recorded| &recorded.kept)).await?;
            self.jobs.metrics.found(&recorded);
        }
        judged.anomalies.into_iter().for_each(|anomaly| self.note(anomaly));
        if self.written_at.elapsed() >= self.jobs.config.progress {
            self.write().await?;
        }
        Ok(())
    }

    fn note(&mut self, anomaly: Anomaly) {
        let id = anomaly.id();
        let is_known = self.open.remove(&id);
        self.run.anomalies += u64::from(!is_known);
        if anomaly.kind == AnomalyKind::Outage && anomaly.until.is_none() {
            self.open.insert(id.clone());
        }
        if !self.run.dry {
            return;
        }
        let room = self.found.len() < RUN_FOUND_MAX;
        match self.found.entry((anomaly.phenomenon_time, id)) {
            Entry::Occupied(mut known) => known.get_mut().until = anomaly.until.or(known.get().until),
            Entry::Vacant(place) if room => drop(place.insert(anomaly)),
            Entry::Vacant(_) => (),
        }
    }

    /// Ends the run.
    pub async fn end(mut self, state: RunState) -> Result<(), Stopped> {
        self.run.state = state;
        self.run.ended_at = Some(self.jobs.ports.clock.now());
        self.write().await?;
        self.jobs.metrics.requested(&self.run);
        let Run { id, points, anomalies, .. } = &self.run;
        tracing::info!(run = %id, ?state, points, anomalies, "a run that was asked for has ended");
        Ok(())
    }

    /// Ends the run with a reason for people.
    pub async fn fail(mut self, reason: String) -> Result<(), Stopped> {
        self.run.failures.insert(reason, 1);
        self.end(RunState::Failed).await
    }

    /// Prolongs the lease, writes how far the run is, and looks whether it is to stop.
    async fn write(&mut self) -> Result<(), Stopped> {
        if self.jobs.claim(&self.run.id).await?.is_none() {
            return Err(Stopped::Lost);
        }
        self.run.found = self.found.values().cloned().collect();
        let findings = &self.jobs.ports.findings;
        findings.put_run(&self.run).await?;
        let asked = findings.run(&self.run.id).await?.is_some_and(|run| run.cancel_requested);
        self.run.cancel_requested |= asked;
        self.written_at = Instant::now();
        Ok(())
    }
}
