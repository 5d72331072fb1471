//! Blocks: up to 512 rows of one sensor, neighbours in time, under (type number, sensor id, first time).
//!
//! **Invariant:** the blocks of a sensor do not overlap, and their rows are in time order.

use domain::{Rows, SensorId, Timestamp};
use fjall::{Database, Keyspace, OwnedWriteBatch, Readable};
use ports::{PortError, TimeRange};

use crate::{
    codec::Malformed,
    error::{self, from_database, from_malformed},
    rows_codec,
};

/// The most rows of a block.
const BLOCK_ROWS_MAX: usize = 512;
/// The rows from which a block is left alone by newer ones: filling each up to the most would write every row ten times where many sensors
/// bring few rows a fold.
pub(crate) const BLOCK_ROWS_ENOUGH: usize = 64;

/// A block that was read.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub start: Timestamp,
    pub rows: Rows,
}

/// Key under which everything of a sensor begins: no id is the beginning of another one's key, because 0 is in none.
pub(crate) fn sensor_key(number: u32, sensor_id: &SensorId) -> Vec<u8> {
    let mut key = Vec::with_capacity(13 + sensor_id.as_str().len());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(sensor_id.as_str().as_bytes());
    key.push(0);
    key
}

/// Times as bytes in their order.
fn time_bytes(time: Timestamp) -> [u8; 8] {
    ((time.as_micros() as u64) ^ (1 << 63)).to_be_bytes()
}

fn block_key(sensor: &[u8], start: Timestamp) -> Vec<u8> {
    [sensor, &time_bytes(start)].concat()
}

pub(crate) fn start_of(key: &[u8]) -> Result<Timestamp, PortError> {
    let bytes =
        key.last_chunk::<8>().ok_or_else(|| from_malformed("the key of a block", Malformed("it is too short")))?;
    Ok(Timestamp::from_micros((u64::from_be_bytes(*bytes) ^ (1 << 63)) as i64))
}

/// The blocks of one sensor.
pub(crate) struct Blocks<'a> {
    keyspace: &'a Keyspace,
    sensor: Vec<u8>,
    sensor_id: &'a SensorId,
}

impl<'a> Blocks<'a> {
    pub fn new(keyspace: &'a Keyspace, number: u32, sensor_id: &'a SensorId) -> Self {
        Self { keyspace, sensor: sensor_key(number, sensor_id), sensor_id }
    }

    pub fn sensor_id(&self) -> &SensorId {
        self.sensor_id
    }

    fn unreadable(&self, error: fjall::Error) -> PortError {
        from_database(&format!("reading a block of sensor `{}`", self.sensor_id), error)
    }

    fn read(&self, guard: fjall::Guard) -> Result<Block, PortError> {
        let (key, value) = guard.into_inner().map_err(|e| self.unreadable(e))?;
        Ok(Block { start: start_of(&key)?, rows: self.decode(&value)? })
    }

    fn decode(&self, bytes: &[u8]) -> Result<Rows, PortError> {
        rows_codec::decode(bytes).map_err(|e| from_malformed(&format!("a block of sensor `{}`", self.sensor_id), e))
    }

    fn start_read(&self, guard: fjall::Guard) -> Result<Timestamp, PortError> {
        start_of(&guard.key().map_err(|e| self.unreadable(e))?)
    }

    /// The block in which a row of this time is, if there is one: the last that starts at or before it.
    pub fn containing(&self, time: Timestamp) -> Result<Option<Block>, PortError> {
        let found =
            self.keyspace.range(block_key(&self.sensor, Timestamp::MIN)..=block_key(&self.sensor, time)).next_back();
        found.map(|guard| self.read(guard)).transpose()
    }

    /// The block with exactly this start.
    pub fn at(&self, start: Timestamp) -> Result<Option<Block>, PortError> {
        let value = self.keyspace.get(block_key(&self.sensor, start)).map_err(|e| self.unreadable(e))?;
        value.map(|bytes| Ok(Block { start, rows: self.decode(&bytes)? })).transpose()
    }

    /// The blocks that start in a range of times, in order; from both ends.
    pub fn starting_in(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl DoubleEndedIterator<Item = Result<Block, PortError>> {
        let range = block_key(&self.sensor, from)..=block_key(&self.sensor, to);
        self.keyspace.range(range).map(|guard| self.read(guard))
    }

    /// The blocks that may hold rows of a range of times, in order; from both ends. All as of one moment, since a fold may move
    /// the start of a block.
    pub fn reaching_into(
        &self,
        database: &Database,
        times: TimeRange,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Block, PortError>>, PortError> {
        let snapshot = database.snapshot();
        let before = block_key(&self.sensor, Timestamp::MIN)..=block_key(&self.sensor, times.from);
        let first = match snapshot.range(self.keyspace, before).next_back() {
            Some(guard) => self.start_read(guard)?,
            None => times.from,
        };
        let last = Timestamp::from_micros(times.to.as_micros().saturating_sub(1));
        let range = block_key(&self.sensor, first)..=block_key(&self.sensor, last.max(first));
        Ok(snapshot.range(self.keyspace, range).map(|guard| self.read(guard)))
    }

    /// The starts of all blocks in order, with how many rows each has.
    pub fn counts(&self) -> impl Iterator<Item = Result<(Timestamp, u64), PortError>> {
        let range = block_key(&self.sensor, Timestamp::MIN)..=block_key(&self.sensor, Timestamp::MAX);
        self.keyspace.range(range).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|e| self.unreadable(e))?;
            let count = rows_codec::count(&value)
                .map_err(|e| from_malformed(&format!("a block of sensor `{}`", self.sensor_id), e))?;
            Ok((start_of(&key)?, count as u64))
        })
    }

    /// The blocks that start in a range of times, in order, each with its start, also those whose rows can't be read.
    pub fn starting_in_if_readable(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = Result<(Timestamp, Result<Rows, PortError>), PortError>> {
        let range = block_key(&self.sensor, from)..=block_key(&self.sensor, to);
        self.keyspace.range(range).map(|guard| {
            let (key, value) = error::entry(guard).map_err(|e| self.unreadable(e))?;
            let rows = value.map_err(|e| self.unreadable(e)).and_then(|value| self.decode(&value));
            Ok((start_of(&key)?, rows))
        })
    }

    /// Start of the last block that starts at or before a time.
    pub fn start_before(&self, time: Timestamp) -> Result<Option<Timestamp>, PortError> {
        let found =
            self.keyspace.range(block_key(&self.sensor, Timestamp::MIN)..=block_key(&self.sensor, time)).next_back();
        found.map(|guard| self.start_read(guard)).transpose()
    }

    /// Start of the first block behind a time.
    pub fn start_after(&self, time: Timestamp) -> Result<Option<Timestamp>, PortError> {
        if time == Timestamp::MAX {
            return Ok(None);
        }
        let from = block_key(&self.sensor, Timestamp::from_micros(time.as_micros() + 1));
        let found = self.keyspace.range(from..=block_key(&self.sensor, Timestamp::MAX)).next();
        found.map(|guard| self.start_read(guard)).transpose()
    }

    /// The block that a row of this time goes to: the one containing it, or the first.
    pub fn home_of(&self, time: Timestamp) -> Result<Option<Block>, PortError> {
        match self.containing(time)? {
            Some(block) => Ok(Some(block)),
            None => {
                let first = self.starting_in(time, Timestamp::MAX).next();
                first.transpose()
            }
        }
    }

    /// Adds rows in time order as blocks to a batch; answers with the start of the last one and the bytes added.
    pub fn put(&self, batch: &mut OwnedWriteBatch, rows: &Rows) -> (Timestamp, usize) {
        let pieces = rows.len().div_ceil(BLOCK_ROWS_MAX).max(1);
        let each = rows.len().div_ceil(pieces).max(1);
        let (mut last, mut bytes) = (Timestamp::MIN, 0);
        for first in (0..rows.len()).step_by(each) {
            let mut value = Vec::new();
            rows_codec::encode_range(rows, first..rows.len().min(first + each), &mut value);
            last = rows.times()[first];
            bytes += value.len();
            batch.insert(self.keyspace, block_key(&self.sensor, last), value);
        }
        (last, bytes)
    }

    /// Adds the removal of a block to a batch.
    pub fn remove(&self, batch: &mut OwnedWriteBatch, start: Timestamp) {
        batch.remove(self.keyspace, block_key(&self.sensor, start));
    }
}
