//! How fast readings are sent: `--rate 1/s`, `--every 10s`, `--speed 3600x`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;

/// How many readings come in how long, as `1/s`, `4/m` or `1/15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
}

impl Rate {
    /// Makes a rate of one reading per `interval`.
    pub fn one_per(interval: Duration) -> Self {
        Self { interval }
    }

    /// Returns the time from one reading to the next; never zero.
    pub fn interval(self) -> Duration {
        self.interval
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let rule = || format!("rate: `{text}` is not a count per time like 1/s, 4/m or 1/15m");
        let (count, per) = text.split_once('/').with_context(rule)?;
        let count: u32 = count.trim().parse().ok().filter(|count| *count > 0).with_context(rule)?;
        let per = parse_unit_or_duration(per.trim()).with_context(rule)?;
        let interval = per / count;
        if interval < Duration::from_micros(1) {
            bail!("rate: `{text}` is more than 1000000 a second");
        }
        Ok(Self { interval })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", humantime::format_duration(self.interval).to_string().replace(' ', ""))
    }
}

fn parse_unit_or_duration(text: &str) -> Option<Duration> {
    let with_count =
        if text.starts_with(|first: char| first.is_ascii_digit()) { text.into() } else { format!("1{text}") };
    humantime::parse_duration(&with_count).ok()
}

/// How much faster than it was observed a file is replayed, as `3600x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl FromStr for Speed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = text.trim().trim_end_matches(['x', 'X']);
        match number.parse() {
            Ok(factor) if (0.001..=1e9).contains(&factor) => Ok(Self(factor)),
            _ => bail!("speed: `{text}` is not a factor from 0.001x to 1000000000x, like 3600x"),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// When the readings of a replay are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// One reading per duration. After a delay it goes on at the same pace and does not catch up.
    Every(Duration),
    /// As far apart as they were observed, divided by a speed. After a delay it catches up.
    Speed(Speed),
    /// All at once, in batches.
    AsFastAsPossible,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "one reading every {}", humantime::format_duration(*every)),
            Self::Speed(speed) => write!(f, "{speed} the speed of observation"),
            Self::AsFastAsPossible => write!(f, "as fast as possible"),
        }
    }
}

/// Turns a pace into due times, counted from the start of the replay.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    due: Duration,
    previous: Option<Timestamp>,
    begun: bool,
}

impl Pacer {
    /// Makes a pacer whose first reading is due at once.
    pub fn new(pace: Pace) -> Self {
        Self { pace, due: Duration::ZERO, previous: None, begun: false }
    }

    /// Returns when the next reading is due, both it and `now` since the start. A reading that was observed before the
    /// one sent last, or whose `time` is not known, is due together with that one.
    pub fn next_due(&mut self, time: Option<Timestamp>, now: Duration) -> Duration {
        match self.pace {
            Pace::Every(every) if self.begun => self.due = self.due.saturating_add(every).max(now),
            Pace::Speed(Speed(factor)) => {
                if let (Some(previous), Some(time)) = (self.previous, time) {
                    let gap = Duration::try_from(time.duration_since(previous)).unwrap_or_default();
                    let scaled = Duration::try_from_secs_f64(gap.as_secs_f64() / factor).unwrap_or(Duration::MAX);
                    self.due = self.due.saturating_add(scaled);
                }
                // Each gap counts from the reading before it, so that a file that is out of order does not stall the rest.
                self.previous = time.or(self.previous);
            }
            Pace::Every(_) | Pace::AsFastAsPossible => (),
        }
        self.begun = true;
        self.due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn rate_is_a_count_per_time() {
        for (text, interval) in [
            ("1/s", seconds(1)),
            ("4/s", Duration::from_millis(250)),
            ("1/h", seconds(3600)),
            ("4/m", seconds(15)),
            ("1/15m", seconds(900)),
            ("2 / 10s", seconds(5)),
            ("1000/s", Duration::from_millis(1)),
        ] {
            assert_eq!(text.parse::<Rate>().expect(text).interval(), interval, "{text}");
        }
    }

    #[test]
    fn rate_that_makes_no_sense_is_refused_with_its_value() {
        for text in ["", "1", "1/", "/s", "0/s", "-1/s", "1/0s", "1.5/s", "x/s", "1/fortnight", "4000000/s"] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn speed_is_a_factor() {
        assert_eq!("3600x".parse::<Speed>().expect("valid"), Speed(3600.0));
        assert_eq!("0.5".parse::<Speed>().expect("valid"), Speed(0.5));
        for text in ["", "x", "0x", "-1x", "NaN", "inf", "fast"] {
            let error = text.parse::<Speed>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn every_goes_on_without_catching_up_after_a_delay() {
        let mut pacer = Pacer::new(Pace::Every(seconds(10)));
        assert_eq!(pacer.next_due(None, seconds(0)), seconds(0));
        assert_eq!(pacer.next_due(None, seconds(0)), seconds(10));
        assert_eq!(pacer.next_due(None, seconds(95)), seconds(95));
        assert_eq!(pacer.next_due(None, seconds(96)), seconds(105));
    }

    #[test]
    fn speed_divides_the_gaps_between_phenomenon_times() {
        let mut pacer = Pacer::new(Pace::Speed(Speed(3600.0)));
        let at = |hour: i64| Timestamp::from_second(1_483_228_800 + hour * 3600).ok();
        assert_eq!(pacer.next_due(at(0), seconds(0)), seconds(0));
        assert_eq!(pacer.next_due(at(1), seconds(0)), seconds(1));
        assert_eq!(pacer.next_due(None, seconds(50)), seconds(1));
        assert_eq!(pacer.next_due(at(24), seconds(50)), seconds(24));
        assert_eq!(pacer.next_due(at(3), seconds(50)), seconds(24), "an earlier one is due at once");
        assert_eq!(pacer.next_due(at(4), seconds(50)), seconds(25));
    }

    proptest! {
        #[test]
        fn due_times_never_go_back(gaps in proptest::collection::vec(-100_000_i64..100_000, 1..50)) {
            let mut pacer = Pacer::new(Pace::Speed(Speed(60.0)));
            let (mut second, mut last) = (1_483_228_800, Duration::ZERO);
            for gap in gaps {
                second += gap;
                let due = pacer.next_due(Timestamp::from_second(second).ok(), Duration::ZERO);
                prop_assert!(due >= last);
                last = due;
            }
        }

        #[test]
        fn rate_reads_what_it_writes(millis in 1_u64..10_000_000) {
            let rate = Rate::one_per(Duration::from_millis(millis));
            prop_assert_eq!(rate.to_string().parse::<Rate>().expect("written by itself"), rate);
        }
    }
}
