//! The findings in memory: anomalies, runs and shares in maps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use domain::{Anomaly, AnomalyId, Run, RunId, Timestamp};

use crate::{
    AnomalyQuery, Claim, Done, ErrorKind, Findings, Lease, PortError, Recorded, Removal, RemovalPlace, Removed,
    RunQuery,
    leases::{self, Share},
};

/// Findings that live as long as the process; clones share them.
#[derive(Clone, Default)]
pub struct MemoryFindings(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    anomalies: BTreeMap<(Timestamp, AnomalyId), Anomaly>,
    runs: BTreeMap<RunId, Run>,
    shares: BTreeMap<String, Share>,
}

impl MemoryFindings {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, anomaly: &Anomaly) -> Recorded {
        let key = (anomaly.phenomenon_time, anomaly.id());
        let recorded = Recorded::beside(self.anomalies.get(&key).cloned(), anomaly);
        self.anomalies.insert(key, recorded.kept.clone());
        recorded
    }
}

impl State {
    /// Takes out all of it at once; answers how much that was.
    fn remove(&mut self, removal: &Removal) -> u64 {
        let before = self.anomalies.len() + self.runs.len();
        match removal {
            Removal::AnomaliesBefore(time) => self.anomalies.retain(|(its, _), _| its >= time),
            Removal::RunsBefore(time) => self.remove_runs(|run| run.started_at < *time && run.state.has_ended()),
            Removal::SensorType(id) => {
                self.anomalies.retain(|_, anomaly| anomaly.sensor_type != *id);
                self.remove_runs(|run| run.sensor_type == *id);
                let prefix = leases::prefix_of_type(id);
                self.shares.retain(|name, _| !name.starts_with(&prefix));
            }
        }
        (before - self.anomalies.len() - self.runs.len()) as u64
    }

    fn remove_runs(&mut self, is_to_go: impl Fn(&Run) -> bool) {
        let (runs, shares) = (&mut self.runs, &mut self.shares);
        runs.retain(|id, run| {
            let goes = is_to_go(run);
            if goes {
                shares.remove(&leases::of_run(id.as_str()));
            }
            !goes
        });
    }
}

#[async_trait]
impl Findings for MemoryFindings {
    async fn record(&self, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError> {
        let mut state = self.lock();
        Ok(anomalies.iter().map(|anomaly| state.record(anomaly)).collect())
    }

    async fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError> {
        let state = self.lock();
        let is_behind = |key: &(Timestamp, AnomalyId)| query.after.as_ref().is_none_or(|after| key > after);
        let wanted = state.anomalies.iter().filter(|(key, anomaly)| is_behind(key) && query.wants(anomaly));
        Ok(wanted.map(|(_, anomaly)| anomaly.clone()).take(query.count_max).collect())
    }

    async fn put_run(&self, run: &Run) -> Result<(), PortError> {
        let mut state = self.lock();
        let asked_before = state.runs.get(&run.id).is_some_and(|known| known.cancel_requested);
        let cancel_requested = run.cancel_requested || asked_before;
        state.runs.insert(run.id.clone(), Run { cancel_requested, ..run.clone() });
        Ok(())
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, PortError> {
        Ok(self.lock().runs.get(id).cloned())
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, PortError> {
        let state = self.lock();
        let mut runs: Vec<&Run> =
            state.runs.values().filter(|run| query.wants(run) && query.is_behind_start(run)).collect();
        runs.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| a.id.cmp(&b.id)));
        Ok(runs.into_iter().take(query.count_max).cloned().collect())
    }

    async fn cancel_run(&self, id: &RunId) -> Result<(), PortError> {
        let mut state = self.lock();
        let run = state.runs.get_mut(id);
        let run = run.ok_or_else(|| PortError::new(ErrorKind::NotFound, format!("there is no run `{id}`")))?;
        run.cancel_requested = true;
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>, PortError> {
        let mut state = self.lock();
        let Some((share, lease)) = leases::claim(state.shares.get(&claim.share), claim) else { return Ok(None) };
        state.shares.insert(claim.share.clone(), share);
        Ok(Some(lease))
    }

    async fn complete(&self, lease: &Lease, done: Done) -> Result<(), PortError> {
        let mut state = self.lock();
        let share = leases::complete(state.shares.get(&lease.share), lease, done)?;
        state.shares.insert(lease.share.clone(), share);
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), PortError> {
        let mut state = self.lock();
        if let Some(share) = leases::release(state.shares.get(&lease.share), lease) {
            state.shares.insert(lease.share.clone(), share);
        }
        Ok(())
    }

    async fn remove(&self, removal: &Removal, _: Option<&RemovalPlace>, _: usize) -> Result<Removed, PortError> {
        Ok(Removed { count: self.lock().remove(removal), rest: None })
    }
}
