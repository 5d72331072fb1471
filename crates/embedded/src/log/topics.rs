//! What topics there are, how far each reaches, and what groups have committed there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::{Partition, Position, Timestamp, Topic};
use ports::{Committed, ErrorKind, PortError, TopicKind, Totals};

use super::Keyspaces;
use crate::{
    codec::{Decoder, Malformed, put_signed, put_varint},
    error::{from_database, from_malformed},
};

/// First byte of a key in the topics keyspace: a topic by name, an extent by number.
const NAME: u8 = b'n';
const EXTENT: u8 = b'e';
const NUMBER_LAST: &[u8] = b"l";

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
    extent: Mutex<TopicExtent>,
    removed: AtomicBool,
}

impl TopicState {
    pub fn new(name: Topic, number: u32, kind: TopicKind, extent: TopicExtent) -> Self {
        Self { name, number, kind, extent: Mutex::new(extent), removed: AtomicBool::new(false) }
    }

    pub fn extent(&self) -> TopicExtent {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_extent(&self, extent: TopicExtent) {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner) = extent;
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }
}

/// All topics by name.
#[derive(Debug, Default)]
pub(crate) struct Topics(RwLock<HashMap<Topic, Arc<TopicState>>>);

impl Topics {
    /// Reads them from the folder.
    pub fn load(keyspaces: &Keyspaces) -> Result<Self, PortError> {
        let mut topics = HashMap::new();
        for item in keyspaces.topics.prefix([NAME]) {
            let (key, value) = item.into_inner().map_err(|e| from_database("reading the topics", e))?;
            let name = std::str::from_utf8(&key[1..])
                .map_err(|_| from_malformed("a topic", Malformed("its name is not UTF-8")))?;
            let (number, kind) = decode_topic(&value).map_err(|e| from_malformed(&format!("topic `{name}`"), e))?;
            // A removed topic keeps its name and extent, so that its positions are never used again.
            let Some(kind) = kind else { continue };
            let extent = load_extent(keyspaces, number)?;
            let name = Topic::from_name(name);
            topics.insert(name.clone(), Arc::new(TopicState::new(name, number, kind, extent)));
        }
        Ok(Self(RwLock::new(topics)))
    }

    pub fn get(&self, topic: &Topic) -> Option<Arc<TopicState>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    pub fn all(&self) -> Vec<Arc<TopicState>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn insert(&self, state: Arc<TopicState>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(state.name.clone(), state);
    }

    pub fn remove(&self, topic: &Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Says whether the log is below its bound.
    pub fn check_size(&self, size_max: u64) -> Result<(), PortError> {
        let size: u64 = self.all().iter().map(|topic| topic.extent().bytes).sum();
        if size < size_max {
            return Ok(());
        }
        let message =
            format!("the log holds {size} bytes of its bound of {size_max}; raise the bound or shorten its retention");
        Err(PortError::new(ErrorKind::Full, message))
    }
}

pub(crate) fn name_key(topic: &Topic) -> Vec<u8> {
    [&[NAME], topic.as_str().as_bytes()].concat()
}

pub(crate) fn extent_key(number: u32) -> Vec<u8> {
    [&[EXTENT][..], &number.to_be_bytes()].concat()
}

pub(crate) fn encode_topic(number: u32, kind: Option<TopicKind>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, u64::from(number));
    out.push(match kind {
        None => 0,
        Some(TopicKind::Records) => 1,
        Some(TopicKind::Documents) => 2,
        Some(TopicKind::Notices) => 3,
    });
    out
}

/// The number of a topic and its kind, none once it was removed.
pub(crate) fn decode_topic(bytes: &[u8]) -> Result<(u32, Option<TopicKind>), Malformed> {
    let mut decoder = Decoder::new(bytes);
    let number = u32::try_from(decoder.varint()?).map_err(|_| Malformed("its number is out of range"))?;
    let kind = match decoder.byte()? {
        0 => None,
        1 => Some(TopicKind::Records),
        2 => Some(TopicKind::Documents),
        3 => Some(TopicKind::Notices),
        _ => return Err(Malformed("its kind is unknown")),
    };
    Ok((number, kind))
}

pub(crate) fn encode_extent(extent: TopicExtent) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, extent.start);
    put_varint(&mut out, extent.end);
    put_varint(&mut out, extent.bytes);
    put_signed(&mut out, extent.accepted_last);
    out
}

/// The extent of a topic; empty where none was saved.
pub(crate) fn load_extent(keyspaces: &Keyspaces, number: u32) -> Result<TopicExtent, PortError> {
    let saved = keyspaces.topics.get(extent_key(number)).map_err(|e| from_database("reading a topic's extent", e))?;
    let Some(bytes) = saved else { return Ok(TopicExtent { accepted_last: i64::MIN, ..TopicExtent::default() }) };
    let mut decoder = Decoder::new(&bytes);
    let mut decode = || -> Result<TopicExtent, Malformed> {
        let (start, end, bytes) = (decoder.varint()?, decoder.varint()?, decoder.varint()?);
        Ok(TopicExtent { start, end, bytes, accepted_last: decoder.signed()? })
    };
    decode().map_err(|e| from_malformed("a topic's extent", e))
}

/// The number behind all that topics ever had, and the key to save it under.
pub(crate) fn next_number(keyspaces: &Keyspaces) -> Result<(u32, &'static [u8]), PortError> {
    let saved = keyspaces.topics.get(NUMBER_LAST).map_err(|e| from_database("reading the topics", e))?;
    let last = match saved {
        None => 0,
        Some(bytes) => decode_topic(&bytes).map_err(|e| from_malformed("the last topic number", e))?.0,
    };
    Ok((last + 1, NUMBER_LAST))
}

pub(crate) fn group_key(number: u32, group: &str) -> Vec<u8> {
    [&number.to_be_bytes()[..], group.as_bytes()].concat()
}

pub(crate) fn encode_committed(committed: &Committed) -> Vec<u8> {
    let totals = committed.totals;
    let mut out = Vec::new();
    let of_readings = [totals.stored, totals.duplicate, totals.revised, totals.dead_lettered];
    let parts = of_readings.into_iter().chain([totals.deletion, totals.skipped, totals.rejudgement]);
    put_varint(&mut out, committed.position.0);
    parts.for_each(|total| put_varint(&mut out, total));
    out
}

pub(crate) fn decode_committed(bytes: &[u8]) -> Result<Committed, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let position = Position(decoder.varint()?);
    let totals = Totals {
        stored: decoder.varint()?,
        duplicate: decoder.varint()?,
        revised: decoder.varint()?,
        dead_lettered: decoder.varint()?,
        deletion: decoder.varint()?,
        skipped: decoder.varint()?,
        // What was committed before there were any ends here.
        rejudgement: if decoder.remaining() > 0 { decoder.varint()? } else { 0 },
    };
    Ok(Committed { partition: Partition(0), position, totals })
}

/// What a group has committed on a topic.
pub(crate) fn load_committed(keyspaces: &Keyspaces, number: u32, group: &str) -> Result<Committed, PortError> {
    let saved =
        keyspaces.groups.get(group_key(number, group)).map_err(|e| from_database("reading a group's position", e))?;
    let Some(bytes) = saved else { return Ok(Committed::default()) };
    decode_committed(&bytes).map_err(|e| from_malformed(&format!("the position of group `{group}`"), e))
}

/// The lowest position any group has committed on a topic; `None` where none ever has.
pub(crate) fn lowest_committed(keyspaces: &Keyspaces, number: u32) -> Result<Option<u64>, PortError> {
    let mut lowest: Option<u64> = None;
    for item in keyspaces.groups.prefix(number.to_be_bytes()) {
        let value = item.value().map_err(|e| from_database("reading a group's position", e))?;
        let position = decode_committed(&value).map_err(|e| from_malformed("a group's position", e))?.position.0;
        lowest = Some(lowest.map_or(position, |least| least.min(position)));
    }
    Ok(lowest)
}

/// Key of an entry: topic, first position, count of records; ordered by position.
pub(crate) fn record_key(number: u32, position: u64, count: u32) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..12].copy_from_slice(&position.to_be_bytes());
    key[12..].copy_from_slice(&count.to_be_bytes());
    key
}

/// First position and count of an entry's key.
pub(crate) fn parse_record_key(key: &[u8]) -> Result<(u64, u32), PortError> {
    let malformed = || from_malformed("the key of a log entry", Malformed("it has not 16 bytes"));
    let position = key.get(4..12).and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?;
    let count = key.get(12..16).and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?;
    Ok((u64::from_be_bytes(position), u32::from_be_bytes(count)))
}

/// An acceptance time that never goes back behind `last`.
pub(crate) fn not_before(now: Timestamp, last: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros().max(last))
}
