//! Judging stored readings again: the record that asks for a part of it, and the document that says what became of it.
//!
//! **Invariant:** a part is a record among the readings of its sensor, so that it is carried out in order with them by whoever judges them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{SensorId, Timestamp, TypeVersion};

/// A part of a replay: a stretch of one sensor's readings that is to be judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejudgement {
    /// The sensor.
    pub sensor_id: SensorId,
    /// First phenomenon time, inclusive.
    pub from: Timestamp,
    /// Last phenomenon time, exclusive.
    pub to: Timestamp,
    /// The version of the sensor type to judge by; readings that a newer one judged keep that.
    pub type_version: TypeVersion,
    /// Id of the replay.
    pub replay: String,
    /// Number of the part in it, from 0.
    pub part: u64,
    /// Whether to say what would change, and change nothing.
    pub is_dry: bool,
}

/// Says what became of a part of a replay: a document in the topic of replays' parts, under the replay's id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartReport {
    /// Version of this form; [`PartReport::FORMAT`].
    pub format: u32,
    /// Number of the part. After a crash a part may be told of twice: the first time counts.
    pub part: u64,
    /// From which phenomenon time on the readings of the part can't be read and were not judged, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable_from: Option<Timestamp>,
    /// What was found.
    #[serde(flatten)]
    pub changes: Changes,
}

impl PartReport {
    /// The version of the form that this code writes.
    pub const FORMAT: u32 = 1;
}

/// What judging readings again changes, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Readings that were judged.
    pub readings: u64,
    /// Those of which a rolled-up flag or the label is another.
    pub readings_changed: u64,
    /// Those that become anomalies.
    pub to_anomaly: u64,
    /// Those that become normal.
    pub to_normal: u64,
    /// How many rolled-up flags change, by property, flag before and flag after: `{"sec": {"1": {"4": 12}}}`.
    pub flags: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
}

impl Changes {
    /// Adds those of another part.
    pub fn add(&mut self, other: Self) {
        self.readings += other.readings;
        self.readings_changed += other.readings_changed;
        self.to_anomaly += other.to_anomaly;
        self.to_normal += other.to_normal;
        for (property, before) in other.flags {
            let of_property = self.flags.entry(property).or_default();
            for (before, after) in before {
                let from_flag = of_property.entry(before).or_default();
                for (after, count) in after {
                    *from_flag.entry(after).or_default() += count;
                }
            }
        }
    }
}
