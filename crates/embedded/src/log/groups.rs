//! Groups on one topic: what each has committed, and which of its members has the topic; and how members hear of topics.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ports::Committed;
use tokio::sync::Notify;

use super::topics::TopicState;

/// Topics that a member should look at, each once; whoever has something to tell puts them in.
#[derive(Default)]
pub(crate) struct Mailbox {
    topics: Mutex<HashMap<u32, Arc<TopicState>>>,
    told: Notify,
}

impl Mailbox {
    pub fn tell(&self, topic: &Arc<TopicState>) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.number).or_insert_with(|| Arc::clone(topic));
        drop(topics);
        self.told.notify_one();
    }

    pub fn take(&self) -> Vec<Arc<TopicState>> {
        let topics = std::mem::take(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner));
        topics.into_values().collect()
    }

    /// How many topics are in.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until something was put in since the last wait.
    pub async fn told(&self) {
        self.told.notified().await;
    }
}

/// The member of a group that has a topic.
#[derive(Clone)]
pub(crate) struct Owner {
    pub member: u64,
    pub mailbox: Arc<Mailbox>,
}

/// A group on a topic.
#[derive(Default)]
struct Place {
    committed: Option<Committed>,
    owner: Option<Owner>,
}

/// The groups on one topic, by name.
#[derive(Default)]
pub(crate) struct Groups(Mutex<BTreeMap<Arc<str>, Place>>);

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.places().keys()).finish()
    }
}

impl Groups {
    fn places(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a group has committed; the default where that is nothing.
    pub fn committed(&self, group: &str) -> Committed {
        self.places().get(group).and_then(|place| place.committed).unwrap_or_default()
    }

    pub fn set_committed(&self, group: &str, committed: Committed) {
        let mut places = self.places();
        match places.get_mut(group) {
            Some(place) => place.committed = Some(committed),
            None => {
                let place = Place { committed: Some(committed), owner: None };
                places.insert(group.into(), place);
            }
        }
    }

    /// The lowest position that any group has committed; `None` where none ever has.
    pub fn lowest_committed(&self) -> Option<u64> {
        self.places().values().filter_map(|place| Some(place.committed?.position.0)).min()
    }

    /// Gives the topic to a member of a group, unless another has it; answers with what the group has committed.
    pub fn take(&self, group: &Arc<str>, owner: Owner) -> Option<Committed> {
        let mut places = self.places();
        let place = places.entry(Arc::clone(group)).or_default();
        if place.owner.as_ref().is_some_and(|its| its.member != owner.member) {
            return None;
        }
        place.owner = Some(owner);
        Some(place.committed.unwrap_or_default())
    }

    pub fn is_with(&self, group: &str, member: u64) -> bool {
        let places = self.places();
        places.get(group).and_then(|place| place.owner.as_ref()).is_some_and(|owner| owner.member == member)
    }

    /// Takes the topic back from a member.
    pub fn release(&self, group: &str, member: u64) {
        let mut places = self.places();
        let Some(place) = places.get_mut(group) else { return };
        if place.owner.as_ref().is_some_and(|owner| owner.member == member) {
            place.owner = None;
        }
        if place.committed.is_none() && place.owner.is_none() {
            places.remove(group);
        }
    }

    /// Tells the members that have the topic to look at it.
    pub fn tell_owners(&self, topic: &Arc<TopicState>) {
        for owner in self.places().values().filter_map(|place| place.owner.as_ref()) {
            owner.mailbox.tell(topic);
        }
    }
}

/// A member and the group it is of.
struct Member {
    group: Arc<str>,
    mailbox: Arc<Mailbox>,
}

/// The members of all groups, by number.
#[derive(Default)]
pub(crate) struct Members(Mutex<HashMap<u64, Member>>);

impl Members {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn join(&self, member: u64, group: &Arc<str>, mailbox: &Arc<Mailbox>) {
        self.all().insert(member, Member { group: Arc::clone(group), mailbox: Arc::clone(mailbox) });
    }

    pub fn leave(&self, member: u64) {
        self.all().remove(&member);
    }

    /// Tells every member of a group, or of all groups, to look at a topic.
    pub fn tell(&self, group: Option<&str>, topic: &Arc<TopicState>) {
        for member in self.all().values().filter(|member| group.is_none_or(|group| *member.group == *group)) {
            member.mailbox.tell(topic);
        }
    }
}
