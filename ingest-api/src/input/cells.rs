//! Cells of CSV lines: splitting a line, numbers.

use std::ops::Range;

use domain::Value;

/// The cells of one line; kept from line to line for its room.
#[derive(Default)]
pub(super) struct Cells {
    ranges: Vec<Range<usize>>,
    unquoted: Vec<u8>,
    is_unquoted: bool,
}

impl Cells {
    /// Splits a line at its commas; RFC 4180 quotes may hold commas and doubled quotes, but no line ends.
    ///
    /// # Errors
    /// Says what is wrong with the quotes.
    pub(super) fn split(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.ranges.clear();
        self.is_unquoted = memchr::memchr(b'"', line).is_some();
        if self.is_unquoted {
            return self.split_quoted(line);
        }
        let mut start = 0;
        for comma in memchr::memchr_iter(b',', line) {
            self.ranges.push(start..comma);
            start = comma + 1;
        }
        self.ranges.push(start..line.len());
        Ok(())
    }

    #[cold]
    fn split_quoted(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if memchr::memchr_iter(b'"', line).count() % 2 == 1 {
            return Err("has a quote that is not closed on its line");
        }
        let mut record = ::csv::ByteRecord::new();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
        reader.read_byte_record(&mut record).map_err(|_| "is no CSV")?;
        self.unquoted.clear();
        for cell in &record {
            let start = self.unquoted.len();
            self.unquoted.extend_from_slice(cell);
            self.ranges.push(start..self.unquoted.len());
        }
        Ok(())
    }

    /// How many cells the line has.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The cell at `index` of the line that was split, without spaces around it.
    pub(super) fn get<'a>(&'a self, line: &'a [u8], index: usize) -> &'a [u8] {
        let source = if self.is_unquoted { &self.unquoted } else { line };
        source[self.ranges[index].clone()].trim_ascii()
    }
}

/// Takes a cell for a value: empty, `NaN` and the markers are missing.
///
/// # Errors
/// Says what a value must be.
pub(super) fn value(cell: &str, markers: &[String]) -> Result<Value, &'static str> {
    if cell.is_empty() || cell.eq_ignore_ascii_case("nan") || markers.iter().any(|marker| marker == cell) {
        return Ok(Value::MISSING);
    }
    let is_decimal = cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    match cell.parse::<f64>() {
        Ok(number) if is_decimal => Value::number(number).map_err(|_| "is beyond the range of a 64-bit float"),
        Ok(_) => Err("must be finite: an infinity is no measured value"),
        Err(_) => Err("must be a number, or empty for missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_number_or_missing() {
        let markers = ["(na)".to_owned()];
        let number = |number| Value::number(number).map_err(|_| "finite");
        for (cell, expected) in [
            ("904", number(904.0)),
            ("-7.5e1", number(-75.0)),
            ("+3", number(3.0)),
            (".5", number(0.5)),
            ("", Ok(Value::MISSING)),
            ("NaN", Ok(Value::MISSING)),
            ("(na)", Ok(Value::MISSING)),
            ("inf", Err("must be finite: an infinity is no measured value")),
            ("-Infinity", Err("must be finite: an infinity is no measured value")),
            ("1e999", Err("is beyond the range of a 64-bit float")),
            ("abc", Err("must be a number, or empty for missing")),
            ("1,5", Err("must be a number, or empty for missing")),
            ("0x10", Err("must be a number, or empty for missing")),
            ("1_000", Err("must be a number, or empty for missing")),
        ] {
            assert_eq!(value(cell, &markers), expected, "{cell}");
        }
    }
}
