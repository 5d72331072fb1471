//! What the store knows of each sensor without reading its blocks.

use domain::{Row, RowRef, Rows, SensorId, Timestamp};

use crate::{
    codec::{Decoder, Malformed, put_signed, put_varint},
    rows_codec,
};

/// A sensor of a type.
#[derive(Debug, Clone)]
pub(crate) struct SensorState {
    pub id: SensorId,
    /// The newest phenomenon time anywhere; `MIN` without rows.
    pub newest: Timestamp,
    /// What is in blocks.
    pub folded: Option<Folded>,
}

/// Extent of a sensor's blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Folded {
    /// Rows in blocks.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Start of the last block.
    pub last_block: Timestamp,
    /// Number of the newest staged entry whose rows are in blocks.
    pub sequence: u64,
    /// The row at `last`, packed: there may be a million sensors.
    latest: Box<[u8]>,
}

impl Folded {
    /// What is known of blocks of which `newest` is the newest row.
    pub fn of(count: u64, first: Timestamp, last_block: Timestamp, newest: RowRef<'_>) -> Self {
        let mut folded = Self { count, first, last: Timestamp::MIN, last_block, sequence: 0, latest: Box::default() };
        folded.set_latest(newest);
        folded
    }

    /// Sets the newest row and with it the last time.
    pub fn set_latest(&mut self, newest: RowRef<'_>) {
        let mut rows = Rows::new(newest.values.len());
        rows.push(newest);
        let mut bytes = Vec::new();
        rows_codec::encode(&rows, &mut bytes);
        self.latest = bytes.into();
        self.last = newest.row.phenomenon_time;
    }

    /// The newest row in blocks: one row.
    pub fn latest(&self) -> Result<Rows, Malformed> {
        rows_codec::decode(&self.latest)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.count);
        put_signed(&mut out, self.first.as_micros());
        put_signed(&mut out, self.last.as_micros());
        put_signed(&mut out, self.last_block.as_micros());
        put_varint(&mut out, self.sequence);
        out.extend_from_slice(&self.latest);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let count = decoder.varint()?;
        let mut time = || decoder.signed().map(Timestamp::from_micros);
        let (first, last, last_block) = (time()?, time()?, time()?);
        let sequence = decoder.varint()?;
        let latest: Box<[u8]> = decoder.take(decoder.remaining())?.into();
        let folded = Self { count, first, last, last_block, sequence, latest };
        let rows = folded.latest()?;
        if rows.len() != 1 || rows.times()[0] != last {
            return Err(Malformed("the latest row is not the one row at the last time"));
        }
        Ok(folded)
    }
}

/// Rows of many sensors as one staged entry: whose each is, whether its identity is new, and the rows.
pub(crate) fn encode_staged<'a>(
    rows: &Rows,
    range: std::ops::Range<usize>,
    owner: impl Fn(usize) -> (&'a SensorId, bool),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + range.len() * (24 + 9 * rows.width()));
    rows_codec::encode_range(rows, range.clone(), &mut out);
    let mut last = "";
    for index in range {
        let (id, fresh) = owner(index);
        // Low bit: new identity. The rest: length of the id, 0 for the one before.
        let id = id.as_str();
        let length = if id == last { 0 } else { id.len() };
        put_varint(&mut out, (length as u64) << 1 | u64::from(fresh));
        out.extend_from_slice(&id.as_bytes()[..length]);
        last = id;
    }
    out
}

/// Reads a staged entry: its rows, and for each the sensor and whether its identity is new.
pub(crate) fn decode_staged(bytes: &[u8]) -> Result<(Rows, Vec<(SensorId, bool)>), Malformed> {
    let mut decoder = Decoder::new(bytes);
    let rows = rows_codec::decode_from(&mut decoder)?;
    let mut owners: Vec<(SensorId, bool)> = Vec::with_capacity(rows.len());
    for _ in 0..rows.len() {
        let head = decoder.varint()?;
        let id = match (head >> 1, owners.last()) {
            (0, Some((last, _))) => last.clone(),
            (length, _) => {
                let text = decoder.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                let text = std::str::from_utf8(text).map_err(|_| Malformed("a sensor id is not UTF-8"))?;
                SensorId::parse(text).map_err(|_| Malformed("a sensor id is not allowed"))?
            }
        };
        owners.push((id, head & 1 == 1));
    }
    decoder.finish()?;
    Ok((rows, owners))
}

/// What one fold brought for one sensor: when its rows were accepted tells the entry, this tells whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub sensor_id: SensorId,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Arrivals with the range of acceptance times they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub accepted_first: Timestamp,
    pub accepted_last: Timestamp,
    pub list: Vec<Arrival>,
}

impl Arrivals {
    pub fn new() -> Self {
        Self { accepted_first: Timestamp::MAX, accepted_last: Timestamp::MIN, list: Vec::new() }
    }

    pub fn note(&mut self, row: Row) {
        self.accepted_first = self.accepted_first.min(row.accepted_at);
        self.accepted_last = self.accepted_last.max(row.accepted_at);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_signed(&mut out, self.accepted_first.as_micros());
        put_signed(&mut out, self.accepted_last.as_micros());
        put_varint(&mut out, self.list.len() as u64);
        for arrival in &self.list {
            crate::codec::put_bytes(&mut out, arrival.sensor_id.as_str().as_bytes());
            put_signed(&mut out, arrival.first.as_micros());
            put_varint(&mut out, arrival.last.as_micros().wrapping_sub(arrival.first.as_micros()) as u64);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let accepted_first = Timestamp::from_micros(decoder.signed()?);
        let accepted_last = Timestamp::from_micros(decoder.signed()?);
        let count = decoder.count(3)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let sensor_id = SensorId::parse(decoder.text()?).map_err(|_| Malformed("a sensor id is not allowed"))?;
            let first = decoder.signed()?;
            let last = first.wrapping_add(decoder.varint()? as i64);
            let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
            list.push(Arrival { sensor_id, first, last });
        }
        decoder.finish()?;
        Ok(Self { accepted_first, accepted_last, list })
    }
}
