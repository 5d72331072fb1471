//! CSV bodies: with a header row, or lines of the type's dialect for one sensor.
//!
//! **Invariant:** a line is an item. A quoted cell can't hold a line end, so that an open quote costs one item, not the rest.

use domain::{Column, CsvDialect};

use super::{
    BodyFault, Parsed, Target,
    cells::{self, Cells},
    collector::{Collector, legible},
    lines,
    passes::LineTimes,
    without_mark,
    zone::Zone,
};

/// About how many bytes a line takes, to make room beforehand.
const LINE_SIZE_BYTES: usize = 40;

/// Reads lines under a header row: `sensor_id`, `phenomenon_time` (RFC 3339 with an offset) and properties in any order.
///
/// # Errors
/// [`BodyFault::Empty`]; [`BodyFault::Column`] for an unknown, repeated or missing column; [`BodyFault::TooManyItems`].
pub fn parse(body: &[u8], target: &Target<'_>) -> Result<Parsed, BodyFault> {
    let body = without_mark(body);
    let mut lines = lines(body);
    let Some((_, header)) = lines.next() else { return Err(BodyFault::Empty) };
    let slots = header_slots(header, target)?;
    let mut table = Table::new(target, slots, body.len());
    for (_, line) in lines {
        table.line(line)?;
    }
    Ok(table.finish())
}

/// Reads lines of the type's dialect, all of the sensor `sensor_id`.
///
/// # Errors
/// [`BodyFault::NoDialect`], [`BodyFault::Empty`], [`BodyFault::TooManyItems`].
pub fn parse_dialect(body: &[u8], sensor_id: &str, target: &Target<'_>) -> Result<Parsed, BodyFault> {
    let body = without_mark(body);
    let dialect = dialect(target)?;
    if body.is_empty() {
        return Err(BodyFault::Empty);
    }
    let mut table = Table::of_dialect(target, dialect, &[], body.len());
    table.sensor_id = Some(sensor_id);
    for (_, line) in lines(body).skip(usize::from(dialect.header)) {
        table.line(line)?;
    }
    Ok(table.finish())
}

/// The dialect of the type.
pub(super) fn dialect<'a>(target: &Target<'a>) -> Result<&'a CsvDialect, BodyFault> {
    let sensor_type = target.sensor_type;
    sensor_type.definition.csv.as_ref().ok_or_else(|| BodyFault::NoDialect(sensor_type.id.to_string()))
}

/// What a header row names, column by column.
fn header_slots(header: &[u8], target: &Target<'_>) -> Result<Vec<Slot>, BodyFault> {
    let mut cells = Cells::default();
    cells.split(header).map_err(|fault| BodyFault::Syntax {
        line: 1,
        column: 1,
        reason: format!("the header row {fault}"),
    })?;
    let mut slots = Vec::with_capacity(cells.len());
    for index in 0..cells.len() {
        let name = cells.get(header, index);
        let fault = |rule: String| BodyFault::Column { name: legible(name), rule };
        let slot = match std::str::from_utf8(name).ok() {
            Some("sensor_id") => Some(Slot::SensorId),
            Some("phenomenon_time") => Some(Slot::PhenomenonTime),
            Some(name) => target.sensor_type.property_index(name).map(Slot::Property),
            None => None,
        };
        let Some(slot) = slot else {
            let properties: Vec<&str> = target.sensor_type.property_ids.iter().map(|id| id.as_str()).collect();
            let rule = "must be `sensor_id`, `phenomenon_time` or a property of the sensor type";
            return Err(fault(format!("{rule} ({})", properties.join(", "))));
        };
        if slots.contains(&slot) {
            return Err(fault("is there twice".to_owned()));
        }
        slots.push(slot);
    }
    for (slot, name) in [(Slot::SensorId, "sensor_id"), (Slot::PhenomenonTime, "phenomenon_time")] {
        if !slots.contains(&slot) {
            return Err(BodyFault::Column { name: name.to_owned(), rule: "is missing".to_owned() });
        }
    }
    Ok(slots)
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Ignored,
    SensorId,
    /// RFC 3339.
    PhenomenonTime,
    /// RFC 3339, or local to the dialect's zone.
    LocalTime,
    Date,
    TimeOfDay,
    Property(usize),
}

/// Lines of equal columns.
pub(super) struct Table<'a> {
    collector: Collector<'a>,
    slots: Vec<Slot>,
    markers: &'a [String],
    times: LineTimes,
    sensor_id: Option<&'a str>,
    cells: Cells,
}

impl<'a> Table<'a> {
    fn new(target: &'a Target<'a>, slots: Vec<Slot>, body_size_bytes: usize) -> Self {
        let collector = Collector::new(target, body_size_bytes / LINE_SIZE_BYTES + 1);
        let times = LineTimes::new(Zone::Utc, None);
        Self { collector, slots, markers: &[], times, sensor_id: None, cells: Cells::default() }
    }

    /// Lines of the columns `first` and those of the dialect.
    pub(super) fn of_dialect(
        target: &'a Target<'a>,
        dialect: &'a CsvDialect,
        first: &[Slot],
        body_size_bytes: usize,
    ) -> Self {
        let slot = |column: &Column| match column {
            Column::Ignored => Slot::Ignored,
            Column::SensorId => Slot::SensorId,
            Column::PhenomenonTime => Slot::LocalTime,
            Column::Date => Slot::Date,
            Column::Time => Slot::TimeOfDay,
            // A checked dialect names properties of the type only.
            Column::Property(id) => {
                target.sensor_type.property_index(id.as_str()).map_or(Slot::Ignored, Slot::Property)
            }
        };
        let slots = first.iter().copied().chain(dialect.columns.iter().map(slot)).collect();
        let times = LineTimes::new(Zone::named(&dialect.time_zone), target.repeated_hour);
        Self { markers: &dialect.missing, times, ..Self::new(target, slots, body_size_bytes) }
    }

    /// Reads one line as an item.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), BodyFault> {
        self.collector.begin()?;
        if let Err(fault) = self.cells.split(line) {
            self.collector.fault("", line, fault);
        } else if self.cells.len() != self.slots.len() {
            let reason = format!("has {} cells where {} are wanted", self.cells.len(), self.slots.len());
            self.collector.fault("", line, &reason);
        } else {
            self.read_cells(line);
        }
        self.times.end_line(&self.collector);
        self.collector.end();
        Ok(())
    }

    /// What the lines say.
    pub(super) fn finish(self) -> Parsed {
        let rejected_max = self.collector.rejected_max();
        self.times.finish(self.collector.finish(), rejected_max)
    }

    fn read_cells(&mut self, line: &[u8]) {
        if let Some(sensor_id) = self.sensor_id {
            self.collector.sensor(sensor_id);
        }
        let (mut date, mut time_of_day) = (None, None);
        for (index, slot) in self.slots.iter().enumerate() {
            let cell = self.cells.get(line, index);
            let Ok(text) = std::str::from_utf8(cell) else {
                if *slot != Slot::Ignored {
                    self.collector.fault(field(&self.collector, *slot), cell, "is not UTF-8");
                }
                continue;
            };
            match slot {
                Slot::Ignored => {}
                Slot::SensorId => sensor_cell(&mut self.collector, self.sensor_id, text),
                Slot::PhenomenonTime => self.collector.time_text(text),
                Slot::LocalTime => self.times.combined(&mut self.collector, text),
                Slot::Date => date = Some(text),
                Slot::TimeOfDay => time_of_day = Some(text),
                Slot::Property(property) => match cells::value(text, self.markers) {
                    Ok(value) => self.collector.value(*property, value),
                    Err(reason) => self.collector.fault(self.collector.property(*property), cell, reason),
                },
            }
        }
        if let (Some(date), Some(time_of_day)) = (date, time_of_day) {
            self.times.date_and_time(&mut self.collector, date, time_of_day);
        }
    }
}

/// Takes the cell that names the line's sensor; a sensor named beside the lines must be the same.
fn sensor_cell(collector: &mut Collector<'_>, wanted: Option<&str>, text: &str) {
    match wanted {
        Some(wanted) if wanted != text => {
            collector.fault("sensor_id", text.as_bytes(), "is not the sensor that the request names");
        }
        _ => collector.sensor(text),
    }
}

/// The field that a column fills, for messages.
fn field<'a>(collector: &Collector<'a>, slot: Slot) -> &'a str {
    match slot {
        Slot::Ignored => "",
        Slot::SensorId => "sensor_id",
        Slot::PhenomenonTime | Slot::LocalTime | Slot::Date | Slot::TimeOfDay => "phenomenon_time",
        Slot::Property(index) => collector.property(index),
    }
}

#[cfg(test)]
mod tests;
