//! Taking rows out: what a deletion names, and what is past its retention.
//!
//! **Invariant:** rows are taken out of blocks alone, after all that was in memory has been folded, so that no staged entry
//! brings them back.

use domain::{Deletion, Position, Rows, Timestamp};
use fjall::OwnedWriteBatch;
use ports::{ErrorKind, PortError};

use super::{
    blocks::{Blocks, sensor_key},
    fold::fold,
    memtable::Slot,
    sensors::Folded,
    space::Space,
};
use crate::{disk::Need, error::from_write};

/// Rewritten blocks that one batch holds at the most.
const BLOCKS_AT_ONCE: usize = 64;

/// Takes out the rows a deletion names that only records before `position` made or changed; answers how many.
///
/// # Errors
/// `Corrupt` where a block can't be read, after all others were done.
pub(crate) fn delete(space: &Space, deletion: &Deletion, position: Position) -> Result<u64, PortError> {
    let _writer = space.writer();
    space.shared.check_usable()?;
    space.shared.disk.check(Need::Finish)?;
    let Some(slot) = space.read().find(deletion.sensor_id.as_str()) else { return Ok(0) };
    fold_everything(space)?;
    let last = space.read().sensor(slot).folded.as_ref().map(|folded| folded.last);
    let Some(last) = last.filter(|_| deletion.from < deletion.to) else { return Ok(0) };
    let blocks = Blocks::new(&space.shared.keyspaces.blocks, space.number, &deletion.sensor_id);
    let goes = |time: Timestamp, changed: Position| deletion.from <= time && time < deletion.to && changed < position;
    let first = blocks.start_before(deletion.from)?.unwrap_or(deletion.from);
    let (mut removed, mut unreadable) = (0, None);
    let mut rewrite = Rewrite::new(space, slot);
    for block in blocks.starting_in_if_readable(first, deletion.to) {
        let (start, rows) = block?;
        let rows = match rows {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                match is_all_of_block(&blocks, (start, last), deletion)? {
                    true => rewrite.remove_unreadable(&blocks, start),
                    false => unreadable = Some(error),
                }
                continue;
            }
            rows => rows?,
        };
        let mut kept = Rows::new(rows.width());
        rows.iter().filter(|row| !goes(row.row.phenomenon_time, row.row.position)).for_each(|row| kept.push(row));
        let gone = rows.len() - kept.len();
        if gone == 0 {
            continue;
        }
        removed += gone as u64;
        blocks.remove(&mut rewrite.batch, start);
        if !kept.is_empty() {
            blocks.put(&mut rewrite.batch, &kept);
        }
        rewrite.count_removed += gone as u64;
        rewrite.batch_blocks += 1;
        if rewrite.batch_blocks == BLOCKS_AT_ONCE {
            rewrite.commit(&blocks).map_err(|e| space.shared.fail(e))?;
        }
    }
    rewrite.commit(&blocks).map_err(|e| space.shared.fail(e))?;
    unreadable.map_or(Ok(removed), Err)
}

/// Says whether a deletion takes all that the block with this start may hold, where no row is behind `last`.
fn is_all_of_block(
    blocks: &Blocks<'_>,
    (start, last): (Timestamp, Timestamp),
    deletion: &Deletion,
) -> Result<bool, PortError> {
    let is_to_the_end = match blocks.start_after(start)? {
        Some(next) => next <= deletion.to,
        None => last < deletion.to,
    };
    Ok(deletion.from <= start && is_to_the_end)
}

/// Takes out blocks whose rows are all before a time; answers how many rows went.
pub(crate) fn expire(space: &Space, before: Timestamp) -> Result<u64, PortError> {
    let _writer = space.writer();
    space.shared.check_usable()?;
    space.shared.disk.check(Need::Finish)?;
    let slots = space.order();
    let old = |slot: &&Slot| space.read().extent(**slot).is_some_and(|(_, first, _)| first < before);
    let slots: Vec<Slot> = slots.iter().filter(old).copied().collect();
    if slots.is_empty() {
        return Ok(0);
    }
    fold_everything(space)?;
    let mut removed = 0;
    for slot in slots {
        removed += match expire_sensor(space, slot, before) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let sensor_id = space.read().sensor(slot).id.clone();
                tracing::error!(%sensor_id, %error, "readings past their retention can't be removed");
                0
            }
            removed => removed.map_err(|e| space.shared.fail(e))?,
        };
    }
    Ok(removed)
}

fn expire_sensor(space: &Space, slot: Slot, before: Timestamp) -> Result<u64, PortError> {
    let (id, last) = {
        let state = space.read();
        let sensor = state.sensor(slot);
        let Some(folded) = &sensor.folded else { return Ok(0) };
        (sensor.id.clone(), folded.last)
    };
    let blocks = Blocks::new(&space.shared.keyspaces.blocks, space.number, &id);
    let mut rewrite = Rewrite::new(space, slot);
    let mut counts = blocks.counts().peekable();
    while let Some(block) = counts.next() {
        let (start, count) = block?;
        // All rows of a block are before the start of the next one.
        let ends_before = match counts.peek() {
            Some(Ok((next, _))) => *next <= before,
            _ => last < before,
        };
        if !ends_before {
            break;
        }
        blocks.remove(&mut rewrite.batch, start);
        rewrite.count_removed += count;
    }
    let removed = rewrite.count_removed;
    rewrite.commit(&blocks)?;
    Ok(removed)
}

/// Folds whatever is in memory; the caller is the writer, so that nothing comes meanwhile.
fn fold_everything(space: &Space) -> Result<(), PortError> {
    space.wait_for_fold()?;
    if space.rotate() {
        fold(space).map_err(|error| space.shared.fail(error))?;
    }
    Ok(())
}

/// Changes to the blocks of one sensor, with what is known of it.
struct Rewrite<'a> {
    space: &'a Space,
    slot: Slot,
    batch: OwnedWriteBatch,
    batch_blocks: usize,
    count_removed: u64,
    /// Starts of the blocks that go of which nobody knows how many rows they had.
    unreadable: Vec<Timestamp>,
}

impl<'a> Rewrite<'a> {
    fn new(space: &'a Space, slot: Slot) -> Self {
        let batch = space.shared.database.batch();
        Self { space, slot, batch, batch_blocks: 0, count_removed: 0, unreadable: Vec::new() }
    }

    /// Takes out a block that can't be read.
    fn remove_unreadable(&mut self, blocks: &Blocks<'_>, start: Timestamp) {
        blocks.remove(&mut self.batch, start);
        self.unreadable.push(start);
    }

    /// Commits the blocks, then says what is left of the sensor.
    ///
    /// A crash between the two leaves its count and times too wide until the deletion is done again, which it is: its position
    /// was not committed. To keep even that out, count and blocks change in one batch, and the times are looked up after.
    fn commit(&mut self, blocks: &Blocks<'_>) -> Result<(), PortError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let doing = |e| from_write("removing rows", e);
        let space = self.space;
        let Some(mut folded) = space.read().sensor(self.slot).folded.clone() else { return Ok(()) };
        if !self.unreadable.is_empty() {
            folded.count = count_without(blocks, &std::mem::take(&mut self.unreadable))?;
        }
        folded.count -= self.count_removed.min(folded.count);
        let sensors = &space.shared.keyspaces.sensors;
        let key = sensor_key(space.number, blocks.sensor_id());
        let mut batch = std::mem::replace(&mut self.batch, space.shared.database.batch());
        (self.batch_blocks, self.count_removed) = (0, 0);
        if folded.count == 0 {
            batch.remove(sensors, key);
            batch.commit().map_err(doing)?;
            self.publish(None);
            return Ok(());
        }
        batch.insert(sensors, &key[..], folded.encode());
        batch.commit().map_err(doing)?;
        let folded = match measure(blocks, folded.clone()) {
            // Its times stay too wide until what can't be read is gone.
            Err(error) if error.kind() == ErrorKind::Corrupt => folded,
            measured => measured?,
        };
        sensors.insert(key, folded.encode()).map_err(doing)?;
        self.publish(Some(folded));
        Ok(())
    }

    fn publish(&self, folded: Option<Folded>) {
        let mut state = self.space.write();
        let sensor = &mut state.sensors[self.slot as usize];
        sensor.newest = folded.as_ref().map_or(Timestamp::MIN, |folded| folded.last);
        sensor.folded = folded;
    }
}

/// How many rows all blocks but some have, as far as they can be read.
fn count_without(blocks: &Blocks<'_>, gone: &[Timestamp]) -> Result<u64, PortError> {
    let mut count = 0;
    for block in blocks.starting_in_if_readable(Timestamp::MIN, Timestamp::MAX) {
        let (start, rows) = block?;
        count += rows.ok().filter(|_| !gone.contains(&start)).map_or(0, |rows| rows.len() as u64);
    }
    Ok(count)
}

/// First and last time, last block and newest row, as the blocks have them.
fn measure(blocks: &Blocks<'_>, mut folded: Folded) -> Result<Folded, PortError> {
    let mut all = blocks.starting_in(Timestamp::MIN, Timestamp::MAX);
    let Some(first) = all.next().transpose()? else { return Ok(folded) };
    let last = all.next_back().transpose()?;
    let last = last.as_ref().unwrap_or(&first);
    folded.first = first.rows.times().first().copied().unwrap_or(first.start);
    folded.last_block = last.start;
    if let Some(index) = last.rows.len().checked_sub(1) {
        folded.set_latest(last.rows.get(index));
    }
    Ok(folded)
}
