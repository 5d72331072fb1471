//! The stretch of time that one index holds, and its name.
//!
//! **Invariant:** a time lies in one period alone, whatever the clock says, so that an identity has one index where its row can be.
//!
//! All time before the year 2000 is one period, and all time from 2100 on: readings with odd times cost two indices, not one for each year.

use domain::Timestamp;

/// The first time of the periods of even length: 2000-01-01T00:00:00Z, in microseconds.
const EVEN_FROM: Timestamp = Timestamp::from_micros(946_684_800_000_000);
/// The first time behind them: 2100-01-01T00:00:00Z, in microseconds.
const EVEN_TO: Timestamp = Timestamp::from_micros(4_102_444_800_000_000);
/// Names of what is before and behind them.
const BEFORE: &str = "before-2000";
const BEHIND: &str = "from-2100";

/// How much time one index holds. Few, larger indices serve Elasticsearch better than many small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Period {
    /// A month, such as `2017-02`: for types with millions of rows a month.
    Month,
    /// A year, such as `2017`.
    #[default]
    Year,
    /// Ten years, such as `2010s`: for types with few rows.
    Decade,
}

/// The periods of one sensor type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Periods {
    /// How long each is.
    pub(crate) each: Period,
    /// Whether all time before 2000 and all from 2100 on is one each; not so for types that were made before this was the rule.
    pub(crate) are_bounded: bool,
}

/// One period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its name, the end of the index's.
    pub(crate) name: String,
    /// Its first time.
    pub(crate) from: Timestamp,
    /// The first time behind it.
    pub(crate) to: Timestamp,
}

impl Period {
    /// The word for it in settings and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
            Self::Decade => "decade",
        }
    }

    /// Takes a word for a period.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Month, Self::Year, Self::Decade].into_iter().find(|period| period.as_str() == text)
    }

    /// One period of this length. A time in no year from 1 to 9999 has one of its own, of a microsecond.
    fn span(self, time: Timestamp) -> Span {
        let mut text = Vec::new();
        time.write_to(&mut text);
        let text = String::from_utf8_lossy(&text);
        let year = text.get(..4).and_then(|year| year.parse::<u32>().ok());
        let month = text.get(5..7).and_then(|month| month.parse::<u32>().ok());
        if let (Some(year), Some(month)) = (year, month) {
            let span = match self {
                Self::Month => {
                    named(format!("{year:04}-{month:02}"), (year, month), (year + month / 12, month % 12 + 1))
                }
                Self::Year => named(format!("{year:04}"), (year, 1), (year + 1, 1)),
                Self::Decade => {
                    let first = year / 10 * 10;
                    named(format!("{first:04}s"), (first.max(1), 1), (first + 10, 1))
                }
            };
            if let Some(span) = span.filter(|span| span.from <= time && time < span.to) {
                return span;
            }
        }
        let to = Timestamp::from_micros(time.as_micros().saturating_add(1));
        Span { name: format!("at{}", time.as_micros()), from: time, to }
    }

    /// The first time behind the period of this name and length; `None` for a name that none has.
    fn end(self, name: &str) -> Option<Timestamp> {
        if let Some(micros) = name.strip_prefix("at") {
            return micros.parse::<i64>().ok().map(|micros| Timestamp::from_micros(micros.saturating_add(1)));
        }
        let year = name.get(..4)?;
        let time = Timestamp::parse(&match self {
            Self::Month => format!("{name}-15T00:00:00Z"),
            Self::Year => format!("{name}-06-15T00:00:00Z"),
            Self::Decade => format!("{}5-06-15T00:00:00Z", year.get(..3)?),
        });
        let span = self.span(time.ok()?);
        (span.name == name).then_some(span.to)
    }
}

impl Periods {
    /// The period that a time lies in.
    pub(crate) fn span(self, time: Timestamp) -> Span {
        if self.are_bounded && time < EVEN_FROM {
            return Span { name: BEFORE.to_owned(), from: Timestamp::MIN, to: EVEN_FROM };
        }
        if self.are_bounded && time >= EVEN_TO {
            return Span { name: BEHIND.to_owned(), from: EVEN_TO, to: Timestamp::MAX };
        }
        self.each.span(time)
    }

    /// The first time behind the period of this name; `None` for a name that no period has.
    pub(crate) fn end(self, name: &str) -> Option<Timestamp> {
        match name {
            BEFORE => Some(EVEN_FROM),
            BEHIND => Some(Timestamp::MAX),
            _ => self.each.end(name),
        }
    }
}

/// The period from one month to another; `None` beyond the years that can be written.
fn named(name: String, from: (u32, u32), to: (u32, u32)) -> Option<Span> {
    let first_of = |(year, month): (u32, u32)| Timestamp::parse(&format!("{year:04}-{month:02}-01T00:00:00Z")).ok();
    Some(Span { name, from: first_of(from)?, to: first_of(to)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const LENGTHS: [Period; 3] = [Period::Month, Period::Year, Period::Decade];

    #[test]
    fn all_before_2000_and_all_from_2100_on_is_one_period_each() {
        for each in LENGTHS {
            let periods = Periods { each, are_bounded: true };
            for (time, name) in [
                ("0001-01-01T00:00:00Z", BEFORE),
                ("1999-12-31T23:59:59.999999Z", BEFORE),
                ("2100-01-01T00:00:00Z", BEHIND),
                ("9999-12-31T23:59:59.999999Z", BEHIND),
            ] {
                assert_eq!(periods.span(Timestamp::parse(time).expect("a time")).name, name);
            }
            for time in ["2000-01-01T00:00:00Z", "2099-12-31T23:59:59.999999Z"] {
                let time = Timestamp::parse(time).expect("a time");
                assert_eq!(periods.span(time), each.span(time));
            }
        }
    }

    #[test]
    fn periods_begin_and_end_at_midnight_utc() {
        for (period, time, name) in [
            (Period::Month, "2017-02-28T23:59:59.999999Z", "2017-02"),
            (Period::Month, "2017-12-31T23:59:59.999999Z", "2017-12"),
            (Period::Month, "2018-01-01T00:00:00Z", "2018-01"),
            (Period::Year, "2017-01-01T00:00:00Z", "2017"),
            (Period::Year, "1969-12-31T23:59:59.999999Z", "1969"),
            (Period::Decade, "2019-12-31T23:59:59.999999Z", "2010s"),
            (Period::Decade, "2020-01-01T00:00:00Z", "2020s"),
            (Period::Decade, "0001-01-01T00:00:00Z", "0000s"),
        ] {
            let time = Timestamp::parse(time).expect("a time");
            assert_eq!(period.span(time).name, name);
        }
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_period_and_its_name_says_where_that_ends(micros in any::<i64>(), near in -5_000_000_000_000_000i64..9_000_000_000_000_000) {
            for micros in [micros, near] {
                for (each, are_bounded) in LENGTHS.into_iter().flat_map(|each| [(each, true), (each, false)]) {
                    let (periods, time) = (Periods { each, are_bounded }, Timestamp::from_micros(micros));
                    let span = periods.span(time);
                    prop_assert!(span.from <= time && (time < span.to || micros == i64::MAX));
                    prop_assert_eq!(periods.end(&span.name), Some(span.to));
                    prop_assert_eq!(Period::parse(each.as_str()), Some(each));
                }
            }
        }
    }
}
