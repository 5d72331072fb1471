//! Names of places in the log: topics, partitions, positions.

use std::{fmt, sync::Arc};

use crate::SensorTypeId;

/// Name of one ordered, durable sequence of records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    const READINGS: &'static str = "readings.";

    /// The topic that carries the readings of a sensor type: `readings.{sensor_type}`.
    pub fn readings(sensor_type: &SensorTypeId) -> Self {
        Self(format!("{}{sensor_type}", Self::READINGS).into())
    }

    /// The topic of the judgements of a sensor type's readings, and of their revisions: `judged.{sensor_type}`.
    pub fn judged(sensor_type: &SensorTypeId) -> Self {
        Self(format!("judged.{sensor_type}").into())
    }

    /// The compacted topic of replays, each with how far it is.
    pub fn replays() -> Self {
        Self("replays".into())
    }

    /// The topic of what became of the parts of replays.
    pub fn replay_parts() -> Self {
        Self("replay-parts".into())
    }

    /// The compacted topic of sensor types and sensors.
    pub fn registry() -> Self {
        Self("registry".into())
    }

    /// The topic of what could not be processed, each with its reason.
    pub fn dead_letters() -> Self {
        Self("dead-letters".into())
    }

    /// The topic of what detection found.
    pub fn anomalies() -> Self {
        Self("anomalies".into())
    }

    /// Takes a stored name back.
    pub fn from_name(name: &str) -> Self {
        Self(name.into())
    }

    /// The sensor type whose readings this topic carries, if it is such a topic.
    pub fn sensor_type(&self) -> Option<SensorTypeId> {
        SensorTypeId::parse(self.0.strip_prefix(Self::READINGS)?).ok()
    }

    /// The topic's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of a topic's ordered parts; all records of a sensor are in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(pub u32);

/// Place of a record in a partition: the first is 0, the next one more; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position `count` records further on.
    pub fn after(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
