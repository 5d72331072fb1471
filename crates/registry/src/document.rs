//! The documents of the topic `registry`: their keys and their JSON.
//!
//! **Invariant:** a document says everything about its key; which one holds is decided by [`State`](crate::state::State).

use std::{fmt, sync::Arc};

use domain::{Place, Position, Sensor, SensorId, SensorTypeDraft, SensorTypeId, TypeVersion, from_json};
use ports::Document;
use serde::{Deserialize, Serialize};

/// The version of the form that this code reads and writes.
const FORMAT: u32 = 1;

/// What a document speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// `type/{id}/{version}`: one version of a sensor type.
    Type(SensorTypeId, TypeVersion),
    /// `sensor/{id}`: one sensor.
    Sensor(SensorId),
}

impl Key {
    /// Reads a key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(id) = text.strip_prefix("sensor/") {
            return SensorId::parse(id).map(Self::Sensor).map_err(|error| error.to_string());
        }
        let (id, version) = text
            .strip_prefix("type/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or("a key is `type/{id}/{version}` or `sensor/{id}`")?;
        let version = version.parse::<TypeVersion>().ok().filter(|version| *version > 0 && !text.ends_with("/0"));
        let version = version.ok_or("a type version counts from 1")?;
        SensorTypeId::parse(id).map(|id| Self::Type(id, version)).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(id, version) => write!(f, "type/{id}/{version}"),
            Self::Sensor(id) => write!(f, "sensor/{id}"),
        }
    }
}

/// What the log says of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// A version of a sensor type.
    Type(SensorTypeId, TypeVersion, TypeDocument),
    /// A sensor.
    Sensor(SensorId, SensorDocument),
    /// The sensors that an id has had, up to this number, are removed.
    SensorRemoved(SensorId, u64),
    /// The key is taken out.
    Removed(Key),
}

impl Entry {
    /// The key it speaks of.
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Type(id, version, _) => Key::Type(id.clone(), *version),
            Self::Sensor(id, _) | Self::SensorRemoved(id, _) => Key::Sensor(id.clone()),
            Self::Removed(key) => key.clone(),
        }
    }
}

/// The body under `type/{id}/{version}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TypeDocument {
    format: u32,
    /// The type's number; the document's position where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u64>,
    /// Position of the document that said this first; its own where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<u64>,
    pub(crate) definition: SensorTypeDraft,
}

/// The body under `sensor/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SensorDocument {
    format: u32,
    /// The sensor's number; the document's position where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u64>,
    /// Position of the document that said this first; its own where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<u64>,
    /// Counts what was said of the sensor from 1.
    pub(crate) revision: u32,
    pub(crate) sensor_type: SensorTypeId,
    /// Number of the type it was bound to: a type made again later under the same id is another.
    pub(crate) type_number: u64,
    /// The highest number that was removed of the id: this sensor comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
    /// Whether the sensor goes once its readings are deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) leaving: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

/// The body under `sensor/{id}` once the sensor is removed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovalDocument {
    format: u32,
    /// The highest number that the id has had.
    removed: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TypeDocument {
    pub(crate) fn new(number: Option<u64>, definition: SensorTypeDraft) -> Self {
        Self { format: FORMAT, number, origin: None, definition }
    }

    /// The same, said first by the document at `origin`.
    pub(crate) fn with_origin(self, origin: u64) -> Self {
        Self { origin: Some(origin), ..self }
    }

    pub(crate) fn document(&self, id: &SensorTypeId, version: TypeVersion) -> Document {
        to_document(&Key::Type(id.clone(), version), self)
    }
}

impl SensorDocument {
    /// What is said of `sensor`; a `number` of `None` makes it a first registration.
    pub(crate) fn new(sensor: &Sensor, number: Option<u64>, revision: u32, type_number: u64) -> Self {
        Self {
            format: FORMAT,
            number,
            origin: None,
            revision,
            sensor_type: sensor.sensor_type.clone(),
            type_number,
            after: None,
            leaving: false,
            name: sensor.name.clone(),
            place: sensor.place,
            group: sensor.group.clone(),
        }
    }

    /// The same, of a sensor that comes after the removal of number `after`, and that may be leaving.
    pub(crate) fn with_removal(self, after: Option<u64>, leaving: bool) -> Self {
        Self { after, leaving, ..self }
    }

    /// The same, said first by the document at `origin`.
    pub(crate) fn with_origin(self, origin: u64) -> Self {
        Self { origin: Some(origin), ..self }
    }

    pub(crate) fn document(&self, id: &SensorId) -> Document {
        to_document(&Key::Sensor(id.clone()), self)
    }

    /// The sensor it speaks of, at `position` of the topic.
    pub(crate) fn into_sensor(self, id: SensorId, position: Position) -> Sensor {
        Sensor {
            id,
            number: self.number.unwrap_or(position.0),
            sensor_type: self.sensor_type,
            name: self.name,
            place: self.place,
            group: self.group,
        }
    }
}

/// The document that takes a key out.
pub(crate) fn tombstone(key: &Key) -> Document {
    Document { key: key.to_string(), body: None }
}

/// The document that removes the sensors which an id has had, up to this number.
pub(crate) fn removal(id: &SensorId, number: u64) -> Document {
    to_document(&Key::Sensor(id.clone()), &RemovalDocument { format: FORMAT, removed: number })
}

fn to_document(key: &Key, body: &impl Serialize) -> Document {
    let body = serde_json::to_vec(body).expect("texts and finite numbers are always JSON");
    Document { key: key.to_string(), body: Some(Arc::from(body)) }
}

/// Reads a document; otherwise says what is wrong with it.
pub(crate) fn read(document: &Document) -> Result<Entry, String> {
    let key = Key::parse(&document.key)?;
    let Some(body) = &document.body else { return Ok(Entry::Removed(key)) };
    match key {
        Key::Type(id, version) => {
            let body: TypeDocument = from_json(body).map_err(|error| error.to_string())?;
            check_format(body.format)?;
            body.definition.check().map_err(|faults| faults[0].to_string())?;
            Ok(Entry::Type(id, version, body))
        }
        Key::Sensor(id) => {
            let sensor: Result<SensorDocument, _> = from_json(body);
            if sensor.is_err()
                && let Ok(removal) = from_json::<RemovalDocument>(body)
            {
                check_format(removal.format)?;
                return Ok(Entry::SensorRemoved(id, removal.removed));
            }
            let body = sensor.map_err(|error| error.to_string())?;
            check_format(body.format)?;
            Ok(Entry::Sensor(id, body))
        }
    }
}

fn check_format(format: u32) -> Result<(), String> {
    if format == FORMAT {
        return Ok(());
    }
    Err(format!("`format` = `{format}`: this version of the hub reads format {FORMAT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        for text in ["type/emb/1", "type/a-b/20", "sensor/emb3", "sensor/a:b"] {
            assert_eq!(Key::parse(text).map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "type/emb", "type/emb/0", "type/emb/x", "type/Emb/1", "sensor/", "sensor/a/b", "other/1"] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_array_is_no_document() {
        for (key, body) in [
            ("sensor/a", r#"[1,null,null,1,"emb",0]"#),
            ("sensor/a", r#"{"format":1,"revision":1,"sensor_type":"emb","type_number":0,"place":[-2.9,53.8]}"#),
            ("type/a/1", r#"{"format":1,"definition":{"sampling_interval":"1s","properties":[["a","n","m"]]}}"#),
        ] {
            let document = Document { key: key.to_owned(), body: Some(body.as_bytes().into()) };
            let refusal = read(&document).expect_err("an array in place of an object");
            assert!(refusal.contains("expected an object"), "{refusal}");
        }
    }

    #[test]
    fn document_of_a_later_format_is_refused_by_name() {
        let body = r#"{"format":2,"revision":1,"sensor_type":"emb","type_number":0}"#;
        let document = Document { key: "sensor/a".to_owned(), body: Some(body.as_bytes().into()) };
        let refusal = read(&document).expect_err("a later format");
        assert!(refusal.contains("`format` = `2`"), "{refusal}");
    }
}
