//! A member of a group: takes topics nobody else in the group has, reads them in turn, commits.
//!
//! **Invariant:** a poll looks at the topics that somebody told of and at those whose records are still to be read, never at all of them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use domain::{Partition, Topic};
use ports::{Committed, Consumer, Delivery, ErrorKind, PortError};
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    groups::{Mailbox, Owner},
    keys::{encode_committed, group_key},
    reader::{self, Stretch},
    topics::TopicState,
};
use crate::{error::from_write, interner::Interner};

/// The most topics in one poll.
const TOPICS_MAX: usize = 1_024;
/// How long a topic that can't be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    group: Arc<str>,
    member: u64,
    mailbox: Arc<Mailbox>,
    subscribed: HashSet<Topic>,
    held: HashMap<Topic, Held>,
    /// The held topics that may have records to read, each once.
    turns: VecDeque<Topic>,
    /// The held topics that are held back, and until when.
    resting: Vec<(Instant, Topic)>,
    ids: Interner,
}

/// A topic this member has.
struct Held {
    state: Arc<TopicState>,
    committed: Committed,
    next: u64,
    has_turn: bool,
    /// Until when nothing of it is delivered.
    held_back: Option<Instant>,
}

impl EmbeddedConsumer {
    pub fn new(shared: Arc<Shared>, group: &str, member: u64) -> Self {
        let (group, mailbox) = (Arc::from(group), Arc::default());
        shared.members.join(member, &group, &mailbox);
        let (subscribed, held, turns, resting) = (HashSet::new(), HashMap::new(), VecDeque::new(), Vec::new());
        Self { shared, group, member, mailbox, subscribed, held, turns, resting, ids: Interner::default() }
    }

    /// Takes a topic that is free and wanted, lets go of one that was removed, gives one with records a turn.
    fn look_at(&mut self, state: &Arc<TopicState>) {
        let name = &state.name;
        match self.held.get(name) {
            Some(held) if held.state.number == state.number && !state.is_removed() => return self.give_turn(name),
            Some(held) if held.state.is_removed() => drop(self.held.remove(name)),
            Some(_) => return,
            None => {}
        }
        if state.is_removed() || !self.subscribed.contains(name) {
            return;
        }
        let owner = Owner { member: self.member, mailbox: Arc::clone(&self.mailbox) };
        let Some(committed) = state.groups.take(&self.group, owner) else { return };
        let held =
            Held { state: Arc::clone(state), committed, next: committed.position.0, has_turn: false, held_back: None };
        self.held.insert(name.clone(), held);
        self.give_turn(name);
    }

    fn give_turn(&mut self, name: &Topic) {
        let Some(held) = self.held.get_mut(name) else { return };
        if !held.has_turn && held.held_back.is_none() && held.next < held.state.extent().end {
            held.has_turn = true;
            self.turns.push_back(name.clone());
        }
    }

    /// Delivers nothing of a topic for a while.
    fn rest(&mut self, name: &Topic, pause: Duration) {
        let Some(held) = self.held.get_mut(name) else { return };
        let until = Instant::now() + pause;
        (held.has_turn, held.held_back) = (false, Some(until));
        self.turns.retain(|other| other != name);
        self.resting.retain(|(_, other)| other != name);
        self.resting.push((until, name.clone()));
    }

    /// Gives the topics a turn again that have been held back long enough.
    fn end_rests(&mut self) {
        let now = Instant::now();
        for (_, name) in self.resting.extract_if(.., |(until, _)| *until <= now).collect::<Vec<_>>() {
            if let Some(held) = self.held.get_mut(&name) {
                held.held_back = None;
            }
            self.give_turn(&name);
        }
    }

    fn release(&self, held: &Held) {
        held.state.groups.release(&self.group, self.member);
        self.shared.members.tell(Some(&self.group), &held.state);
    }

    /// The stretches that are to be read, of the topics whose turn is next, until they have `records_max` records; and how many turns these are.
    fn next_stretches(&self, records_max: usize) -> (Vec<Stretch>, usize) {
        let (mut stretches, mut turns, mut records) = (Vec::new(), 0, 0);
        for name in &self.turns {
            if records >= records_max.max(1) as u64 || stretches.len() >= TOPICS_MAX {
                break;
            }
            turns += 1;
            let Some(held) = self.held.get(name).filter(|held| !held.state.is_removed()) else { continue };
            let positions = held.next..held.state.extent().end;
            records += positions.end.saturating_sub(positions.start);
            stretches.push(Stretch { topic: Arc::clone(&held.state), positions });
        }
        (stretches, turns)
    }

    /// Reads the topics whose turn it is. Until that is done nothing has changed here, so that a poll that is dropped loses nothing.
    async fn read(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        let (stretches, turns) = self.next_stretches(records_max);
        let first = stretches.first().map(|stretch| stretch.topic.name.clone());
        let read = match (reader::read_all(&self.shared, stretches, records_max, &mut self.ids).await, first) {
            (Err(error), Some(first)) => {
                self.rest(&first, UNREADABLE_PAUSE);
                return Err(error);
            }
            (read, _) => read?,
        };
        let mut unread = VecDeque::new();
        for name in self.turns.drain(..turns) {
            let Some(held) = self.held.get_mut(&name) else { continue };
            match read.reached.get(&held.state.number) {
                Some(next) => (held.next, held.has_turn) = (*next, false),
                None => unread.push_back(name),
            }
        }
        unread.append(&mut self.turns);
        self.turns = unread;
        for topic in read.deliveries.iter().map(|delivery| &delivery.topic) {
            self.give_turn(topic);
        }
        Ok(read.deliveries)
    }

    /// How many topics the next poll looks at.
    #[cfg(test)]
    pub fn to_look_at(&self) -> usize {
        self.mailbox.len() + self.turns.len()
    }

    fn find(&self, topic: &Topic) -> Option<&Held> {
        self.held.get(topic).filter(|held| !held.state.is_removed())
    }

    /// Saves commits as one batch.
    ///
    /// Not synced: it stands in the journal behind the store's writes, and what is lost with it is done again.
    fn save(&self, commits: &[(Arc<TopicState>, Committed)]) -> Result<(), PortError> {
        let groups = &self.shared.keyspaces.groups;
        let mut batch = self.shared.database.batch();
        for (state, committed) in commits {
            batch.insert(groups, group_key(state.number, &self.group), encode_committed(committed));
        }
        batch.commit().map_err(|e| from_write("committing positions", e))
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.subscribed = topics.iter().cloned().collect();
        let unwanted: Vec<Held> =
            self.held.extract_if(|name, _| !self.subscribed.contains(name)).map(|(_, held)| held).collect();
        unwanted.iter().for_each(|held| self.release(held));
        for topic in topics.iter().filter(|topic| !self.held.contains_key(topic)).collect::<Vec<_>>() {
            if let Some(state) = self.shared.topics.get(topic) {
                self.look_at(&state);
            }
        }
        Ok(())
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait;
        loop {
            self.mailbox.take().iter().for_each(|state| self.look_at(state));
            self.end_rests();
            while !self.turns.is_empty() {
                let deliveries = self.read(records_max).await?;
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
            }
            let until =
                self.resting.iter().map(|(until, _)| *until).min().map_or(deadline, |until| until.min(deadline));
            if timeout_at(until, self.mailbox.told()).await.is_err() && until >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    fn committed(&self, topic: &Topic, _partition: Partition) -> Committed {
        self.find(topic).map(|held| held.committed).unwrap_or_default()
    }

    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>> {
        let lost = |topic: &Topic| PortError::new(ErrorKind::Conflict, format!("topic `{topic}` is not this member's"));
        let own = |topic: &Topic| {
            let held = self.find(topic).filter(|held| held.state.groups.is_with(&self.group, self.member));
            held.map(|held| Arc::clone(&held.state))
        };
        let states: Vec<_> = commits.iter().map(|(topic, _)| own(topic)).collect();
        let wanted =
            states.iter().zip(commits).filter_map(|(state, (_, committed))| Some((state.clone()?, *committed)));
        let saved = self.save(&wanted.collect::<Vec<_>>());
        let mut answers = Vec::with_capacity(commits.len());
        for (state, (topic, committed)) in states.iter().zip(commits) {
            let (Some(state), Some(held)) = (state, self.held.get_mut(topic)) else {
                answers.push(Err(lost(topic)));
                continue;
            };
            if let Err(error) = &saved {
                answers.push(Err(PortError::new(error.kind(), error.to_string())));
                continue;
            }
            held.committed = *committed;
            state.groups.set_committed(&self.group, *committed);
            self.shared.changes.touch(state);
            answers.push(Ok(()));
        }
        answers
    }

    async fn hold_back(&mut self, topic: &Topic, _partition: Partition, pause: Duration) -> Result<(), PortError> {
        if let Some(held) = self.held.get_mut(topic) {
            held.next = held.committed.position.0;
        }
        self.rest(topic, pause);
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.shared.members.leave(self.member);
        self.held.values().for_each(|held| self.release(held));
    }
}
