//! Local dates and times: what they stand for in the time zone of a dialect.

use std::{borrow::Cow, str::FromStr};

use domain::{InvalidTime, Timestamp};
use jiff::{
    civil,
    tz::{AmbiguousOffset, TimeZone},
};

/// What is wrong with a date or a time of day that no calendar has.
const NOT_IN_CALENDAR: &str = "is no date and time of the calendar";

/// What a date and time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
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

    /// Its name, for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Utc => "UTC",
            Self::Local(zone) => zone.iana_name().unwrap_or("the zone of the dialect"),
        }
    }

    /// What a local date (`YYYY-MM-DD`) and time of day (`hh:mm[:ss[.f]]`) stand for.
    ///
    /// # Errors
    /// Says what is wrong, an hour that was left out when clocks went forward and a leap second among it.
    pub(super) fn time(&self, date: &str, time: &str) -> Result<Moment, Cow<'static, str>> {
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
                Timestamp::parse(text).map(Moment::Once).map_err(|error| local_rule(&error).into())
            }
            Self::Local(zone) => {
                let is_leap_second = &text[17..19] == b"60";
                let text = std::str::from_utf8(&text[..end]).expect("ASCII, as checked above");
                self.local(zone, text).and_then(|moment| match is_leap_second {
                    true => Err(InvalidTime::LEAP_SECOND.into()),
                    false => Ok(moment),
                })
            }
        }
    }

    /// What one text stands for: RFC 3339 with an offset, or a local date and time of day with `T` or a space between.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn combined(&self, text: &str) -> Result<Moment, Cow<'static, str>> {
        match Timestamp::parse(text) {
            Ok(time) => return Ok(Moment::Once(time)),
            Err(error @ InvalidTime::LeapSecond(_)) => return Err(error.rule().into()),
            Err(InvalidTime::Form(_)) => {}
        }
        match (text.get(..10), text.as_bytes().get(10), text.get(11..)) {
            (Some(date), Some(b'T' | b't' | b' '), Some(time)) => self.time(date, time),
            _ => Err("must be a time such as 2017-02-08T15:00:00Z or 2017-02-08 15:00:00".into()),
        }
    }

    fn local(&self, zone: &TimeZone, text: &str) -> Result<Moment, Cow<'static, str>> {
        let civil = civil::DateTime::from_str(text).map_err(|_| NOT_IN_CALENDAR)?;
        let ambiguous = zone.to_ambiguous_timestamp(civil);
        let is_repeated = match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                return Err(format!("was left out when clocks went forward in {}", self.name()).into());
            }
            AmbiguousOffset::Fold { .. } => true,
            AmbiguousOffset::Unambiguous { .. } => false,
        };
        let second = is_repeated.then(|| ambiguous.later());
        let first = to_time(ambiguous.earlier())?;
        second.map_or(Ok(Moment::Once(first)), |second| Ok(Moment::Twice { first, second: to_time(second)? }))
    }
}

/// What is wrong with a date and time that has the form of one.
fn local_rule(error: &InvalidTime) -> &'static str {
    match error {
        InvalidTime::Form(_) => NOT_IN_CALENDAR,
        InvalidTime::LeapSecond(_) => InvalidTime::LEAP_SECOND,
    }
}

fn to_time(time: Result<jiff::Timestamp, jiff::Error>) -> Result<Timestamp, &'static str> {
    let time = time.map_err(|_| NOT_IN_CALENDAR)?;
    Ok(Timestamp::from_micros(time.as_nanosecond().div_euclid(1_000) as i64))
}

/// Says whether each byte is a digit where the pattern has `d`, else the pattern's byte.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    text.iter().zip(pattern).all(|(byte, wanted)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[track_caller]
    fn check(zone: &str, date: &str, time: &str, expected: &str) {
        assert_eq!(Zone::named(zone).time(date, time), Ok(Moment::Once(at(expected))));
    }

    #[test]
    fn local_times_become_utc() {
        check("UTC", "2017-02-08", "15:00", "2017-02-08T15:00:00Z");
        check("UTC", "2017-02-08", "15:00:00.25", "2017-02-08T15:00:00.25Z");
        check("UTC", "2017-02-08", "15:00:00.123456789", "2017-02-08T15:00:00.123456Z");
        check("Europe/London", "2017-07-01", "12:00:00", "2017-07-01T11:00:00Z");
    }

    #[test]
    fn an_hour_may_come_twice_or_be_left_out() {
        let twice = |zone: &str, date: &str, time: &str, first: &str, second: &str| {
            let expected = Moment::Twice { first: at(first), second: at(second) };
            assert_eq!(Zone::named(zone).time(date, time), Ok(expected));
        };
        twice("Europe/London", "2017-10-29", "01:30:00", "2017-10-29T00:30:00Z", "2017-10-29T01:30:00Z");
        twice("Europe/London", "2017-10-29", "01:00", "2017-10-29T00:00:00Z", "2017-10-29T01:00:00Z");
        check("Europe/London", "2017-10-29", "02:00:00", "2017-10-29T02:00:00Z");
        // Half an hour.
        twice("Australia/Lord_Howe", "2019-04-07", "01:45", "2019-04-06T14:45:00Z", "2019-04-06T15:15:00Z");
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
    fn a_leap_second_is_refused_by_name() {
        for zone in ["UTC", "Europe/London"] {
            let zone = Zone::named(zone);
            assert_eq!(zone.time("2016-12-31", "23:59:60"), Err(InvalidTime::LEAP_SECOND.into()));
            assert_eq!(zone.time("2016-12-31", "23:59:60.5"), Err(InvalidTime::LEAP_SECOND.into()));
            assert_eq!(zone.combined("2016-12-31T23:59:60Z"), Err(InvalidTime::LEAP_SECOND.into()));
            assert_eq!(zone.combined("2016-12-31 23:59:60"), Err(InvalidTime::LEAP_SECOND.into()));
            assert!(zone.time("2016-12-31", "23:59:59").is_ok());
        }
    }
}
