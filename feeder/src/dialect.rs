//! When a line of a CSV file was observed, by its type's dialect.

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::sensor_type::Dialect;

/// Reads the phenomenon time of lines; everything else in them is the hub's to judge.
#[derive(Debug, Clone)]
pub struct LineClock {
    columns: TimeColumns,
    time_zone: TimeZone,
}

/// What the date and time of a line stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// One time.
    Once(Timestamp),
    /// Two of them: clocks went back, and the hour came twice.
    Twice {
        /// When it came first.
        first: Timestamp,
        /// When it came again.
        second: Timestamp,
    },
}

impl Moment {
    /// Returns the time, the first of two.
    pub fn first(self) -> Timestamp {
        match self {
            Self::Once(time) | Self::Twice { first: time, .. } => time,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum TimeColumns {
    Whole(usize),
    Date { date: usize, time: Option<usize> },
}

impl LineClock {
    /// Makes a clock for the lines of a dialect.
    ///
    /// # Errors
    ///
    /// When the dialect has no column with a time, or a time zone that is not known.
    pub fn new(dialect: &Dialect) -> anyhow::Result<Self> {
        let column = |name: &str| dialect.columns.iter().position(|column| column == name);
        let columns = match (column("phenomenon_time"), column("date")) {
            (Some(whole), _) => TimeColumns::Whole(whole),
            (None, Some(date)) => TimeColumns::Date { date, time: column("time") },
            (None, None) => {
                anyhow::bail!("dialect: columns `{}` hold neither phenomenon_time nor date", dialect.columns.join(","))
            }
        };
        let zone = &dialect.time_zone;
        let time_zone = match zone.as_str() {
            "UTC" | "Z" | "" => TimeZone::UTC,
            name => TimeZone::get(name).with_context(|| format!("dialect: time zone `{name}` is not known"))?,
        };
        Ok(Self { columns, time_zone })
    }

    /// Says whether clocks ever went back where the lines were written.
    pub fn has_changes(&self) -> bool {
        self.time_zone.to_fixed_offset().is_err()
    }

    /// Returns the name of the time zone.
    pub fn zone_name(&self) -> &str {
        self.time_zone.iana_name().unwrap_or("the zone of the dialect")
    }

    /// Returns when a line was observed; `None` when that cannot be read from it.
    pub fn moment_of(&self, line: &[u8]) -> Option<Moment> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(line.len().max(1))
            .from_reader(line);
        let mut record = csv::StringRecord::new();
        if !reader.read_record(&mut record).ok()? {
            return None;
        }
        let field = |index: usize| record.get(index).map(str::trim);
        match self.columns {
            TimeColumns::Whole(index) => {
                let text = field(index)?;
                text.parse().ok().map(Moment::Once).or_else(|| self.local(text.parse().ok()?))
            }
            TimeColumns::Date { date, time } => {
                let date: Date = field(date)?.parse().ok()?;
                let time: Time = match time {
                    Some(index) => field(index)?.parse().ok()?,
                    None => Time::midnight(),
                };
                self.local(date.to_datetime(time))
            }
        }
    }

    fn local(&self, time: DateTime) -> Option<Moment> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(time);
        let second = match ambiguous.offset() {
            AmbiguousOffset::Fold { .. } => ambiguous.later().ok(),
            AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => None,
        };
        let first = ambiguous.compatible().ok()?;
        Some(second.map_or(Moment::Once(first), |second| Moment::Twice { first, second }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: &str, time_zone: &str, line: &str, expected: Option<&str>) {
        let columns = columns.split(',').map(str::to_owned).collect();
        let dialect = Dialect { columns, header: false, time_zone: time_zone.to_owned() };
        let time = LineClock::new(&dialect).expect("valid dialect").moment_of(line.as_bytes());
        assert_eq!(time.map(|time| time.first().to_string()).as_deref(), expected, "{line}");
    }

    #[test]
    fn time_is_read_from_its_columns_in_the_dialects_zone() {
        let emb = "date,time,sec,ph";
        check(emb, "UTC", "2017-02-08,15:00:00,904,7.34\r\n", Some("2017-02-08T15:00:00Z"));
        check(emb, "UTC", "2017-02-08,15:00,(na),(na)", Some("2017-02-08T15:00:00Z"));
        check(emb, "Europe/London", "2017-07-01,00:30:00,1,2", Some("2017-06-30T23:30:00Z"));
        check("-,date", "UTC", "x,2017-02-08", Some("2017-02-08T00:00:00Z"));
        check("sensor_id,phenomenon_time", "UTC", "a,2017-02-08T15:00:00+01:00", Some("2017-02-08T14:00:00Z"));
        check("phenomenon_time,p", "Europe/London", "\"2017-07-01T12:00:00\",1", Some("2017-07-01T11:00:00Z"));
    }

    #[test]
    fn line_without_a_readable_time_has_none() {
        for line in ["", "2017-02-08", "2017-02-30,00:00:00,1,2", "yesterday,noon", "\u{0},\u{0}"] {
            check("date,time,sec", "UTC", line, None);
        }
    }

    #[test]
    fn dialect_without_time_or_with_an_unknown_zone_is_refused() {
        let refusal = |columns: &str, zone: &str| {
            let dialect = Dialect { columns: vec![columns.to_owned()], header: false, time_zone: zone.to_owned() };
            LineClock::new(&dialect).expect_err("refused").to_string()
        };
        assert!(refusal("sec", "UTC").contains("`sec`"));
        assert!(refusal("date", "Mars/Olympus").contains("`Mars/Olympus`"));
    }
}
