//! Cells of CSV lines: splitting a line, numbers, local dates and times.

use std::{borrow::Cow, ops::Range, str::FromStr};

use domain::{Timestamp, Value};
use jiff::{
    civil,
    tz::{AmbiguousOffset, TimeZone},
};

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

/// The time zone of dates and times that carry no offset.
pub(super) enum Zone {
    /// UTC, or anything that never differs from it.
    Utc,
    /// A place with rules.
    Local(TimeZone),
}

impl Zone {
    /// The zone of an IANA name that a checked dialect carries; UTC for one that this build does not know.
    pub(super) fn named(name: &str) -> Self {
        match TimeZone::get(name) {
            Ok(zone) if zone != TimeZone::UTC && name != "UTC" && name != "Etc/UTC" => Self::Local(zone),
            _ => Self::Utc,
        }
    }

    /// The time of a local date (`YYYY-MM-DD`) and time of day (`hh:mm[:ss[.f]]`).
    ///
    /// Where clocks went back an hour happens twice; the first of the two times is taken, as RFC 5545 does.
    ///
    /// # Errors
    /// Says what is wrong, an hour that was left out when clocks went forward among it.
    pub(super) fn time(&self, date: &str, time: &str) -> Result<Timestamp, Cow<'static, str>> {
        let (date_bytes, time_bytes) = (date.as_bytes(), time.as_bytes());
        let date_is_plain = date_bytes.len() == 10 && is_like(date_bytes, b"dddd-dd-dd");
        if !date_is_plain {
            return Err("must be a date such as 2017-02-08".into());
        }
        let time_is_plain = match time_bytes.len() {
            5 => is_like(time_bytes, b"dd:dd"),
            8 => is_like(time_bytes, b"dd:dd:dd"),
            10..=18 => is_like(&time_bytes[..9], b"dd:dd:dd.") && time_bytes[9..].iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if !time_is_plain {
            return Err("must be a time of day such as 15:00:00".into());
        }
        let mut text = [0; 32];
        text[..10].copy_from_slice(date_bytes);
        text[10] = b'T';
        let mut end = 11 + time_bytes.len();
        text[11..end].copy_from_slice(time_bytes);
        if time_bytes.len() == 5 {
            text[end..end + 3].copy_from_slice(b":00");
            end += 3;
        }
        match self {
            Self::Utc => {
                text[end] = b'Z';
                let text = std::str::from_utf8(&text[..=end]).expect("ASCII, as checked above");
                Timestamp::parse(text).map_err(|_| "is no date and time of the calendar".into())
            }
            Self::Local(zone) => local(zone, std::str::from_utf8(&text[..end]).expect("ASCII, as checked above")),
        }
    }

    /// The time of one text: RFC 3339 with an offset, or a local date and time of day with `T` or a space between.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn combined(&self, text: &str) -> Result<Timestamp, Cow<'static, str>> {
        if let Ok(time) = Timestamp::parse(text) {
            return Ok(time);
        }
        match (text.get(..10), text.as_bytes().get(10), text.get(11..)) {
            (Some(date), Some(b'T' | b't' | b' '), Some(time)) => self.time(date, time),
            _ => Err("must be a time such as 2017-02-08T15:00:00Z or 2017-02-08 15:00:00".into()),
        }
    }
}

/// Says whether each byte is a digit where the pattern has `d`, else the pattern's byte.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    text.iter().zip(pattern).all(|(byte, wanted)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted })
}

fn local(zone: &TimeZone, text: &str) -> Result<Timestamp, Cow<'static, str>> {
    let not_in_calendar = "is no date and time of the calendar";
    let civil = civil::DateTime::from_str(text).map_err(|_| not_in_calendar)?;
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
        let zone = zone.iana_name().unwrap_or("the zone of the dialect");
        return Err(format!("was left out when clocks went forward in {zone}").into());
    }
    let time = ambiguous.earlier().map_err(|_| not_in_calendar)?;
    Ok(Timestamp::from_micros(time.as_nanosecond().div_euclid(1_000) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, date: &str, time: &str, expected: &str) {
        assert_eq!(Zone::named(zone).time(date, time).map(|time| time.to_string()), Ok(expected.to_owned()));
    }

    #[test]
    fn local_times_become_utc() {
        check("UTC", "2017-02-08", "15:00", "2017-02-08T15:00:00Z");
        check("UTC", "2017-02-08", "15:00:00.25", "2017-02-08T15:00:00.25Z");
        check("UTC", "2017-02-08", "15:00:00.123456789", "2017-02-08T15:00:00.123456Z");
        check("Europe/London", "2017-07-01", "12:00:00", "2017-07-01T11:00:00Z");
    }

    #[test]
    fn an_hour_that_comes_twice_is_the_first_and_one_left_out_is_refused() {
        check("Europe/London", "2017-10-29", "01:30:00", "2017-10-29T00:30:00Z");
        let refused = Zone::named("Europe/London").time("2017-03-26", "01:30:00");
        assert_eq!(refused, Err("was left out when clocks went forward in Europe/London".into()));
    }

    #[test]
    fn what_is_no_local_time_is_refused() {
        for (date, time) in [
            ("2017-02-30", "00:00:00"),
            ("2017-2-3", "00:00:00"),
            ("", ""),
            ("2017-02-08", "24:00:00"),
            ("2017-02-08", "15"),
            ("2017-02-08", "15:00:00Z"),
            ("２017-02-0", "15:00:00"),
            ("2017-02-08", "15:00:00."),
        ] {
            for zone in ["UTC", "Europe/London"] {
                assert!(Zone::named(zone).time(date, time).is_err(), "{date} {time} {zone}");
            }
        }
    }

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
