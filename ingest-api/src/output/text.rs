//! Rows as text: JSON pages, NDJSON and CSV, written by hand into one buffer, with everything constant prepared beforehand.
//!
//! **Invariant:** ids and numbers need neither quotes nor escapes in any of these forms, by the grammars of [`domain::Id`]
//! and [`domain::write_number`]; a test here holds the grammar to it.

use domain::{RowRef, SensorId, Timestamp, write_number};

use super::encoder::{CursorWriter, EncodeError, Encoder, Selection, cell};

/// Room for a buffer's last row beyond the size at which it is taken.
const BUFFER_SIZE: usize = 72 * 1024;

/// Items as JSON objects.
struct JsonRows {
    fields: Vec<JsonField>,
    sensor_id: Option<SensorId>,
    /// `{"sensor_id":"emb3","phenomenon_time":"` of the current sensor.
    head: Vec<u8>,
}

struct JsonField {
    index: usize,
    /// `,"sec":`
    value_key: Vec<u8>,
    /// The same; without the comma in the first field.
    flag_key: Vec<u8>,
}

impl JsonRows {
    fn new(selection: &Selection) -> Self {
        let field = |(place, (index, property)): (usize, (usize, &domain::ObservedProperty))| JsonField {
            index,
            value_key: format!(",\"{}\":", property.id).into_bytes(),
            flag_key: format!("{}\"{}\":", if place == 0 { "" } else { "," }, property.id).into_bytes(),
        };
        Self { fields: selection.properties().enumerate().map(field).collect(), sensor_id: None, head: Vec::new() }
    }

    fn write(&mut self, sensor_id: &SensorId, row: RowRef<'_>, out: &mut Vec<u8>) {
        if self.sensor_id.as_ref() != Some(sensor_id) {
            self.head = format!("{{\"sensor_id\":\"{sensor_id}\",\"phenomenon_time\":\"").into_bytes();
            self.sensor_id = Some(sensor_id.clone());
        }
        out.extend_from_slice(&self.head);
        row.row.phenomenon_time.write_to(out);
        out.push(b'"');
        for field in &self.fields {
            out.extend_from_slice(&field.value_key);
            match cell(row, field.index).0 {
                Some(number) => write_number(number, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"qc\":\"");
        out.extend_from_slice(row.row.label.as_str().as_bytes());
        out.extend_from_slice(b"\",\"flags\":{");
        for field in &self.fields {
            out.extend_from_slice(&field.flag_key);
            out.push(b'0' + cell(row, field.index).1.code());
        }
        out.extend_from_slice(b"}}");
    }
}

/// A page of items: `{"items":[...],"next_cursor":...}`, an item per line.
pub struct JsonEncoder {
    rows: JsonRows,
    cursor: Option<CursorWriter>,
    is_first: bool,
    out: Vec<u8>,
}

impl JsonEncoder {
    /// A page without items as yet; without a cursor writer, no page follows it.
    pub fn new(selection: &Selection, cursor: Option<CursorWriter>) -> Self {
        Self { rows: JsonRows::new(selection), cursor, is_first: true, out: b"{\"items\":[".to_vec() }
    }
}

impl Encoder for JsonEncoder {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        if !self.is_first {
            self.out.extend_from_slice(b",\n");
        }
        self.is_first = false;
        self.rows.write(sensor_id, row, &mut self.out);
        Ok(())
    }

    fn finish(&mut self, next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        self.out.extend_from_slice(b"],\"next_cursor\":");
        match (next, &self.cursor) {
            (Some(row), Some(cursor)) => self.out.extend_from_slice(format!("\"{}\"", cursor(row)).as_bytes()),
            _ => self.out.extend_from_slice(b"null"),
        }
        self.out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn ready(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(BUFFER_SIZE))
    }
}

/// An item per line.
pub struct NdjsonEncoder {
    rows: JsonRows,
    out: Vec<u8>,
}

impl NdjsonEncoder {
    /// No lines as yet.
    pub fn new(selection: &Selection) -> Self {
        Self { rows: JsonRows::new(selection), out: Vec::with_capacity(BUFFER_SIZE) }
    }
}

impl Encoder for NdjsonEncoder {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        self.rows.write(sensor_id, row, &mut self.out);
        self.out.push(b'\n');
        Ok(())
    }

    fn finish(&mut self, _next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn ready(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(BUFFER_SIZE))
    }
}

/// A header line, then a line per row; an empty cell is a missing value.
pub struct CsvEncoder {
    indices: Vec<usize>,
    sensor_id: Option<SensorId>,
    /// `emb3,` of the current sensor.
    head: Vec<u8>,
    out: Vec<u8>,
}

impl CsvEncoder {
    /// The header line: `sensor_id,phenomenon_time,sec,qc,sec_flag`.
    pub fn new(selection: &Selection) -> Self {
        let mut out = Vec::with_capacity(BUFFER_SIZE);
        out.extend_from_slice(b"sensor_id,phenomenon_time");
        for (_, property) in selection.properties() {
            out.extend_from_slice(format!(",{}", property.id).as_bytes());
        }
        out.extend_from_slice(b",qc");
        for (_, property) in selection.properties() {
            out.extend_from_slice(format!(",{}_flag", property.id).as_bytes());
        }
        out.push(b'\n');
        let indices = selection.properties().map(|(index, _)| index).collect();
        Self { indices, sensor_id: None, head: Vec::new(), out }
    }
}

impl Encoder for CsvEncoder {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        if self.sensor_id.as_ref() != Some(sensor_id) {
            self.head = format!("{sensor_id},").into_bytes();
            self.sensor_id = Some(sensor_id.clone());
        }
        let out = &mut self.out;
        out.extend_from_slice(&self.head);
        row.row.phenomenon_time.write_to(out);
        for index in &self.indices {
            out.push(b',');
            if let Some(number) = cell(row, *index).0 {
                write_number(number, out);
            }
        }
        out.push(b',');
        out.extend_from_slice(row.row.label.as_str().as_bytes());
        for index in &self.indices {
            out.extend_from_slice(&[b',', b'0' + cell(row, *index).1.code()]);
        }
        out.push(b'\n');
        Ok(())
    }

    fn finish(&mut self, _next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn ready(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(BUFFER_SIZE))
    }
}

#[cfg(test)]
mod tests {
    use domain::{Flag, Rows, Value};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;
    use crate::output::samples::{number, push, sensor, sensor_type};

    fn selection(indices: Option<Vec<usize>>) -> Selection {
        Selection::new(sensor_type("emb", &["sec", "ph"]), indices)
    }

    /// A good row, one with a missing value, and one judged before `ph` was there.
    fn rows() -> Rows {
        let mut rows = Rows::new(1);
        push(&mut rows, 1_486_566_000_500_000, &[number(-0.5)], &[Flag::Suspect]);
        let mut wide = Rows::new(2);
        push(&mut wide, 1_486_566_000_000_000, &[number(904.0), number(7.34)], &[Flag::Good, Flag::Good]);
        push(&mut wide, -1_000_000, &[number(1e300), Value::MISSING], &[Flag::Fail, Flag::Missing]);
        wide.push(rows.get(0));
        wide
    }

    fn written(mut encoder: impl Encoder, rows: &Rows, next: Option<(&SensorId, Timestamp)>) -> String {
        for row in rows.iter() {
            encoder.row(&sensor("emb3"), row).expect("text");
        }
        encoder.finish(next).expect("text");
        String::from_utf8(encoder.take()).expect("UTF-8")
    }

    #[test]
    fn ndjson_lines_are_canonical() {
        let expected = concat!(
            r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z","sec":904,"ph":7.34,"qc":"normal","flags":{"sec":1,"ph":1}}"#,
            "\n",
            r#"{"sensor_id":"emb3","phenomenon_time":"1969-12-31T23:59:59Z","sec":1e300,"ph":null,"qc":"anomaly","flags":{"sec":4,"ph":9}}"#,
            "\n",
            r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00.5Z","sec":-0.5,"ph":null,"qc":"normal","flags":{"sec":3,"ph":2}}"#,
            "\n",
        );
        assert_eq!(written(NdjsonEncoder::new(&selection(None)), &rows(), None), expected);
    }

    #[test]
    fn csv_has_a_header_and_empty_cells_for_missing_values() {
        let expected = "sensor_id,phenomenon_time,sec,ph,qc,sec_flag,ph_flag\n\
                        emb3,2017-02-08T15:00:00Z,904,7.34,normal,1,1\n\
                        emb3,1969-12-31T23:59:59Z,1e300,,anomaly,4,9\n\
                        emb3,2017-02-08T15:00:00.5Z,-0.5,,normal,3,2\n";
        assert_eq!(written(CsvEncoder::new(&selection(None)), &rows(), None), expected);
    }

    #[test]
    fn a_selection_shows_its_properties_in_the_order_of_the_type_and_keeps_the_label_of_the_whole_reading() {
        let both = selection(Some(vec![1, 0, 1, 7]));
        assert_eq!(both.properties().map(|(index, _)| index).collect::<Vec<_>>(), [0, 1]);
        let csv = written(CsvEncoder::new(&selection(Some(vec![0]))), &rows(), None);
        assert_eq!(csv.lines().nth(2), Some("emb3,1969-12-31T23:59:59Z,1e300,anomaly,4"));
    }

    #[test]
    fn a_page_is_one_object_with_the_cursor_of_the_next() {
        let cursor = || -> CursorWriter { Box::new(|(id, time)| format!("{id}@{time}")) };
        let after = sensor("emb3");
        let page = written(
            JsonEncoder::new(&selection(None), Some(cursor())),
            &rows(),
            Some((&after, Timestamp::from_micros(0))),
        );
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        assert_eq!(page["items"][1]["flags"], json!({"sec": 4, "ph": 9}));
        assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
        assert_eq!(page["next_cursor"], "emb3@1970-01-01T00:00:00Z");
        let empty = written(JsonEncoder::new(&selection(None), Some(cursor())), &Rows::new(2), None);
        assert_eq!(empty, "{\"items\":[],\"next_cursor\":null}\n");
    }

    #[test]
    fn no_id_can_start_a_formula_or_needs_quotes() {
        for first in ["=", "+", "-", "@", "\t", "\r", "\"", "'", " ", "\\"] {
            assert!(SensorId::parse(&format!("{first}1")).is_err(), "{first:?}");
            assert!(SensorId::parse(&format!("a{first}1")).is_err() || first == "-", "{first:?}");
        }
        assert!(SensorId::parse("a,b").is_err() && SensorId::parse("a\nb").is_err());
    }

    proptest! {
        #[test]
        fn every_row_reads_back_from_json_and_csv(bits in any::<f64>(), micros in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
            let value = Value::number(bits).unwrap_or(Value::MISSING);
            let flag = if value.as_number().is_some() { Flag::Good } else { Flag::Missing };
            let mut rows = Rows::new(2);
            push(&mut rows, micros, &[value, number(1.0)], &[flag, Flag::NotEvaluated]);
            let line = written(NdjsonEncoder::new(&selection(None)), &rows, None);
            let mut item: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let read = item.as_object_mut().and_then(|item| item.remove("sec")).expect("a member");
            prop_assert_eq!(read.as_f64(), value.as_number());
            let time = Timestamp::from_micros(micros).to_string();
            prop_assert_eq!(item, json!({"sensor_id": "emb3", "phenomenon_time": time, "ph": 1,
                "qc": rows.get(0).row.label.as_str(), "flags": {"sec": flag.code(), "ph": 2}}));
            let csv = written(CsvEncoder::new(&selection(None)), &rows, None);
            let cells: Vec<&str> = csv.lines().nth(1).expect("a line").split(',').collect();
            prop_assert_eq!(cells[2].parse::<f64>().ok(), value.as_number());
            prop_assert!(!csv.contains(['"', '\r', ' ']));
        }
    }
}
