//! A reading as flat JSON, read back.

use std::collections::{HashMap, HashSet};

use domain::{PropertyId, SensorId, Timestamp, Value};
use jiter::{Jiter, JiterErrorType, Peek};

/// The most ids that are remembered, so that hostile ones don't fill the memory.
const IDS_MAX: usize = 100_000;
/// The longest text of the record that a reason quotes.
const QUOTED_MAX: usize = 80;

/// What a record says, to be reused from one record to the next.
#[derive(Default)]
pub(super) struct Parsed {
    pub sensor_id: Option<SensorId>,
    pub phenomenon_time: Option<Timestamp>,
    /// In the order in which they stand.
    pub properties: Vec<PropertyId>,
    pub values: Vec<Value>,
}

/// Ids that were seen, so that each is in memory once.
#[derive(Default)]
pub(super) struct Ids {
    sensors: HashSet<SensorId>,
    properties: HashMap<Box<[u8]>, PropertyId>,
}

impl Ids {
    pub fn sensor(&mut self, text: &str) -> Result<SensorId, String> {
        if let Some(known) = self.sensors.get(text) {
            return Ok(known.clone());
        }
        let id = SensorId::parse(text).map_err(|error| error.to_string())?;
        if self.sensors.len() >= IDS_MAX {
            self.sensors.clear();
        }
        self.sensors.insert(id.clone());
        Ok(id)
    }

    pub fn property(&mut self, text: &str) -> Result<PropertyId, String> {
        if let Some(known) = self.properties.get(text.as_bytes()) {
            return Ok(known.clone());
        }
        let id = PropertyId::parse(text).map_err(|error| error.to_string())?;
        if self.properties.len() >= IDS_MAX {
            self.properties.clear();
        }
        self.properties.insert(text.as_bytes().into(), id.clone());
        Ok(id)
    }
}

impl Parsed {
    /// Reads an object of a sensor, a time, and a number or `null` (or a bare `NaN`) per property.
    ///
    /// # Errors
    /// The reason why it is no reading.
    pub fn read(&mut self, value: &[u8], ids: &mut Ids) -> Result<(), String> {
        (self.sensor_id, self.phenomenon_time) = (None, None);
        self.properties.clear();
        self.values.clear();
        let mut jiter = Jiter::new(value).with_allow_inf_nan();
        if jiter.peek().map_err(|error| reason(&error))? != Peek::Object {
            return Err("a reading must be a JSON object".to_owned());
        }
        let mut key = jiter.next_object().map_err(|error| reason(&error))?.map(Name::from);
        while let Some(name) = key {
            self.field(name, &mut jiter, ids)?;
            key = jiter.next_key().map_err(|error| reason(&error))?.map(Name::from);
        }
        jiter.finish().map_err(|error| reason(&error))?;
        if self.sensor_id.is_none() {
            return Err("`sensor_id` is missing".to_owned());
        }
        if self.phenomenon_time.is_none() {
            return Err("`phenomenon_time` is missing".to_owned());
        }
        Ok(())
    }

    fn field(&mut self, name: Name, jiter: &mut Jiter<'_>, ids: &mut Ids) -> Result<(), String> {
        match name.as_str() {
            "sensor_id" => {
                let text = jiter.next_str().map_err(|error| about("sensor_id", &error))?;
                let id = ids.sensor(text)?;
                once(self.sensor_id.replace(id).is_none(), "sensor_id")
            }
            "phenomenon_time" => {
                let text = jiter.next_str().map_err(|error| about("phenomenon_time", &error))?;
                let time = Timestamp::parse(text).map_err(|error| format!("`phenomenon_time`: {error}"))?;
                once(self.phenomenon_time.replace(time).is_none(), "phenomenon_time")
            }
            property => {
                let id = ids.property(property)?;
                let value = number(property, jiter)?;
                once(!self.properties.contains(&id), property)?;
                self.properties.push(id);
                self.values.push(value);
                Ok(())
            }
        }
    }
}

/// A key of the object, taken out of the parser so that it can go on.
struct Name {
    bytes: [u8; Name::SIZE_MAX],
    len: u8,
}

impl Name {
    /// A longer one is no property: it is cut, and refused for its length.
    const SIZE_MAX: usize = 80;

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let end = text.floor_char_boundary(Self::SIZE_MAX);
        let mut bytes = [0; Self::SIZE_MAX];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self { bytes, len: end as u8 }
    }
}

fn once(first: bool, name: &str) -> Result<(), String> {
    if first { Ok(()) } else { Err(format!("`{name}` is there twice")) }
}

fn number(property: &str, jiter: &mut Jiter<'_>) -> Result<Value, String> {
    let peek = jiter.peek().map_err(|error| about(property, &error))?;
    if peek == Peek::Null {
        jiter.known_null().map_err(|error| about(property, &error))?;
        return Ok(Value::MISSING);
    }
    if !peek.is_num() {
        return Err(format!("`{property}` must be a number or null"));
    }
    let number = jiter.known_float(peek).map_err(|error| about(property, &error))?;
    if number.is_nan() {
        return Ok(Value::MISSING);
    }
    Value::number(number).map_err(|error| format!("`{property}`: {error}"))
}

fn about(field: &str, error: &jiter::JiterError) -> String {
    format!("`{field}`: {}", reason(error))
}

fn reason(error: &jiter::JiterError) -> String {
    let mut text = match &error.error_type {
        JiterErrorType::JsonError(error) => format!("is no JSON: {error}"),
        JiterErrorType::WrongType { expected, actual } => format!("expected {expected}, found {actual}"),
    };
    text.truncate(text.floor_char_boundary(QUOTED_MAX));
    text
}
