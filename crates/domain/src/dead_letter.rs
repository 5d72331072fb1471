//! What could not be processed, with its reason, as it is kept in the topic `dead-letters`.
//!
//! **Invariant:** the key of a dead letter names the record it speaks of. A crash between the append of a dead letter and the
//! commit of its record appends it twice, so that whoever reads the topic takes one of each key.

use serde::{Deserialize, Serialize};

use crate::{Deletion, Partition, Position, SensorId, Timestamp, Topic};

/// One record (or a run of them) that could not be processed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Version of this form; [`DeadLetter::FORMAT`].
    pub format: u32,
    /// Name of the topic the record came by.
    pub topic: String,
    /// Its partition there.
    pub partition: u32,
    /// Its position there, of the first where it stands for several.
    pub position: u64,
    /// How many consecutive records it stands for: more than one only where their bytes made no sense.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// The sensor that sent it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_id: Option<SensorId>,
    /// Why it could not be processed: field, value and rule.
    pub reason: String,
    /// When the log took it.
    pub accepted_at: Timestamp,
    /// What it said.
    #[serde(flatten)]
    pub payload: Payload,
}

/// What a dead letter's record said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The reading as flat JSON text, as it could be posted again.
    #[serde(rename = "payload")]
    Reading(String),
    /// A deletion of readings.
    #[serde(rename = "deletion")]
    Deletion(Deletion),
    /// The first bytes of records that make no sense, in base64 (RFC 4648 section 4).
    #[serde(rename = "payload_base64")]
    Bytes(String),
}

impl DeadLetter {
    /// The version of the form that this code writes.
    pub const FORMAT: u32 = 1;

    /// The key it is appended under, `{topic}/{partition}/{position}`: equal for every repetition of one dead letter.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.position)
    }

    /// Where its record is.
    pub fn place(&self) -> (Topic, Partition, Position) {
        (Topic::from_name(&self.topic), Partition(self.partition), Position(self.position))
    }
}

fn one() -> u32 {
    1
}

// The signature that `skip_serializing_if` asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(count: &u32) -> bool {
    *count == 1
}
