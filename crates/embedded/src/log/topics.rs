//! What topics there are, how far each reaches, and what groups have committed there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use domain::Topic;
use ports::{ErrorKind, PortError, TopicKind};

use super::{
    Keyspaces,
    groups::Groups,
    keys::{GARBAGE, NAME, decode_committed, decode_topic, load_extent, parse_garbage_key, parse_group_key},
};
use crate::{
    codec::Malformed,
    error::{from_database, from_malformed},
};

/// How far a topic reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicExtent {
    /// Position of the oldest record.
    pub start: u64,
    /// Position of the next record.
    pub end: u64,
    /// Bytes of its entries.
    pub bytes: u64,
    /// Acceptance time of the newest record, in microseconds since the epoch.
    pub accepted_last: i64,
}

/// A topic as it is now.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub name: Topic,
    /// Never reused: a topic made again under an old name has a new one.
    pub number: u32,
    pub kind: TopicKind,
    pub groups: Groups,
    extent: Mutex<TopicExtent>,
    removed: AtomicBool,
    /// Its last change, by the count of [`Changes`](super::changes::Changes), which alone moves it.
    pub changed: AtomicU64,
}

impl TopicState {
    pub fn new(name: Topic, number: u32, kind: TopicKind, extent: TopicExtent) -> Self {
        let (groups, extent, removed) = (Groups::default(), Mutex::new(extent), AtomicBool::new(false));
        Self { name, number, kind, groups, extent, removed, changed: AtomicU64::new(0) }
    }

    pub fn extent(&self) -> TopicExtent {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// All topics by name.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: RwLock<HashMap<Topic, Arc<TopicState>>>,
    /// Bytes of the entries of all of them.
    bytes: AtomicU64,
}

impl Topics {
    /// Reads them from the folder.
    pub fn load(keyspaces: &Keyspaces) -> Result<Self, PortError> {
        let topics = Self::default();
        let mut by_number = HashMap::new();
        for item in keyspaces.topics.prefix([NAME]) {
            let (key, value) = item.into_inner().map_err(|e| from_database("reading the topics", e))?;
            let name = std::str::from_utf8(&key[1..])
                .map_err(|_| from_malformed("a topic", Malformed("its name is not UTF-8")))?;
            let (number, kind) = decode_topic(&value).map_err(|e| from_malformed(&format!("topic `{name}`"), e))?;
            // A removed topic keeps its name and extent, so that its positions are never used again.
            let Some(kind) = kind else { continue };
            let extent = load_extent(keyspaces, number)?;
            let state = Arc::new(TopicState::new(Topic::from_name(name), number, kind, extent));
            by_number.insert(number, Arc::clone(&state));
            topics.insert(state);
        }
        for item in keyspaces.groups.iter() {
            let (key, value) = item.into_inner().map_err(|e| from_database("reading a group's position", e))?;
            let (number, group) = parse_group_key(&key)?;
            let Some(state) = by_number.get(&number) else { continue };
            let committed = decode_committed(&value);
            let committed = committed.map_err(|e| from_malformed(&format!("the position of group `{group}`"), e))?;
            state.groups.set_committed(group, committed);
        }
        Ok(topics)
    }

    pub fn get(&self, topic: &Topic) -> Option<Arc<TopicState>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    pub fn all(&self) -> Vec<Arc<TopicState>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn insert(&self, state: Arc<TopicState>) {
        self.bytes.fetch_add(state.extent().bytes, Ordering::Relaxed);
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).insert(state.name.clone(), state);
    }

    /// Lets a topic reach as far as the disk has it.
    pub fn set_extent(&self, state: &TopicState, extent: TopicExtent) {
        let before = std::mem::replace(&mut *state.extent.lock().unwrap_or_else(PoisonError::into_inner), extent);
        self.bytes.fetch_add(extent.bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(before.bytes, Ordering::Relaxed);
    }

    pub fn remove(&self, state: &TopicState) {
        state.removed.store(true, Ordering::Release);
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(&state.name);
        self.bytes.fetch_sub(state.extent().bytes, Ordering::Relaxed);
    }

    /// Says whether the log is below its bound.
    pub fn check_size(&self, size_max: u64) -> Result<(), PortError> {
        let size = self.bytes.load(Ordering::Relaxed);
        if size < size_max {
            return Ok(());
        }
        let message =
            format!("the log holds {size} bytes of its bound of {size_max}; raise the bound or shorten its retention");
        Err(PortError::new(ErrorKind::Full, message))
    }
}

/// The numbers of removed topics whose data are still to be taken out.
pub(crate) fn load_garbage(keyspaces: &Keyspaces) -> Result<Vec<u32>, PortError> {
    let keys = keyspaces.topics.prefix([GARBAGE]).map(|item| item.key());
    keys.map(|key| parse_garbage_key(&key.map_err(|e| from_database("reading the topics", e))?)).collect()
}
