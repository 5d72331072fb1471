//! Consumer groups in memory: who has which partition, and how far the group is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use domain::{Partition, Position, Topic};
use tokio::time::Instant;

use super::log::{Shared, State, WAIT_MAX};
use crate::{Committed, Consumer, Delivery, ErrorKind, PortError};

/// A partition of a topic.
type Place = (Topic, Partition);

/// The members of a group and what it has committed.
#[derive(Default)]
pub(super) struct Group {
    /// The topics each member works on.
    members: BTreeMap<u64, BTreeSet<Topic>>,
    /// Who has which partition.
    owners: BTreeMap<Place, Owner>,
    committed: BTreeMap<Place, Committed>,
}

/// Who has a partition, and since which sharing out.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    member: u64,
    assignment: u64,
}

impl Group {
    /// What the group has committed on a partition.
    pub(super) fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        let committed = self.committed.get(&(topic.clone(), partition)).copied();
        committed.unwrap_or(Committed { partition, ..Committed::default() })
    }

    /// How far the group has read a partition; `None` where it never committed on the topic.
    pub(super) fn read_to(&self, topic: &Topic, partition: Partition) -> Option<Position> {
        let knows_topic = self.committed.keys().any(|(known, _)| known == topic);
        knows_topic.then(|| self.committed(topic, partition).position)
    }

    /// Forgets what was committed on a topic.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.committed.retain(|(known, _), _| known != topic);
    }

    /// The members that work on a topic.
    fn working_on<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = u64> + 'a {
        self.members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| *member)
    }

    /// Gives each partition to one of the members that work on its topic: to the one that has it already, unless that one has
    /// more than its share; else to the one with the least.
    fn share(&mut self, places: &[Place], mut next_assignment: impl FnMut() -> u64) {
        let wanted: Vec<&Place> = places.iter().filter(|(topic, _)| self.working_on(topic).next().is_some()).collect();
        let working = self.members.values().filter(|topics| !topics.is_empty()).count();
        let share = wanted.len().div_ceil(working.max(1));
        let mut loads: BTreeMap<u64, usize> = BTreeMap::new();
        let mut owners = BTreeMap::new();
        for place in &wanted {
            let Some(owner) = self.owners.get(place) else { continue };
            let load = loads.entry(owner.member).or_default();
            if *load < share && self.working_on(&place.0).any(|member| member == owner.member) {
                *load += 1;
                owners.insert((*place).clone(), *owner);
            }
        }
        for place in wanted {
            if owners.contains_key(place) {
                continue;
            }
            let least = self.working_on(&place.0).min_by_key(|member| loads.get(member).copied().unwrap_or(0));
            let Some(member) = least else { continue };
            *loads.entry(member).or_default() += 1;
            owners.insert(place.clone(), Owner { member, assignment: next_assignment() });
        }
        self.owners = owners;
    }
}

impl State {
    /// Shares out the partitions of all topics anew, in every group.
    pub(super) fn share_partitions(&mut self) {
        let mut places = Vec::new();
        for (topic, state) in &self.topics {
            places.extend((0..).map(Partition).zip(&state.partitions).map(|(partition, _)| (topic.clone(), partition)));
        }
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.values_mut() {
            group.share(&places, || self.next_number());
        }
        self.groups = groups;
    }
}

/// A member of a group.
pub(super) struct Member {
    shared: Arc<Shared>,
    group: String,
    id: u64,
    held: BTreeMap<Place, Held>,
    /// The partition that was polled last.
    last: Option<Place>,
}

/// A partition that a member has.
struct Held {
    assignment: u64,
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

impl Member {
    /// A new member, working on nothing yet.
    pub(super) fn join(shared: Arc<Shared>, group: &str) -> Self {
        let mut state = shared.lock();
        let id = state.next_number();
        state.groups.entry(group.to_owned()).or_default().members.insert(id, BTreeSet::new());
        drop(state);
        Self { shared, group: group.to_owned(), id, held: BTreeMap::new(), last: None }
    }

    /// The next records of its partitions, once there are some or it is `until`.
    async fn poll_until(&mut self, records_max: usize, until: Instant) -> Result<Vec<Delivery>, PortError> {
        let Self { shared, group, id, held, last } = self;
        let ask = |state: &mut State| {
            if let Some(group) = state.groups.get(group) {
                follow(held, group, *id);
            }
            let behind = held.keys().filter(|place| Some(*place) > last.as_ref());
            let turns: Vec<Place> =
                behind.chain(held.keys().filter(|place| Some(*place) <= last.as_ref())).cloned().collect();
            let (mut deliveries, mut left) = (Vec::new(), records_max.max(1));
            for place in turns {
                let Some(its) = held.get_mut(&place).filter(|its| left > 0 && !its.is_held_back()) else { continue };
                let records = &state.topic(&place.0)?.partitions[place.1.0 as usize];
                let read = records.read(&place.0, place.1, its.next, left);
                if let Some(newest) = read.last() {
                    its.next = newest.next_position().0;
                    left = left.saturating_sub(read.iter().map(|delivery| delivery.content.len()).sum());
                    deliveries.extend(read);
                    *last = Some(place);
                }
            }
            Ok(deliveries)
        };
        shared.wait_until(until, ask).await
    }

    fn commit_one(&mut self, state: &mut State, topic: &Topic, committed: Committed) -> Result<(), PortError> {
        let place = (topic.clone(), committed.partition);
        let group = state.groups.entry(self.group.clone()).or_default();
        let held = self
            .held
            .get_mut(&place)
            .filter(|held| group.owners.get(&place) == Some(&Owner { member: self.id, assignment: held.assignment }));
        let Some(held) = held else {
            let message = format!("partition `{}` of topic `{topic}` is not this member's", committed.partition);
            return Err(PortError::new(ErrorKind::Conflict, message));
        };
        held.committed = committed;
        group.committed.insert(place, committed);
        state.touch(topic);
        Ok(())
    }
}

/// Takes up the partitions that the member has got, and lets go of those that it has no longer.
fn follow(held: &mut BTreeMap<Place, Held>, group: &Group, member: u64) {
    held.retain(|place, its| group.owners.get(place) == Some(&Owner { member, assignment: its.assignment }));
    for (place, owner) in group.owners.iter().filter(|(_, owner)| owner.member == member) {
        held.entry(place.clone()).or_insert_with(|| {
            let committed = group.committed(&place.0, place.1);
            Held { assignment: owner.assignment, committed, next: committed.position.0, held_back: None }
        });
    }
}

#[async_trait]
impl Consumer for Member {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        let mut state = self.shared.lock();
        let group = state.groups.entry(self.group.clone()).or_default();
        group.members.insert(self.id, topics.iter().cloned().collect());
        state.share_partitions();
        if let Some(group) = state.groups.get(&self.group) {
            follow(&mut self.held, group, self.id);
        }
        drop(state);
        self.shared.changed();
        Ok(())
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            let held_back =
                self.held.values().filter(|held| held.is_held_back()).filter_map(|held| held.held_back).min();
            let until = held_back.map_or(deadline, |until| until.min(deadline));
            let deliveries = self.poll_until(records_max, until).await?;
            if !deliveries.is_empty() || Instant::now() >= deadline {
                return Ok(deliveries);
            }
        }
    }

    fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        let held = self.held.get(&(topic.clone(), partition));
        held.map_or(Committed { partition, ..Committed::default() }, |held| held.committed)
    }

    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let commit = |(topic, committed): &(Topic, Committed)| self.commit_one(&mut state, topic, *committed);
        let answers = commits.iter().map(commit).collect();
        drop(state);
        shared.changed();
        answers
    }

    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError> {
        if let Some(held) = self.held.get_mut(&(topic.clone(), partition)) {
            held.next = held.committed.position.0;
            held.held_back = Some(Instant::now() + pause);
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.members.remove(&self.id);
        }
        state.share_partitions();
        drop(state);
        self.shared.changed();
    }
}
