//! Writing: documents are created in bulk, those that are there are merged into, in rounds, until every row has its outcome.
//!
//! **Invariant:** a document is created where there is none and replaced only in the state that its merge was made from; whatever part of
//! a write was done before it failed, doing it again ends the same.

use std::sync::Arc;

use domain::Judged;
use elasticsearch::http::Method;
use ports::{ErrorKind, Judge, Outcome, PortError};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    batch::{Batch, Pending, Refused},
    bulk::Bulk,
    client::{Client, Fault, FaultKind, Request},
    hits,
    settings::Settings,
    types::{Known, Types},
};

const DOING: &str = "writing readings";
/// Documents got at a time, for their rows to be merged.
const LOOK_UP_MAX: usize = 1_000;
/// Rounds in which only others were faster before there is a pause.
const QUICK_ROUNDS: u32 = 3;

/// What writes need.
#[derive(Debug)]
pub(crate) struct Writer {
    client: Client,
    types: Arc<Types>,
    bulk_rows_max: usize,
    bulk_size_max: usize,
    /// A permit for each bulk request under way or being filled: it bounds their memory too.
    bulks: Arc<Semaphore>,
}

/// An identity with why it was not done.
type Failed = (Pending, Fault);

impl Writer {
    pub(crate) fn new(client: Client, types: Arc<Types>, settings: &Settings) -> Self {
        Self {
            client,
            types,
            bulk_rows_max: settings.bulk_rows_max.max(1),
            bulk_size_max: settings.bulk_size_max,
            bulks: Arc::new(Semaphore::new(settings.bulks_in_flight_max.max(1))),
        }
    }

    /// Writes the rows, which are no wider than the type.
    pub(crate) async fn write(
        &self,
        known: &Known,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError> {
        let (mut batch, mut pending) = Batch::new(known, judged, judge);
        let (mut pauses, mut until) = self.client.patience();
        let (mut rounds, mut alone, mut held_back) = (0, Vec::new(), None);
        while !pending.is_empty() {
            let refused = self.make_indices(known, &batch, &pending).await?;
            if let Some(Refused { reason, .. }) = refused.first() {
                let (left, have_to_wait) = batch.without(pending, &refused);
                pending = left;
                if have_to_wait {
                    held_back = Some(PortError::new(ErrorKind::Full, reason));
                }
            }
            let before = pending.len();
            let failed = self.send(&batch, pending).await?;
            let sorted = self.sort_out(&mut batch, failed)?;
            let was_away = sorted.away.clone();
            alone.extend(sorted.alone);
            pending = sorted.again;
            if !sorted.changed.is_empty() {
                pending.extend(self.look_up(known, &mut batch, sorted.changed).await?);
                // Documents are never wider than their type was before: looked at after them, it says whether all of each was read.
                let now = self.types.fresh(&known.id).await?;
                if now.width() > known.width() {
                    return Box::pin(self.write(&now, judged, judge)).await;
                }
            }
            if pending.len() < before {
                (pauses, until) = self.client.patience();
                rounds = 0;
            }
            rounds += 1;
            if !pending.is_empty() && (was_away.is_some() || rounds > QUICK_ROUNDS) {
                if Instant::now() >= until {
                    let others =
                        || PortError::new(ErrorKind::Unavailable, "others keep changing what is to be written");
                    return Err(was_away.map_or_else(others, |fault| fault.while_doing(DOING)));
                }
                pauses.pause().await;
            }
        }
        for row in alone {
            let judged = batch.alone(row);
            let outcome = Box::pin(self.write(known, &judged, judge)).await?.pop();
            outcome.into_iter().for_each(|outcome| batch.set_outcome(row, outcome));
        }
        held_back.map_or_else(|| Ok(batch.into_outcomes()), Err)
    }

    /// Makes the indices of what is pending; answers those for which the servers have no shards left.
    async fn make_indices(
        &self,
        known: &Known,
        batch: &Batch<'_>,
        pending: &[Pending],
    ) -> Result<Vec<Refused>, PortError> {
        let mut refused = Vec::new();
        for index in batch.indices(pending) {
            match self.types.make_index(known, index).await {
                Err(error) if error.kind() == ErrorKind::Full => {
                    refused.push(Refused { index: index.to_owned(), reason: format!("index `{index}`: {error}") });
                }
                made => made?,
            }
        }
        Ok(refused)
    }

    /// Sends what is pending; answers what was not done.
    async fn send(&self, batch: &Batch<'_>, pending: Vec<Pending>) -> Result<Vec<Failed>, PortError> {
        let mut sending = JoinSet::new();
        let mut failed = Vec::new();
        let mut pending = pending.into_iter().peekable();
        while let Some(first) = pending.peek() {
            let permit = Arc::clone(&self.bulks).acquire_owned().await.map_err(|_| closed())?;
            let mut bulk = Bulk::new(batch.index(first), self.bulk_size_max);
            let mut items = Vec::new();
            while let Some(item) =
                pending.next_if(|_| bulk.len < self.bulk_rows_max && bulk.size() < self.bulk_size_max)
            {
                batch.push(&item, &mut bulk);
                items.push(item);
            }
            let client = self.client.clone();
            sending.spawn(async move {
                let answer = bulk.send(client).await;
                drop(permit);
                (items, answer)
            });
        }
        while let Some(sent) = sending.join_next().await {
            let (items, answer) = sent.map_err(|error| closed().with_source(error))?;
            let outcomes = answer.map_err(|fault| fault.while_doing(DOING))?;
            failed.extend(items.into_iter().zip(outcomes).filter_map(|(item, outcome)| Some((item, outcome.err()?))));
        }
        Ok(failed)
    }

    /// What to do about what was not done.
    fn sort_out(&self, batch: &mut Batch<'_>, failed: Vec<Failed>) -> Result<Sorted, PortError> {
        let mut sorted = Sorted::default();
        for (item, fault) in failed {
            match fault.kind {
                FaultKind::Changed => sorted.changed.push(item),
                FaultKind::Missing => {
                    self.types.lose_index(batch.index(&item));
                    sorted.again.push(item);
                }
                FaultKind::Away => {
                    sorted.away = Some(fault);
                    sorted.again.push(item);
                }
                FaultKind::Refused => sorted.alone.extend(batch.refuse(&item, &fault.reason)),
                FaultKind::DiskFull | FaultKind::ShardsFull | FaultKind::Forbidden => {
                    return Err(fault.while_doing(DOING));
                }
            }
        }
        Ok(sorted)
    }

    /// Gets the documents that are there and merges into them; answers what is to be written then.
    async fn look_up(
        &self,
        known: &Known,
        batch: &mut Batch<'_>,
        changed: Vec<Pending>,
    ) -> Result<Vec<Pending>, PortError> {
        let mut again = Vec::new();
        let mut changed = changed.into_iter().peekable();
        while changed.peek().is_some() {
            let items: Vec<Pending> = changed.by_ref().take(LOOK_UP_MAX).collect();
            let mut body = b"{\"docs\":[".to_vec();
            for (item, index) in items.iter().zip(0..) {
                body.extend_from_slice(if index == 0 { b"{\"_index\":\"" } else { b",{\"_index\":\"" });
                body.extend_from_slice(batch.index(item).as_bytes());
                body.extend_from_slice(b"\",\"_id\":\"");
                batch.push_id(item, &mut body);
                body.extend_from_slice(b"\"}");
            }
            body.extend_from_slice(b"]}");
            let request = Request::new(Method::Post, "/_mget").body(body);
            let answer = self.client.send(&request).await.map_err(|fault| fault.while_doing(DOING))?;
            let found = hits::read_many(&answer.body, &known.documents)?;
            if found.len() != items.len() {
                return Err(PortError::new(
                    ErrorKind::Unavailable,
                    "Elasticsearch answered other documents than asked for",
                ));
            }
            for (item, hit) in items.into_iter().zip(found) {
                if let Some(malformed) = hit.malformed {
                    batch.reject(&item, &malformed.named(&hit.id, DOING).to_string());
                    continue;
                }
                let there = hit.document.map(|document| (document, hit.seen));
                again.extend(batch.renew(item, there));
            }
        }
        Ok(again)
    }
}

/// What was not done, by what to do about it.
#[derive(Default)]
struct Sorted {
    /// To be sent again as it is.
    again: Vec<Pending>,
    /// Its document is there, or has changed.
    changed: Vec<Pending>,
    /// Rows that can't be stored together with others of their identity.
    alone: Vec<u32>,
    /// Why some of `again` has to wait.
    away: Option<Fault>,
}

fn closed() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the store is being closed")
}
