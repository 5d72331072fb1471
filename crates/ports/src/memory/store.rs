//! The store in memory: rows by sensor and phenomenon time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Deletion, Flag, Judged, Label, Merge, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType, SensorTypeId,
    Timestamp, Value,
};

use crate::{
    Bucket, BucketQuery, ErrorKind, Judge, Order, Outcome, PortError, ReadingQuery, Revisions, Scan, SensorQuery,
    SensorRows, SensorSummary, Store,
};

/// A store that lives as long as the process; clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Types>>);

type Types = BTreeMap<SensorTypeId, Table>;

/// The rows of one sensor type.
#[derive(Default)]
struct Table {
    properties: Arc<[PropertyId]>,
    sensors: BTreeMap<SensorId, BTreeMap<Timestamp, Stored>>,
}

/// One row.
struct Stored {
    row: Row,
    values: Vec<Value>,
    flags: Vec<Flag>,
}

impl Stored {
    fn of(row: RowRef<'_>) -> Self {
        Self { row: row.row, values: row.values.to_vec(), flags: row.flags.to_vec() }
    }

    fn as_ref(&self) -> RowRef<'_> {
        RowRef { row: self.row, values: &self.values, flags: &self.flags }
    }
}

impl Table {
    /// The sensors that a query asks for and that have rows.
    fn wanted<'a>(
        &'a self,
        query: &'a SensorQuery,
    ) -> impl Iterator<Item = (&'a SensorId, &'a BTreeMap<Timestamp, Stored>)> {
        let named = query.named().map(|named| named.into_iter().filter_map(|id| self.sensors.get_key_value(id)));
        let all = named.is_none().then_some(&self.sensors).into_iter().flatten();
        let found = named.into_iter().flatten().chain(all.filter(|(id, _)| query.is_behind_start(id)));
        found.filter(|(_, rows)| !rows.is_empty()).take(query.count_max)
    }
}

impl MemoryStore {
    /// A store that knows no sensor type.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Types> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn table<'a>(types: &'a Types, sensor_type: &SensorTypeId) -> Result<&'a Table, PortError> {
    types.get(sensor_type).ok_or_else(|| unprepared(sensor_type))
}

fn table_mut<'a>(types: &'a mut Types, sensor_type: &SensorTypeId) -> Result<&'a mut Table, PortError> {
    types.get_mut(sensor_type).ok_or_else(|| unprepared(sensor_type))
}

fn unprepared(sensor_type: &SensorTypeId) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("the store knows no sensor type `{sensor_type}`"))
}

impl Table {
    fn check_width(&self, sensor_type: &SensorTypeId, width: usize) -> Result<(), PortError> {
        if width <= self.properties.len() {
            return Ok(());
        }
        let message = format!("sensor type `{sensor_type}` is not prepared for `{width}` values");
        Err(PortError::new(ErrorKind::NotFound, message))
    }

    /// Writes one row as the merge rule says.
    fn write(&mut self, sensor_id: &SensorId, new: RowRef<'_>, judge: &dyn Judge) -> Outcome {
        let rows = self.sensors.entry(sensor_id.clone()).or_default();
        let Some(stored) = rows.get_mut(&new.row.phenomenon_time) else {
            let first_position = new.row.position;
            rows.insert(new.row.phenomenon_time, Stored::of(RowRef { row: Row { first_position, ..new.row }, ..new }));
            return Outcome::Stored;
        };
        match Merge::of(stored.as_ref(), new.row.position, new.values) {
            Merge::AlreadyStored => Outcome::Stored,
            Merge::AlreadyRevised => Outcome::Revised,
            Merge::Duplicate => Outcome::Duplicate,
            Merge::Revised(values) => {
                let type_version = stored.row.type_version.max(new.row.type_version);
                let (flags, label) = judge.judge(type_version, &values);
                let row = Row { first_position: stored.row.first_position, type_version, label, ..new.row };
                *stored = Stored { row, values, flags };
                Outcome::Revised
            }
        }
    }

    /// Gives the row named at `index` other flags; says whether that changes it.
    fn revise(&mut self, revisions: &Revisions, index: usize) -> bool {
        let rows = self.sensors.get_mut(&revisions.sensor_ids[index]);
        let Some(stored) = rows.and_then(|rows| rows.get_mut(&revisions.times[index])) else { return false };
        let Some((row, flags)) = revisions.changes(index, stored.as_ref()) else { return false };
        stored.values.resize(flags.len(), Value::ABSENT);
        (stored.row, stored.flags) = (row, flags);
        true
    }

    /// Takes out the rows of a sensor that are asked for.
    fn take_out(&mut self, sensor_id: &SensorId, mut out: impl FnMut(&Row) -> bool) -> u64 {
        let Some(rows) = self.sensors.get_mut(sensor_id) else { return 0 };
        let before = rows.len();
        rows.retain(|_, stored| !out(&stored.row));
        let taken = before - rows.len();
        if rows.is_empty() {
            self.sensors.remove(sensor_id);
        }
        taken as u64
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        let mut types = self.lock();
        let table = types.entry(sensor_type.id.clone()).or_default();
        if sensor_type.width() > table.properties.len() {
            table.properties = sensor_type.property_ids.clone();
        }
        Ok(())
    }

    async fn write(
        &self,
        sensor_type: &SensorTypeId,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError> {
        let mut types = self.lock();
        let table = table_mut(&mut types, sensor_type)?;
        table.check_width(sensor_type, judged.rows.width())?;
        let rows = judged.sensor_ids.iter().zip(judged.rows.iter());
        Ok(rows.map(|(sensor_id, row)| table.write(sensor_id, row, judge)).collect())
    }

    async fn revise(&self, sensor_type: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError> {
        let mut types = self.lock();
        let table = table_mut(&mut types, sensor_type)?;
        table.check_width(sensor_type, revisions.width)?;
        let mut last: BTreeMap<(&SensorId, Timestamp), usize> = BTreeMap::new();
        for (index, identity) in revisions.sensor_ids.iter().zip(revisions.times.iter().copied()).enumerate() {
            last.insert(identity, index);
        }
        Ok(last.into_values().filter(|index| table.revise(revisions, *index)).count() as u64)
    }

    async fn delete(
        &self,
        sensor_type: &SensorTypeId,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError> {
        let mut types = self.lock();
        let times = deletion.from..deletion.to;
        let named = |row: &Row| times.contains(&row.phenomenon_time) && row.position < position;
        Ok(table_mut(&mut types, sensor_type)?.take_out(&deletion.sensor_id, named))
    }

    async fn scan(&self, sensor_type: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        table(&self.lock(), sensor_type)?;
        let sensor_ids = query.sensor_ids.clone().map(BTreeSet::from_iter);
        let (store, sensor_type, query) = (self.clone(), sensor_type.clone(), query.clone());
        Ok(Box::new(MemoryScan { store, sensor_type, query, sensor_ids }))
    }

    async fn latest(&self, sensor_type: &SensorTypeId, query: &SensorQuery) -> Result<Judged, PortError> {
        let types = self.lock();
        let table = table(&types, sensor_type)?;
        let mut latest = Judged { sensor_ids: Vec::new(), rows: Rows::new(table.properties.len()) };
        for (sensor_id, rows) in table.wanted(query) {
            let Some((_, newest)) = rows.last_key_value() else { continue };
            latest.sensor_ids.push(sensor_id.clone());
            latest.rows.push(newest.as_ref());
        }
        Ok(latest)
    }

    async fn summaries(
        &self,
        sensor_type: &SensorTypeId,
        query: &SensorQuery,
    ) -> Result<Vec<SensorSummary>, PortError> {
        let types = self.lock();
        let mut summaries = Vec::new();
        for (sensor_id, rows) in table(&types, sensor_type)?.wanted(query) {
            let (Some((first, _)), Some((last, _))) = (rows.first_key_value(), rows.last_key_value()) else { continue };
            let (count, first, last) = (rows.len() as u64, *first, *last);
            summaries.push(SensorSummary { sensor_id: sensor_id.clone(), count, first, last });
        }
        Ok(summaries)
    }

    async fn buckets(&self, sensor_type: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        let types = self.lock();
        let table = table(&types, sensor_type)?;
        let Some(index) = table.properties.iter().position(|property| *property == query.property) else {
            let message = format!("sensor type `{sensor_type}` has no property `{}`", query.property);
            return Err(PortError::new(ErrorKind::NotFound, message));
        };
        if query.interval < Duration::from_micros(1) {
            let message = format!("a bucket of `{:?}`: at least a microsecond", query.interval);
            return Err(PortError::new(ErrorKind::Rejected, message));
        }
        let mut numbers: BTreeMap<Timestamp, Vec<f64>> = BTreeMap::new();
        for (time, stored) in table.sensors.get(&query.sensor_id).into_iter().flatten() {
            let labelled = query.label.is_none_or(|label| stored.row.label == label);
            let number = stored.values.get(index).and_then(|value| value.as_number());
            if let (true, true, Some(number)) = (labelled, query.times.contains(*time), number) {
                numbers.entry(bucket_start(*time, query.interval)).or_default().push(number);
            }
        }
        if numbers.len() > query.buckets_max {
            let message = format!("`{}` buckets: at most {}", numbers.len(), query.buckets_max);
            return Err(PortError::new(ErrorKind::Rejected, message));
        }
        Ok(numbers.into_iter().map(|(start, numbers)| summarise(start, &numbers)).collect())
    }

    async fn expire(&self, sensor_type: &SensorTypeId, before: Timestamp) -> Result<u64, PortError> {
        let mut types = self.lock();
        let table = table_mut(&mut types, sensor_type)?;
        let sensor_ids: Vec<SensorId> = table.sensors.keys().cloned().collect();
        Ok(sensor_ids.iter().map(|id| table.take_out(id, |row| row.phenomenon_time < before)).sum())
    }

    async fn remove(&self, sensor_type: &SensorTypeId) -> Result<(), PortError> {
        self.lock().remove(sensor_type);
        Ok(())
    }

    async fn ready(&self) -> Result<(), PortError> {
        Ok(())
    }
}

/// First time of the interval a time lies in, counted from the epoch.
fn bucket_start(time: Timestamp, interval: Duration) -> Timestamp {
    let micros = i128::from(time.as_micros());
    let interval = i128::try_from(interval.as_micros()).unwrap_or(i128::MAX);
    let start = micros - micros.rem_euclid(interval);
    Timestamp::from_micros(i64::try_from(start).unwrap_or(i64::MIN))
}

/// Statistics of at least one number, in two passes.
fn summarise(start: Timestamp, numbers: &[f64]) -> Bucket {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
    let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Bucket { start, count: numbers.len() as u64, mean, min, max, stddev: variance.sqrt() }
}

struct MemoryScan {
    store: MemoryStore,
    sensor_type: SensorTypeId,
    /// Its `after` moves on with the rows that were answered.
    query: ReadingQuery,
    sensor_ids: Option<BTreeSet<SensorId>>,
}

impl MemoryScan {
    /// Rows of one sensor that the scan has not answered yet and that the query asks for.
    fn rest(&self, sensor_id: &SensorId, rows: &BTreeMap<Timestamp, Stored>, width: usize, rows_max: usize) -> Rows {
        let behind = |time: Timestamp| match (&self.query.after, self.query.order) {
            (Some((sensor, after)), Order::Ascending) if sensor == sensor_id => time > *after,
            (Some((sensor, after)), Order::Descending) if sensor == sensor_id => time < *after,
            _ => true,
        };
        let wanted = |stored: &&Stored| {
            behind(stored.row.phenomenon_time)
                && self.query.times.contains(stored.row.phenomenon_time)
                && self.query.accepted.contains(stored.row.accepted_at)
                && self.query.label.is_none_or(|label: Label| stored.row.label == label)
                && stored.row.position >= self.query.changed_from
        };
        let keys_only = self.query.keys_only;
        let mut rest = Rows::new(if keys_only { 0 } else { width });
        let push = |stored: &Stored| rest.push(if keys_only { stored.as_ref().key() } else { stored.as_ref() });
        match self.query.order {
            Order::Ascending => rows.values().filter(wanted).take(rows_max.max(1)).for_each(push),
            Order::Descending => rows.values().rev().filter(wanted).take(rows_max.max(1)).for_each(push),
        }
        rest
    }
}

#[async_trait]
impl Scan for MemoryScan {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        let store = self.store.clone();
        let types = store.lock();
        let table = table(&types, &self.sensor_type)?;
        let from = match &self.query.after {
            Some((sensor_id, _)) => Bound::Included(sensor_id.clone()),
            None => Bound::Unbounded,
        };
        for (sensor_id, rows) in table.sensors.range((from, Bound::Unbounded)) {
            if self.sensor_ids.as_ref().is_some_and(|wanted| !wanted.contains(sensor_id)) {
                continue;
            }
            let rows = self.rest(sensor_id, rows, table.properties.len(), rows_max);
            if let Some(last) = rows.times().last() {
                self.query.after = Some((sensor_id.clone(), *last));
                return Ok(Some(SensorRows { sensor_id: sensor_id.clone(), rows }));
            }
        }
        Ok(None)
    }
}
