//! Keys and values of the log's keyspaces, but for the records themselves.

use domain::{Partition, Position, Timestamp};
use ports::{Committed, PortError, TopicKind, Totals};

use super::{Keyspaces, topics::TopicExtent};
use crate::{
    codec::{Decoder, Malformed, put_signed, put_varint},
    error::{from_database, from_malformed},
};

/// First byte of a key in the topics keyspace: a topic by name, an extent by number, a number whose data are to be taken out.
pub(crate) const NAME: u8 = b'n';
const EXTENT: u8 = b'e';
pub(crate) const GARBAGE: u8 = b'g';
const NUMBER_LAST: &[u8] = b"l";

pub(crate) fn name_key(topic: &domain::Topic) -> Vec<u8> {
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

/// Key that says that the data of a removed topic are still to be taken out.
pub(crate) fn garbage_key(number: u32) -> Vec<u8> {
    [&[GARBAGE][..], &number.to_be_bytes()].concat()
}

/// The topic that such a key is of.
pub(crate) fn parse_garbage_key(key: &[u8]) -> Result<u32, PortError> {
    let bytes = key.get(1..).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or_else(|| from_malformed("a removed topic", Malformed("its key has not 5 bytes")))
}

/// Topic and group of a key in the groups keyspace.
pub(crate) fn parse_group_key(key: &[u8]) -> Result<(u32, &str), PortError> {
    let malformed = || from_malformed("the key of a group's position", Malformed("it holds no number and name"));
    let (number, group) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let group = std::str::from_utf8(group).map_err(|_| malformed())?;
    Ok((u32::from_be_bytes(*number), group))
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
    ports::next_acceptance(now, Timestamp::from_micros(last))
}
