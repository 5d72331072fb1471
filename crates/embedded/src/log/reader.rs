//! Reads a topic in order, waiting at its end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Partition, Position};
use ports::{Delivery, ErrorKind, PortError, Reader};
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    topics::{TopicState, parse_record_key, record_key},
};
use crate::{
    error::{blocking, from_database},
    interner::Interner,
    records_codec::{decode_entry, skip_records},
};

pub(crate) struct EmbeddedReader {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    next: u64,
    ids: Interner,
}

impl EmbeddedReader {
    pub fn new(shared: Arc<Shared>, topic: Arc<TopicState>, from: Position) -> Self {
        Self { shared, topic, next: from.0, ids: Interner::default() }
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait;
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.topic.is_removed() {
                return Err(PortError::new(ErrorKind::NotFound, format!("topic `{}` was removed", self.topic.name)));
            }
            let end = self.topic.extent().end;
            if self.next < end {
                let from = self.next..end;
                let deliveries = read(&self.shared, &self.topic, from, records_max, &mut self.ids).await?;
                self.next = deliveries.last().map_or(end, |delivery| delivery.next_position().0);
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
                continue;
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Ok(Vec::new());
            }
        }
    }
}

/// Reads whole entries of a range of positions, from the first that reaches into it, until `records_max` records are there.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    topic: &Arc<TopicState>,
    positions: std::ops::Range<u64>,
    records_max: usize,
    ids: &mut Interner,
) -> Result<Vec<Delivery>, PortError> {
    let (shared, topic, mut taken) = (Arc::clone(shared), Arc::clone(topic), std::mem::take(ids));
    let (deliveries, taken) = blocking(move || {
        let deliveries = read_blocking(&shared, &topic, positions, records_max, &mut taken)?;
        Ok((deliveries, taken))
    })
    .await?;
    *ids = taken;
    Ok(deliveries)
}

fn read_blocking(
    shared: &Shared,
    topic: &TopicState,
    positions: std::ops::Range<u64>,
    records_max: usize,
    ids: &mut Interner,
) -> Result<Vec<Delivery>, PortError> {
    let records = &shared.keyspaces.records;
    let doing = |e| from_database("reading the log", e);
    let key = |position| record_key(topic.number, position, 0);
    let mut start = key(positions.start);
    // The entry may begin before the position that is asked for.
    if let Some(before) = records.range(key(0)..record_key(topic.number, positions.start, 0)).next_back() {
        let before = before.key().map_err(doing)?;
        let (first, count) = parse_record_key(&before)?;
        if first + u64::from(count) > positions.start {
            start = record_key(topic.number, first, count);
        }
    }
    let mut deliveries = Vec::new();
    let mut taken = 0;
    for item in records.range(start..key(positions.end)) {
        let (key, value) = item.into_inner().map_err(doing)?;
        let (first, count) = parse_record_key(&key)?;
        let (accepted_at, contents) = decode_entry(&value, u64::from(count), ids);
        let mut position = first;
        for mut content in contents {
            let next = position + content.len() as u64;
            if next > positions.start {
                let skip = positions.start.saturating_sub(position);
                if skip > 0 {
                    content = skip_records(content, skip as usize);
                }
                taken += content.len();
                let (topic, first_position) = (topic.name.clone(), Position(position + skip));
                deliveries.push(Delivery { topic, partition: Partition(0), first_position, accepted_at, content });
            }
            position = next;
        }
        if taken >= records_max {
            break;
        }
    }
    Ok(deliveries)
}
