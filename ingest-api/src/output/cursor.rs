//! The cursor of a page: where the next one starts, bound to the query it belongs to.
//!
//! A cursor grants nothing: whoever changes one only starts elsewhere in rows that the query answers anyway.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Label, SensorId, SensorTypeId, Timestamp};
use ports::{Order, ReadingQuery};

/// The form of cursors; another one is refused.
const VERSION: u8 = 1;
/// Bytes before the id: version, fingerprint, time.
const HEAD_SIZE: usize = 1 + 8 + 8;
/// The longest id of what is paged: an anomaly's, in bytes.
const ID_MAX: usize = 400;
/// The longest text that can be a cursor: head and the longest id, in base64.
const TEXT_MAX: usize = (HEAD_SIZE + ID_MAX).div_ceil(3) * 4;
/// What is said of a text that no answer has given.
const UNREADABLE: &str = "is not a cursor that an answer of this hub has given as `next_cursor`";

/// Identifies the query that a cursor belongs to: 64 bits of FNV-1a over what decides its rows and their order and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a query; `properties` as the request named them.
    pub fn of(sensor_type: &SensorTypeId, query: &ReadingQuery, properties: Option<&[usize]>) -> Self {
        let mut hash = Fnv::new();
        hash.part(sensor_type.as_str().as_bytes());
        hash.part(&query.times.from.as_micros().to_be_bytes());
        hash.part(&query.times.to.as_micros().to_be_bytes());
        hash.part(query.label.map_or("", Label::as_str).as_bytes());
        hash.part(&[u8::from(query.order == Order::Descending)]);
        let ids = query.sensor_ids.as_deref();
        hash.part(&[u8::from(ids.is_some()), u8::from(properties.is_some())]);
        for id in ids.unwrap_or_default() {
            hash.part(id.as_str().as_bytes());
        }
        for index in properties.unwrap_or_default() {
            hash.part(&(*index as u64).to_be_bytes());
        }
        Self(hash.0)
    }

    /// The fingerprint of a query that these parts decide, each in a place of its own.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Fnv::new();
        parts.iter().for_each(|part| hash.part(part));
        Self(hash.0)
    }
}

/// FNV-1a (Fowler, Noll, Vo; 64 bits), of parts with their lengths.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn part(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u32).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Writes the cursor of the page behind this row.
pub fn encode(fingerprint: Fingerprint, after: (&SensorId, Timestamp)) -> String {
    encode_place(fingerprint, after.1, after.0.as_str())
}

/// Writes the cursor of the page behind a place in an order by times and ids.
pub fn encode_place(fingerprint: Fingerprint, time: Timestamp, id: &str) -> String {
    let mut bytes = Vec::with_capacity(HEAD_SIZE + id.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
    bytes.extend_from_slice(&time.as_micros().to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads the row behind which the page starts.
///
/// # Errors
/// The rule that the text breaks.
pub fn decode(text: &str, fingerprint: Fingerprint) -> Result<(SensorId, Timestamp), String> {
    let (time, id) = decode_place(text, fingerprint)?;
    let id = SensorId::parse(&id).map_err(|_| UNREADABLE)?;
    Ok((id, time))
}

/// Reads the time and the id behind which the page starts.
///
/// # Errors
/// The rule that the text breaks.
pub fn decode_place(text: &str, fingerprint: Fingerprint) -> Result<(Timestamp, String), String> {
    if text.len() > TEXT_MAX {
        return Err(UNREADABLE.to_owned());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| UNREADABLE)?;
    let Some((head, id)) = bytes.split_first_chunk::<HEAD_SIZE>() else { return Err(UNREADABLE.to_owned()) };
    let [version, numbers @ ..] = head;
    if *version != VERSION {
        return Err("was given by another version of the hub; start again without it".to_owned());
    }
    let number = |from: usize| numbers[from..from + 8].iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    if number(0) != fingerprint.0 {
        return Err("belongs to other query parameters; a cursor goes with those of its first page (only `limit` \
                    may change)"
            .to_owned());
    }
    let id = std::str::from_utf8(id).map_err(|_| UNREADABLE)?;
    Ok((Timestamp::from_micros(number(8) as i64), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use ports::TimeRange;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn emb() -> SensorTypeId {
        SensorTypeId::parse("emb").expect("an id")
    }

    fn sensor(text: &str) -> SensorId {
        SensorId::parse(text).expect("an id")
    }

    #[test]
    fn every_part_of_a_query_changes_its_fingerprint() {
        let query = ReadingQuery::default();
        let time = Timestamp::from_micros(0);
        let variants = [
            (emb(), query.clone(), None),
            (SensorTypeId::parse("air").expect("an id"), query.clone(), None),
            (emb(), ReadingQuery { sensor_ids: Some(vec![sensor("a")]), ..query.clone() }, None),
            (emb(), ReadingQuery { sensor_ids: Some(vec![sensor("a"), sensor("b")]), ..query.clone() }, None),
            (emb(), ReadingQuery { sensor_ids: Some(vec![sensor("ab")]), ..query.clone() }, None),
            (emb(), ReadingQuery { times: TimeRange { from: time, ..TimeRange::ALL }, ..query.clone() }, None),
            (emb(), ReadingQuery { times: TimeRange { to: time, ..TimeRange::ALL }, ..query.clone() }, None),
            (emb(), ReadingQuery { label: Some(Label::Normal), ..query.clone() }, None),
            (emb(), ReadingQuery { label: Some(Label::Anomaly), ..query.clone() }, None),
            (emb(), ReadingQuery { order: Order::Descending, ..query.clone() }, None),
            (emb(), query.clone(), Some(vec![0])),
            (emb(), query.clone(), Some(vec![0, 1])),
        ];
        let all: Vec<_> = variants.iter().map(|(t, q, p)| Fingerprint::of(t, q, p.as_deref())).collect();
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "variant {index}");
        }
    }

    #[test]
    fn a_cursor_of_another_query_or_version_is_refused() {
        let (one, other) = (Fingerprint(1), Fingerprint(2));
        let text = encode(one, (&sensor("emb3"), Timestamp::from_micros(-5)));
        assert_eq!(decode(&text, one), Ok((sensor("emb3"), Timestamp::from_micros(-5))));
        assert!(decode(&text, other).expect_err("another query").contains("other query parameters"));
        let mut bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
        bytes[0] = 2;
        let newer = URL_SAFE_NO_PAD.encode(&bytes);
        assert!(decode(&newer, one).expect_err("another version").contains("another version"));
        assert!(decode(&"A".repeat(100_000), one).is_err());
    }

    proptest! {
        #[test]
        fn cursors_read_back(id in "[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", micros in any::<i64>(), print in any::<u64>()) {
            let (id, time, print) = (sensor(&id), Timestamp::from_micros(micros), Fingerprint(print));
            let text = encode(print, (&id, time));
            prop_assert!(text.len() <= TEXT_MAX);
            prop_assert_eq!(decode(&text, print), Ok((id, time)));
        }

        #[test]
        fn hostile_cursors_are_refused_without_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _ = decode(&text, Fingerprint(0));
            let mut framed = vec![VERSION, 0, 0, 0, 0, 0, 0, 0, 0];
            framed.extend_from_slice(&bytes);
            if let Ok((id, _)) = decode(&URL_SAFE_NO_PAD.encode(&framed), Fingerprint(0)) {
                prop_assert!(SensorId::parse(id.as_str()).is_ok());
            }
        }
    }
}
