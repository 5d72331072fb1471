//! Reads a topic in order, waiting at its end.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Partition, Position};
use ports::{Delivery, ErrorKind, PortError, Reader};
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    keys::{parse_record_key, record_key},
    topics::TopicState,
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
                let stretch = Stretch { topic: Arc::clone(&self.topic), positions: self.next..end };
                let read = read_all(&self.shared, vec![stretch], records_max, &mut self.ids).await?;
                self.next = read.deliveries.last().map_or(end, |delivery| delivery.next_position().0);
                if !read.deliveries.is_empty() {
                    return Ok(read.deliveries);
                }
                continue;
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Ok(Vec::new());
            }
        }
    }
}

/// Positions of a topic that are to be read.
pub(crate) struct Stretch {
    pub topic: Arc<TopicState>,
    pub positions: Range<u64>,
}

/// What was read of some stretches.
#[derive(Default)]
pub(crate) struct Read {
    pub deliveries: Vec<Delivery>,
    /// By number of the topic, the position behind what was read. Stretches behind the bound, or behind one that can't be read, are not there.
    pub reached: HashMap<u32, u64>,
}

/// Reads whole entries of stretches, one stretch after the other, until `records_max` records are there.
///
/// # Errors
/// Those of the first stretch, where that can't be read.
pub(crate) async fn read_all(
    shared: &Arc<Shared>,
    stretches: Vec<Stretch>,
    records_max: usize,
    ids: &mut Interner,
) -> Result<Read, PortError> {
    if stretches.is_empty() {
        return Ok(Read::default());
    }
    let (shared, mut taken) = (Arc::clone(shared), std::mem::take(ids));
    let (read, taken) = blocking(move || {
        let mut read = Read::default();
        let mut left = records_max.max(1);
        for Stretch { topic, positions } in stretches {
            let end = positions.end;
            let deliveries = match read_blocking(&shared, &topic, positions, left, &mut taken) {
                Err(error) if read.reached.is_empty() => return Err(error),
                Err(_) => break,
                Ok(deliveries) => deliveries,
            };
            read.reached.insert(topic.number, deliveries.last().map_or(end, |last| last.next_position().0));
            left = left.saturating_sub(deliveries.iter().map(|delivery| delivery.content.len()).sum());
            read.deliveries.extend(deliveries);
            if left == 0 {
                break;
            }
        }
        Ok((read, taken))
    })
    .await?;
    *ids = taken;
    Ok(read)
}

fn read_blocking(
    shared: &Shared,
    topic: &TopicState,
    positions: Range<u64>,
    records_max: usize,
    ids: &mut Interner,
) -> Result<Vec<Delivery>, PortError> {
    let records = &shared.keyspaces.records;
    let doing = |e| from_database("reading the log", e);
    let key = |position| record_key(topic.number, position, 0);
    let mut start = key(positions.start);
    // The entry may begin before the position that is asked for, but not before the oldest: what was there is gone.
    let oldest = topic.extent().start.min(positions.start);
    if let Some(before) = records.range(key(oldest)..key(positions.start)).next_back() {
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
