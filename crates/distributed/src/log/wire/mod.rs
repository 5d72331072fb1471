//! How records look on Kafka: the value is what a client would have posted, the rest stands in headers.
//!
//! | header | of | says |
//! |---|---|---|
//! | `format` | all | what the record is, and the version of this format: `reading/1`, `deletion/1`, `rejudgement/1`, `document/1` |
//! | `accepted_at` | all | microseconds since the epoch; the record's own timestamp is the same in milliseconds |
//! | `type_version` | readings | the version of the sensor type that ingest checked it by |
//! | `properties` | readings with an absent value | the properties that the writer knew, in order, separated by commas |
//!
//! **Invariant:** no bytes make reading panic: what another program wrote without headers is a reading where it looks like one, and
//! what nobody can read is delivered as that.

mod decode;
mod encode;
mod reading;
#[cfg(test)]
mod tests;

pub(super) use decode::Decoder;
pub(super) use encode::{Encoded, encode, headers};

const FORMAT: &str = "format";
const ACCEPTED_AT: &str = "accepted_at";
const TYPE_VERSION: &str = "type_version";
const PROPERTIES: &str = "properties";

const READING: &[u8] = b"reading/1";
const DELETION: &[u8] = b"deletion/1";
const REJUDGEMENT: &[u8] = b"rejudgement/1";
const DOCUMENT: &[u8] = b"document/1";
