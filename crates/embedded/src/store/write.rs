//! Writing judged rows: most are newer than all of their sensor's and go straight in; only the others are looked up.

use domain::{Judged, Merge, Row, RowRef, Timestamp, Value};
use ports::{Judge, Outcome, PortError};

use super::{
    blocks::{Block, Blocks},
    memtable::Slot,
    sensors::encode_staged,
    space::{Space, State, staged_key},
};
use crate::{disk::Need, error::from_database};

/// The most rows taken in while readers wait.
const ROWS_AT_ONCE: usize = 4_096;

/// Writes rows; answers one outcome per row. Says by the second part whether there is a memtable to fold now.
pub(crate) fn write(space: &Space, judged: &Judged, judge: &dyn Judge) -> Result<(Vec<Outcome>, bool), PortError> {
    let mut sequence = space.writer();
    space.shared.check_usable()?;
    space.shared.disk.check(Need::Finish)?;
    if space.is_full() {
        space.wait_for_fold()?;
    }
    let rotated_before = space.is_full() && space.rotate();
    space.widen(judged.rows.width());
    let mut outcomes = vec![Outcome::Stored; judged.rows.len()];
    let first_new = space.read().active.len();
    for start in (0..judged.rows.len()).step_by(ROWS_AT_ONCE) {
        let range = start..judged.rows.len().min(start + ROWS_AT_ONCE);
        take_in(space, judged, range, judge, &mut outcomes).map_err(|error| space.shared.fail(error))?;
    }
    stage(space, first_new, *sequence).map_err(|error| space.shared.fail(error))?;
    *sequence += 1;
    Ok((outcomes, rotated_before || (space.is_full() && space.rotate())))
}

/// Saves the rows that came into the active memtable since it had `first_new`.
fn stage(space: &Space, first_new: usize, sequence: u64) -> Result<(), PortError> {
    let state = space.read();
    let active = &state.active;
    if active.len() == first_new {
        return Ok(());
    }
    let owner = |index: usize| (&state.sensor(active.slot_at(index)).id, active.is_fresh(index));
    let entry = encode_staged(active.rows(), first_new..active.len(), owner);
    drop(state);
    let saved = space.shared.keyspaces.staged.insert(staged_key(space.number, sequence), entry);
    saved.map_err(|e| from_database("saving rows", e))?;
    space.write().active.sequence_last = sequence;
    space.count_as_busy();
    Ok(())
}

fn take_in(
    space: &Space,
    judged: &Judged,
    range: std::ops::Range<usize>,
    judge: &dyn Judge,
    outcomes: &mut [Outcome],
) -> Result<(), PortError> {
    let mut guard = space.write();
    let state = &mut *guard;
    let mut late: Vec<(Slot, Timestamp, usize)> = Vec::new();
    let mut last: Option<(&str, Slot)> = None;
    for index in range {
        let id = &judged.sensor_ids[index];
        let slot = match last {
            Some((last, slot)) if last == id.as_str() => slot,
            _ => state.slot_of(id),
        };
        last = Some((id.as_str(), slot));
        let row = judged.rows.get(index);
        let time = row.row.phenomenon_time;
        let sensor = &mut state.sensors[slot as usize];
        if time > sensor.newest {
            sensor.newest = time;
            state.active.insert(slot, row, true);
        } else {
            late.push((slot, time, index));
        }
    }
    // By identity, each in log order: neighbours share a block.
    late.sort_unstable();
    let mut block = None;
    for (slot, time, index) in late {
        let row = judged.rows.get(index);
        outcomes[index] = take_in_late(space, state, slot, row, judge, &mut block)?;
        let sensor = &mut state.sensors[slot as usize];
        sensor.newest = sensor.newest.max(time);
    }
    Ok(())
}

/// Merges a row with the one its identity may have.
fn take_in_late(
    space: &Space,
    state: &mut State,
    slot: Slot,
    row: RowRef<'_>,
    judge: &dyn Judge,
    cached: &mut Option<(Slot, Block)>,
) -> Result<Outcome, PortError> {
    let time = row.row.phenomenon_time;
    let merged = {
        let in_memory = state.active.find(slot, time).or_else(|| state.folding.as_ref()?.find(slot, time));
        let existing = match in_memory {
            Some(existing) => Some(existing),
            None => find_in_blocks(space, state, slot, time, cached)?,
        };
        let Some(existing) = existing else {
            state.active.insert(slot, row, true);
            return Ok(Outcome::Stored);
        };
        match Merge::of(existing, row.row.position, row.values) {
            Merge::AlreadyStored => return Ok(Outcome::Stored),
            Merge::AlreadyRevised => return Ok(Outcome::Revised),
            Merge::Duplicate => return Ok(Outcome::Duplicate),
            Merge::Revised(values) => {
                let type_version = row.row.type_version.max(existing.row.type_version);
                (Row { first_position: existing.row.first_position, type_version, ..row.row }, values)
            }
        }
    };
    let (revised, values) = merged;
    put_revised(state, slot, revised, &values, judge);
    Ok(Outcome::Revised)
}

fn put_revised(state: &mut State, slot: Slot, row: Row, values: &[Value], judge: &dyn Judge) {
    let mut flags = judge.judge(row.type_version, values);
    flags.resize(values.len(), domain::Flag::NotEvaluated);
    state.active.insert(slot, RowRef { row, values, flags: &flags }, false);
}

fn find_in_blocks<'a>(
    space: &Space,
    state: &State,
    slot: Slot,
    time: Timestamp,
    cached: &'a mut Option<(Slot, Block)>,
) -> Result<Option<RowRef<'a>>, PortError> {
    let sensor = state.sensor(slot);
    if !sensor.folded.as_ref().is_some_and(|folded| folded.first <= time && time <= folded.last) {
        return Ok(None);
    }
    let spans = |block: &Block| block.start <= time && block.rows.times().last().is_some_and(|last| time <= *last);
    if !cached.as_ref().is_some_and(|(owner, block)| *owner == slot && spans(block)) {
        let blocks = Blocks::new(&space.shared.keyspaces.blocks, space.number, &sensor.id);
        // Not by the start that is known: a fold under way may have split the last block already.
        *cached = blocks.containing(time)?.map(|block| (slot, block));
    }
    let Some((_, block)) = cached.as_ref() else { return Ok(None) };
    Ok(block.rows.times().binary_search(&time).ok().map(|index| block.rows.get(index)))
}
