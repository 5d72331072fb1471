//! Revising: documents that are there get other flags, in rounds, until none has changed between being read and being replaced.
//!
//! **Invariant:** a document is replaced only in the state that it was read in, so that nothing a write does meanwhile is undone.

use std::collections::HashMap;

use domain::{SensorId, Timestamp};
use elasticsearch::http::Method;
use ports::{ErrorKind, PortError, Revisions};
use tokio::time::Instant;

use super::{
    bulk::{Action, Bulk},
    client::{Client, Fault, FaultKind, Request},
    document::push_id,
    hits::{self, Hit},
    settings::Settings,
    types::Known,
};

const DOING: &str = "revising flags";
/// Elasticsearch's name for an index that is not there: nor are its documents.
const NO_INDEX: &str = "index_not_found_exception";

/// What revising needs.
pub(crate) struct Reviser<'a> {
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
}

/// What became of some revisions.
#[derive(Default)]
struct Round {
    changed: u64,
    /// To be done again: the document has changed, or could not be had.
    again: Vec<usize>,
    /// Why some of `again` has to wait.
    away: Option<Fault>,
}

impl Reviser<'_> {
    /// Revises the rows that are there; answers how many have other flags or another version than before.
    pub(crate) async fn revise(&self, known: &Known, revisions: &Revisions) -> Result<u64, PortError> {
        let mut pending = last_of_each(revisions);
        let (mut pauses, mut until) = self.client.patience();
        let mut changed = 0;
        while !pending.is_empty() {
            let mut round = Round::default();
            for part in pending.chunks(self.settings.bulk_rows_max.max(1)) {
                self.revise_some(known, (revisions, part), &mut round).await?;
            }
            changed += round.changed;
            if round.again.len() < pending.len() {
                (pauses, until) = self.client.patience();
            }
            pending = round.again;
            if pending.is_empty() {
                break;
            }
            if Instant::now() >= until {
                let others = || PortError::new(ErrorKind::Unavailable, "others keep changing what is to be revised");
                return Err(round.away.map_or_else(others, |fault| fault.while_doing(DOING)));
            }
            pauses.pause().await;
        }
        Ok(changed)
    }

    /// Reads the documents of some revisions, and replaces those that have other flags.
    async fn revise_some(
        &self,
        known: &Known,
        (revisions, part): (&Revisions, &[usize]),
        round: &mut Round,
    ) -> Result<(), PortError> {
        let found = self.get(known, revisions, part).await?;
        let mut bulk = Bulk::new(&known.index_of(revisions.times[part[0]]), self.settings.bulk_size_max);
        let mut items = Vec::new();
        for (index, hit) in part.iter().zip(found) {
            if let Some(malformed) = &hit.malformed {
                let error = malformed.named(&hit.id, DOING);
                tracing::error!(%error, "the flags of a reading can't be revised");
                continue;
            }
            match (hit.document, hit.trouble) {
                (Some(mut document), _) => {
                    let Some((row, flags)) = revisions.changes(*index, document.as_ref()) else { continue };
                    (document.row, document.flags) = (row, flags);
                    bulk.begin(Action::Replace(hit.seen), &hit.index, |out| out.extend_from_slice(hit.id.as_bytes()));
                    bulk.document(|out| known.documents.write(&document.sensor_id, document.as_ref(), out));
                    items.push(*index);
                }
                (None, Some(trouble)) if trouble != NO_INDEX => {
                    round.away = Some(Fault::away(format!("a document can't be had: {trouble}")));
                    round.again.push(*index);
                }
                (None, _) => {}
            }
            if bulk.size() >= self.settings.bulk_size_max {
                let next = Bulk::new(&hit.index, self.settings.bulk_size_max);
                self.send(std::mem::replace(&mut bulk, next), std::mem::take(&mut items), round).await?;
            }
        }
        self.send(bulk, items, round).await
    }

    /// The documents of some revisions, in their order.
    async fn get(&self, known: &Known, revisions: &Revisions, part: &[usize]) -> Result<Vec<Hit>, PortError> {
        let mut body = b"{\"docs\":[".to_vec();
        for (index, count) in part.iter().zip(0..) {
            let (sensor_id, time) = (&revisions.sensor_ids[*index], revisions.times[*index]);
            body.extend_from_slice(if count == 0 { b"{\"_index\":\"" } else { b",{\"_index\":\"" });
            body.extend_from_slice(known.index_of(time).as_bytes());
            body.extend_from_slice(b"\",\"_id\":\"");
            push_id(sensor_id, time, &mut body);
            body.extend_from_slice(b"\"}");
        }
        body.extend_from_slice(b"]}");
        let request = Request::new(Method::Post, "/_mget").body(body);
        let answer = self.client.send(&request).await.map_err(|fault| fault.while_doing(DOING))?;
        let found = hits::read_many(&answer.body, &known.documents)?;
        if found.len() != part.len() {
            return Err(PortError::new(
                ErrorKind::Unavailable,
                "Elasticsearch answered other documents than asked for",
            ));
        }
        Ok(found)
    }

    async fn send(&self, bulk: Bulk, items: Vec<usize>, round: &mut Round) -> Result<(), PortError> {
        if items.is_empty() {
            return Ok(());
        }
        let outcomes = bulk.send(self.client.clone()).await.map_err(|fault| fault.while_doing(DOING))?;
        for (index, outcome) in items.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => round.changed += 1,
                // It has changed or gone: reading it again says which.
                Err(fault) if matches!(fault.kind, FaultKind::Changed | FaultKind::Missing) => round.again.push(index),
                Err(fault) if fault.kind == FaultKind::Away => {
                    round.away = Some(fault);
                    round.again.push(index);
                }
                Err(fault) => return Err(fault.while_doing(DOING)),
            }
        }
        Ok(())
    }
}

/// The last revision of each identity, in order.
fn last_of_each(revisions: &Revisions) -> Vec<usize> {
    let identities = revisions.sensor_ids.iter().zip(&revisions.times);
    let last: HashMap<(&SensorId, &Timestamp), usize> = identities.zip(0..).collect();
    let mut indices: Vec<usize> = last.into_values().collect();
    indices.sort_unstable();
    indices
}
