//! A row as a document: how it is written, and how it is read back exactly.
//!
//! **Invariant:** a number is written as the shortest text that reads back to it; `null` is said to be missing, what is left out was not
//! mentioned. Flags are written for every property that the row was judged for, so that a row from before a property was gained is known.

use std::sync::Arc;

use domain::{Flag, Label, Position, PropertyId, Row, RowRef, SensorId, Timestamp, Value, write_number};
use jiter::{Jiter, JiterError, Peek};
use ports::{ErrorKind, PortError};

/// Writes and reads the documents of one sensor type.
#[derive(Debug)]
pub(crate) struct Documents {
    properties: Arc<[PropertyId]>,
    /// `,"id":` of each property.
    keys: Vec<Vec<u8>>,
}

/// A document, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) sensor_id: SensorId,
    pub(crate) row: Row,
    pub(crate) values: Vec<Value>,
    pub(crate) flags: Vec<Flag>,
}

impl Document {
    pub(crate) fn as_ref(&self) -> RowRef<'_> {
        RowRef { row: self.row, values: &self.values, flags: &self.flags }
    }
}

/// Why a document can't be read.
#[derive(Debug)]
pub(crate) struct Malformed(String);

impl From<JiterError> for Malformed {
    fn from(error: JiterError) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Malformed {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl Malformed {
    /// The document of an id is none that the hub wrote.
    pub(crate) fn named(&self, id: &str, doing: &str) -> PortError {
        PortError::new(ErrorKind::Corrupt, format!("{doing}: document `{id}` of Elasticsearch is no row: {}", self.0))
    }

    /// What is stored was changed by somebody else: nothing can be said about it.
    pub(crate) fn while_doing(&self, doing: &str) -> PortError {
        PortError::new(ErrorKind::Corrupt, format!("{doing}: a document of Elasticsearch that is no row: {}", self.0))
    }
}

/// Appends the id of an identity's document: time first, so that ids of new readings are behind those of old ones and Elasticsearch can
/// tell by the range of a segment that they are not in it.
pub(crate) fn push_id(sensor_id: &SensorId, time: Timestamp, out: &mut Vec<u8>) {
    time.write_to(out);
    out.push(b'@');
    out.extend_from_slice(sensor_id.as_str().as_bytes());
}

fn push_integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_position(position: Position, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(position.0).as_bytes());
}

impl Documents {
    pub(crate) fn new(properties: Arc<[PropertyId]>) -> Self {
        let keys = properties.iter().map(|id| format!(",\"{id}\":").into_bytes()).collect();
        Self { properties, keys }
    }

    pub(crate) fn properties(&self) -> &Arc<[PropertyId]> {
        &self.properties
    }

    /// Appends a row as JSON on one line, without the line's end. The row is no wider than the type.
    pub(crate) fn write(&self, sensor_id: &SensorId, row: RowRef<'_>, out: &mut Vec<u8>) {
        let time = row.row.phenomenon_time.as_micros();
        // No character of an id, a time or a label needs to be escaped.
        out.extend_from_slice(b"{\"sensor_id\":\"");
        out.extend_from_slice(sensor_id.as_str().as_bytes());
        out.extend_from_slice(b"\",\"phenomenon_time\":");
        push_integer(time, out);
        out.extend_from_slice(b",\"@timestamp\":");
        push_integer(time.div_euclid(1_000), out);
        out.extend_from_slice(b",\"qc\":\"");
        out.extend_from_slice(row.row.label.as_str().as_bytes());
        out.push(b'"');
        for (key, value) in self.keys.iter().zip(row.values).filter(|(_, value)| !value.is_absent()) {
            out.extend_from_slice(key);
            match value.as_number() {
                Some(number) => write_number(number, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"flags\":{");
        for (index, (key, flag)) in self.keys.iter().zip(row.flags).enumerate() {
            out.extend_from_slice(&key[usize::from(index == 0)..]);
            out.push(b'0' + flag.code());
        }
        out.extend_from_slice(b"},\"type_version\":");
        push_integer(row.row.type_version.into(), out);
        out.extend_from_slice(b",\"accepted_at\":");
        push_integer(row.row.accepted_at.as_micros(), out);
        out.extend_from_slice(b",\"@position\":");
        push_position(row.row.position, out);
        out.extend_from_slice(b",\"@first_position\":");
        push_position(row.row.first_position, out);
        out.push(b'}');
    }

    /// Reads the document that the parser stands before. `previous` is shared where it is the document's sensor.
    pub(crate) fn read(&self, jiter: &mut Jiter<'_>, previous: Option<&SensorId>) -> Result<Document, Malformed> {
        let mut reading = Reading::new(self, previous);
        let mut key = jiter.next_object()?.map(|key| self.field(key, reading.expected));
        while let Some(field) = key {
            reading.take(field, jiter)?;
            key = jiter.next_key()?.map(|key| self.field(key, reading.expected));
        }
        reading.finish()
    }

    /// What a key stands for; `expected` is the property that most likely comes next.
    fn field(&self, key: &str, expected: usize) -> Field {
        match key {
            "sensor_id" => Field::SensorId,
            "phenomenon_time" => Field::PhenomenonTime,
            "qc" => Field::Label,
            "flags" => Field::Flags,
            "type_version" => Field::TypeVersion,
            "accepted_at" => Field::AcceptedAt,
            "@position" => Field::Position,
            "@first_position" => Field::FirstPosition,
            key => self.property(key, expected).map_or(Field::Other, Field::Property),
        }
    }

    fn property(&self, key: &str, expected: usize) -> Option<usize> {
        if self.properties.get(expected).is_some_and(|id| id.as_str() == key) {
            return Some(expected);
        }
        self.properties.iter().position(|id| id.as_str() == key)
    }
}

/// A field of a document.
enum Field {
    SensorId,
    PhenomenonTime,
    Label,
    Flags,
    TypeVersion,
    AcceptedAt,
    Position,
    FirstPosition,
    Property(usize),
    /// `@timestamp`, which follows from the rest, and what others may add.
    Other,
}

/// A document that is being read.
struct Reading<'a> {
    documents: &'a Documents,
    previous: Option<&'a SensorId>,
    expected: usize,
    sensor_id: Option<SensorId>,
    time: Option<i64>,
    label: Option<Label>,
    accepted_at: Option<i64>,
    position: Option<i64>,
    first_position: Option<i64>,
    type_version: Option<i64>,
    values: Vec<Value>,
    flags: Vec<Flag>,
}

impl<'a> Reading<'a> {
    fn new(documents: &'a Documents, previous: Option<&'a SensorId>) -> Self {
        let width = documents.properties.len();
        Self {
            documents,
            previous,
            expected: 0,
            sensor_id: None,
            time: None,
            label: None,
            accepted_at: None,
            position: None,
            first_position: None,
            type_version: None,
            values: vec![Value::ABSENT; width],
            flags: vec![Flag::NotEvaluated; width],
        }
    }

    fn take(&mut self, field: Field, jiter: &mut Jiter<'_>) -> Result<(), Malformed> {
        match field {
            Field::SensorId => {
                let text = jiter.next_str()?;
                let known = self.previous.filter(|previous| previous.as_str() == text).cloned();
                let parse = || SensorId::parse(text).map_err(|_| Malformed::from("a sensor id that is not allowed"));
                self.sensor_id = Some(known.map_or_else(parse, Ok)?);
            }
            Field::PhenomenonTime => self.time = Some(integer(jiter)?),
            Field::Label => {
                let label = Label::parse(jiter.next_str()?);
                self.label = Some(label.ok_or_else(|| Malformed::from("a label that is none"))?);
            }
            Field::TypeVersion => self.type_version = Some(integer(jiter)?),
            Field::AcceptedAt => self.accepted_at = Some(integer(jiter)?),
            Field::Position => self.position = Some(integer(jiter)?),
            Field::FirstPosition => self.first_position = Some(integer(jiter)?),
            Field::Property(index) => {
                self.values[index] = value(jiter)?;
                self.expected = index + 1;
            }
            Field::Flags => self.take_flags(jiter)?,
            Field::Other => jiter.next_skip()?,
        }
        Ok(())
    }

    fn take_flags(&mut self, jiter: &mut Jiter<'_>) -> Result<(), Malformed> {
        let mut expected = 0;
        let mut key = jiter.next_object()?.map(|key| self.documents.property(key, expected));
        while let Some(property) = key {
            let code = integer(jiter)?;
            if let Some(index) = property {
                let flag = u8::try_from(code).ok().and_then(Flag::from_code);
                self.flags[index] = flag.ok_or_else(|| Malformed::from("a flag that is none"))?;
                expected = index + 1;
            }
            key = jiter.next_key()?.map(|key| self.documents.property(key, expected));
        }
        Ok(())
    }

    fn finish(self) -> Result<Document, Malformed> {
        let given = |field: Option<i64>, name: &str| field.ok_or_else(|| Malformed(format!("without `{name}`")));
        let position = |field: Option<i64>, name: &str| {
            let position = u64::try_from(given(field, name)?).map_err(|_| Malformed(format!("`{name}` below 0")))?;
            Ok::<_, Malformed>(Position(position))
        };
        let row = Row {
            phenomenon_time: Timestamp::from_micros(given(self.time, "phenomenon_time")?),
            accepted_at: Timestamp::from_micros(given(self.accepted_at, "accepted_at")?),
            position: position(self.position, "@position")?,
            first_position: position(self.first_position, "@first_position")?,
            type_version: u32::try_from(given(self.type_version, "type_version")?)
                .map_err(|_| Malformed::from("a type version that is none"))?,
            label: self.label.ok_or_else(|| Malformed::from("without `qc`"))?,
        };
        let sensor_id = self.sensor_id.ok_or_else(|| Malformed::from("without `sensor_id`"))?;
        Ok(Document { sensor_id, row, values: self.values, flags: self.flags })
    }
}

/// The integer that the parser stands before.
pub(crate) fn integer(jiter: &mut Jiter<'_>) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(jiter.next_number_bytes()?).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Malformed::from("a number that is no integer of 64 bits"))
}

fn value(jiter: &mut Jiter<'_>) -> Result<Value, Malformed> {
    let peek = jiter.peek()?;
    if peek == Peek::Null {
        jiter.known_null()?;
        return Ok(Value::MISSING);
    }
    let number = jiter.known_float(peek)?;
    Value::number(number).map_err(|_| Malformed::from("a value that is not finite"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn documents(width: usize) -> Documents {
        Documents::new((0..width).map(|index| PropertyId::parse(&format!("p{index}")).expect("an id")).collect())
    }

    fn row(micros: i64, position: u64) -> Row {
        Row {
            phenomenon_time: Timestamp::from_micros(micros),
            accepted_at: Timestamp::from_micros(5),
            position: Position(position),
            first_position: Position(position / 2),
            type_version: 3,
            label: Label::Anomaly,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let number = any::<f64>().prop_map(|number| Value::number(number).unwrap_or(Value::MISSING));
        prop_oneof![number, Just(Value::MISSING), Just(Value::ABSENT)]
    }

    proptest! {
        #[test]
        fn rows_read_back_exactly(values in prop::collection::vec(value(), 0..5), micros in any::<i64>(), position in 0..i64::MAX as u64) {
            let documents = documents(values.len());
            let sensor_id = SensorId::parse("a:b.c-d_e").expect("an id");
            let flags: Vec<Flag> = values.iter().map(|value| if value.as_number().is_some() { Flag::Good } else { Flag::Missing }).collect();
            let mut text = Vec::new();
            documents.write(&sensor_id, RowRef { row: row(micros, position), values: &values, flags: &flags }, &mut text);
            let found = documents.read(&mut Jiter::new(&text), None).expect("a document");
            prop_assert_eq!(found, Document { sensor_id, row: row(micros, position), values, flags });
        }
    }

    #[test]
    fn document_shows_the_fields_of_the_paper() {
        let values = [Value::number(904.0).expect("finite"), Value::MISSING, Value::ABSENT];
        let flags = [Flag::Good, Flag::Missing, Flag::NotEvaluated];
        let sensor_id = SensorId::parse("emb3").expect("an id");
        let (mut id, mut text) = (Vec::new(), Vec::new());
        let row = row(1_486_566_000_000_001, 7);
        push_id(&sensor_id, row.phenomenon_time, &mut id);
        documents(3).write(&sensor_id, RowRef { row, values: &values, flags: &flags }, &mut text);
        assert_eq!(String::from_utf8_lossy(&id), "2017-02-08T15:00:00.000001Z@emb3");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"sensor_id":"emb3","phenomenon_time":1486566000000001,"@timestamp":1486566000000,"qc":"anomaly","p0":904,"p1":null,"flags":{"p0":1,"p1":9,"p2":2},"type_version":3,"accepted_at":5,"@position":7,"@first_position":3}"#
        );
    }

    #[test]
    fn narrower_documents_are_filled_and_foreign_fields_skipped() {
        let text = br#"{"sensor_id":"a","phenomenon_time":1,"place":{"lat":1,"lon":[2]},"qc":"normal","p0":1e3,"flags":{"p0":3},"type_version":1,"accepted_at":2,"@position":3,"@first_position":3}"#;
        let found = documents(2).read(&mut Jiter::new(text), None).expect("a document");
        assert_eq!(found.values, [Value::number(1e3).expect("finite"), Value::ABSENT]);
        assert_eq!(found.flags, [Flag::Suspect, Flag::NotEvaluated]);
        assert!(documents(2).read(&mut Jiter::new(br#"{"sensor_id":"a"}"#), None).is_err());
    }
}
