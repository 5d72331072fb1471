//! Readings in: pure parsers from the bytes of a body to readings, with every refused item named.
//!
//! **Invariant:** an item's fault refuses that item alone; only a body that can't be split into items is refused whole.

pub mod body;
mod cells;
mod collector;
pub mod csv;
pub mod in_flight;
pub mod json;
pub mod ndjson;
pub mod paper;
mod passes;
mod zone;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub use passes::Pass;

use domain::{Reading, Readings, Sensor, SensorId, SensorType, SensorTypeId, Timestamp};
use registry::{Lookup, Registry};
use serde::Serialize;

/// What a body is read against.
pub struct Target<'a> {
    /// The type the readings are of.
    pub sensor_type: &'a SensorType,
    /// The sensors the hub knows.
    pub sensors: &'a dyn Sensors,
    /// The time of day.
    pub now: Timestamp,
    /// Bounds on the items.
    pub bounds: Bounds,
    /// Which of its two times a local time means that came twice; `None` where the order of the lines is to tell.
    pub repeated_hour: Option<Pass>,
}

/// Bounds on the items of one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most items.
    pub items_max: usize,
    /// The most refused items that are described.
    pub rejected_max: usize,
}

/// Looks sensors up by id.
pub trait Sensors {
    /// What the hub knows of the sensor of that id, for readings of `sensor_type`.
    fn find(&self, id: &str, sensor_type: &SensorTypeId) -> Found;
}

/// What the hub knows of a sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// It is of the type asked for.
    OfType(SensorId),
    /// It is bound to this other type.
    OfOtherType(SensorTypeId),
}

impl Found {
    fn of(sensor: Option<&Sensor>, sensor_type: &SensorTypeId) -> Self {
        match sensor {
            None => Self::Nothing,
            Some(sensor) if sensor.sensor_type == *sensor_type => Self::OfType(sensor.id.clone()),
            Some(sensor) => Self::OfOtherType(sensor.sensor_type.clone()),
        }
    }
}

/// Sensors by id, for tests and tools that have no registry.
impl Sensors for HashMap<SensorId, Sensor> {
    fn find(&self, id: &str, sensor_type: &SensorTypeId) -> Found {
        Found::of(self.get(id), sensor_type)
    }
}

/// The sensors of the registry, locked for a run of lookups at a time: a large body must not keep its writers waiting.
pub struct Registered<'a> {
    registry: &'a Registry,
    held: RefCell<(Option<Lookup<'a>>, u32)>,
}

impl<'a> Registered<'a> {
    /// Lookups under one lock: about a millisecond.
    const LOOKUPS_MAX: u32 = 4_096;

    /// Looks up in `registry`.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, held: RefCell::new((None, 0)) }
    }
}

impl Sensors for Registered<'_> {
    fn find(&self, id: &str, sensor_type: &SensorTypeId) -> Found {
        let (lookup, lookups) = &mut *self.held.borrow_mut();
        *lookups += 1;
        if *lookups > Self::LOOKUPS_MAX {
            *lookup = None;
            *lookups = 1;
        }
        let lookup = lookup.get_or_insert_with(|| self.registry.lookup());
        Found::of(lookup.get(id).map(|sensor| &**sensor), sensor_type)
    }
}

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The valid readings, in order.
    pub readings: Readings,
    /// Index of the item that each reading came from.
    pub indices: Vec<u32>,
    /// Sensors of valid readings that the hub does not know, each once, in order.
    pub unknown: Vec<SensorId>,
    /// The refused items by index, at most [`Bounds::rejected_max`].
    pub rejected: Vec<Rejection>,
    /// How many items were refused.
    pub rejected_count: usize,
}

impl Parsed {
    /// Keeps each reading at the time that is answered for its item, or refuses it.
    pub(crate) fn sift(
        &mut self,
        rejected_max: usize,
        mut decide: impl FnMut(u32, Reading<'_>) -> Result<Timestamp, Rejection>,
    ) {
        let mut kept = Readings::new(Arc::clone(self.readings.properties()));
        let mut indices = Vec::new();
        for (reading, item) in self.readings.iter().zip(&self.indices) {
            match decide(*item, reading) {
                Ok(time) => {
                    kept.push(reading.sensor_id.clone(), time, reading.values);
                    indices.push(*item);
                }
                Err(rejection) => {
                    self.rejected_count += 1;
                    self.rejected.push(rejection);
                }
            }
        }
        (self.readings, self.indices) = (kept, indices);
        let left: HashSet<&SensorId> = self.readings.sensor_ids().iter().collect();
        self.unknown.retain(|id| left.contains(id));
        self.rejected.sort_by_key(|rejection| rejection.index);
        self.rejected.truncate(rejected_max);
    }
}

/// Why an item was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The item, counted from 0; blank lines and a header row do not count.
    pub index: u32,
    /// The field at fault; empty where it is the item as a whole.
    pub field: String,
    /// What was given there, cut to 80 characters, unprintable ones escaped.
    pub value: String,
    /// The rule it breaks; further faults of the item behind it.
    pub reason: String,
    /// In how many seconds the same item may be accepted; `None` where it never will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// Why a body was refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// There is nothing in it.
    #[error("the body is empty")]
    Empty,
    /// It breaks the grammar of its media type.
    #[error("line {line} column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// Its header row names columns wrongly.
    #[error("column `{name}` of the header row: {rule}")]
    Column {
        /// The column.
        name: String,
        /// What would be allowed.
        rule: String,
    },
    /// The type does not say how its CSV lines look.
    #[error(
        "sensor type `{0}` has no `csv` dialect; send a header row with `sensor_id`, `phenomenon_time` and properties"
    )]
    NoDialect(String),
    /// It has too many items.
    #[error("there are more than `{0}` items in one body")]
    TooManyItems(usize),
}

/// Takes a byte order mark off.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Lines that are not blank, without their ends, numbered from 1.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', body).chain(std::iter::once(body.len()));
    ends.enumerate().filter_map(move |(number, end)| {
        let line = &body[start..end.max(start)];
        start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.trim_ascii().is_empty()).then_some((number + 1, line))
    })
}

#[cfg(test)]
mod samples;
