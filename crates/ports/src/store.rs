//! The store: judged readings by sensor and phenomenon time.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    Deletion, Flag, Judged, Label, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType, SensorTypeId,
    Timestamp, TypeVersion, Value,
};

use crate::PortError;

/// Judged readings, one row per identity (sensor, phenomenon time).
///
/// * **One effect**: [`write`](Self::write) merges by [`domain::Merge`]; writing the same records again changes nothing and
///   gives the same outcomes for those that made or last changed a row.
/// * **Durability**: a write that returned is never lost while a position committed after it is kept (see
///   [`Consumer::commit`](crate::Consumer::commit)); it is visible to every scan that starts afterwards.
/// * **Order**: scans answer in canonical order: sensor ids by their bytes, then phenomenon time, ascending or descending.
/// * Work grows with the rows touched or answered and with the sensors asked for, not with the rows stored.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes room for a sensor type, or widens it to the properties it has gained. Idempotent; before the first write of a version.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`.
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError>;

    /// Writes judged readings of one type, in log order; answers with one outcome per row, in order. Rows of one identity
    /// within the batch merge as if written one by one.
    ///
    /// # Errors
    /// `NotFound` for a type not prepared; `Unavailable`, `DiskFull`, `Full`: try the whole batch again, of which other rows may be stored;
    /// `Corrupt`.
    async fn write(
        &self,
        sensor_type: &SensorTypeId,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError>;

    /// Gives rows that are there other flags: those of a late reading's neighbours, or of a range that is judged again. Values, positions and
    /// the time of acceptance stay; flags, type version and so the label become what is given. A row that is not there is left out. Of one
    /// identity named twice the later counts; what an older version gives than the one that judged the row is left out. Idempotent; visible and durable as a [`write`](Self::write) is. Answers how many rows have other
    /// flags or another version than before.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn revise(&self, sensor_type: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError>;

    /// Takes out the rows a deletion names that were made or changed only by records before `position`; answers how many.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn delete(
        &self,
        sensor_type: &SensorTypeId,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError>;

    /// Opens a scan. What is written while it runs may or may not be seen; a row is never seen twice.
    ///
    /// # Errors
    /// `NotFound` for a type not prepared, `Unavailable`, `Corrupt`.
    async fn scan(&self, sensor_type: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError>;

    /// The row with the newest phenomenon time of each sensor that is asked for and has rows, by sensor id. Grows with the sensors that are
    /// answered or named, not with the rows.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    async fn latest(&self, sensor_type: &SensorTypeId, query: &SensorQuery) -> Result<Judged, PortError>;

    /// Count, first and last time of each sensor that is asked for and has rows, by sensor id. Grows with the sensors that are answered or
    /// named, not with the rows.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    async fn summaries(&self, sensor_type: &SensorTypeId, query: &SensorQuery)
    -> Result<Vec<SensorSummary>, PortError>;

    /// Statistics of one datastream's numbers in intervals aligned to the epoch, in time order, empty ones left out.
    ///
    /// # Errors
    /// As [`scan`](Self::scan); `Rejected` where there would be more than `query.buckets_max`.
    async fn buckets(&self, sensor_type: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError>;

    /// Takes out rows with a phenomenon time before `before`: retention. May leave some of them for a later call.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn expire(&self, sensor_type: &SensorTypeId, before: Timestamp) -> Result<u64, PortError>;

    /// Takes out a sensor type with all its rows. Idempotent.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`.
    async fn remove(&self, sensor_type: &SensorTypeId) -> Result<(), PortError>;

    /// Says whether writes can be taken now.
    ///
    /// # Errors
    /// The error that a write would meet.
    async fn ready(&self) -> Result<(), PortError>;
}

/// Gives the flags and the label of a row whose values a merge has changed.
pub trait Judge: Send + Sync {
    /// A flag per value and the label, by a version of the type: of a row that records of two versions made, the newer one.
    fn judge(&self, type_version: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label);
}

/// Other flags and labels for rows that are there, by column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Revisions {
    /// The sensor of each row.
    pub sensor_ids: Vec<SensorId>,
    /// The phenomenon time of each.
    pub times: Vec<Timestamp>,
    /// The version of the sensor type that judged it now.
    pub type_versions: Vec<TypeVersion>,
    /// The label by that version.
    pub labels: Vec<Label>,
    /// How many flags a row has here; those of the properties behind them become 2.
    pub width: usize,
    /// The flags, row-major.
    pub flags: Vec<Flag>,
}

impl Revisions {
    /// How many rows are named.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Says whether none is.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Names a row by identity; `flags` are as many as `width` says.
    pub fn push(
        &mut self,
        identity: (SensorId, Timestamp),
        (type_version, label): (TypeVersion, Label),
        flags: &[Flag],
    ) {
        self.sensor_ids.push(identity.0);
        self.times.push(identity.1);
        self.type_versions.push(type_version);
        self.labels.push(label);
        self.flags.extend_from_slice(flags);
    }

    /// What the row named at `index` becomes, with as many flags as it has or more; `None` where that is what it is, by the same version, or an
    /// older version says it.
    ///
    /// # Panics
    /// Where `index` is not below [`len`](Self::len).
    pub fn changes(&self, index: usize, row: RowRef<'_>) -> Option<(Row, Vec<Flag>)> {
        let (type_version, label) = (self.type_versions[index], self.labels[index]);
        if type_version < row.row.type_version {
            return None;
        }
        let given = &self.flags[index * self.width..(index + 1) * self.width];
        let width = given.len().max(row.flags.len());
        let flag = |flags: &[Flag], property: usize| flags.get(property).copied().unwrap_or(Flag::NotEvaluated);
        let same = (0..width).all(|property| flag(given, property) == flag(row.flags, property));
        let revised = Row { type_version, label, ..row.row };
        if same && revised == row.row {
            return None;
        }
        Some((revised, (0..width).map(|property| flag(given, property)).collect()))
    }
}

/// What became of a row that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made a new row (or had, before a crash).
    Stored,
    /// It changed nothing.
    Duplicate,
    /// It changed a row (or had, before a crash).
    Revised,
    /// The store can't hold it: for the dead letters.
    Rejected(String),
}

/// A half-open range of time: `from` inclusive, `to` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time in the range.
    pub from: Timestamp,
    /// The first time behind it.
    pub to: Timestamp,
}

impl TimeRange {
    /// All time.
    pub const ALL: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };

    /// Says whether the time lies in the range.
    pub fn contains(self, time: Timestamp) -> bool {
        self.from <= time && time < self.to
    }
}

/// Which rows to answer, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingQuery {
    /// These sensors (any order, duplicates ignored); all if `None`.
    pub sensor_ids: Option<Vec<SensorId>>,
    /// Phenomenon times.
    pub times: TimeRange,
    /// Acceptance times: what arrived when.
    pub accepted: TimeRange,
    /// Only rows with this label.
    pub label: Option<Label>,
    /// Only rows that a record from this position on made or changed last.
    pub changed_from: Position,
    /// Only which rows there are: they come without values and flags, and of what else a row has, its phenomenon time alone is said.
    pub keys_only: bool,
    /// Order of phenomenon times within a sensor.
    pub order: Order,
    /// Start behind this row of the canonical order (a row that need not exist).
    pub after: Option<(SensorId, Timestamp)>,
}

impl Default for ReadingQuery {
    fn default() -> Self {
        Self {
            sensor_ids: None,
            times: TimeRange::ALL,
            accepted: TimeRange::ALL,
            label: None,
            changed_from: Position(0),
            keys_only: false,
            order: Order::Ascending,
            after: None,
        }
    }
}

/// Order of phenomenon times within a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Rows of one sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorRows {
    /// The sensor.
    pub sensor_id: SensorId,
    /// Its rows, in the order asked for.
    pub rows: Rows,
}

/// A running scan.
#[async_trait]
pub trait Scan: Send {
    /// The next rows in order, at least one and at most about `rows_max`, all of one sensor; `None` behind the last.
    ///
    /// # Errors
    /// `Unavailable`. `Corrupt`: some rows can't be read; the next call goes on behind them, or answers `None` where the backend can't tell
    /// where that is.
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError>;
}

/// Of which sensors to answer something, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorQuery {
    /// Only these (any order, duplicates ignored).
    pub sensor_ids: Option<Vec<SensorId>>,
    /// Only those behind this one (which need not exist).
    pub after: Option<SensorId>,
    /// How many at most. Fewer are answered only where there are no more.
    pub count_max: usize,
}

impl SensorQuery {
    /// The first sensors of a type.
    pub const fn first(count_max: usize) -> Self {
        Self { sensor_ids: None, after: None, count_max }
    }

    /// These sensors.
    pub fn of(sensor_ids: Vec<SensorId>) -> Self {
        let count_max = sensor_ids.len();
        Self { sensor_ids: Some(sensor_ids), after: None, count_max }
    }

    /// The same behind a sensor.
    #[must_use]
    pub fn after(self, sensor_id: SensorId) -> Self {
        Self { after: Some(sensor_id), ..self }
    }

    /// The ids that are named, each once, in their order and behind where the answer starts; `None` where none are.
    pub fn named(&self) -> Option<Vec<&SensorId>> {
        let mut ids: Vec<&SensorId> = self.sensor_ids.as_ref()?.iter().filter(|id| self.is_behind_start(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    /// Says whether a sensor lies behind where the answer starts.
    pub fn is_behind_start(&self, id: &SensorId) -> bool {
        self.after.as_ref().is_none_or(|after| id > after)
    }
}

/// Extent of one sensor's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorSummary {
    /// The sensor.
    pub sensor_id: SensorId,
    /// How many rows it has, at least 1.
    pub count: u64,
    /// Its earliest phenomenon time.
    pub first: Timestamp,
    /// Its latest.
    pub last: Timestamp,
}

/// Which datastream to summarise, and how finely.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketQuery {
    /// The sensor.
    pub sensor_id: SensorId,
    /// The property.
    pub property: PropertyId,
    /// Phenomenon times.
    pub times: TimeRange,
    /// Width of a bucket, at least a microsecond.
    pub interval: Duration,
    /// Only readings with this label.
    pub label: Option<Label>,
    /// The most buckets to answer.
    pub buckets_max: usize,
}

/// Statistics of the numbers in one interval; missing values do not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// First time of the interval, a multiple of it since the epoch.
    pub start: Timestamp,
    /// How many numbers, at least 1.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their population standard deviation.
    pub stddev: f64,
}
