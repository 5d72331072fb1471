//! Parts of a sensor's rows as the store has them: those whose flags a change may touch, with the rows that these flags depend on.
//!
//! **Invariant:** every row from `first` to `end` has its whole reach in the slice, or there is no more of it in the store.

use std::collections::HashMap;

use checks::{Checks, Reach, Series, Tail, TestFlags, neighbour};
use domain::{Flag, Row, RowRef, SensorId, SensorTypeId, Timestamp, Value};
use ports::{Order, PortError, ReadingQuery, Store, TimeRange};

use crate::Kind;

/// The most rows in a slice; a longer one is cut and goes on in another. More than twice what any test looks back on.
const SLICE_ROWS_MAX: usize = 16_384;
/// Rows in one chunk of a scan.
const CHUNK_ROWS: usize = 512;
/// Rows in the last chunks of a long scan.
const CHUNK_ROWS_MAX: usize = 4_096;

/// Times at which rows were made, changed or taken out, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first time.
    pub from: Timestamp,
    /// The last time.
    pub to: Timestamp,
}

/// Sorts spans and joins those that overlap.
pub fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
            _ => joined.push(span),
        }
    }
    joined
}

/// A row of the store.
#[derive(Debug)]
pub struct Stored {
    /// Time, acceptance, positions, version, label.
    pub row: Row,
    /// A value per property.
    pub values: Vec<Value>,
    /// A flag per property.
    pub flags: Vec<Flag>,
}

impl Stored {
    fn of(row: RowRef<'_>) -> Self {
        Self { row: row.row, values: row.values.to_vec(), flags: row.flags.to_vec() }
    }

    /// Its phenomenon time.
    pub fn time(&self) -> Timestamp {
        self.row.phenomenon_time
    }
}

/// Rows of a sensor in the order of their times.
#[derive(Debug, Default)]
pub struct Slice {
    /// Its rows.
    pub rows: Vec<Stored>,
    /// The first row whose flags may be others now.
    pub first: usize,
    /// Behind the last one.
    pub end: usize,
    /// Whether its last row is the sensor's newest.
    pub is_newest: bool,
    /// How many of the spans it covers.
    pub covered: usize,
    /// What is left of the last of them, where the slice was cut.
    pub rest: Option<Span>,
}

/// Where slices are read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Where readings are stored.
    pub store: &'a dyn Store,
    /// The kind of sensor.
    pub sensor_type: &'a SensorTypeId,
    /// The sensor.
    pub sensor_id: &'a SensorId,
}

impl Source<'_> {
    async fn scan(&self, times: TimeRange, order: Order) -> Result<Box<dyn ports::Scan>, PortError> {
        let sensor_ids = Some(vec![self.sensor_id.clone()]);
        let query = ReadingQuery { sensor_ids, times, order, ..ReadingQuery::default() };
        self.store.scan(self.sensor_type, &query).await
    }

    /// The rows before `from` that those from there on, and the one before them where it waits for its successor, depend on.
    async fn before(&self, from: Timestamp, reach: Reach) -> Result<Vec<Stored>, PortError> {
        let mut rows: Vec<Stored> = Vec::new();
        let wanted = reach.readings as usize + usize::from(reach.successor);
        if wanted == 0 && reach.time.is_zero() {
            return Ok(rows);
        }
        let mut scan = self.scan(TimeRange { from: Timestamp::MIN, to: from }, Order::Descending).await?;
        'chunks: while let Some(chunk) = scan.next(wanted.clamp(1, CHUNK_ROWS)).await? {
            for row in chunk.rows.iter() {
                let first = rows.first().filter(|_| reach.successor).map_or(from, Stored::time);
                if rows.len() >= wanted && first.since(row.row.phenomenon_time) >= reach.time {
                    break 'chunks;
                }
                rows.push(Stored::of(row));
            }
            if rows.len() >= wanted && reach.time.is_zero() {
                break;
            }
        }
        rows.reverse();
        Ok(rows)
    }

    /// The slice that covers the first of `spans`, and as many more as lie in its reach.
    ///
    /// # Errors
    /// Those of the store's scans.
    pub async fn slice(&self, spans: &[Span], reach: Reach) -> Result<Slice, PortError> {
        let Some(Span { from, mut to }) = spans.first().copied() else { return Ok(Slice::default()) };
        let rows = self.before(from, reach).await?;
        let first = rows.len() - usize::from(reach.successor && !rows.is_empty());
        let mut slice = Slice { first, rows, covered: 1, ..Slice::default() };
        let mut behind = 0;
        let mut scan = self.scan(TimeRange { from, to: Timestamp::MAX }, Order::Ascending).await?;
        // Most spans are short: what is read grows with what it turns out to be.
        let mut chunk_rows = CHUNK_ROWS.min(reach.readings as usize + 64);
        while let Some(chunk) = scan.next(chunk_rows).await? {
            chunk_rows = CHUNK_ROWS_MAX.min(2 * chunk_rows);
            for row in chunk.rows.iter() {
                let time = row.row.phenomenon_time;
                while let Some(next) = spans.get(slice.covered).filter(|next| next.from <= time) {
                    to = to.max(next.to);
                    slice.covered += 1;
                    behind = 0;
                }
                behind = if time <= to { 0 } else { behind + 1 };
                slice.rows.push(Stored::of(row));
                let is_beyond = behind > reach.readings && time.since(to) >= reach.time;
                if is_beyond || slice.rows.len() >= SLICE_ROWS_MAX {
                    slice.end = slice.rows.len() - 1;
                    slice.rest = (!is_beyond).then_some(Span { from: time, to: to.max(time) });
                    return Ok(slice);
                }
            }
        }
        slice.end = slice.rows.len();
        slice.is_newest = true;
        Ok(slice)
    }

    /// The rows of a range: their times and values.
    async fn values(&self, times: TimeRange) -> Result<(Vec<Timestamp>, Vec<Vec<Value>>), PortError> {
        let (mut at, mut values) = (Vec::new(), Vec::new());
        let mut scan = self.scan(times, Order::Ascending).await?;
        while let Some(chunk) = scan.next(CHUNK_ROWS).await? {
            at.extend_from_slice(chunk.rows.times());
            values.extend(chunk.rows.iter().map(|row| row.values.to_vec()));
        }
        Ok((at, values))
    }
}

/// What the neighbours of a sensor said near the rows of a slice.
#[derive(Debug, Default)]
pub struct Neighbours(HashMap<SensorId, (Vec<Timestamp>, Vec<Vec<Value>>)>);

impl Neighbours {
    /// Reads what the neighbours of the slice's sensor said while it lasts.
    ///
    /// # Errors
    /// Those of the store's scans.
    pub async fn read(source: Source<'_>, kind: &Kind, slice: &Slice) -> Result<Self, PortError> {
        let mut said = HashMap::new();
        let (Some(first), Some(last)) = (slice.rows.first(), slice.rows.last()) else { return Ok(Self(said)) };
        let within = kind.reach.neighbours.unwrap_or_default();
        let to = Timestamp::from_micros(last.time().saturating_add(within).as_micros().saturating_add(1));
        let times = TimeRange { from: first.time().saturating_sub(within), to };
        for sensor_id in kind.neighbours_of(source.sensor_id) {
            said.insert(sensor_id.clone(), Source { sensor_id, ..source }.values(times).await?);
        }
        Ok(Self(said))
    }

    /// The median of what they said near each row, arranged as the values of `checks`; empty where no test asks for it.
    fn beside(&self, checks: &Checks, sensor_id: &SensorId, slice: &Slice) -> Vec<Value> {
        let mut beside = Vec::new();
        for (property, sensors, within) in checks.neighbours() {
            if !sensors.contains(sensor_id) {
                continue;
            }
            beside.resize(slice.rows.len() * checks.width(), Value::ABSENT);
            let others = sensors.iter().filter(|other| *other != sensor_id).filter_map(|other| self.0.get(other));
            let value = |row: &Vec<Value>| row.get(property).copied().unwrap_or(Value::ABSENT);
            let columns: Vec<(&[Timestamp], Vec<Value>)> =
                others.map(|(times, rows)| (times.as_slice(), rows.iter().map(value).collect())).collect();
            for (row, stored) in slice.rows.iter().enumerate() {
                let near = |(times, values): &(&[Timestamp], Vec<Value>)| {
                    neighbour::nearest(times, values, stored.time(), within)
                };
                let median = neighbour::median(columns.iter().filter_map(near).collect());
                if let Some(Ok(value)) = median.map(Value::number) {
                    beside[row * checks.width() + property] = value;
                }
            }
        }
        beside
    }
}

impl Slice {
    /// The flags of each row that may have others now, by the version of the row, and what is to be remembered of the newest row.
    pub fn judge(
        &self,
        kind: &Kind,
        sensor_id: &SensorId,
        neighbours: &Neighbours,
    ) -> (Vec<Vec<TestFlags>>, Option<Tail>) {
        let version = |row: &Stored| row.row.type_version;
        let mut versions: Vec<_> = self.rows[self.first..].iter().map(version).collect();
        versions.sort_unstable();
        versions.dedup();
        let mut flags = vec![Vec::new(); self.end - self.first];
        let mut newest = None;
        for version in versions {
            let checks = kind.checks(version);
            let width = checks.width();
            let times: Vec<_> = self.rows.iter().map(Stored::time).collect();
            let values: Vec<_> = self.rows.iter().flat_map(|row| padded(&row.values, width)).collect();
            let beside = neighbours.beside(checks, sensor_id, self);
            let series = Series { times: &times, values: &values, neighbours: &beside };
            let (judged, tail) = checks.judge(series);
            for (row, flags) in (self.first..self.end).zip(&mut flags) {
                if self.rows[row].row.type_version == version {
                    *flags = judged[row * width..(row + 1) * width].to_vec();
                }
            }
            let is_newest = self.rows.last().is_some_and(|row| row.row.type_version == version);
            newest = Some(tail).filter(|_| is_newest && self.is_newest).or(newest);
        }
        (flags, newest)
    }
}

/// The first `width` values of a row, absent where it has fewer.
fn padded(values: &[Value], width: usize) -> impl Iterator<Item = Value> {
    values.iter().copied().chain(std::iter::repeat(Value::ABSENT)).take(width)
}
