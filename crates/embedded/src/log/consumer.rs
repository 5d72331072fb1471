//! A member of a group: takes topics nobody else in the group has, reads them in turn, commits.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Partition, Topic};
use ports::{Committed, Consumer, Delivery, ErrorKind, PortError};
use tokio::time::{Instant, timeout_at};

use super::{
    Shared, reader,
    topics::{TopicState, encode_committed, group_key, load_committed},
};
use crate::{error::from_write, interner::Interner};

/// How long a topic that can't be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    group: String,
    member: u64,
    subscribed: Vec<Topic>,
    held: Vec<Held>,
    turn: usize,
    ids: Interner,
}

/// A topic this member has.
struct Held {
    state: Arc<TopicState>,
    committed: Committed,
    next: u64,
    /// Until when nothing of it is delivered.
    held_back: Option<Instant>,
}

impl Held {
    fn is_held_back(&self) -> bool {
        self.held_back.is_some_and(|until| Instant::now() < until)
    }
}

impl EmbeddedConsumer {
    pub fn new(shared: Arc<Shared>, group: String, member: u64) -> Self {
        Self { shared, group, member, subscribed: Vec::new(), held: Vec::new(), turn: 0, ids: Interner::default() }
    }

    /// Lets go of what is removed or no longer wanted, and takes what is free.
    fn assign(&mut self) -> Result<(), PortError> {
        let (unwanted, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.state.is_removed() || !self.subscribed.contains(&held.state.name));
        self.held = held;
        self.release(&unwanted);
        for name in &self.subscribed {
            let Some(state) = self.shared.topics.get(name) else { continue };
            if self.held.iter().any(|held| held.state.number == state.number) {
                continue;
            }
            let place = (self.group.clone(), state.number);
            if *self.shared.members().entry(place).or_insert(self.member) != self.member {
                continue;
            }
            let committed = load_committed(&self.shared.keyspaces, state.number, &self.group)?;
            let next = committed.position.0;
            self.held.push(Held { state, committed, next, held_back: None });
        }
        Ok(())
    }

    fn release(&self, held: &[Held]) {
        if held.is_empty() {
            return;
        }
        let mut members = self.shared.members();
        for held in held {
            members.remove(&(self.group.clone(), held.state.number));
        }
        drop(members);
        self.shared.wake();
    }

    fn find(&self, topic: &Topic) -> Option<usize> {
        self.held.iter().position(|held| held.state.name == *topic && !held.state.is_removed())
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.subscribed = topics.to_vec();
        self.assign()
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait;
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            self.assign()?;
            for _ in 0..self.held.len() {
                self.turn = (self.turn + 1) % self.held.len();
                let held = &mut self.held[self.turn];
                let end = held.state.extent().end;
                if held.next >= end || held.is_held_back() {
                    continue;
                }
                let positions = held.next..end;
                let read = reader::read(&self.shared, &held.state, positions, records_max, &mut self.ids).await;
                let deliveries = read.inspect_err(|_| held.held_back = Some(Instant::now() + UNREADABLE_PAUSE))?;
                held.next = deliveries.last().map_or(end, |delivery| delivery.next_position().0);
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
            }
            let held_back = self.held.iter().filter(|held| held.is_held_back()).filter_map(|held| held.held_back).min();
            let until = held_back.map_or(deadline, |until| until.min(deadline));
            match timeout_at(until, changed.changed()).await {
                Ok(Ok(())) => {}
                Err(_) if until < deadline => {}
                _ => return Ok(Vec::new()),
            }
        }
    }

    fn committed(&self, topic: &Topic, _partition: Partition) -> Committed {
        self.find(topic).map(|index| self.held[index].committed).unwrap_or_default()
    }

    async fn commit(&mut self, topic: &Topic, committed: Committed) -> Result<(), PortError> {
        let lost = || PortError::new(ErrorKind::Conflict, format!("topic `{topic}` is not this member's"));
        let index = self.find(topic).ok_or_else(lost)?;
        let number = self.held[index].state.number;
        if self.shared.members().get(&(self.group.clone(), number)) != Some(&self.member) {
            return Err(lost());
        }
        // Not synced: it stands in the journal behind the store's writes, and what is lost with it is done again.
        let key = group_key(number, &self.group);
        let saved = self.shared.keyspaces.groups.insert(key, encode_committed(&committed));
        saved.map_err(|e| from_write("committing a position", e))?;
        self.held[index].committed = committed;
        Ok(())
    }

    async fn hold_back(&mut self, topic: &Topic, _partition: Partition, pause: Duration) -> Result<(), PortError> {
        if let Some(index) = self.find(topic) {
            let held = &mut self.held[index];
            (held.next, held.held_back) = (held.committed.position.0, Some(Instant::now() + pause));
        }
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.release(&held);
    }
}
