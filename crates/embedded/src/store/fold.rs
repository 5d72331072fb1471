//! Folding: a full memtable's rows go into blocks, sensor by sensor, and their staged entries go.
//!
//! **Invariant:** a batch that changes blocks of a sensor changes what is known of it too, with the number of the newest staged entry
//! folded; a crash in between leaves each sensor before or after its fold, and folding again changes nothing.

use domain::{RowRef, Rows, SensorId, Timestamp};
use fjall::OwnedWriteBatch;
use ports::{ErrorKind, PortError};

use super::{
    blocks::{BLOCK_ROWS_ENOUGH, Block, Blocks, sensor_key},
    memtable::{Memtable, Slot},
    sensors::{Arrival, Arrivals, Folded},
    space::{Space, staged_key},
};
use crate::error::{from_database, from_write};

/// About the most bytes that one batch holds: the log waits meanwhile.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Folds the memtable that was handed over, if there is one.
pub(crate) fn fold(space: &Space) -> Result<(), PortError> {
    let (table, width, mut sensors) = {
        let state = space.read();
        let Some(table) = state.folding.clone() else { return Ok(()) };
        let sensors: Vec<(Slot, SensorId, Option<Folded>)> = table
            .slots_with_rows()
            .map(|slot| (slot, state.sensor(slot).id.clone(), state.sensor(slot).folded.clone()))
            .collect();
        (table, state.width, sensors)
    };
    // In key order the database merges least.
    sensors.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    let mut writer = FoldWriter::new(space, table.sequence_last);
    let mut results = Vec::with_capacity(sensors.len());
    for (slot, id, folded) in sensors {
        let rows = rows_of(&table, slot, width);
        let folded = writer.fold_sensor(&id, folded, &rows)?;
        results.push((slot, folded));
    }
    writer.commit()?;
    forget_staged(space, table.sequence_last)?;
    space.end_fold(results);
    Ok(())
}

fn rows_of(table: &Memtable, slot: Slot, width: usize) -> Rows {
    let mut rows = Rows::new(width);
    table.places(slot).iter().for_each(|place| rows.push(table.rows().get(*place as usize)));
    rows
}

/// Removes the staged entries up to one.
fn forget_staged(space: &Space, sequence_last: u64) -> Result<(), PortError> {
    let staged = &space.shared.keyspaces.staged;
    let mut batch = space.shared.database.batch();
    for item in staged.range(staged_key(space.number, 0)..=staged_key(space.number, sequence_last)) {
        batch.remove(staged, item.key().map_err(|e| from_database("reading staged rows", e))?);
    }
    batch.commit().map_err(|e| from_write("removing staged rows", e))
}

/// Rows that go into one block's place, and what that does to the sensor.
struct FoldWriter<'a> {
    space: &'a Space,
    sequence: u64,
    batch: OwnedWriteBatch,
    batch_bytes: usize,
    arrivals: Arrivals,
    part: u32,
}

impl<'a> FoldWriter<'a> {
    fn new(space: &'a Space, sequence: u64) -> Self {
        let batch = space.shared.database.batch();
        Self { space, sequence, batch, batch_bytes: 0, arrivals: Arrivals::new(), part: 0 }
    }

    fn commit(&mut self) -> Result<(), PortError> {
        let space = self.space;
        if !self.arrivals.list.is_empty() {
            let arrivals = std::mem::replace(&mut self.arrivals, Arrivals::new());
            let key = arrivals_key(space.number, arrivals.accepted_last, self.sequence, self.part);
            self.batch.insert(&space.shared.keyspaces.arrivals, key, arrivals.encode());
            self.part += 1;
        }
        self.batch_bytes = 0;
        let batch = std::mem::replace(&mut self.batch, space.shared.database.batch());
        batch.commit().map_err(|e| from_write("folding rows into blocks", e))
    }

    /// Folds rows of one sensor, in time order and not empty.
    fn fold_sensor(&mut self, id: &SensorId, before: Option<Folded>, rows: &Rows) -> Result<Folded, PortError> {
        let space = self.space;
        let blocks = Blocks::new(&space.shared.keyspaces.blocks, space.number, id);
        let (mut folded, next) = match before {
            Some(mut folded) => {
                let next = self.fold_late(&blocks, &mut folded, rows)?;
                (folded, next)
            }
            None => (Folded::of(0, rows.times()[0], Timestamp::MIN, rows.get(0)), 0),
        };
        if next < rows.len() {
            self.fold_newer(&blocks, &mut folded, rows, next)?;
        }
        folded.sequence = self.sequence;
        rows.iter().for_each(|row| self.arrivals.note(row.row));
        let (first, last) = (rows.times()[0], rows.times()[rows.len() - 1]);
        self.arrivals.list.push(Arrival { sensor_id: id.clone(), first, last });
        let value = folded.encode();
        self.batch_bytes += value.len();
        self.batch.insert(&space.shared.keyspaces.sensors, sensor_key(space.number, id), value);
        if self.batch_bytes >= BATCH_BYTES_MAX {
            self.commit()?;
        }
        Ok(folded)
    }

    /// Appends the rows from `start` on, which are newer than all in blocks.
    fn fold_newer(
        &mut self,
        blocks: &Blocks<'_>,
        folded: &mut Folded,
        rows: &Rows,
        start: usize,
    ) -> Result<(), PortError> {
        let mut all = Rows::new(rows.width());
        if folded.count > 0
            && let Some(last) = readable(blocks, blocks.at(folded.last_block))?
            && last.rows.len() < BLOCK_ROWS_ENOUGH
        {
            last.rows.iter().for_each(|row| all.push(row));
        }
        (start..rows.len()).for_each(|index| all.push(rows.get(index)));
        let (last_block, bytes) = blocks.put(&mut self.batch, &all);
        self.batch_bytes += bytes;
        folded.count += (rows.len() - start) as u64;
        folded.last_block = last_block;
        folded.set_latest(rows.get(rows.len() - 1));
        Ok(())
    }

    /// Puts rows that are not newer than all in blocks where they belong, and with those of the last block all that follow; answers
    /// how many rows that were.
    fn fold_late(&mut self, blocks: &Blocks<'_>, folded: &mut Folded, rows: &Rows) -> Result<usize, PortError> {
        let count = rows.times().partition_point(|time| *time <= folded.last);
        let mut next = 0;
        while next < count {
            let (time, width) = (rows.times()[next], rows.width());
            let home = readable(blocks, blocks.home_of(time))?;
            let home = home.unwrap_or_else(|| Block { start: time, rows: Rows::new(width) });
            let limit = blocks.start_after(home.start)?;
            let end = limit.map_or(rows.len(), |limit| rows.times().partition_point(|time| *time < limit));
            let merged = merge(&home, rows, next..end);
            folded.count += (merged.len() - home.rows.len()) as u64;
            if merged.times()[0] != home.start {
                blocks.remove(&mut self.batch, home.start);
            }
            let (last_start, bytes) = blocks.put(&mut self.batch, &merged);
            self.batch_bytes += bytes;
            folded.first = folded.first.min(merged.times()[0]);
            // Where the last block can't be read, what is known of it stays.
            if limit.is_none() && merged.times().last() >= Some(&folded.last) {
                folded.last_block = last_start;
                folded.set_latest(merged.get(merged.len() - 1));
            }
            next = end;
        }
        Ok(next)
    }
}

/// A block that rows are to be merged into; none where it can't be read, so that they get a block of their own beside it.
fn readable(blocks: &Blocks<'_>, block: Result<Option<Block>, PortError>) -> Result<Option<Block>, PortError> {
    match block {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::error!(sensor_id = %blocks.sensor_id(), %error, "rows are kept beside a block that can't be read");
            Ok(None)
        }
        block => block,
    }
}

/// A block's rows with others of the range put in, which win over those of their time.
fn merge(home: &Block, rows: &Rows, range: std::ops::Range<usize>) -> Rows {
    let mut merged = Rows::new(rows.width().max(home.rows.width()));
    let mut old = home.rows.iter().peekable();
    let time = |row: &RowRef<'_>| row.row.phenomenon_time;
    for index in range {
        let new = rows.get(index);
        while let Some(row) = old.next_if(|row| time(row) < time(&new)) {
            merged.push(row);
        }
        old.next_if(|row| time(row) == time(&new));
        merged.push(new);
    }
    old.for_each(|row| merged.push(row));
    merged
}

/// Key of arrivals: type, last acceptance time, fold, part; ordered by when they came.
pub(crate) fn arrivals_key(number: u32, accepted_last: Timestamp, sequence: u64, part: u32) -> Vec<u8> {
    let mut key = arrivals_from(number, accepted_last);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// Start of the keys of arrivals whose last acceptance time is not before `accepted`.
pub(crate) fn arrivals_from(number: u32, accepted: Timestamp) -> Vec<u8> {
    let mut key = number.to_be_bytes().to_vec();
    key.extend_from_slice(&((accepted.as_micros() as u64) ^ (1 << 63)).to_be_bytes());
    key
}
