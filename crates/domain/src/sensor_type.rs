//! A kind of sensor: observed properties, their ranges, the sampling interval, retention and CSV dialect.
//!
//! **Invariant:** a [`SensorType`] is checked; a property keeps its index for ever, because a type may only gain properties.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Detection, LabelRule, PropertyId, QualityControl, SensorTypeId, duration_text,
    value::{serialize_number, serialize_optional_number},
};

/// The most properties a sensor type may have.
pub const PROPERTIES_MAX: usize = 256;
/// The longest name or description, in bytes.
const TEXT_MAX: usize = 2_000;

/// Version of a sensor type: 1, 2, 3, …
pub type TypeVersion = u32;

/// One version of a kind of sensor, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SensorType {
    /// Id, part of topic, index and routes.
    pub id: SensorTypeId,
    /// Never reused.
    pub number: u64,
    /// Counts the changes of its definition from 1.
    pub version: TypeVersion,
    /// What it says.
    #[serde(flatten)]
    pub definition: SensorTypeDraft,
    /// Ids of the properties, by index.
    #[serde(skip)]
    pub property_ids: Arc<[PropertyId]>,
}

/// What a TOML file or a request says of a sensor type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorTypeDraft {
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Time between two readings of one sensor.
    #[serde(with = "duration_text")]
    pub sampling_interval: Duration,
    /// How long the store keeps readings, counted from their phenomenon time; for ever if not given.
    #[serde(default, with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// Which flags make a reading an anomaly.
    #[serde(default, skip_serializing_if = "is_default")]
    pub anomaly_flags: LabelRule,
    /// What it measures, in the order of its answers.
    pub properties: Vec<ObservedProperty>,
    /// How its CSV files without a header row look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvDialect>,
    /// How its values are looked at by detection, as far as no property says otherwise.
    #[serde(default, skip_serializing_if = "Detection::is_empty")]
    pub detection: Detection,
}

/// A quantity that a sensor type measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedProperty {
    /// Id, the field name in a reading.
    pub id: PropertyId,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// Unit of its values, in UCUM (case sensitive): `uS/cm`, `[pH]`, `Cel`.
    pub unit: String,
    /// QARTOD gross range test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gross_range: Option<GrossRange>,
    /// The other QARTOD tests.
    #[serde(default, skip_serializing_if = "QualityControl::is_empty")]
    pub qc: QualityControl,
    /// How its values are looked at by detection.
    #[serde(default, skip_serializing_if = "Detection::is_empty")]
    pub detection: Detection,
    /// Whether a reading without it is flagged 9 there (and so an anomaly), not 2.
    #[serde(default)]
    pub required: bool,
    /// The smallest difference the sensor can tell, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_number")]
    pub resolution: Option<f64>,
}

/// Settings of the gross range test (QARTOD test 4): outside `fail` is 4, else outside `suspect` is 3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrossRange {
    /// What the sensor can report at all (the manufacturer's span), in the property's unit.
    pub fail: Span,
    /// What an operator finds plausible; within `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Span>,
}

/// Both ends inclusive: `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span(
    #[serde(serialize_with = "serialize_number")] pub f64,
    #[serde(serialize_with = "serialize_number")] pub f64,
);

impl Span {
    /// Says whether the number lies in the span, its ends included.
    pub fn contains(self, number: f64) -> bool {
        self.0 <= number && number <= self.1
    }

    fn is_ordered(self) -> bool {
        self.0.is_finite() && self.1.is_finite() && self.0 <= self.1
    }
}

/// How a type's CSV files look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvDialect {
    /// What each column holds, from the left.
    pub columns: Vec<Column>,
    /// Whether the first line names the columns and is to be left out.
    #[serde(default)]
    pub header: bool,
    /// Texts that stand for a missing value, besides an empty cell and `NaN`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// IANA name of the time zone of times that carry no offset.
    #[serde(default = "utc")]
    pub time_zone: String,
}

fn is_default(rule: &LabelRule) -> bool {
    *rule == LabelRule::default()
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What a CSV column holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Column {
    /// `-`: nothing of interest.
    Ignored,
    /// `sensor_id`.
    SensorId,
    /// `phenomenon_time`: date and time in one.
    PhenomenonTime,
    /// `date`: `YYYY-MM-DD`.
    Date,
    /// `time`: `hh:mm[:ss[.f]]`.
    Time,
    /// A property's value.
    Property(PropertyId),
}

impl TryFrom<String> for Column {
    type Error = crate::InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(match text.as_str() {
            "-" => Self::Ignored,
            "sensor_id" => Self::SensorId,
            "phenomenon_time" => Self::PhenomenonTime,
            "date" => Self::Date,
            "time" => Self::Time,
            property => Self::Property(PropertyId::parse(property)?),
        })
    }
}

impl From<Column> for String {
    fn from(column: Column) -> Self {
        match column {
            Column::Ignored => "-".to_owned(),
            Column::SensorId => "sensor_id".to_owned(),
            Column::PhenomenonTime => "phenomenon_time".to_owned(),
            Column::Date => "date".to_owned(),
            Column::Time => "time".to_owned(),
            Column::Property(id) => id.to_string(),
        }
    }
}

/// Why a definition is refused: which key, which value, which rule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{key}` = `{value}`: {rule}")]
pub struct SensorTypeFault {
    /// Path of the key: `properties.sec.gross_range.fail`.
    pub key: String,
    /// What was given.
    pub value: String,
    /// What would be allowed.
    pub rule: &'static str,
    /// Whether it is a change that an existing type can't make (HTTP 409).
    pub conflict: bool,
}

impl SensorTypeDraft {
    /// Checks the definition by itself.
    ///
    /// # Errors
    /// Every [`SensorTypeFault`] there is.
    pub fn check(&self) -> Result<(), Vec<SensorTypeFault>> {
        let mut faults = Faults::default();
        let second = Duration::from_secs(1);
        faults.unless(self.name.len() <= TEXT_MAX, "name", &self.name, "at most 2,000 bytes");
        faults.unless(self.description.len() <= TEXT_MAX, "description", &self.description, "at most 2,000 bytes");
        let interval = self.sampling_interval;
        faults.unless(
            interval >= Duration::from_micros(1) && interval <= 366 * 24 * 3600 * second,
            "sampling_interval",
            duration_text::print(interval),
            "from 1us to 366 days",
        );
        if let Some(retention) = self.retention {
            faults.unless(retention >= 3600 * second, "retention", duration_text::print(retention), "at least 1h");
        }
        let count = self.properties.len();
        faults.unless((1..=PROPERTIES_MAX).contains(&count), "properties", count, "from 1 to 256 properties");
        let mut seen = HashSet::new();
        for property in &self.properties {
            faults.unless(seen.insert(&property.id), "properties", &property.id, "each property once");
            property.check(&mut faults);
        }
        self.check_quality_control(&mut faults);
        self.check_detection(&mut faults);
        if let Some(csv) = &self.csv {
            csv.check(&seen, &mut faults);
        }
        faults.into_result()
    }

    fn check_quality_control(&self, faults: &mut Faults) {
        for property in &self.properties {
            let others: Vec<&PropertyId> =
                self.properties.iter().map(|other| &other.id).filter(|other| **other != property.id).collect();
            let key = format!("properties.{}.qc", property.id);
            property.qc.check(&key, self.sampling_interval, &others, faults);
        }
    }
}

/// What is found wrong with a definition.
#[derive(Default)]
pub(crate) struct Faults(Vec<SensorTypeFault>);

impl Faults {
    /// Notes a fault unless its rule holds.
    pub(crate) fn unless(&mut self, holds: bool, key: impl Into<String>, value: impl ToString, rule: &'static str) {
        if !holds {
            let value = value.to_string().chars().take(80).flat_map(char::escape_debug).collect();
            self.0.push(SensorTypeFault { key: key.into(), value, rule, conflict: false });
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Vec<SensorTypeFault>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

impl ObservedProperty {
    fn check(&self, faults: &mut Faults) {
        let key = |rest: &str| format!("properties.{}.{rest}", self.id);
        let unit_is_ucum = (1..=64).contains(&self.unit.len()) && self.unit.bytes().all(|b| (0x21..=0x7e).contains(&b));
        faults.unless(
            unit_is_ucum,
            key("unit"),
            &self.unit,
            "a UCUM unit: 1 to 64 printable ASCII characters, `1` for none",
        );
        faults.unless(self.name.len() <= TEXT_MAX, key("name"), &self.name, "at most 2,000 bytes");
        if let Some(resolution) = self.resolution {
            let positive = resolution.is_finite() && resolution > 0.0;
            faults.unless(positive, key("resolution"), resolution, "a positive number");
        }
        let Some(range) = self.gross_range else { return };
        let shown = |span: Span| format!("[{}, {}]", span.0, span.1);
        let order = "[low, high] with low <= high";
        faults.unless(range.fail.is_ordered(), key("gross_range.fail"), shown(range.fail), order);
        let Some(suspect) = range.suspect else { return };
        faults.unless(suspect.is_ordered(), key("gross_range.suspect"), shown(suspect), order);
        if range.fail.is_ordered() && suspect.is_ordered() {
            let within = range.fail.contains(suspect.0) && range.fail.contains(suspect.1);
            faults.unless(within, key("gross_range.suspect"), shown(suspect), "within the fail span");
        }
    }
}

impl CsvDialect {
    fn check(&self, properties: &HashSet<&PropertyId>, faults: &mut Faults) {
        let columns: HashSet<&Column> = self.columns.iter().filter(|column| **column != Column::Ignored).collect();
        let named = self.columns.iter().filter(|column| **column != Column::Ignored).count();
        let listed = format!("{} columns", self.columns.len());
        faults.unless(columns.len() == named, "csv.columns", &listed, "each column once (`-` as often as wanted)");
        faults.unless(self.columns.len() <= 2 * PROPERTIES_MAX, "csv.columns", &listed, "at most 512 columns");
        let has = |column: &Column| columns.contains(column);
        let timed = has(&Column::PhenomenonTime) != (has(&Column::Date) && has(&Column::Time));
        let halves = has(&Column::Date) == has(&Column::Time);
        faults.unless(timed && halves, "csv.columns", &listed, "either `phenomenon_time` or both `date` and `time`");
        for column in &self.columns {
            if let Column::Property(id) = column {
                faults.unless(properties.contains(id), "csv.columns", id, "a property of the type");
            }
        }
        let markers = self.missing.len() <= 32 && self.missing.iter().all(|marker| marker.len() <= 64);
        faults.unless(markers, "csv.missing", self.missing.len(), "at most 32 markers of 64 bytes");
        let zone = jiff::tz::TimeZone::get(&self.time_zone);
        faults.unless(
            zone.is_ok(),
            "csv.time_zone",
            &self.time_zone,
            "an IANA time zone such as `UTC` or `Europe/London`",
        );
    }
}

impl SensorType {
    /// Makes version 1 of a type.
    ///
    /// # Errors
    /// Every [`SensorTypeFault`] of the definition.
    pub fn first(id: SensorTypeId, number: u64, definition: SensorTypeDraft) -> Result<Self, Vec<SensorTypeFault>> {
        definition.check()?;
        Ok(Self::assemble(id, number, 1, definition))
    }

    /// Makes the version that follows this one; `None` where nothing changes. Properties keep their order, new ones come behind.
    ///
    /// # Errors
    /// Every [`SensorTypeFault`] of the definition, a removed property or changed unit among them as conflicts.
    pub fn evolve(&self, mut definition: SensorTypeDraft) -> Result<Option<Self>, Vec<SensorTypeFault>> {
        definition.check()?;
        let mut faults = Vec::new();
        for (index, old) in self.definition.properties.iter().enumerate() {
            let key = format!("properties.{}", old.id);
            let conflict =
                |key, value: &str, rule| SensorTypeFault { key, value: value.to_owned(), rule, conflict: true };
            let Some(found) = definition.properties.iter().position(|new| new.id == old.id) else {
                faults.push(conflict(key, "removed", "a type may gain properties but not lose one"));
                continue;
            };
            let new = &definition.properties[found];
            if new.unit != old.unit {
                faults.push(conflict(format!("{key}.unit"), &new.unit, "a property keeps its unit"));
            }
            if faults.is_empty() {
                let property = definition.properties.remove(found);
                definition.properties.insert(index, property);
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if definition == self.definition {
            return Ok(None);
        }
        Ok(Some(Self::assemble(self.id.clone(), self.number, self.version + 1, definition)))
    }

    /// Takes a stored version back, which was checked when it was made.
    pub fn assemble(id: SensorTypeId, number: u64, version: TypeVersion, definition: SensorTypeDraft) -> Self {
        let property_ids = definition.properties.iter().map(|property| property.id.clone()).collect();
        Self { id, number, version, definition, property_ids }
    }

    /// How many properties a reading has.
    pub fn width(&self) -> usize {
        self.property_ids.len()
    }

    /// Index of a property by its id.
    pub fn property_index(&self, id: &str) -> Option<usize> {
        self.property_ids.iter().position(|property| property.as_str() == id)
    }

    /// The integer of the datastream of sensor `sensor_number` and the property at `index`; never reused, below 2^53.
    pub fn datastream_number(sensor_number: u64, index: usize) -> u64 {
        sensor_number * PROPERTIES_MAX as u64 + index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_without_a_fraction() {
        let range = GrossRange { fail: Span(5.0, 100_000.0), suspect: Some(Span(-0.5, 0.25)) };
        let written = serde_json::to_string(&range).expect("it can be written");
        assert_eq!(written, r#"{"fail":[5,100000],"suspect":[-0.5,0.25]}"#);
    }

    #[test]
    fn each_fault_of_a_gross_range_is_named_once_where_it_is() {
        let faults = |fail, suspect| {
            let id = PropertyId::parse("ph").expect("an id");
            let gross_range = Some(GrossRange { fail, suspect: Some(suspect) });
            let property = ObservedProperty {
                id,
                name: String::new(),
                unit: "[pH]".to_owned(),
                gross_range,
                required: true,
                resolution: None,
                qc: QualityControl::default(),
                detection: Detection::default(),
            };
            let mut faults = Faults::default();
            property.check(&mut faults);
            faults.0.into_iter().map(|fault| (fault.key, fault.value)).collect::<Vec<_>>()
        };
        let at = |span: &str, value: &str| vec![(format!("properties.ph.gross_range.{span}"), value.to_owned())];
        assert_eq!(faults(Span(1.0, 13.0), Span(6.0, 9.0)), []);
        assert_eq!(faults(Span(5.0, 1.0), Span(6.0, 9.0)), at("fail", "[5, 1]"));
        assert_eq!(faults(Span(1.0, 13.0), Span(9.0, 6.0)), at("suspect", "[9, 6]"));
        assert_eq!(faults(Span(1.0, 13.0), Span(6.0, 14.0)), at("suspect", "[6, 14]"));
    }
}
