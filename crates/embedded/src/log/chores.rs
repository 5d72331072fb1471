//! Work of the log that nobody waits for: retention, and taking out the data of removed topics. The committer does it between appends, in
//! slices so short that no append notices, and for no more than a tenth of its time.
//!
//! **Invariant:** what is under way is on the disk: after a crash it begins again where it was.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::Timestamp;
use fjall::Keyspace;
use ports::{PortError, SeenAhead, TopicKind, is_ahead};

use super::{
    Shared,
    keys::{encode_extent, extent_key, garbage_key, parse_record_key, record_key},
    topics::{TopicState, load_garbage},
};
use crate::{
    error::{from_database, from_write},
    records_codec::accepted_at,
};

/// How long a slice takes, about.
const SLICE: Duration = Duration::from_millis(2);
/// How many times as long as a slice took nothing more of the kind is done.
const REST: u32 = 9;
/// The most entries that one batch takes out.
const ENTRIES_MAX: usize = 256;
/// Time between two looks at what waits for a group.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest time between two looks at what is due, whatever the clock does.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is to be done, and when.
pub(crate) struct Chores {
    shared: Arc<Shared>,
    /// The topics that hold records which retention takes one day, by when they are to be looked at.
    due: BTreeMap<(Timestamp, u32), Arc<TopicState>>,
    /// The same by number.
    due_at: HashMap<u32, Timestamp>,
    removed: VecDeque<Removed>,
    /// By number, the topics at whose front stands what is stamped ahead of the clock.
    ahead: HashMap<u32, SeenAhead>,
    /// When the next slice may begin.
    rested: Instant,
}

/// A removed topic whose data are being taken out.
struct Removed {
    number: u32,
    /// The keyspace at work, and the key behind which it goes on.
    stage: usize,
    behind: Option<Vec<u8>>,
}

/// What is left of a topic to be done by retention.
enum Left {
    /// More, at once.
    More,
    /// To be looked at again at a time.
    From(Timestamp),
    /// Nothing, until it gets records.
    Nothing,
}

impl Chores {
    /// Goes on where the folder was left.
    pub fn open(shared: Arc<Shared>) -> Result<Self, PortError> {
        let removed = load_garbage(&shared.keyspaces)?.into_iter().map(Removed::new).collect();
        let rested = Instant::now();
        let mut chores =
            Self { shared, due: BTreeMap::new(), due_at: HashMap::new(), removed, ahead: HashMap::new(), rested };
        for topic in chores.shared.topics.all() {
            if topic.extent().start < topic.extent().end {
                chores.schedule(&topic, Timestamp::MIN);
            }
        }
        Ok(chores)
    }

    /// Takes note that a topic has got records.
    pub fn note(&mut self, topic: &Arc<TopicState>) {
        if !self.due_at.contains_key(&topic.number) {
            // Where that is ahead of the clock it says nothing.
            let at = Timestamp::from_micros(topic.extent().accepted_last).min(self.shared.clock.now());
            self.schedule(topic, at.saturating_add(self.shared.bounds.retention));
        }
    }

    /// Has the data of a removed topic taken out.
    pub fn remove(&mut self, topic: &TopicState) {
        if let Some(at) = self.due_at.remove(&topic.number) {
            self.due.remove(&(at, topic.number));
        }
        self.ahead.remove(&topic.number);
        self.removed.push_back(Removed::new(topic.number));
    }

    fn schedule(&mut self, topic: &Arc<TopicState>, at: Timestamp) {
        if topic.kind == TopicKind::Documents {
            return;
        }
        if let Some(before) = self.due_at.insert(topic.number, at) {
            self.due.remove(&(before, topic.number));
        }
        self.due.insert((at, topic.number), Arc::clone(topic));
    }

    /// How long nothing is to be done.
    pub fn wait(&self) -> Duration {
        let due = match self.due.first_key_value() {
            _ if !self.removed.is_empty() => Duration::ZERO,
            Some(((at, _), _)) => at.since(self.shared.clock.now()).min(WAIT_MAX),
            None => WAIT_MAX,
        };
        due.max(self.rested.saturating_duration_since(Instant::now()))
    }

    /// Does a slice of what is due, unless the last one was just now.
    pub fn work(&mut self) {
        let began = Instant::now();
        if began < self.rested {
            return;
        }
        let now = self.shared.clock.believed().ok();
        while began.elapsed() < SLICE && self.step(now) {}
        self.rested = Instant::now() + began.elapsed() * REST;
    }

    /// Does everything that can be done now.
    pub fn finish(&mut self) {
        let now = self.shared.clock.believed().ok();
        for topic in self.due.values().cloned().collect::<Vec<_>>() {
            self.schedule(&topic, Timestamp::MIN);
        }
        while self.step(now) {}
    }

    /// Does one thing; says whether there was any. Without a time that is believed there is no retention.
    fn step(&mut self, now: Option<Timestamp>) -> bool {
        if let Some(mut removed) = self.removed.pop_front() {
            match removed.take_out(&self.shared) {
                Ok(true) => {}
                Ok(false) => self.removed.push_front(removed),
                // The next start tries again.
                Err(error) => tracing::error!(%error, "the data of a removed topic can't be taken out"),
            }
            return true;
        }
        let Some(now) = now else { return false };
        let Some(((at, number), topic)) = self.due.first_key_value().map(|(key, topic)| (*key, Arc::clone(topic)))
        else {
            return false;
        };
        if at > now {
            return false;
        }
        self.due.remove(&(at, number));
        self.due_at.remove(&number);
        match sweep(&self.shared, &topic, now, &mut self.ahead) {
            Ok(Left::More) => self.schedule(&topic, Timestamp::MIN),
            Ok(Left::From(at)) => self.schedule(&topic, at),
            Ok(Left::Nothing) => {}
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "retention of the log failed");
                self.schedule(&topic, now.saturating_add(AGAIN));
            }
        }
        true
    }
}

impl Removed {
    fn new(number: u32) -> Self {
        Self { number, stage: 0, behind: None }
    }

    /// Takes out some of the data; says whether that was the last.
    fn take_out(&mut self, shared: &Shared) -> Result<bool, PortError> {
        let keyspaces = &shared.keyspaces;
        let Some(keyspace) = [&keyspaces.records, &keyspaces.document_keys, &keyspaces.groups].get(self.stage).copied()
        else {
            let done = keyspaces.topics.remove(garbage_key(self.number));
            return done.map(|()| true).map_err(|e| from_write("removing a topic", e));
        };
        if !self.take_some(shared, keyspace)? {
            (self.stage, self.behind) = (self.stage + 1, None);
        }
        Ok(false)
    }

    /// Takes some keys out of a keyspace; says whether there may be more.
    fn take_some(&mut self, shared: &Shared, keyspace: &Keyspace) -> Result<bool, PortError> {
        let doing = |e| from_database("removing a topic", e);
        let (began, prefix) = (Instant::now(), self.number.to_be_bytes());
        // Not from the beginning: what was taken out there is passed over slowly.
        let from = self.behind.take().unwrap_or_else(|| prefix.to_vec());
        let mut batch = shared.database.batch();
        for item in keyspace.range(from..).take(ENTRIES_MAX) {
            let key = item.key().map_err(doing)?;
            if !key.starts_with(&prefix) {
                break;
            }
            self.behind = Some(key.to_vec());
            batch.remove(keyspace, key);
            if began.elapsed() >= SLICE {
                break;
            }
        }
        batch.commit().map_err(|e| from_write("removing a topic", e))?;
        Ok(self.behind.is_some())
    }
}

/// Takes out of a topic some of what is past its retention and read by every group.
fn sweep(
    shared: &Shared,
    topic: &Arc<TopicState>,
    now: Timestamp,
    ahead: &mut HashMap<u32, SeenAhead>,
) -> Result<Left, PortError> {
    let keyspaces = &shared.keyspaces;
    let mut extent = topic.extent();
    let retention = shared.bounds.retention;
    let kept_from = now.saturating_sub(retention);
    // Nobody has to read notices; records wait for their first group.
    let read_to = match topic.kind {
        TopicKind::Notices => extent.end,
        _ => topic.groups.lowest_committed().unwrap_or(0),
    };
    let (began, mut batch, mut left) = (Instant::now(), shared.database.batch(), Left::More);
    let all = record_key(topic.number, extent.start, 0)..=record_key(topic.number, u64::MAX, u32::MAX);
    let mut entries = keyspaces.records.range(all);
    for taken in 0..=ENTRIES_MAX {
        let Some(item) = entries.next() else {
            left = Left::Nothing;
            break;
        };
        if taken == ENTRIES_MAX || began.elapsed() >= SLICE {
            break;
        }
        let (key, value) = item.into_inner().map_err(|e| from_database("reading the log", e))?;
        let (position, count) = parse_record_key(&key)?;
        let next = position + u64::from(count);
        // What can't be read is kept for as long as it takes to be dead-lettered, then goes with its neighbours.
        let mut at = accepted_at(&value).unwrap_or(Timestamp::MAX);
        if is_ahead(at, now) {
            let seen = ahead.get(&topic.number).filter(|seen| next <= seen.end).copied();
            at = seen.unwrap_or(SeenAhead { at: now, end: extent.end }).at;
            if seen.is_none() {
                ahead.insert(topic.number, SeenAhead { at, end: extent.end });
            }
        }
        if at >= kept_from {
            left = Left::From(at.saturating_add(retention + Duration::from_micros(1)));
            break;
        }
        if next > read_to {
            left = Left::From(now.saturating_add(AGAIN));
            break;
        }
        extent.start = next;
        extent.bytes = extent.bytes.saturating_sub((key.len() + value.len()) as u64);
        batch.remove(&keyspaces.records, key);
    }
    if !batch.is_empty() {
        batch.insert(&keyspaces.topics, extent_key(topic.number), encode_extent(extent));
        batch.commit().map_err(|e| from_write("removing old records", e))?;
        shared.topics.set_extent(topic, extent);
        shared.changes.touch(topic);
    }
    Ok(left)
}
