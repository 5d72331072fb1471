//! One partition of a topic in memory: what was appended, by position.

use std::{collections::BTreeMap, time::Duration};

use domain::{Partition, Position, Readings, Timestamp, Topic};

use crate::{Content, Delivery, Extent, SeenAhead, is_ahead, next_acceptance};

/// The records of one partition.
#[derive(Debug)]
pub(super) struct Records {
    end: u64,
    accepted_at: Timestamp,
    /// What stands at the front and is stamped ahead of the clock.
    ahead: Option<SeenAhead>,
    /// By position of their first record.
    batches: BTreeMap<u64, Accepted>,
    /// In a compacted topic: positions of the newest document of each key and of the one that it replaced.
    newest: BTreeMap<String, (u64, Option<u64>)>,
}

#[derive(Debug)]
struct Accepted {
    at: Timestamp,
    content: Content,
}

impl Records {
    /// No records; the next one gets the position `end`.
    pub(super) fn starting_at(end: u64) -> Self {
        Self { end, accepted_at: Timestamp::MIN, ahead: None, batches: BTreeMap::new(), newest: BTreeMap::new() }
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many records are held.
    pub(super) fn len(&self) -> usize {
        self.batches.values().map(|batch| batch.content.len()).sum()
    }

    pub(super) fn extent(&self, partition: Partition) -> Extent {
        let start = self.batches.keys().next().copied().unwrap_or(self.end);
        Extent { partition, start: Position(start), end: Position(self.end) }
    }

    /// Appends a batch; answers with its acceptance time and first position.
    pub(super) fn push(&mut self, now: Timestamp, content: Content) -> (Timestamp, Position) {
        self.accepted_at = next_acceptance(now, self.accepted_at);
        let first = self.end;
        self.end += content.len() as u64;
        if !content.is_empty() {
            self.batches.insert(first, Accepted { at: self.accepted_at, content });
        }
        (self.accepted_at, Position(first))
    }

    /// Appends documents to a compacted topic, each alone.
    ///
    /// The one that its key had goes with the next one: no log that several processes share is compacted while they write.
    pub(super) fn push_compacted(&mut self, now: Timestamp, documents: Vec<crate::Document>) -> (Timestamp, Position) {
        let first = Position(self.end);
        self.accepted_at = next_acceptance(now, self.accepted_at);
        for document in documents {
            let (newest, replaced) = self.newest.get(&document.key).copied().unzip();
            if let Some(before) = replaced.flatten() {
                self.batches.remove(&before);
            }
            self.newest.insert(document.key.clone(), (self.end, newest));
            self.push(now, Content::Documents(vec![document]));
        }
        (self.accepted_at, first)
    }

    /// Drops whole batches accepted longer than `retention` ago, and none that holds a position from `keep_from` on; says whether there
    /// were any.
    pub(super) fn expire(&mut self, now: Timestamp, retention: Duration, keep_from: u64) -> bool {
        let before = now.saturating_sub(retention);
        let held = self.batches.len();
        while let Some(oldest) = self.batches.first_entry() {
            let end = oldest.key() + oldest.get().content.len() as u64;
            let mut accepted_at = oldest.get().at;
            if is_ahead(accepted_at, now) {
                let seen = self.ahead.filter(|seen| end <= seen.end);
                accepted_at = self.ahead.insert(seen.unwrap_or(SeenAhead { at: now, end: self.end })).at;
            }
            if accepted_at >= before || end > keep_from {
                break;
            }
            oldest.remove();
        }
        self.batches.len() < held
    }

    /// Batches from a position on, until they hold about `records_max` records; at least one where there is one.
    pub(super) fn read(&self, topic: &Topic, partition: Partition, from: u64, records_max: usize) -> Vec<Delivery> {
        let first = self.batches.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let mut deliveries = Vec::new();
        let mut records = 0;
        for (&first, batch) in self.batches.range(first..) {
            let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            let Some(len) = batch.content.len().checked_sub(skipped).filter(|len| *len > 0) else { continue };
            if records > 0 && records + len > records_max {
                break;
            }
            records += len;
            deliveries.push(Delivery {
                topic: topic.clone(),
                partition,
                first_position: Position(first.max(from)),
                accepted_at: batch.at,
                content: without_first(&batch.content, skipped),
            });
        }
        deliveries
    }
}

/// The records of a batch but for the first `skipped` ones.
fn without_first(content: &Content, skipped: usize) -> Content {
    match content {
        Content::Readings { type_version, readings } => {
            let mut rest = Readings::with_capacity(readings.properties().clone(), readings.len() - skipped);
            for reading in readings.iter().skip(skipped) {
                rest.push(reading.sensor_id.clone(), reading.phenomenon_time, reading.values);
            }
            Content::Readings { type_version: *type_version, readings: rest }
        }
        Content::Deletions(deletions) => Content::Deletions(deletions[skipped..].to_vec()),
        Content::Rejudgements(rejudgements) => Content::Rejudgements(rejudgements[skipped..].to_vec()),
        Content::Documents(documents) => Content::Documents(documents[skipped..].to_vec()),
        Content::Undecodable(undecodable) => {
            let count = undecodable.count.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX));
            Content::Undecodable(crate::Undecodable { count, ..undecodable.clone() })
        }
    }
}
