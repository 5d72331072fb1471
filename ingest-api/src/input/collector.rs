//! Gathers the items of a body: valid ones as readings, the others with what is wrong with them.

use std::{borrow::Cow, collections::HashSet};

use domain::{Readings, SensorId, Timestamp, Value};

use super::{BodyFault, Found, Parsed, Rejection, Target};

/// The most faults of one item that are told.
const FAULTS_MAX: usize = 8;
/// The most characters of a client's value that are told.
const VALUE_CHARS_MAX: usize = 80;

/// The items so far and the item in hand.
pub(super) struct Collector<'a> {
    target: &'a Target<'a>,
    latest: Timestamp,
    readings: Readings,
    indices: Vec<u32>,
    unknown: Vec<SensorId>,
    unknown_set: HashSet<SensorId>,
    rejected: Vec<Rejection>,
    rejected_count: usize,
    items: usize,
    row: Vec<Value>,
    sensor_id: Option<SensorId>,
    sensor_is_unknown: bool,
    time: Option<Timestamp>,
    faults: usize,
    rejection: Option<Box<Rejection>>,
}

impl<'a> Collector<'a> {
    /// Gathers for `target`, with room for about `items`.
    pub(super) fn new(target: &'a Target<'a>, items: usize) -> Self {
        let items = items.min(target.bounds.items_max);
        let properties = std::sync::Arc::clone(&target.sensor_type.property_ids);
        Self {
            target,
            latest: target.now.saturating_add(Timestamp::AHEAD_MAX),
            row: vec![Value::ABSENT; properties.len()],
            readings: Readings::with_capacity(properties, items),
            indices: Vec::with_capacity(items),
            unknown: Vec::new(),
            unknown_set: HashSet::new(),
            rejected: Vec::new(),
            rejected_count: 0,
            items: 0,
            sensor_id: None,
            sensor_is_unknown: false,
            time: None,
            faults: 0,
            rejection: None,
        }
    }

    /// Starts the next item.
    pub(super) fn begin(&mut self) -> Result<(), BodyFault> {
        if self.items == self.target.bounds.items_max {
            return Err(BodyFault::TooManyItems(self.items));
        }
        self.items += 1;
        self.row.fill(Value::ABSENT);
        self.sensor_id = None;
        self.sensor_is_unknown = false;
        self.time = None;
        self.faults = 0;
        Ok(())
    }

    /// Sets the item's sensor.
    pub(super) fn sensor(&mut self, text: &str) {
        if let Some(last) = self.readings.sensor_ids().last()
            && last.as_str() == text
        {
            self.sensor_id = Some(last.clone());
            return;
        }
        match self.target.sensors.find(text, &self.target.sensor_type.id) {
            Found::OfType(id) => self.sensor_id = Some(id),
            Found::OfOtherType(other) => {
                let reason = format!("the sensor is bound to sensor type `{other}`");
                self.fault("sensor_id", text.as_bytes(), &reason);
            }
            Found::Nothing => self.unknown_sensor(text),
        }
    }

    fn unknown_sensor(&mut self, text: &str) {
        if let Some(known) = self.unknown_set.get(text) {
            self.sensor_id = Some(known.clone());
            return;
        }
        match SensorId::parse(text) {
            Ok(id) => {
                self.sensor_id = Some(id);
                self.sensor_is_unknown = true;
            }
            Err(invalid) => self.fault("sensor_id", text.as_bytes(), &format!("must be {}", invalid.rule)),
        }
    }

    /// The item's sensor, as far as it is known.
    pub(super) fn sensor_in_hand(&self) -> Option<&SensorId> {
        self.sensor_id.as_ref()
    }

    /// The item's index.
    pub(super) fn item_in_hand(&self) -> u32 {
        (self.items - 1) as u32
    }

    /// Sets the item's phenomenon time from an RFC 3339 text.
    pub(super) fn time_text(&mut self, text: &str) {
        let outcome = match Timestamp::parse(text) {
            Ok(time) => self.time(time),
            Err(invalid) => Err(invalid.rule().into()),
        };
        if let Err(reason) = outcome {
            self.fault("phenomenon_time", text.as_bytes(), &reason);
        }
    }

    /// Sets the item's phenomenon time.
    ///
    /// # Errors
    /// Says which bound it breaks.
    pub(super) fn time(&mut self, time: Timestamp) -> Result<(), Cow<'static, str>> {
        if time < Timestamp::EARLIEST_PHENOMENON {
            return Err("must not be before 1900-01-01T00:00:00Z".into());
        }
        if time > self.latest {
            let now = self.target.now;
            return Err(format!("must be at most 24 h ahead of the hub's clock, which says {now}").into());
        }
        self.time = Some(time);
        Ok(())
    }

    /// Sets the value of the property at `index`.
    pub(super) fn value(&mut self, index: usize, value: Value) {
        self.row[index] = value;
    }

    /// Name of the property at `index`.
    pub(super) fn property(&self, index: usize) -> &'a str {
        self.target.sensor_type.property_ids[index].as_str()
    }

    /// Notes a fault of the item.
    pub(super) fn fault(&mut self, field: &str, value: &[u8], reason: &str) {
        self.faults += 1;
        if self.rejected.len() >= self.target.bounds.rejected_max {
            return;
        }
        let value = legible(value);
        match &mut self.rejection {
            None => {
                let index = (self.items - 1) as u32;
                let (field, reason) = (legible(field.as_bytes()), reason.to_owned());
                let rejection = Rejection { index, field, value, reason, retry_after_s: None };
                self.rejection = Some(Box::new(rejection));
            }
            Some(first) if self.faults <= FAULTS_MAX => {
                first.reason.push_str(&format!("; `{}` = `{value}`: {reason}", legible(field.as_bytes())));
            }
            Some(first) if self.faults == FAULTS_MAX + 1 => first.reason.push_str("; and more"),
            Some(_) => {}
        }
    }

    /// Drops the faults noted so far in favour of one of the item as a whole.
    pub(super) fn whole_fault(&mut self, value: &[u8], reason: &str) {
        self.rejection = None;
        self.fault("", value, reason);
    }

    /// Ends the item: it becomes a reading or a rejection.
    pub(super) fn end(&mut self) {
        if self.faults == 0 {
            if let (Some(sensor_id), Some(time)) = (self.sensor_id.take(), self.time) {
                return self.accept(sensor_id, time);
            }
            let field = if self.time.is_none() { "phenomenon_time" } else { "sensor_id" };
            self.fault(field, b"", "is missing");
        }
        self.rejected_count += 1;
        self.rejected.extend(self.rejection.take().map(|rejection| *rejection));
    }

    fn accept(&mut self, sensor_id: SensorId, time: Timestamp) {
        if self.sensor_is_unknown {
            self.unknown_set.insert(sensor_id.clone());
            self.unknown.push(sensor_id.clone());
        }
        self.readings.push(sensor_id, time, &self.row);
        self.indices.push((self.items - 1) as u32);
    }

    /// The most refused items that are described.
    pub(super) fn rejected_max(&self) -> usize {
        self.target.bounds.rejected_max
    }

    /// What was gathered.
    pub(super) fn finish(self) -> Parsed {
        Parsed {
            readings: self.readings,
            indices: self.indices,
            unknown: self.unknown,
            rejected: self.rejected,
            rejected_count: self.rejected_count,
        }
    }
}

/// A client's bytes as a text for an answer: cut to 80 characters, unprintable ones escaped.
pub(crate) fn legible(bytes: &[u8]) -> String {
    // Four bytes at most make a character, so that no more than this can show.
    let head = &bytes[..bytes.len().min(4 * VALUE_CHARS_MAX + 4)];
    let text = String::from_utf8_lossy(head);
    if text.len() <= VALUE_CHARS_MAX && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return text.into_owned();
    }
    let mut short = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == VALUE_CHARS_MAX {
            short.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => short.push(character),
            _ => short.extend(character.escape_debug()),
        }
    }
    short
}

/// A text as it is, or without the escapes of its JSON form.
pub(super) type Text<'a> = Cow<'a, str>;
