//! Scans: sensor by sensor in canonical order, each chunk put together of blocks and what is in memory.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use domain::{Position, RowRef, Rows, SensorId, Timestamp};
use fjall::Database;
use ports::{ErrorKind, Order, PortError, ReadingQuery, Scan, SensorQuery, SensorRows, SensorSummary, TimeRange};

use super::{
    blocks::Blocks,
    fold::arrivals_from,
    memtable::Slot,
    sensors::Arrivals,
    space::{Space, State},
};
use crate::error::{blocking, from_database, from_malformed};

pub(crate) struct EmbeddedScan(Option<Cursor>);

/// The most sensors that are looked up at once of those that rows came from in a range of acceptance times.
const ARRIVED_MAX: usize = 65_536;

/// Where a scan is.
struct Cursor {
    space: Arc<Space>,
    query: ReadingQuery,
    /// Sensors to go, the next one last, with the phenomenon times wanted of each.
    sensors: Vec<(Slot, TimeRange)>,
    /// The first of the sensors that are not looked up yet, where not all are.
    rest: Option<SensorId>,
}

impl EmbeddedScan {
    pub fn open(space: Arc<Space>, query: ReadingQuery) -> Result<Self, PortError> {
        let mut cursor = Cursor { space, query, sensors: Vec::new(), rest: None };
        let first = cursor.query.after.as_ref().map(|(sensor_id, _)| sensor_id.clone());
        cursor.look_up(first.as_ref())?;
        Ok(Self(Some(cursor)))
    }
}

impl Cursor {
    /// Looks up the sensors that the scan goes on with, from the first of them on.
    fn look_up(&mut self, first: Option<&SensorId>) -> Result<(), PortError> {
        let Self { space, query, .. } = self;
        self.rest = None;
        let wanted = match (&query.sensor_ids, query.accepted == TimeRange::ALL) {
            (Some(ids), _) => ids.iter().map(|id| (id.clone(), query.times)).collect(),
            (None, false) => {
                let (arrived, rest) = arrived(space, query.accepted, first, ARRIVED_MAX)?;
                self.rest = rest;
                arrived
            }
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
        self.sensors = sensors;
        Ok(())
    }
}

/// Sensors by id, with the range of phenomenon times wanted of each.
type Wanted = BTreeMap<SensorId, TimeRange>;

/// Sensors that readings came from in a range of acceptance times, from the first on and at most so many, with the range of phenomenon times that
/// came; and the first of those that are left.
fn arrived(
    space: &Space,
    accepted: TimeRange,
    first: Option<&SensorId>,
    sensors_max: usize,
) -> Result<(Wanted, Option<SensorId>), PortError> {
    let (mut found, mut rest) = (Wanted::new(), None::<SensorId>);
    let mut note = |id: &SensorId, from: Timestamp, last: Timestamp| {
        if first.is_some_and(|first| id < first) || rest.as_ref().is_some_and(|rest| id >= rest) {
            return;
        }
        let to = Timestamp::from_micros(last.as_micros().saturating_add(1));
        let range = found.entry(id.clone()).or_insert(TimeRange { from, to });
        *range = TimeRange { from: range.from.min(from), to: range.to.max(to) };
        if found.len() > sensors_max {
            rest = found.pop_last().map(|(id, _)| id);
        }
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
    Ok((found, rest))
}

#[async_trait]
impl Scan for EmbeddedScan {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        let Some(mut cursor) = self.0.take() else { return Ok(None) };
        let (cursor, rows) = blocking(move || {
            let rows = cursor.next(rows_max.max(1));
            Ok((cursor, rows))
        })
        .await?;
        if !matches!(rows, Ok(None)) {
            self.0 = Some(cursor);
        }
        rows
    }
}

impl Cursor {
    fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        loop {
            let Some((slot, times)) = self.sensors.last_mut() else {
                let Some(rest) = self.rest.take() else { return Ok(None) };
                self.look_up(Some(&rest))?;
                continue;
            };
            if times.from >= times.to {
                self.sensors.pop();
                continue;
            }
            let chunk = match read_chunk(&self.space, *slot, *times, self.query.order, rows_max) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.pass_over(error)),
            };
            *times = chunk.rest;
            let rows = wanted_of(chunk.rows, &self.query);
            if !rows.is_empty() {
                let sensor_id = self.space.read().sensor(*slot).id.clone();
                return Ok(Some(SensorRows { sensor_id, rows }));
            }
        }
    }

    /// Goes on behind a sensor whose rows can't be read.
    fn pass_over(&mut self, error: PortError) -> PortError {
        if error.kind() != ErrorKind::Corrupt {
            return error;
        }
        let Some((slot, _)) = self.sensors.pop() else { return error };
        let message = format!("readings of sensor `{}` can't be read", self.space.read().sensor(slot).id);
        PortError::new(ErrorKind::Corrupt, message).with_source(error)
    }
}

/// What a query leaves of rows whose times are those it asks for.
fn wanted_of(rows: Rows, query: &ReadingQuery) -> Rows {
    let is_whole = query.accepted == TimeRange::ALL && query.label.is_none() && query.changed_from == Position(0);
    if is_whole && !query.keys_only {
        return rows;
    }
    let is_wanted = |row: &RowRef<'_>| {
        query.accepted.contains(row.row.accepted_at)
            && query.label.is_none_or(|label| row.row.label == label)
            && row.row.position >= query.changed_from
    };
    let mut kept = Rows::new(if query.keys_only { 0 } else { rows.width() });
    rows.iter().filter(is_wanted).for_each(|row| kept.push(if query.keys_only { row.key() } else { row }));
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
    let wanted = Asked::of(space, query);
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
    let wanted = Asked::of(space, query);
    let state = space.read();
    let summary = |slot: &Slot| {
        let (count, first, last) = state.extent(*slot)?;
        Some(SensorSummary { sensor_id: state.sensor(*slot).id.clone(), count, first, last })
    };
    wanted.slots().iter().filter_map(summary).take(query.count_max).collect()
}

/// The sensors that a query asks for, by sensor id: named ones cost a look-up each, all others the place where the answer starts.
enum Asked {
    Named(Vec<Slot>),
    /// Those of an order from an index on.
    From(Arc<[Slot]>, usize),
}

impl Asked {
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

#[cfg(test)]
mod tests {
    use domain::{Flag, Judged, Label, Row, SensorType, SensorTypeId, TypeVersion, Value};
    use ports::{Judge, Store};

    use super::*;
    use crate::{
        disk::Disk,
        folder::{OpenKeyspaces, open_database_with},
        store::{EmbeddedStore, Shared},
    };

    struct Good;

    impl Judge for Good {
        fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
            (vec![Flag::Good; values.len()], Label::Normal)
        }
    }

    fn store(path: &std::path::Path) -> EmbeddedStore {
        let database = open_database_with(path, 1 << 20).expect("a database");
        let keyspaces = OpenKeyspaces::open(&database).expect("keyspaces");
        let disk = Arc::new(Disk::new(path, database.clone(), 0));
        EmbeddedStore::open(Shared::new(database, keyspaces.store, disk, 1 << 10)).expect("it opens")
    }

    /// Each sensor is found once and whole, however few are looked up at a time.
    #[tokio::test]
    async fn sensors_of_which_something_came_are_looked_up_part_by_part() {
        let place = tempfile::tempdir().expect("a folder");
        let (store, id) = (store(place.path()), SensorTypeId::parse("emb").expect("an id"));
        let text = r#"{"sampling_interval": "1s", "properties": [{"id": "sec", "unit": "1"}]}"#;
        let sensor_type =
            SensorType::first(id.clone(), 1, serde_json::from_str(text).expect("a definition")).expect("valid");
        store.prepare(&sensor_type).await.expect("room");
        let at = Timestamp::from_micros;
        for round in 0..20 {
            let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::new(1) };
            for sensor in 0..10 {
                let (time, position) = (at(round * 100 + sensor), Position((round * 10 + sensor) as u64));
                let row = Row {
                    phenomenon_time: time,
                    accepted_at: at(round),
                    position,
                    first_position: position,
                    type_version: 1,
                    label: Label::Normal,
                };
                judged.sensor_ids.push(SensorId::parse(&format!("s{sensor}")).expect("an id"));
                judged.rows.push(RowRef { row, values: &[Value::MISSING], flags: &[Flag::Good] });
            }
            store.write(&id, &judged, &Good).await.expect("written");
        }
        let space = store.space(&id).expect("it is there");
        let accepted = TimeRange { from: at(0), to: at(20) };
        let (whole, rest) = arrived(&space, accepted, None, 10).expect("looked up");
        assert_eq!((whole.len(), rest), (10, None));
        assert_eq!(whole[&SensorId::parse("s3").expect("an id")], TimeRange { from: at(3), to: at(1_904) });
        for sensors_max in 1..10 {
            let (mut found, mut first) = (Wanted::new(), None);
            loop {
                let (some, rest) = arrived(&space, accepted, first.as_ref(), sensors_max).expect("looked up");
                assert!(some.len() <= sensors_max);
                assert!(some.into_iter().all(|(id, times)| found.insert(id, times).is_none()));
                first = rest;
                if first.is_none() {
                    break;
                }
            }
            assert_eq!(found, whole, "{sensors_max} at a time");
        }
        store.close();
    }
}
