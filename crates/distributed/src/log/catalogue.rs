//! The catalogue: which topics there are, of which kind, and which groups work on them; in a compacted topic of its own that every
//! process follows.
//!
//! Kafka knows neither kinds nor topics that were removed. A removed topic stays on Kafka, emptied, so that its positions are never
//! used again; its next life is a new generation. Keys are `{topic}` and `{topic}/{group}`, values JSON.
//!
//! **Invariant:** a group stands in the catalogue before it commits on a topic, so that retention waits for it even where Kafka has
//! forgotten its position.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{Topic, from_json};
use ports::{ErrorKind, PortError, TopicKind};
use rdkafka::Message;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::fetch::{Fetch, WAIT_MAX};

/// A topic as it stands in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What it holds; `None` once it was removed.
    #[serde(with = "kind_name", default)]
    pub kind: Option<TopicKind>,
    /// How often a topic of this name was made.
    pub generation: u32,
}

/// That a group works on a topic.
#[derive(Serialize, Deserialize)]
struct GroupEntry {
    generation: u32,
}

/// A topic that is there: its kind and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Live {
    pub kind: TopicKind,
    pub generation: u32,
}

/// What the catalogue says, as far as it was read.
#[derive(Default)]
struct State {
    topics: HashMap<Topic, Entry>,
    groups: HashMap<Topic, BTreeMap<String, u32>>,
}

/// Follows the catalogue.
pub(super) struct Catalogue {
    state: Mutex<State>,
    /// The position behind what was read; moves with everything that is read.
    read_to: watch::Sender<u64>,
    /// Counts the changes of topics.
    topics: watch::Sender<u64>,
}

impl Catalogue {
    pub fn new() -> Self {
        Self { state: Mutex::default(), read_to: watch::channel(0).0, topics: watch::channel(0).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a topic, removed or not.
    pub fn entry(&self, topic: &Topic) -> Option<Entry> {
        self.state().topics.get(topic).copied()
    }

    /// A topic that is there.
    pub fn live(&self, topic: &Topic) -> Option<Live> {
        let Entry { kind, generation } = self.entry(topic)?;
        Some(Live { kind: kind?, generation })
    }

    /// All topics that are there.
    pub fn all(&self) -> Vec<(Topic, Live)> {
        let state = self.state();
        let live = |entry: &Entry| Some(Live { kind: entry.kind?, generation: entry.generation });
        state.topics.iter().filter_map(|(topic, entry)| Some((topic.clone(), live(entry)?))).collect()
    }

    /// The groups that ever committed on the topic as it is now.
    pub fn groups(&self, topic: &Topic) -> BTreeSet<String> {
        let state = self.state();
        let Some(generation) = state.topics.get(topic).map(|entry| entry.generation) else { return BTreeSet::new() };
        let groups = state.groups.get(topic).into_iter().flatten();
        groups.filter(|(_, its)| **its == generation).map(|(group, _)| group.clone()).collect()
    }

    /// Moves when a topic was made or removed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.topics.subscribe()
    }

    /// All topics that are there, each with the groups that ever committed on it as it is now.
    pub fn all_with_groups(&self) -> Vec<(Topic, Live, Vec<String>)> {
        let state = self.state();
        let of = |(topic, entry): (&Topic, &Entry)| {
            let live = Live { kind: entry.kind?, generation: entry.generation };
            let groups = state.groups.get(topic).into_iter().flatten().filter(|(_, its)| **its == live.generation);
            Some((topic.clone(), live, groups.map(|(group, _)| group.clone()).collect()))
        };
        state.topics.iter().filter_map(of).collect()
    }

    /// Waits until everything before `end` was read.
    ///
    /// # Errors
    /// `Unavailable` where that takes too long.
    pub async fn read_to(&self, end: u64, longest: Duration) -> Result<(), PortError> {
        let mut changes = self.read_to.subscribe();
        match timeout(longest, changes.wait_for(|read_to| *read_to >= end)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(PortError::new(ErrorKind::Unavailable, "the catalogue of topics can't be read")),
        }
    }

    /// Follows the catalogue for ever.
    pub async fn follow(self: Arc<Self>, fetch: Fetch) {
        loop {
            while let Some(polled) = fetch.next() {
                if let Ok(message) = polled {
                    self.take(message.key(), message.payload());
                    self.read_to.send_modify(|read_to| *read_to = message.offset() as u64 + 1);
                }
            }
            fetch.wait(Instant::now() + WAIT_MAX).await;
        }
    }

    /// Takes an entry; what is none is passed over.
    fn take(&self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let (Some(Ok(key)), Some(value)) = (key.map(std::str::from_utf8), value) else { return };
        let mut state = self.state();
        match key.split_once('/') {
            None => match from_json(value) {
                Ok(entry) => {
                    state.topics.insert(Topic::from_name(key), entry);
                    drop(state);
                    self.topics.send_modify(|count| *count += 1);
                }
                Err(error) => tracing::warn!(key, %error, "an entry of the catalogue of topics can't be read"),
            },
            Some((topic, group)) => {
                if let Ok(GroupEntry { generation }) = from_json(value) {
                    let groups = state.groups.entry(Topic::from_name(topic)).or_default();
                    groups.insert(group.to_owned(), generation);
                }
            }
        }
    }
}

/// Key and value of a topic's entry.
pub(super) fn topic_entry(topic: &Topic, entry: Entry) -> (String, Vec<u8>) {
    (topic.as_str().to_owned(), serde_json::to_vec(&entry).expect("a kind and a number are JSON"))
}

/// Key and value of a group's entry.
pub(super) fn group_entry(topic: &Topic, group: &str, generation: u32) -> (String, Vec<u8>) {
    let value = serde_json::to_vec(&GroupEntry { generation }).expect("a number is JSON");
    (format!("{topic}/{group}"), value)
}

/// Kinds by name.
mod kind_name {
    use ports::TopicKind;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    const NAMES: [(TopicKind, &str); 3] =
        [(TopicKind::Records, "records"), (TopicKind::Documents, "documents"), (TopicKind::Notices, "notices")];

    pub fn serialize<S: Serializer>(kind: &Option<TopicKind>, serializer: S) -> Result<S::Ok, S::Error> {
        let name = kind.and_then(|kind| NAMES.iter().find(|(known, _)| *known == kind));
        name.map(|(_, name)| *name).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TopicKind>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let known = NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(kind, _)| Some(*kind)).ok_or_else(|| D::Error::custom(format!("kind `{name}` is unknown")))
    }
}
