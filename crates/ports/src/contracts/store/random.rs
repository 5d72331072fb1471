//! Random operations on a store and on the store in memory: both must answer the same.

use std::{collections::VecDeque, time::Duration};

use domain::{Deletion, Flag, Label, Position, SensorId, SensorTypeId, Timestamp, Value};

use super::{
    super::{
        Backend, Settings,
        fixtures::{Chance, Record, at, number, property, sensor, sensor_type, unique_type},
    },
    rows, statistics,
};
use crate::{BucketQuery, Order, ReadingQuery, Revisions, SensorQuery, Store, TimeRange, memory::MemoryStore};

/// How much a random run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How many operations.
    pub operations: u64,
    /// The most rows of a write.
    pub rows_max: u64,
    /// How many sensors there are.
    pub sensors: u64,
}

const FLAGS: [Flag; 5] = [Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing];

/// Records that are remembered, to be written again.
const HISTORY_MAX: usize = 2_000;

/// Three runs of different shape, from single rows to batches, match the store in memory.
pub async fn random_operations_match_the_model<B: Backend>() {
    let loads = [
        Load { operations: 600, rows_max: 4, sensors: 3 },
        Load { operations: 300, rows_max: 300, sensors: 2 },
        Load { operations: 300, rows_max: 200, sensors: 40 },
    ];
    for (load, seed) in loads.into_iter().zip(1..) {
        let mut backend = B::start(Settings::default()).await;
        same_as_model(&mut backend, seed, load).await;
    }
}

/// Does the same random operations to the backend's store and to the store in memory and compares every answer; between the operations,
/// it lets the backend [`disturb`](Backend::disturb) itself. The seed alone decides what is done.
///
/// # Panics
/// Where they differ.
pub async fn same_as_model<B: Backend>(backend: &mut B, seed: u64, load: Load) {
    println!("seed {seed}, {load:?}");
    let mut run = Run::new(seed, load);
    run.prepare(&*backend.store()).await;
    for step in 0..load.operations {
        run.step(&*backend.store(), step).await;
        backend.disturb(step).await;
    }
    run.compare_everything(&*backend.store()).await;
}

/// What the log would hold.
#[derive(Debug, Clone)]
enum Entry {
    Reading(Record),
    Deletion(Deletion, Position),
}

struct Run {
    chance: Chance,
    load: Load,
    model: MemoryStore,
    id: SensorTypeId,
    width: usize,
    /// The newest second of each sensor.
    newest: Vec<i64>,
    next_position: u64,
    history: VecDeque<Entry>,
}

impl Run {
    fn new(seed: u64, load: Load) -> Self {
        let newest = (0..load.sensors).map(|_| 0).collect();
        let (model, history) = (MemoryStore::new(), VecDeque::new());
        Self { chance: Chance(seed), load, model, id: unique_type(), width: 2, newest, next_position: 0, history }
    }

    async fn prepare(&self, store: &dyn Store) {
        let version = self.width as u32 - 1;
        for store in [store, &self.model as &dyn Store] {
            store.prepare(&sensor_type(&self.id, version, self.width)).await.expect("a type");
        }
    }

    async fn step(&mut self, store: &dyn Store, step: u64) {
        match self.chance.below(100) {
            0..50 => self.write(store).await,
            50..54 => self.write_again(store).await,
            54..56 => self.revise(store).await,
            56..62 => self.delete(store).await,
            62..80 => self.scan(store).await,
            80..86 => self.compare_extents(store).await,
            86..96 => self.buckets(store).await,
            96 => self.expire(store).await,
            97 if step > self.load.operations / 2 => self.widen(store).await,
            98 if self.chance.one_in(20) => self.remove(store).await,
            _ => self.compare_everything(store).await,
        }
    }

    async fn write(&mut self, store: &dyn Store) {
        let count = 1 + self.chance.below(self.load.rows_max);
        let alone = self.chance.one_in(3).then(|| self.chance.below(self.load.sensors));
        let mut records = Vec::new();
        for _ in 0..count {
            let record = self.record(alone);
            self.remember(Entry::Reading(record.clone()));
            records.push(record);
        }
        self.write_both(store, &records).await;
    }

    async fn write_both(&self, store: &dyn Store, records: &[Record]) {
        let found = rows::write(store, &self.id, records).await;
        let expected = rows::write(&self.model, &self.id, records).await;
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        if let Some(index) = differs {
            panic!("{:?}, not {:?}, of {:?}", found[index], expected[index], records[index]);
        }
    }

    fn remember(&mut self, entry: Entry) {
        self.next_position += 1;
        self.history.push_back(entry);
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    /// A new reading: mostly behind its sensor's newest; else late, far off, equal to an earlier one, or a correction of one.
    fn record(&mut self, alone: Option<u64>) -> Record {
        let sensor_number = alone.unwrap_or_else(|| self.chance.below(self.load.sensors));
        let newest = self.newest[sensor_number as usize];
        let earlier = match self.history.len() as u64 {
            0 => None,
            len => match &self.history[self.chance.below(len) as usize] {
                Entry::Reading(record) => Some(record.clone()),
                Entry::Deletion(..) => None,
            },
        };
        let second = match (self.chance.below(20), earlier) {
            (0, Some(earlier)) => return Record { position: self.next_position, ..earlier },
            (1 | 2, Some(earlier)) => {
                let (type_version, values) = self.values();
                return Record { position: self.next_position, type_version, values, ..earlier };
            }
            (3 | 4, _) => newest - self.chance.below(newest.unsigned_abs() + 1) as i64,
            (5, _) => self.chance.below(4_000_000_000) as i64 - 3_000_000_000,
            _ => newest + 1 + self.chance.below(3) as i64,
        };
        if second - newest < 10 {
            self.newest[sensor_number as usize] = newest.max(second);
        }
        let (type_version, values) = self.values();
        Record {
            sensor_id: sensor(sensor_number),
            time: at(second),
            position: self.next_position,
            type_version,
            values,
        }
    }

    fn values(&mut self) -> (u32, Vec<Value>) {
        let version = 1 + self.chance.below(self.width as u64 - 1) as u32;
        let chance = &mut self.chance;
        let value = |_| match chance.below(12) {
            0 => Value::MISSING,
            1 => Value::ABSENT,
            2 => number(chance.below(1_000_000) as f64 / 977.0),
            _ => number(chance.below(110) as f64),
        };
        (version, (0..=version as usize).map(value).collect())
    }

    /// Processes the newest part of the log again, in other batches, as after a crash.
    async fn write_again(&mut self, store: &dyn Store) {
        let from = self.history.len() - self.chance.below(self.history.len() as u64 + 1) as usize;
        let mut records = Vec::new();
        for entry in self.history.range(from..).cloned().collect::<Vec<_>>() {
            match entry {
                Entry::Reading(record) => records.push(record),
                Entry::Deletion(deletion, position) => {
                    self.write_both(store, &std::mem::take(&mut records)).await;
                    self.delete_both(store, &deletion, position).await;
                }
            }
            if self.chance.one_in(self.load.rows_max) {
                self.write_both(store, &std::mem::take(&mut records)).await;
            }
        }
        self.write_both(store, &records).await;
    }

    /// Revises rows of earlier records, some of which are gone.
    async fn revise(&mut self, store: &dyn Store) {
        let mut revisions = Revisions { width: self.width, ..Revisions::default() };
        for _ in 0..1 + self.chance.below(self.load.rows_max) {
            let index = self.chance.below(self.history.len().max(1) as u64) as usize;
            let Some(Entry::Reading(record)) = self.history.get(index).cloned() else { continue };
            let chance = &mut self.chance;
            let flags: Vec<Flag> = (0..self.width).map(|_| FLAGS[chance.below(5) as usize]).collect();
            // The store takes the label that it is given.
            let label = if chance.one_in(2) { Label::Anomaly } else { Label::Normal };
            let version = 1 + chance.below(3) as u32;
            revisions.push((record.sensor_id, record.time), (version, label), &flags);
        }
        let found = store.revise(&self.id, &revisions).await.expect("revised");
        assert_eq!(found, self.model.revise(&self.id, &revisions).await.expect("revised"), "{revisions:?}");
    }

    async fn delete(&mut self, store: &dyn Store) {
        let times = self.times();
        let deletion = Deletion { sensor_id: self.sensor(), from: times.from, to: times.to };
        let position = Position(self.next_position);
        self.remember(Entry::Deletion(deletion.clone(), position));
        self.delete_both(store, &deletion, position).await;
    }

    async fn delete_both(&self, store: &dyn Store, deletion: &Deletion, position: Position) {
        let found = store.delete(&self.id, deletion, position).await.expect("a deletion");
        let expected = self.model.delete(&self.id, deletion, position).await.expect("a deletion");
        assert_eq!(found, expected, "{deletion:?} at {position}");
    }

    /// A sensor, now and then one that has no rows.
    fn sensor(&mut self) -> SensorId {
        sensor(self.chance.below(self.load.sensors + self.load.sensors / 8 + 1))
    }

    /// Mostly a short range where rows are; now and then all time, or nothing.
    fn times(&mut self) -> TimeRange {
        let newest = self.newest[self.chance.below(self.load.sensors) as usize].unsigned_abs();
        let from = self.chance.below(newest + 10) as i64;
        match self.chance.below(12) {
            0 => TimeRange::ALL,
            1 => TimeRange { from: at(from), to: at(from) },
            2 => TimeRange { from: at(from), to: Timestamp::MAX },
            _ => TimeRange { from: at(from), to: at(from + 1 + self.chance.below(60) as i64) },
        }
    }

    fn label(&mut self) -> Option<Label> {
        [None, None, Some(Label::Normal), Some(Label::Anomaly)][self.chance.below(4) as usize]
    }

    fn query(&mut self) -> ReadingQuery {
        let wanted = (0..self.chance.below(4)).map(|_| self.sensor()).collect();
        let sensor_ids = (!self.chance.one_in(3)).then_some(wanted);
        let times = if self.chance.one_in(2) { TimeRange::ALL } else { self.times() };
        let accepted_from = self.chance.below(self.next_position + 1);
        let accepted = |position| Record::of(0, 0, position, &[]).accepted_at();
        let accepted = match self.chance.below(4) {
            0 => TimeRange { from: accepted(accepted_from), to: Timestamp::MAX },
            1 => TimeRange { from: accepted(accepted_from), to: accepted(accepted_from + 500) },
            _ => TimeRange::ALL,
        };
        let after = self.chance.one_in(3).then(|| (self.sensor(), self.times().from));
        let order = if self.chance.one_in(2) { Order::Ascending } else { Order::Descending };
        ReadingQuery { sensor_ids, times, accepted, label: self.label(), order, after, ..ReadingQuery::default() }
    }

    async fn scan(&mut self, store: &dyn Store) {
        let query = self.query();
        let chunk = 1 + self.chance.below(2 * self.load.rows_max) as usize;
        let limit = if self.chance.one_in(2) { usize::MAX } else { self.chance.below(200) as usize };
        let found = rows::some(store, &self.id, &query, chunk, limit).await;
        let expected = rows::some(&self.model, &self.id, &query, chunk, limit).await;
        assert_same(&found, &expected, &query);
    }

    async fn compare_extents(&self, store: &dyn Store) {
        let found = rows::each(&store.latest(&self.id, &SensorQuery::first(usize::MAX)).await.expect("latest"));
        assert_same(
            &found,
            &rows::each(&self.model.latest(&self.id, &SensorQuery::first(usize::MAX)).await.expect("latest")),
            &"latest",
        );
        let found = store.summaries(&self.id, &SensorQuery::first(usize::MAX)).await.expect("summaries");
        assert_eq!(found, self.model.summaries(&self.id, &SensorQuery::first(usize::MAX)).await.expect("summaries"));
    }

    async fn buckets(&mut self, store: &dyn Store) {
        let intervals = [1, 1_000_000, 7_000_003, 60_000_000, 3_600_000_000, 10_000_000_000_000];
        let query = BucketQuery {
            sensor_id: self.sensor(),
            property: property(self.chance.below(self.width as u64) as usize),
            times: if self.chance.one_in(2) { TimeRange::ALL } else { self.times() },
            interval: Duration::from_micros(intervals[self.chance.below(6) as usize]),
            label: self.label(),
            buckets_max: if self.chance.one_in(4) { 10 } else { 1_000_000 },
        };
        match (store.buckets(&self.id, &query).await, self.model.buckets(&self.id, &query).await) {
            (Ok(found), Ok(expected)) => statistics::assert_alike(&found, &expected, &query),
            (found, expected) => {
                let kinds = (found.map_err(|error| error.kind()), expected.map_err(|error| error.kind()));
                assert_eq!(kinds.0, kinds.1, "{query:?}");
            }
        }
    }

    /// Which of the old rows go is the backend's choice: what it left, the model keeps.
    async fn expire(&mut self, store: &dyn Store) {
        let newest = self.newest[self.chance.below(self.load.sensors) as usize].unsigned_abs();
        let before = at(self.chance.below(newest / 2 + 1) as i64);
        let old = ReadingQuery { times: TimeRange { from: Timestamp::MIN, to: before }, ..ReadingQuery::default() };
        let gone = store.expire(&self.id, before).await.expect("expiry");
        let left = rows::all(store, &self.id, &old).await;
        let mut taken = rows::all(&self.model, &self.id, &old).await;
        let had = taken.len();
        let mut kept = left.iter().peekable();
        taken.retain(|row| kept.next_if(|left| *left == row).is_none());
        assert_eq!((taken.len() as u64, taken.len() + left.len()), (gone, had), "expiry before {before}");
        for row in taken {
            let from = row.row.phenomenon_time;
            let to = Timestamp::from_micros(from.as_micros() + 1);
            let deletion = Deletion { sensor_id: row.sensor_id, from, to };
            self.model.delete(&self.id, &deletion, Position(u64::MAX)).await.expect("a deletion");
        }
    }

    async fn widen(&mut self, store: &dyn Store) {
        self.width = 3;
        self.prepare(store).await;
    }

    async fn remove(&mut self, store: &dyn Store) {
        store.remove(&self.id).await.expect("a removal");
        self.model.remove(&self.id).await.expect("a removal");
        self.history.clear();
        self.prepare(store).await;
    }

    async fn compare_everything(&self, store: &dyn Store) {
        for order in [Order::Ascending, Order::Descending] {
            let query = ReadingQuery { order, ..ReadingQuery::default() };
            let found = rows::all(store, &self.id, &query).await;
            assert_same(&found, &rows::all(&self.model, &self.id, &query).await, &query);
        }
        self.compare_extents(store).await;
    }
}

/// Names the first row that differs, not all of them.
#[track_caller]
fn assert_same(found: &[rows::Stored], expected: &[rows::Stored], what: &impl std::fmt::Debug) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let index = differs.unwrap_or(found.len().min(expected.len()));
    assert_eq!(
        found.get(index),
        expected.get(index),
        "row {index} of {} and {} for {what:?}",
        found.len(),
        expected.len()
    );
}
