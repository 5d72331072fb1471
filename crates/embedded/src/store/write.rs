//! Writing judged rows: most are newer than all of their sensor's and go straight in; only the others are looked up.

use domain::{Flag, Judged, Merge, Row, RowRef, Timestamp, Value};
use ports::{ErrorKind, Judge, Outcome, PortError, Revisions};

use super::{
    blocks::{Block, Blocks},
    memtable::Slot,
    sensors::encode_staged,
    space::{Space, State, staged_key},
};
use crate::{disk::Need, error::from_write};

/// The most rows taken in while readers wait.
const ROWS_AT_ONCE: usize = 4_096;

/// Writes rows; answers one outcome per row. Says by the second part whether there is a memtable to fold now.
pub(crate) fn write(space: &Space, judged: &Judged, judge: &dyn Judge) -> Result<(Vec<Outcome>, bool), PortError> {
    change(space, judged.rows.width(), || {
        let mut outcomes = vec![Outcome::Stored; judged.rows.len()];
        for start in (0..judged.rows.len()).step_by(ROWS_AT_ONCE) {
            let range = start..judged.rows.len().min(start + ROWS_AT_ONCE);
            take_in(space, judged, range, judge, &mut outcomes)?;
        }
        Ok(outcomes)
    })
}

/// Gives rows other flags; answers how many that changes, and as [`write`].
pub(crate) fn revise(space: &Space, revisions: &Revisions) -> Result<(u64, bool), PortError> {
    change(space, revisions.width, || {
        let mut changed = 0;
        for start in (0..revisions.len()).step_by(ROWS_AT_ONCE) {
            let range = start..revisions.len().min(start + ROWS_AT_ONCE);
            changed += revise_some(space, revisions, range)?;
        }
        Ok(changed)
    })
}

/// Changes the active memtable by `work` and saves what came into it.
fn change<T>(space: &Space, width: usize, work: impl FnOnce() -> Result<T, PortError>) -> Result<(T, bool), PortError> {
    let mut sequence = space.writer();
    space.shared.check_usable()?;
    space.shared.disk.check(Need::Finish)?;
    if space.is_full() {
        space.wait_for_fold()?;
    }
    let rotated_before = space.is_full() && space.rotate();
    space.widen(width);
    let first_new = space.read().active.len();
    let done = work();
    // What came in is saved also where a later row met an error, so that memory and journal stay the same.
    stage(space, first_new, *sequence).map_err(|error| space.shared.fail(error))?;
    *sequence += 1;
    Ok((done?, rotated_before || (space.is_full() && space.rotate())))
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
    saved.map_err(|e| from_write("saving rows", e))?;
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
        outcomes[index] = match take_in_late(space, state, slot, row, judge, &mut block) {
            // Nobody knows what stands in its place: this row alone can't be merged.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                outcomes[index] = Outcome::Rejected(error.to_string());
                continue;
            }
            outcome => outcome?,
        };
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
        let Some(existing) = find(space, state, slot, time, cached)? else {
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

/// Gives rows other flags, those of neighbours in time one after the other; answers how many that changes.
fn revise_some(space: &Space, revisions: &Revisions, range: std::ops::Range<usize>) -> Result<u64, PortError> {
    let mut guard = space.write();
    let state = &mut *guard;
    let place = |index: usize| {
        let slot = state.find(revisions.sensor_ids[index].as_str())?;
        Some((slot, revisions.times[index], index))
    };
    let mut places: Vec<(Slot, Timestamp, usize)> = range.filter_map(place).collect();
    places.sort_unstable();
    let mut block = None;
    let mut changed = 0;
    for (at, (slot, time, index)) in places.iter().enumerate() {
        let is_last = places.get(at + 1).is_none_or(|next| (next.0, next.1) != (*slot, *time));
        let existing = match find(space, state, *slot, *time, &mut block) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let sensor_id = &state.sensor(*slot).id;
                tracing::error!(%sensor_id, phenomenon_time = %time, %error, "the flags of a reading can't be revised");
                continue;
            }
            existing => existing?,
        };
        let Some(existing) = existing.filter(|_| is_last) else { continue };
        let Some((row, flags)) = revisions.changes(*index, existing) else { continue };
        let mut values = existing.values.to_vec();
        values.resize(flags.len(), Value::ABSENT);
        state.active.insert(*slot, RowRef { row, values: &values, flags: &flags }, false);
        changed += 1;
    }
    Ok(changed)
}

/// The row of an identity, wherever it is.
fn find<'a>(
    space: &Space,
    state: &'a State,
    slot: Slot,
    time: Timestamp,
    cached: &'a mut Option<(Slot, Block)>,
) -> Result<Option<RowRef<'a>>, PortError> {
    let in_memory = state.active.find(slot, time).or_else(|| state.folding.as_ref()?.find(slot, time));
    match in_memory {
        Some(existing) => Ok(Some(existing)),
        None => find_in_blocks(space, state, slot, time, cached),
    }
}

fn put_revised(state: &mut State, slot: Slot, row: Row, values: &[Value], judge: &dyn Judge) {
    let (mut flags, label) = judge.judge(row.type_version, values);
    flags.resize(values.len(), Flag::NotEvaluated);
    let row = Row { label, ..row };
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
