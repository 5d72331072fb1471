//! The findings in the data folder: anomalies by time, runs by their start, and the shares, each as JSON.
//!
//! **Invariant:** a change is synced before it is answered. One writer at a time reads what is there and commits one batch.

mod remove;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use domain::{Anomaly, AnomalyId, Run, RunId, Timestamp};
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};
use ports::{
    AnomalyQuery, Claim, Done, Effect, ErrorKind, Findings, Lease, PortError, Recorded, Removal, RemovalPlace, Removed,
    RunQuery,
    leases::{self, Share},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    disk::{Disk, Need},
    error::{blocking, from_database, from_write, stopped},
};
use remove::Remover;

/// Where a run's start is, by its id.
const START_BY_ID: u8 = b'i';
/// Where a run is, by its start (newest first) and id.
const RUN_BY_START: u8 = b's';
/// The same of runs that have not ended, without the run: what is under way is found however many there were.
const OPEN_BY_START: u8 = b'o';

/// The findings' part of the database.
#[derive(Clone)]
pub(crate) struct Keyspaces {
    /// Phenomenon time, id → anomaly.
    pub anomalies: Keyspace,
    /// Runs by their start, and starts by id.
    pub runs: Keyspace,
    /// Share → who has it.
    pub shares: Keyspace,
}

/// The findings in a data folder.
pub(crate) struct EmbeddedFindings(Arc<Inner>);

struct Inner {
    database: Database,
    keyspaces: Keyspaces,
    disk: Arc<Disk>,
    writer: Mutex<()>,
    closed: AtomicBool,
}

impl EmbeddedFindings {
    pub(crate) fn new(database: Database, keyspaces: Keyspaces, disk: Arc<Disk>) -> Self {
        Self(Arc::new(Inner { database, keyspaces, disk, writer: Mutex::new(()), closed: AtomicBool::new(false) }))
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.closed.store(true, Ordering::SeqCst);
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            inner.check_open()?;
            work(&inner)
        })
        .await
    }

    /// Does work that adds something, alone, and syncs it.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut OwnedWriteBatch) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        self.change_on(Some(Need::Finish), work).await
    }

    /// Does work that changes something, where the disk has what it needs.
    async fn change_on<T: Send + 'static>(
        &self,
        need: Option<Need>,
        work: impl FnOnce(&Inner, &mut OwnedWriteBatch) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let _writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            inner.check_open()?;
            need.map_or(Ok(()), |need| inner.disk.check(need))?;
            let mut batch = inner.database.batch();
            let answer = work(&inner, &mut batch)?;
            if !batch.is_empty() {
                let doing = |e| from_write("saving findings", e);
                batch.commit().map_err(doing)?;
                inner.database.persist(PersistMode::SyncData).map_err(doing)?;
            }
            Ok(answer)
        })
        .await
    }
}

impl Inner {
    fn check_open(&self) -> Result<(), PortError> {
        if self.closed.load(Ordering::SeqCst) { Err(stopped()) } else { Ok(()) }
    }

    fn record(&self, batch: &mut OwnedWriteBatch, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError> {
        let keyspace = &self.keyspaces.anomalies;
        let mut in_batch: HashMap<Vec<u8>, Anomaly> = HashMap::new();
        let mut outcomes = Vec::with_capacity(anomalies.len());
        for anomaly in anomalies {
            let key = anomaly_key(anomaly.phenomenon_time, &anomaly.id());
            let known = match in_batch.get(&key) {
                Some(known) => Some(known.clone()),
                None => get(keyspace, &key)?,
            };
            let recorded = Recorded::beside(known, anomaly);
            if recorded.effect != Effect::Known {
                batch.insert(keyspace, key.clone(), to_json(&recorded.kept)?);
                in_batch.insert(key, recorded.kept.clone());
            }
            outcomes.push(recorded);
        }
        Ok(outcomes)
    }

    fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError> {
        let (from, to) = (query.times.from, query.times.to);
        let (mut low, high) = (time_key(from).to_vec(), time_key(to).to_vec());
        if let Some((time, id)) = &query.after {
            // The least key behind it.
            let mut behind = anomaly_key(*time, id);
            behind.push(0);
            low = low.max(behind);
        }
        let mut found = Vec::new();
        if low >= high {
            return Ok(found);
        }
        for item in self.keyspaces.anomalies.range(low..high) {
            if found.len() >= query.count_max {
                break;
            }
            let anomaly: Anomaly = from_json(&item.value().map_err(reading)?)?;
            if query.wants(&anomaly) {
                found.push(anomaly);
            }
        }
        Ok(found)
    }

    fn run(&self, id: &RunId) -> Result<Option<Run>, PortError> {
        let Some(start) = self.keyspaces.runs.get(start_key(id)).map_err(reading)? else { return Ok(None) };
        get(&self.keyspaces.runs, &run_key(RUN_BY_START, &start, id))
    }

    fn put_run(&self, batch: &mut OwnedWriteBatch, run: &Run) -> Result<(), PortError> {
        let keyspace = &self.keyspaces.runs;
        let known = self.run(&run.id)?;
        let start = newest_first(run.started_at);
        if let Some(known) = &known {
            let start = newest_first(known.started_at);
            batch.remove(keyspace, run_key(RUN_BY_START, &start, &run.id));
            batch.remove(keyspace, run_key(OPEN_BY_START, &start, &run.id));
        }
        let cancel_requested = run.cancel_requested || known.is_some_and(|known| known.cancel_requested);
        batch.insert(keyspace, start_key(&run.id), start);
        let stored = to_json(&Run { cancel_requested, ..run.clone() })?;
        batch.insert(keyspace, run_key(RUN_BY_START, &start, &run.id), stored);
        if !run.state.has_ended() {
            batch.insert(keyspace, run_key(OPEN_BY_START, &start, &run.id), []);
        }
        Ok(())
    }

    fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, PortError> {
        let index = if query.state.is_some_and(|state| !state.has_ended()) { OPEN_BY_START } else { RUN_BY_START };
        let low = match &query.after {
            Some((started_at, id)) => run_key(index, &newest_first(*started_at), id),
            None => vec![index],
        };
        let mut found = Vec::new();
        for item in self.keyspaces.runs.range(low..vec![index + 1]) {
            if found.len() >= query.count_max {
                break;
            }
            let (key, value) = item.into_inner().map_err(reading)?;
            let run: Option<Run> = match index {
                OPEN_BY_START => get(&self.keyspaces.runs, &[&[RUN_BY_START], &key[1..]].concat())?,
                _ => Some(from_json(&value)?),
            };
            found.extend(run.filter(|run| query.wants(run) && query.is_behind_start(run)));
        }
        Ok(found)
    }

    fn share(&self, name: &str) -> Result<Option<Share>, PortError> {
        get(&self.keyspaces.shares, name.as_bytes())
    }

    fn put_share(&self, batch: &mut OwnedWriteBatch, name: &str, share: &Share) -> Result<(), PortError> {
        batch.insert(&self.keyspaces.shares, name.as_bytes(), to_json(share)?);
        Ok(())
    }
}

#[async_trait]
impl Findings for EmbeddedFindings {
    async fn record(&self, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError> {
        let anomalies = anomalies.to_vec();
        self.change(move |inner, batch| inner.record(batch, &anomalies)).await
    }

    async fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError> {
        let query = query.clone();
        self.read(move |inner| inner.anomalies(&query)).await
    }

    async fn put_run(&self, run: &Run) -> Result<(), PortError> {
        let run = run.clone();
        self.change(move |inner, batch| inner.put_run(batch, &run)).await
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, PortError> {
        let id = id.clone();
        self.read(move |inner| inner.run(&id)).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, PortError> {
        let query = query.clone();
        self.read(move |inner| inner.runs(&query)).await
    }

    async fn cancel_run(&self, id: &RunId) -> Result<(), PortError> {
        let id = id.clone();
        self.change(move |inner, batch| {
            let run = inner.run(&id)?;
            let run = run.ok_or_else(|| PortError::new(ErrorKind::NotFound, format!("there is no run `{id}`")))?;
            inner.put_run(batch, &Run { cancel_requested: true, ..run })
        })
        .await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>, PortError> {
        let claim = claim.clone();
        self.change(move |inner, batch| {
            let Some((share, lease)) = leases::claim(inner.share(&claim.share)?.as_ref(), &claim) else {
                return Ok(None);
            };
            inner.put_share(batch, &claim.share, &share)?;
            Ok(Some(lease))
        })
        .await
    }

    async fn complete(&self, lease: &Lease, done: Done) -> Result<(), PortError> {
        let lease = lease.clone();
        self.change(move |inner, batch| {
            let share = leases::complete(inner.share(&lease.share)?.as_ref(), &lease, done)?;
            inner.put_share(batch, &lease.share, &share)
        })
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), PortError> {
        let lease = lease.clone();
        self.change(move |inner, batch| match leases::release(inner.share(&lease.share)?.as_ref(), &lease) {
            Some(share) => inner.put_share(batch, &lease.share, &share),
            None => Ok(()),
        })
        .await
    }

    async fn remove(
        &self,
        removal: &Removal,
        from: Option<&RemovalPlace>,
        looked_at_max: usize,
    ) -> Result<Removed, PortError> {
        let (removal, from) = (removal.clone(), from.cloned());
        // It makes room: a disk that is full is no reason against it.
        self.change_on(None, move |inner, batch| {
            Remover { keyspaces: &inner.keyspaces, batch, looked_at_max: looked_at_max.max(1) }.part(&removal, from)
        })
        .await
    }
}

/// Reads all that is there: how many anomalies and runs.
///
/// # Errors
/// `Corrupt` where something can't be read.
pub(crate) fn verify(keyspaces: &Keyspaces) -> Result<(u64, u64), PortError> {
    let (mut anomalies, mut runs) = (0, 0);
    for item in keyspaces.anomalies.iter() {
        from_json::<Anomaly>(&item.value().map_err(reading)?)?;
        anomalies += 1;
    }
    for item in keyspaces.runs.prefix([RUN_BY_START]) {
        from_json::<Run>(&item.value().map_err(reading)?)?;
        runs += 1;
    }
    for item in keyspaces.shares.iter() {
        from_json::<Share>(&item.value().map_err(reading)?)?;
    }
    Ok((anomalies, runs))
}

/// A time in eight bytes that are ordered as times are.
fn time_key(time: Timestamp) -> [u8; 8] {
    (time.as_micros() as u64 ^ (1 << 63)).to_be_bytes()
}

/// The same, later times first.
fn newest_first(time: Timestamp) -> [u8; 8] {
    time_key(time).map(|byte| !byte)
}

fn anomaly_key(time: Timestamp, id: &AnomalyId) -> Vec<u8> {
    [&time_key(time), id.as_str().as_bytes()].concat()
}

fn start_key(id: &RunId) -> Vec<u8> {
    [&[START_BY_ID], id.as_str().as_bytes()].concat()
}

fn run_key(index: u8, start: &[u8], id: &RunId) -> Vec<u8> {
    [&[index], start, id.as_str().as_bytes()].concat()
}

fn reading(error: fjall::Error) -> PortError {
    from_database("reading findings", error)
}

fn get<T: DeserializeOwned>(keyspace: &Keyspace, key: &[u8]) -> Result<Option<T>, PortError> {
    keyspace.get(key).map_err(reading)?.map(|bytes| from_json(&bytes)).transpose()
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PortError> {
    domain::from_json(bytes)
        .map_err(|error| PortError::new(ErrorKind::Corrupt, "a stored finding can't be read").with_source(error))
}

fn to_json(thing: &impl Serialize) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(thing)
        .map_err(|error| PortError::new(ErrorKind::Rejected, "a finding can't be stored").with_source(error))
}
