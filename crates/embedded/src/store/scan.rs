//! Scans: sensor by sensor in canonical order, each chunk put together of blocks and what is in memory.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use domain::{RowRef, Rows, SensorId, Timestamp};
use fjall::Database;
use ports::{Order, PortError, ReadingQuery, Scan, SensorQuery, SensorRows, SensorSummary, TimeRange};

use super::{
    blocks::Blocks,
    fold::arrivals_from,
    memtable::Slot,
    sensors::Arrivals,
    space::{Space, State},
};
use crate::error::{blocking, from_database, from_malformed};

pub(crate) struct EmbeddedScan(Option<Cursor>);

/// Where a scan is.
struct Cursor {
    space: Arc<Space>,
    query: ReadingQuery,
    /// Sensors to go, the next one last, with the phenomenon times wanted of each.
    sensors: Vec<(Slot, TimeRange)>,
}

impl EmbeddedScan {
    pub fn open(space: Arc<Space>, query: ReadingQuery) -> Result<Self, PortError> {
        let wanted = match (&query.sensor_ids, query.accepted == TimeRange::ALL) {
            (Some(ids), _) => ids.iter().map(|id| (id.clone(), query.times)).collect(),
            (None, false) => arrived(&space, query.accepted)?,
            (None, true) => {
                let order = space.order();
                let state = space.read();
                order.iter().map(|slot| (state.sensor(*slot).id.clone(), query.times)).collect()
            }
        };
        let state = space.read();
        let mut sensors: Vec<(Slot, TimeRange)> = Vec::with_capacity(wanted.len());
        for (id, times) in wanted {
            let Some(slot) = state.find(id.as_str()) else { continue };
            let mut times = TimeRange { from: times.from.max(query.times.from), to: times.to.min(query.times.to) };
            match &query.after {
                Some((after, _)) if id < *after => continue,
                Some((after, time)) if id == *after => match query.order {
                    Order::Ascending if *time == Timestamp::MAX => continue,
                    Order::Ascending => times.from = times.from.max(Timestamp::from_micros(time.as_micros() + 1)),
                    Order::Descending => times.to = times.to.min(*time),
                },
                _ => {}
            }
            sensors.push((slot, times));
        }
        drop(state);
        sensors.reverse();
        Ok(Self(Some(Cursor { space, query, sensors })))
    }
}

/// Sensors that readings came from in a range of acceptance times, with the range of phenomenon times that came.
fn arrived(space: &Space, accepted: TimeRange) -> Result<BTreeMap<SensorId, TimeRange>, PortError> {
    let mut found: BTreeMap<SensorId, TimeRange> = BTreeMap::new();
    let mut note = |id: &SensorId, first: Timestamp, last: Timestamp| {
        let to = Timestamp::from_micros(last.as_micros().saturating_add(1));
        let range = found.entry(id.clone()).or_insert(TimeRange { from: first, to });
        *range = TimeRange { from: range.from.min(first), to: range.to.max(to) };
    };
    // What is in memory first: a fold in between only shows rows twice.
    let state = space.read();
    for table in [Some(&state.active), state.folding.as_deref()].into_iter().flatten() {
        for slot in table.slots_with_rows() {
            let id = &state.sensor(slot).id;
            let rows = table.places(slot).iter().map(|place| table.rows().get(*place as usize).row);
            for row in rows.filter(|row| accepted.contains(row.accepted_at)) {
                note(id, row.phenomenon_time, row.phenomenon_time);
            }
        }
    }
    drop(state);
    let arrivals = &space.shared.keyspaces.arrivals;
    let end = arrivals_from(space.number + 1, Timestamp::MIN);
    for item in arrivals.range(arrivals_from(space.number, accepted.from)..end) {
        let value = item.value().map_err(|e| from_database("reading arrivals", e))?;
        let arrivals = Arrivals::decode(&value).map_err(|e| from_malformed("arrivals", e))?;
        if arrivals.accepted_first < accepted.to {
            arrivals.list.iter().for_each(|arrival| note(&arrival.sensor_id, arrival.first, arrival.last));
        }
    }
    Ok(found)
}

#[async_trait]
impl Scan for EmbeddedScan {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        let Some(mut cursor) = self.0.take() else { return Ok(None) };
        let (cursor, rows) = blocking(move || {
            let rows = cursor.next(rows_max.max(1))?;
            Ok((cursor, rows))
        })
        .await?;
        if rows.is_some() {
            self.0 = Some(cursor);
        }
        Ok(rows)
    }
}

impl Cursor {
    fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        while let Some((slot, times)) = self.sensors.last_mut() {
            if times.from >= times.to {
                self.sensors.pop();
                continue;
            }
            let chunk = read_chunk(&self.space, *slot, *times, self.query.order, rows_max)?;
            *times = chunk.rest;
            let wanted = |row: &RowRef<'_>| {
                self.query.accepted.contains(row.row.accepted_at)
                    && self.query.label.is_none_or(|label| row.row.label == label)
            };
            let everything = self.query.label.is_none() && self.query.accepted == TimeRange::ALL;
            let rows = if everything { chunk.rows } else { filtered(&chunk.rows, wanted) };
            if !rows.is_empty() {
                let sensor_id = self.space.read().sensor(*slot).id.clone();
                return Ok(Some(SensorRows { sensor_id, rows }));
            }
        }
        Ok(None)
    }
}

fn filtered(rows: &Rows, wanted: impl Fn(&RowRef<'_>) -> bool) -> Rows {
    let mut kept = Rows::new(rows.width());
    rows.iter().filter(wanted).for_each(|row| kept.push(row));
    kept
}

/// Some rows of a sensor in order, and the times behind them.
pub(crate) struct Chunk {
    pub rows: Rows,
    pub rest: TimeRange,
}

/// Reads the first rows of a range of times in the order asked for, `rows_max` of them at the most.
pub(crate) fn read_chunk(
    space: &Space,
    slot: Slot,
    times: TimeRange,
    order: Order,
    rows_max: usize,
) -> Result<Chunk, PortError> {
    // Memory before blocks: what a fold moves in between is seen twice, never not at all.
    let (id, width, in_memory, memory_cut, has_blocks) = {
        let state = space.read();
        let (rows, cut) = rows_in_memory(&state, slot, times, order, rows_max);
        let sensor = state.sensor(slot);
        let has_blocks = state.folding.is_some()
            || sensor.folded.as_ref().is_some_and(|folded| folded.first < times.to && folded.last >= times.from);
        (sensor.id.clone(), state.width, rows, cut, has_blocks)
    };
    let mut found: Vec<Rows> = Vec::new();
    let mut cut = memory_cut;
    if has_blocks {
        let blocks = Blocks::new(&space.shared.keyspaces.blocks, space.number, &id);
        let (blocks_found, block_cut) = read_blocks(&space.shared.database, &blocks, times, order, rows_max)?;
        found = blocks_found;
        cut = match order {
            Order::Ascending => cut.min(block_cut),
            Order::Descending => cut.max(block_cut),
        };
    }
    let (window, mut rest) = match order {
        Order::Ascending => (TimeRange { from: times.from, to: cut }, TimeRange { from: cut, to: times.to }),
        Order::Descending => (TimeRange { from: cut, to: times.to }, TimeRange { from: times.from, to: cut }),
    };
    let mut rows = Rows::new(width);
    let from_blocks = found.iter().flat_map(Rows::iter).filter(|row| window.contains(row.row.phenomenon_time));
    let from_memory = in_memory.iter().filter(|row| window.contains(row.row.phenomenon_time));
    merge_into(&mut rows, from_blocks, from_memory);
    if order == Order::Descending {
        let ascending = std::mem::replace(&mut rows, Rows::new(width));
        ascending.iter().rev().for_each(|row| rows.push(row));
    }
    if let Some(next) = rows.times().get(rows_max).copied() {
        rows.truncate(rows_max);
        match order {
            Order::Ascending => rest.from = next,
            Order::Descending => rest.to = Timestamp::from_micros(next.as_micros().saturating_add(1)),
        }
    }
    Ok(Chunk { rows, rest })
}

/// Reads blocks of a range in the order asked for until there are enough rows; answers with the time up to which all are there.
fn read_blocks(
    database: &Database,
    blocks: &Blocks<'_>,
    times: TimeRange,
    order: Order,
    rows_max: usize,
) -> Result<(Vec<Rows>, Timestamp), PortError> {
    let mut all = blocks.reaching_into(database, times)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut cut = if order == Order::Ascending { times.to } else { times.from };
    while let Some(block) = if order == Order::Ascending { all.next() } else { all.next_back() } {
        let block = block?;
        count += block.rows.times().iter().filter(|time| times.contains(**time)).count();
        let edge = match (order, block.rows.times().last()) {
            (Order::Ascending, Some(last)) => Timestamp::from_micros(last.as_micros().saturating_add(1)),
            _ => block.start,
        };
        found.push(block.rows);
        if count >= rows_max {
            cut = edge.max(times.from).min(times.to);
            break;
        }
    }
    if order == Order::Descending {
        found.reverse();
    }
    Ok((found, cut))
}

/// Copies rows of both memtables in time order, up to `rows_max` from the side where the order begins; answers with the time up to
/// which all are there.
fn rows_in_memory(state: &State, slot: Slot, times: TimeRange, order: Order, rows_max: usize) -> (Rows, Timestamp) {
    let mut cut = if order == Order::Ascending { times.to } else { times.from };
    let mut tables =
        [state.folding.as_deref(), Some(&state.active)].map(|table| table.map(|t| (t, t.places_in(slot, times))));
    for (table, places) in tables.iter_mut().flatten() {
        if places.len() <= rows_max {
            continue;
        }
        match order {
            Order::Ascending => {
                *places = &places[..rows_max];
                let last = table.rows().times()[places[rows_max - 1] as usize];
                cut = cut.min(Timestamp::from_micros(last.as_micros().saturating_add(1)));
            }
            Order::Descending => {
                *places = &places[places.len() - rows_max..];
                cut = cut.max(table.rows().times()[places[0] as usize]);
            }
        }
    }
    let [folding, active] =
        tables.map(|table| table.map(|(table, places)| places.iter().map(|p| table.rows().get(*p as usize))));
    let mut rows = Rows::new(state.width);
    merge_into(&mut rows, folding.into_iter().flatten(), active.into_iter().flatten());
    (rows, cut)
}

/// Merges rows in time order; of one time, that of `over` is taken.
fn merge_into<'a>(rows: &mut Rows, under: impl Iterator<Item = RowRef<'a>>, over: impl Iterator<Item = RowRef<'a>>) {
    let mut under = under.peekable();
    for row in over {
        let time = row.row.phenomenon_time;
        while let Some(before) = under.next_if(|row| row.row.phenomenon_time < time) {
            rows.push(before);
        }
        under.next_if(|row| row.row.phenomenon_time == time);
        rows.push(row);
    }
    under.for_each(|row| rows.push(row));
}

/// The newest row of each sensor of a query, by sensor id.
pub(crate) fn latest(space: &Space, query: &SensorQuery) -> Result<domain::Judged, PortError> {
    let wanted = Wanted::of(space, query);
    let state = space.read();
    let mut judged = domain::Judged { sensor_ids: Vec::new(), rows: Rows::new(state.width) };
    for slot in wanted.slots() {
        if judged.sensor_ids.len() == query.count_max {
            break;
        }
        if state.push_latest(*slot, &mut judged.rows)? {
            judged.sensor_ids.push(state.sensor(*slot).id.clone());
        }
    }
    Ok(judged)
}

/// The extent of each sensor of a query, by sensor id.
pub(crate) fn summaries(space: &Space, query: &SensorQuery) -> Vec<SensorSummary> {
    let wanted = Wanted::of(space, query);
    let state = space.read();
    let summary = |slot: &Slot| {
        let (count, first, last) = state.extent(*slot)?;
        Some(SensorSummary { sensor_id: state.sensor(*slot).id.clone(), count, first, last })
    };
    wanted.slots().iter().filter_map(summary).take(query.count_max).collect()
}

/// The sensors that a query asks for, by sensor id: named ones cost a look-up each, all others the place where the answer starts.
enum Wanted {
    Named(Vec<Slot>),
    /// Those of an order from an index on.
    From(Arc<[Slot]>, usize),
}

impl Wanted {
    fn of(space: &Space, query: &SensorQuery) -> Self {
        if let Some(named) = query.named() {
            let state = space.read();
            return Self::Named(named.into_iter().filter_map(|id| state.find(id.as_str())).collect());
        }
        let order = space.order();
        let state = space.read();
        let start = order.partition_point(|slot| !query.is_behind_start(&state.sensor(*slot).id));
        drop(state);
        Self::From(order, start)
    }

    fn slots(&self) -> &[Slot] {
        match self {
            Self::Named(slots) => slots,
            Self::From(order, start) => &order[*start..],
        }
    }
}
