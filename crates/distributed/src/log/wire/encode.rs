//! Batches as records of Kafka, by partition.

use std::{collections::BTreeMap, ops::Range};

use domain::{Deletion, Readings, Rejudgement, SensorId, Timestamp, TypeVersion, Value, write_number};
use ports::{Batch, Document};
use rdkafka::message::{Header, OwnedHeaders};

use super::{ACCEPTED_AT, DELETION, DOCUMENT, FORMAT, PROPERTIES, READING, REJUDGEMENT, TYPE_VERSION};
use crate::log::partitioner::partition_of;

/// The records of a batch, all their bytes in one piece.
pub(in crate::log) struct Encoded {
    bytes: Vec<u8>,
    /// By partition, in the batch's order.
    parts: BTreeMap<u32, Vec<Place>>,
    format: &'static [u8],
    type_version: Option<TypeVersion>,
    properties: Option<String>,
    /// The partition of the first record.
    first: u32,
    /// Size of the largest record.
    largest: usize,
}

/// Where in the bytes a record stands: its key, and its value behind it.
struct Place {
    key: Range<usize>,
    /// `None` for a key that is removed.
    value_end: Option<usize>,
    /// Whether it needs to be said which properties the writer knew.
    has_absent: bool,
}

/// One record as it is sent.
pub(in crate::log) struct Outgoing<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    pub has_absent: bool,
}

impl Encoded {
    fn new(format: &'static [u8]) -> Self {
        Self {
            bytes: Vec::new(),
            parts: BTreeMap::new(),
            format,
            type_version: None,
            properties: None,
            first: 0,
            largest: 0,
        }
    }

    /// How many bytes of keys and values there are.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes key and value of the largest record have.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// The partition of the batch's first record.
    pub fn first_partition(&self) -> u32 {
        self.first
    }

    /// The partitions that the batch goes to.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        self.parts.keys().copied()
    }

    /// The records for one partition.
    pub fn records(&self, partition: u32) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        let places = self.parts.get(&partition).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| Outgoing {
            key: &self.bytes[place.key.clone()],
            value: place.value_end.map(|end| &self.bytes[place.key.end..end]),
            has_absent: place.has_absent,
        })
    }

    fn push(&mut self, partitions: u32, key: &[u8], value: impl FnOnce(&mut Vec<u8>) -> Written) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        let partition = partition_of(key, partitions);
        if self.parts.is_empty() {
            self.first = partition;
        }
        let written = value(&mut self.bytes);
        self.largest = self.largest.max(self.bytes.len() - start);
        let value_end = (written != Written::Removal).then_some(self.bytes.len());
        let has_absent = written == Written::WithAbsent;
        self.parts.entry(partition).or_default().push(Place { key: start..key_end, value_end, has_absent });
    }
}

/// What was written as a value.
#[derive(PartialEq, Eq)]
enum Written {
    Whole,
    WithAbsent,
    Removal,
}

/// The records of a batch for a topic with that many partitions.
pub(in crate::log) fn encode(batch: &Batch, partitions: u32) -> Encoded {
    match batch {
        Batch::Readings { type_version, readings } => encode_readings(*type_version, readings, partitions),
        Batch::Deletions(deletions) => {
            let mut encoded = Encoded::new(DELETION);
            for deletion in deletions {
                let key = deletion.sensor_id.as_str().as_bytes();
                encoded.push(partitions, key, |out| write_deletion(deletion, out));
            }
            encoded
        }
        Batch::Rejudgements(rejudgements) => {
            let mut encoded = Encoded::new(REJUDGEMENT);
            for rejudgement in rejudgements {
                let key = rejudgement.sensor_id.as_str().as_bytes();
                encoded.push(partitions, key, |out| write_rejudgement(rejudgement, out));
            }
            encoded
        }
        Batch::Documents(documents) => {
            let mut encoded = Encoded::new(DOCUMENT);
            for Document { key, body } in documents {
                encoded.push(1, key.as_bytes(), |out| match body {
                    None => Written::Removal,
                    Some(body) => {
                        out.extend_from_slice(body);
                        Written::Whole
                    }
                });
            }
            encoded
        }
    }
}

fn encode_readings(type_version: TypeVersion, readings: &Readings, partitions: u32) -> Encoded {
    let names: Vec<&str> = readings.properties().iter().map(|id| id.as_str()).collect();
    let mut encoded = Encoded::new(READING);
    encoded.type_version = Some(type_version);
    encoded.properties = Some(names.join(","));
    for reading in readings.iter() {
        let sensor_id = reading.sensor_id.as_str().as_bytes();
        encoded.push(partitions, sensor_id, |out| {
            out.extend_from_slice(b"{\"sensor_id\":\"");
            out.extend_from_slice(sensor_id);
            out.extend_from_slice(b"\",\"phenomenon_time\":\"");
            reading.phenomenon_time.write_to(out);
            out.push(b'"');
            let written = write_values(&names, reading.values, out);
            out.push(b'}');
            written
        });
    }
    encoded
}

fn write_values(names: &[&str], values: &[Value], out: &mut Vec<u8>) -> Written {
    let mut written = Written::Whole;
    for (name, value) in names.iter().zip(values) {
        if value.is_absent() {
            written = Written::WithAbsent;
            continue;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match value.as_number() {
            Some(number) => write_number(number, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    written
}

fn write_deletion(deletion: &Deletion, out: &mut Vec<u8>) -> Written {
    write_stretch(&deletion.sensor_id, (deletion.from, deletion.to), out);
    out.push(b'}');
    Written::Whole
}

fn write_rejudgement(rejudgement: &Rejudgement, out: &mut Vec<u8>) -> Written {
    write_stretch(&rejudgement.sensor_id, (rejudgement.from, rejudgement.to), out);
    let Rejudgement { type_version, replay, part, is_dry, .. } = rejudgement;
    let replay = serde_json::Value::from(replay.as_str());
    let rest = format!(",\"type_version\":{type_version},\"replay\":{replay},\"part\":{part},\"dry\":{is_dry}}}");
    out.extend_from_slice(rest.as_bytes());
    Written::Whole
}

/// Begins an object that names a stretch of a sensor's readings.
fn write_stretch(sensor_id: &SensorId, (from, to): (Timestamp, Timestamp), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"sensor_id\":\"");
    out.extend_from_slice(sensor_id.as_str().as_bytes());
    out.extend_from_slice(b"\",\"from\":");
    write_bound(from, out);
    out.extend_from_slice(b",\"to\":");
    write_bound(to, out);
}

/// A time of which RFC 3339 may know nothing: then its microseconds since the epoch.
fn write_bound(time: Timestamp, out: &mut Vec<u8>) {
    let text = time.to_string();
    if Timestamp::parse(&text) == Ok(time) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    out.extend_from_slice(time.as_micros().to_string().as_bytes());
}

/// The headers of a batch's records: of those that say everything, and of those with an absent value.
pub(in crate::log) fn headers(encoded: &Encoded, accepted_at: Timestamp) -> (OwnedHeaders, OwnedHeaders) {
    let accepted_at = accepted_at.as_micros().to_string();
    let mut whole = OwnedHeaders::new_with_capacity(4)
        .insert(Header { key: FORMAT, value: Some(encoded.format) })
        .insert(Header { key: ACCEPTED_AT, value: Some(&accepted_at) });
    if let Some(type_version) = encoded.type_version {
        whole = whole.insert(Header { key: TYPE_VERSION, value: Some(&type_version.to_string()) });
    }
    let with_absent = whole.clone();
    match &encoded.properties {
        Some(properties) => (whole, with_absent.insert(Header { key: PROPERTIES, value: Some(properties) })),
        None => (whole, with_absent),
    }
}
