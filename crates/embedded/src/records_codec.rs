//! Records of the log as bytes. An entry holds the segments of one commit, a segment the records of one append.
//!
//! Entry, format 1: format, acceptance time, then segments, each behind its length. Segment: kind, count, then its columns.
//! **Invariant:** an entry's acceptance time stands alone in front, so that it can be stamped when the entry is committed.

use std::sync::Arc;

use domain::{Deletion, PropertyId, Readings, Rejudgement, SensorId, Timestamp, Value};
use ports::{Batch, Content, Document, Undecodable};

use crate::{
    codec::{Decoder, Malformed, put_bytes, put_signed, put_varint},
    interner::Interner,
};

const FORMAT: u8 = 1;
const READINGS: u8 = 0;
const DELETIONS: u8 = 1;
const DOCUMENTS: u8 = 2;
const REJUDGEMENTS: u8 = 3;
/// How much of what can't be read is shown.
const UNDECODABLE_BYTES_MAX: usize = 64 << 10;

/// Starts an entry.
pub fn start_entry(accepted_at: Timestamp) -> Vec<u8> {
    let mut entry = vec![FORMAT];
    entry.extend_from_slice(&accepted_at.as_micros().to_le_bytes());
    entry
}

/// Adds a segment to an entry.
pub fn push_segment(entry: &mut Vec<u8>, segment: &[u8]) {
    put_bytes(entry, segment);
}

/// Encodes a batch as a segment.
pub fn encode_segment(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    match batch {
        Batch::Readings { type_version, readings } => {
            out.reserve(64 + readings.len() * (16 + 8 * readings.properties().len()));
            out.push(READINGS);
            put_varint(&mut out, readings.len() as u64);
            put_varint(&mut out, u64::from(*type_version));
            put_readings(&mut out, readings);
        }
        Batch::Deletions(deletions) => {
            out.push(DELETIONS);
            put_varint(&mut out, deletions.len() as u64);
            for deletion in deletions {
                put_bytes(&mut out, deletion.sensor_id.as_str().as_bytes());
                put_signed(&mut out, deletion.from.as_micros());
                put_signed(&mut out, deletion.to.as_micros());
            }
        }
        Batch::Rejudgements(rejudgements) => {
            out.push(REJUDGEMENTS);
            put_varint(&mut out, rejudgements.len() as u64);
            rejudgements.iter().for_each(|rejudgement| put_rejudgement(&mut out, rejudgement));
        }
        Batch::Documents(documents) => {
            out.push(DOCUMENTS);
            put_varint(&mut out, documents.len() as u64);
            for document in documents {
                put_bytes(&mut out, document.key.as_bytes());
                out.push(u8::from(document.body.is_some()));
                put_bytes(&mut out, document.body.as_deref().unwrap_or_default());
            }
        }
    }
    out
}

fn put_rejudgement(out: &mut Vec<u8>, rejudgement: &Rejudgement) {
    put_bytes(out, rejudgement.sensor_id.as_str().as_bytes());
    put_signed(out, rejudgement.from.as_micros());
    put_signed(out, rejudgement.to.as_micros());
    put_varint(out, u64::from(rejudgement.type_version));
    put_bytes(out, rejudgement.replay.as_bytes());
    put_varint(out, rejudgement.part);
    out.push(u8::from(rejudgement.is_dry));
}

fn put_readings(out: &mut Vec<u8>, readings: &Readings) {
    put_varint(out, readings.properties().len() as u64);
    for property in readings.properties().iter() {
        put_bytes(out, property.as_str().as_bytes());
    }
    // An empty text, which is no id, stands for the id before.
    let mut last = "";
    for sensor_id in readings.sensor_ids() {
        let id = sensor_id.as_str();
        put_bytes(out, if id == last { b"" } else { id.as_bytes() });
        last = id;
    }
    let mut last = 0i64;
    for time in readings.times() {
        put_signed(out, time.as_micros().wrapping_sub(last));
        last = time.as_micros();
    }
    for value in readings.values() {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Reads the acceptance time of an entry.
pub fn accepted_at(entry: &[u8]) -> Result<Timestamp, Malformed> {
    open_entry(entry).map(|(accepted_at, _)| accepted_at)
}

fn open_entry(entry: &[u8]) -> Result<(Timestamp, Decoder<'_>), Malformed> {
    let mut decoder = Decoder::new(entry);
    if decoder.byte()? != FORMAT {
        return Err(Malformed("the entry has another format version"));
    }
    Ok((Timestamp::from_micros(decoder.u64()? as i64), decoder))
}

/// Reads an entry's acceptance time and contents; what `positions` says the entry holds and can't be read becomes [`Undecodable`].
///
/// Neighbouring readings of one type version and property list become one content.
pub fn decode_entry(entry: &[u8], positions: u64, ids: &mut Interner) -> (Timestamp, Vec<Content>) {
    let mut contents: Vec<Content> = Vec::new();
    let mut accepted = Timestamp::MIN;
    let mut decode = || -> Result<(), Malformed> {
        let (accepted_at, mut decoder) = open_entry(entry)?;
        accepted = accepted_at;
        while decoder.remaining() > 0 {
            let segment = decoder.bytes()?;
            let content = decode_segment(segment, ids)?;
            match (contents.last_mut(), content) {
                (
                    Some(Content::Readings { type_version, readings }),
                    Content::Readings { type_version: v, readings: more },
                ) if *type_version == v && readings.properties() == more.properties() => {
                    more.iter().for_each(|r| readings.push(r.sensor_id.clone(), r.phenomenon_time, r.values));
                }
                (_, content) => contents.push(content),
            }
        }
        Ok(())
    };
    let result = decode();
    let decoded: u64 = contents.iter().map(|content| content.len() as u64).sum();
    if result.is_err() || decoded != positions {
        let reason = result
            .err()
            .map_or_else(|| "it holds another number of records than its place".to_owned(), |e| e.to_string());
        let bytes = entry[..entry.len().min(UNDECODABLE_BYTES_MAX)].to_vec();
        // Nothing of a broken entry is trusted: all its positions are accounted for as one.
        let count = u32::try_from(positions).unwrap_or(u32::MAX);
        return (accepted, vec![Content::Undecodable(Undecodable { count, bytes, reason })]);
    }
    (accepted, contents)
}

fn decode_segment(segment: &[u8], ids: &mut Interner) -> Result<Content, Malformed> {
    let mut decoder = Decoder::new(segment);
    let kind = decoder.byte()?;
    let count = decoder.count(2)?;
    let content = match kind {
        READINGS => {
            let version = u32::try_from(decoder.varint()?).map_err(|_| Malformed("a type version is out of range"))?;
            Content::Readings { type_version: Some(version), readings: take_readings(&mut decoder, count, ids)? }
        }
        DELETIONS => {
            let deletion = |decoder: &mut Decoder<'_>| {
                let sensor_id = take_id(decoder, ids)?;
                let (from, to) = (decoder.signed()?, decoder.signed()?);
                Ok(Deletion { sensor_id, from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) })
            };
            Content::Deletions(take_all(&mut decoder, count, deletion)?)
        }
        REJUDGEMENTS => Content::Rejudgements(take_all(&mut decoder, count, |decoder| take_rejudgement(decoder, ids))?),
        DOCUMENTS => {
            let document = |decoder: &mut Decoder<'_>| {
                let key = decoder.text()?.to_owned();
                let has_body = decoder.byte()? == 1;
                let body = decoder.bytes()?;
                Ok(Document { key, body: has_body.then(|| Arc::from(body)) })
            };
            Content::Documents(take_all(&mut decoder, count, document)?)
        }
        _ => return Err(Malformed("the kind of records is unknown")),
    };
    decoder.finish()?;
    Ok(content)
}

fn take_all<'a, T>(
    decoder: &mut Decoder<'a>,
    count: usize,
    mut take: impl FnMut(&mut Decoder<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    (0..count).map(|_| take(decoder)).collect()
}

fn take_rejudgement(decoder: &mut Decoder<'_>, ids: &mut Interner) -> Result<Rejudgement, Malformed> {
    let sensor_id = take_id(decoder, ids)?;
    let (from, to) = (Timestamp::from_micros(decoder.signed()?), Timestamp::from_micros(decoder.signed()?));
    let type_version = u32::try_from(decoder.varint()?).map_err(|_| Malformed("a type version is out of range"))?;
    let replay = decoder.text()?.to_owned();
    let (part, is_dry) = (decoder.varint()?, decoder.byte()? == 1);
    Ok(Rejudgement { sensor_id, from, to, type_version, replay, part, is_dry })
}

fn take_id(decoder: &mut Decoder<'_>, ids: &mut Interner) -> Result<SensorId, Malformed> {
    ids.sensor_id(decoder.text()?).ok_or(Malformed("a sensor id is not allowed"))
}

fn take_readings(decoder: &mut Decoder<'_>, count: usize, ids: &mut Interner) -> Result<Readings, Malformed> {
    let width = decoder.count(2)?;
    let names: Vec<PropertyId> = take_all(decoder, width, |decoder| {
        PropertyId::parse(decoder.text()?).map_err(|_| Malformed("a property id is not allowed"))
    })?;
    // A reading takes at least a byte for id and time each and eight per value.
    if count.saturating_mul(2 + 8 * width) > decoder.remaining() {
        return Err(Malformed("a count is too large"));
    }
    let mut sensor_ids: Vec<SensorId> = Vec::with_capacity(count);
    for _ in 0..count {
        let text = decoder.text()?;
        let id = match (text, sensor_ids.last()) {
            ("", Some(last)) => last.clone(),
            _ => ids.sensor_id(text).ok_or(Malformed("a sensor id is not allowed"))?,
        };
        sensor_ids.push(id);
    }
    let mut time = 0i64;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        time = time.wrapping_add(decoder.signed()?);
        times.push(Timestamp::from_micros(time));
    }
    let mut readings = Readings::with_capacity(ids.properties(names), count);
    let mut values = vec![Value::ABSENT; width];
    for (sensor_id, time) in sensor_ids.into_iter().zip(times) {
        for value in &mut values {
            *value = Value::from_bits(decoder.u64()?).ok_or(Malformed("a value is no number"))?;
        }
        readings.push(sensor_id, time, &values);
    }
    Ok(readings)
}

/// Drops the first `skip` records of a content.
pub fn skip_records(content: Content, skip: usize) -> Content {
    match content {
        Content::Readings { type_version, readings } => {
            let mut rest =
                Readings::with_capacity(Arc::clone(readings.properties()), readings.len().saturating_sub(skip));
            readings.iter().skip(skip).for_each(|r| rest.push(r.sensor_id.clone(), r.phenomenon_time, r.values));
            Content::Readings { type_version, readings: rest }
        }
        Content::Deletions(deletions) => Content::Deletions(deletions.into_iter().skip(skip).collect()),
        Content::Rejudgements(all) => Content::Rejudgements(all.into_iter().skip(skip).collect()),
        Content::Documents(documents) => Content::Documents(documents.into_iter().skip(skip).collect()),
        Content::Undecodable(undecodable) => {
            let count = undecodable.count.saturating_sub(u32::try_from(skip).unwrap_or(u32::MAX));
            Content::Undecodable(Undecodable { count, ..undecodable })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn batch() -> Batch {
        let properties: Arc<[PropertyId]> =
            ["sec", "ph"].iter().map(|id| PropertyId::parse(id).expect("an id")).collect();
        let mut readings = Readings::new(properties);
        for (index, id) in ["emb2", "emb2", "emb3"].into_iter().enumerate() {
            let value = Value::number(index as f64).expect("finite");
            let time = Timestamp::from_micros(1_486_566_000_000_000 + index as i64);
            readings.push(SensorId::parse(id).expect("an id"), time, &[value, Value::MISSING]);
        }
        Batch::Readings { type_version: 3, readings }
    }

    #[test]
    fn segments_of_like_readings_are_read_as_one() {
        let mut entry = start_entry(Timestamp::from_micros(7));
        let segment = encode_segment(&batch());
        push_segment(&mut entry, &segment);
        push_segment(&mut entry, &segment);
        let (accepted_at, contents) = decode_entry(&entry, 6, &mut Interner::default());
        assert_eq!(accepted_at, Timestamp::from_micros(7));
        let [Content::Readings { type_version: Some(3), readings }] = &contents[..] else { panic!("{contents:?}") };
        let Batch::Readings { readings: sent, .. } = batch() else { panic!("readings") };
        assert_eq!(readings.len(), 6);
        assert_eq!(readings.get(4), sent.get(1));
    }

    #[test]
    fn a_broken_entry_accounts_for_all_its_positions() {
        let mut entry = start_entry(Timestamp::from_micros(7));
        push_segment(&mut entry, &encode_segment(&batch()));
        entry.truncate(entry.len() - 1);
        let (_, contents) = decode_entry(&entry, 3, &mut Interner::default());
        assert!(matches!(&contents[..], [Content::Undecodable(undecodable)] if undecodable.count == 3), "{contents:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>(), kind in 0..4u8) {
            let mut entry = start_entry(Timestamp::from_micros(0));
            push_segment(&mut entry, &[&[kind][..], &bytes].concat());
            let _ = decode_entry(&entry, 1, &mut Interner::default());
        }
    }
}
