//! Points in time: microseconds since 1970-01-01T00:00:00Z, read and written as RFC 3339.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time in UTC, in microseconds since the Unix epoch; any `i64`, but only years 1 to 9999 print as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is no time: what was given, escaped and cut to 80 characters, and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// It is no RFC 3339 time.
    #[error("`{0}` is not an RFC 3339 time with an offset, such as 2017-02-08T15:00:00Z")]
    Form(String),
    /// It is a leap second.
    #[error("`{0}` {rule}", rule = Self::LEAP_SECOND)]
    LeapSecond(String),
}

impl InvalidTime {
    /// What is wrong with a leap second: seconds since the epoch have none, so that it would be the time of another reading.
    pub const LEAP_SECOND: &str = "is a leap second, which can't be told from the second before it: give the reading another time or leave it out";
    /// What is wanted where a text is no time.
    pub const FORM: &str = "must be an RFC 3339 time with an offset, such as 2017-02-08T15:00:00Z";

    /// What is wrong, without what was given.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Form(_) => Self::FORM,
            Self::LeapSecond(_) => Self::LEAP_SECOND,
        }
    }
}

impl Timestamp {
    /// The earliest time there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time there is.
    pub const MAX: Self = Self(i64::MAX);
    /// 1900-01-01T00:00:00Z, the earliest phenomenon time a reading may have.
    pub const EARLIEST_PHENOMENON: Self = Self(-2_208_988_800_000_000);
    /// How far ahead of the hub's clock a phenomenon time may be.
    pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Takes microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with an offset; digits beyond the microsecond are cut off (towards the past).
    ///
    /// # Errors
    /// [`InvalidTime`] for anything else, a date without an offset and a leap second among it.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if let Some(time) = parse_plain_utc(text.as_bytes()) {
            return Ok(time);
        }
        let given = || text.chars().take(80).flat_map(char::escape_debug).collect();
        // The parser also takes bracketed zone names, which RFC 3339 does not have.
        if text.contains('[') {
            return Err(InvalidTime::Form(given()));
        }
        let time = jiff::Timestamp::from_str(text).map_err(|_| InvalidTime::Form(given()))?;
        // It takes a leap second for the second before.
        if has_leap_second(text) {
            return Err(InvalidTime::LeapSecond(given()));
        }
        Ok(Self(time.as_nanosecond().div_euclid(1_000) as i64))
    }

    /// This time plus a duration, held at the end of the range.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This time minus a duration, held at the start of the range.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero where that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The month in UTC, 1 to 12.
    pub fn month(self) -> u8 {
        civil_from_days(self.0.div_euclid(86_400_000_000)).1 as u8
    }

    /// Appends the time as RFC 3339 in UTC with `Z` and no zero fraction: `2017-02-08T15:00:00Z`, `…00.5Z`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let seconds = self.0.div_euclid(1_000_000);
        let micros = self.0.rem_euclid(1_000_000) as u32;
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let second_of_day = seconds.rem_euclid(86_400) as u32;
        if !(0..=9999).contains(&year) {
            out.extend_from_slice(format!("{:+07}", year).as_bytes());
        } else {
            push_digits(out, year as u32, 4);
        }
        for (separator, number) in [
            (b'-', month),
            (b'-', day),
            (b'T', second_of_day / 3600),
            (b':', second_of_day / 60 % 60),
            (b':', second_of_day % 60),
        ] {
            out.push(separator);
            push_digits(out, number, 2);
        }
        if micros != 0 {
            out.push(b'.');
            push_digits(out, micros, 6);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        out.push(b'Z');
    }
}

/// Reads the form nearly every sensor sends, `YYYY-MM-DDThh:mm:ss[.f{1,6}]Z`, without a general parser; `None` for any other.
fn parse_plain_utc(text: &[u8]) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':'
    {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=9999).contains(&year) || day == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day > days_in_month {
        return None;
    }
    let micros = match &text[19..] {
        b"Z" => 0,
        [b'.', fraction @ .., b'Z'] if (1..=6).contains(&fraction.len()) => {
            digits(20, 20 + fraction.len())? * 10i64.pow(6 - fraction.len() as u32)
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

/// Says whether the time of day of a date and time has the second 60.
fn has_leap_second(text: &str) -> bool {
    let time_of_day = text.split_once(['T', 't', ' ']).map_or("", |(_, time_of_day)| time_of_day);
    let digits =
        time_of_day.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':').filter(|byte| *byte != b':');
    digits.skip(4).take(2).eq(*b"60")
}

/// Days since 1970-01-01 of a proleptic Gregorian date (years counted from March, so that the leap day comes last).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The proleptic Gregorian date of a day counted from 1970-01-01: year, month, day.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// Appends `number` in decimal, padded with zeros to `width` digits.
fn push_digits(out: &mut Vec<u8>, number: u32, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10u32.pow(place) % 10) as u8);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.write_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        assert_eq!(Timestamp::parse(input).map(|t| t.to_string()), Ok(expected.to_owned()));
    }

    #[test]
    fn times_print_in_their_canonical_form() {
        check("2017-02-08T15:00:00Z", "2017-02-08T15:00:00Z");
        check("2017-02-08T15:00:00.500000Z", "2017-02-08T15:00:00.5Z");
        check("2017-02-08T16:00:00+01:00", "2017-02-08T15:00:00Z");
        check("2017-02-08T15:00:00.123456789Z", "2017-02-08T15:00:00.123456Z");
        check("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z");
        check("1900-01-01T00:00:00Z", "1900-01-01T00:00:00Z");
        check("2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z");
        assert_eq!(Timestamp::EARLIEST_PHENOMENON.to_string(), "1900-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2017-02-08",
            "2017-02-08T15:00:00",
            "2017-02-29T00:00:00Z",
            "2017-13-01T00:00:00Z",
            "1486566000",
            "2017-02-08T25:00:00Z",
            "2017-02-08T15:00:00Z[UTC]",
            "2017-02-08T15:00:00.Z",
            "٢017-02-08T15:00:00Z",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_leap_second_is_refused_by_name_and_never_another_second() {
        for text in [
            "2016-12-31T23:59:60Z",
            "2016-12-31T23:59:60.5Z",
            "2016-12-31 23:59:60Z",
            "2017-01-01T00:59:60+01:00",
            "2016-12-31t23:59:60z",
            "20161231T235960Z",
        ] {
            let refusal = Timestamp::parse(text).expect_err("a leap second");
            assert_eq!(refusal.rule(), InvalidTime::LEAP_SECOND, "{text}");
        }
        check("2016-12-31T23:59:59Z", "2016-12-31T23:59:59Z");
        check("2016-12-31T22:60:00+00:60".replace(":60", ":00").as_str(), "2016-12-31T22:00:00Z");
    }

    proptest! {
        #[test]
        fn every_time_reads_back_and_agrees_with_the_calendar_library(micros in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
            let time = Timestamp::from_micros(micros);
            let text = time.to_string();
            prop_assert_eq!(Timestamp::parse(&text).ok(), Some(time));
            prop_assert_eq!(jiff::Timestamp::from_microsecond(micros).map(|t| t.to_string()).ok(), Some(text));
        }

        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in any::<String>()) {
            let _ = Timestamp::parse(&text);
        }
    }
}
