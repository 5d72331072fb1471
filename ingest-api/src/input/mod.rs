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

use std::collections::HashMap;

use domain::{Readings, Sensor, SensorId, SensorType, Timestamp};
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
    /// The sensor of that id, if the hub knows it.
    fn find(&self, id: &str) -> Option<&Sensor>;
}

impl Sensors for registry::Lookup<'_> {
    fn find(&self, id: &str) -> Option<&Sensor> {
        self.get(id).map(|sensor| &**sensor)
    }
}

/// Sensors by id, for tests and tools that have no registry.
impl Sensors for HashMap<SensorId, Sensor> {
    fn find(&self, id: &str) -> Option<&Sensor> {
        self.get(id)
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
