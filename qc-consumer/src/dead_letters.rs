//! Makes dead letters of what can't be processed, and appends them.
//!
//! **Invariant:** a dead letter is durable before its record is committed. A crash in between appends it again under the same key, so
//! that readers of the topic take one of each key.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{
    DeadLetter, Deletion, Partition, Payload, Position, PropertyId, SensorId, Timestamp, Topic, Value, write_number,
};
use ports::{Document, Log, Undecodable};

use crate::{
    notices,
    retry::{Failure, Retry},
};

const DOING: &str = "appending dead letters";
/// The most dead letters in one append.
const LETTERS_MAX: usize = 1_000;
/// About the most bytes in one append; one letter alone may have more.
const SIZE_MAX: usize = 1024 * 1024;

/// Where a record is and when it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a Topic,
    pub(crate) partition: Partition,
    pub(crate) position: Position,
    pub(crate) accepted_at: Timestamp,
}

impl Record<'_> {
    /// The dead letter of a reading; `payload` as [`reading_json`] writes it.
    pub(crate) fn reading(&self, sensor_id: &SensorId, reason: String, payload: String) -> DeadLetter {
        DeadLetter { sensor_id: Some(sensor_id.clone()), ..self.letter(1, reason, Payload::Reading(payload)) }
    }

    /// The dead letter of a deletion.
    pub(crate) fn deletion(&self, deletion: Deletion, reason: String) -> DeadLetter {
        let sensor_id = Some(deletion.sensor_id.clone());
        DeadLetter { sensor_id, ..self.letter(1, reason, Payload::Deletion(deletion)) }
    }

    /// The dead letter of records that make no sense.
    pub(crate) fn undecodable(&self, undecodable: &Undecodable) -> DeadLetter {
        let bytes = Payload::Bytes(BASE64_STANDARD.encode(&undecodable.bytes));
        self.letter(undecodable.count, undecodable.reason.clone(), bytes)
    }

    fn letter(&self, count: u32, reason: String, payload: Payload) -> DeadLetter {
        DeadLetter {
            format: DeadLetter::FORMAT,
            topic: self.topic.to_string(),
            partition: self.partition.0,
            position: self.position.0,
            count,
            sensor_id: None,
            reason,
            accepted_at: self.accepted_at,
            payload,
        }
    }
}

/// A reading as it can be posted again; properties it does not mention are left out.
pub(crate) fn reading_json(
    sensor_id: &SensorId,
    time: Timestamp,
    properties: &[PropertyId],
    values: &[Value],
) -> String {
    let mut out = Vec::new();
    // Ids have no character that JSON would escape.
    out.extend_from_slice(format!("{{\"sensor_id\":\"{sensor_id}\",\"phenomenon_time\":\"").as_bytes());
    time.write_to(&mut out);
    out.push(b'"');
    for (property, value) in properties.iter().zip(values).filter(|(_, value)| !value.is_absent()) {
        out.extend_from_slice(format!(",\"{property}\":").as_bytes());
        match value.as_number() {
            Some(number) => write_number(number, &mut out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    String::from_utf8(out).expect("ids, numbers and times are ASCII")
}

/// Appends dead letters durably, however long that takes.
pub(crate) async fn append(log: &Arc<dyn Log>, retry: &Retry, letters: &[DeadLetter]) -> Result<(), Failure> {
    let topic = Topic::dead_letters();
    let mut documents = Vec::new();
    let mut size = 0;
    for letter in letters {
        let body = serde_json::to_vec(letter).expect("texts and numbers are always JSON");
        if documents.len() >= LETTERS_MAX || (size + body.len() > SIZE_MAX && !documents.is_empty()) {
            notices::append(log, retry, (&topic, DOING), std::mem::take(&mut documents)).await?;
            size = 0;
        }
        size += body.len();
        documents.push(Document { key: letter.key(), body: Some(body.into()) });
    }
    notices::append(log, retry, (&topic, DOING), documents).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_reading_reads_back_and_can_be_posted_again() {
        let (topic, sensor_id) = (Topic::from_name("readings.emb"), SensorId::parse("emb3").expect("an id"));
        let properties = ["sec", "ph", "tdg"].map(|id| PropertyId::parse(id).expect("an id"));
        let values = [Value::number(904.0).expect("finite"), Value::MISSING, Value::ABSENT];
        let payload = reading_json(&sensor_id, Timestamp::from_micros(0), &properties, &values);
        assert_eq!(payload, r#"{"sensor_id":"emb3","phenomenon_time":"1970-01-01T00:00:00Z","sec":904,"ph":null}"#);
        let accepted_at = Timestamp::from_micros(1);
        let record = Record { topic: &topic, partition: Partition(2), position: Position(7), accepted_at };
        let letter = record.reading(&sensor_id, "because".to_owned(), payload);
        assert_eq!(letter.key(), "readings.emb/2/7");
        let text = serde_json::to_string(&letter).expect("JSON");
        assert!(text.contains(r#""payload":"{\"sensor_id\""#), "{text}");
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).ok(), Some(letter));
        let bytes = record.undecodable(&Undecodable { count: 3, bytes: vec![0, 255], reason: "noise".to_owned() });
        let text = serde_json::to_string(&bytes).expect("JSON");
        assert!(text.contains(r#""payload_base64":"AP8=""#) && text.contains(r#""count":3"#), "{text}");
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).ok(), Some(bytes));
    }
}
