//! Which phenomenon times a simulation makes, and when.

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::sensor_type::SensorType;
use crate::simulate::{Backfill, Live};

/// 2020-01-01T00:00:00Z: where a run as fast as possible begins, so that it can be repeated.
const DEFAULT_START_SECOND: i64 = 1_577_836_800;

/// Phenomenon times that are one interval apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first one; none is the moment at which they begin.
    pub start: Option<Timestamp>,
    /// How far apart they are.
    pub interval: Duration,
    /// How many there are; none is until stopped.
    pub count: Option<u64>,
}

impl Steps {
    /// Returns how long after the first step another one is.
    pub fn offset(&self, step: u64) -> Duration {
        let nanoseconds = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanoseconds.saturating_mul(step))
    }

    /// Returns the time of a step, cut to microseconds as the hub keeps them.
    ///
    /// # Errors
    ///
    /// When it is beyond the year 9999.
    pub fn time(&self, start: Timestamp, step: u64) -> anyhow::Result<Timestamp> {
        let time = start.checked_add(self.offset(step)).context("start: the run goes beyond the year 9999")?;
        Timestamp::from_microsecond(time.as_microsecond()).context("start: the run goes beyond the year 9999")
    }

    /// Returns whether there is such a step.
    pub fn has(&self, step: u64) -> bool {
        self.count.is_none_or(|count| step < count)
    }
}

/// What a simulation does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Posted as fast as possible.
    pub backfill: Option<Steps>,
    /// Posted when due.
    pub live: Option<Steps>,
}

impl Schedule {
    /// Resolves what the options leave to the type and the clock.
    ///
    /// # Errors
    ///
    /// When neither the options nor the type say an interval, or times would be later than `now`.
    pub fn new(
        (backfill, live): (Option<&Backfill>, Option<&Live>),
        sensor_type: &SensorType,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let interval = |named: Option<Duration>| {
            named.or(sensor_type.sampling_interval).filter(|interval| !interval.is_zero()).with_context(|| {
                format!("rate: sensor type `{}` has no sampling interval: name a rate", sensor_type.id)
            })
        };
        if backfill.is_none() && live.is_none() {
            bail!("schedule: nothing to do: neither a backfill nor live readings");
        }
        let backfill = match backfill {
            Some(backfill) => Some(backfill_steps(backfill, interval(backfill.interval)?, now)?),
            None => None,
        };
        let live = match live {
            Some(live) => Some(live_steps(live, interval(live.every)?, now)?),
            None => None,
        };
        Ok(Self { backfill, live })
    }
}

fn backfill_steps(backfill: &Backfill, interval: Duration, now: Timestamp) -> anyhow::Result<Steps> {
    let before_now = now.checked_sub(backfill.span).context("duration: goes back beyond the year -9999")?;
    let default = Timestamp::from_second(DEFAULT_START_SECOND).unwrap_or(before_now);
    let start = backfill.start.unwrap_or_else(|| default.min(before_now));
    if start > before_now {
        bail!("start: a run from `{start}` over {} ends after now", humantime::format_duration(backfill.span));
    }
    Ok(Steps { start: Some(start), interval, count: Some(steps_in(backfill.span, interval)) })
}

fn live_steps(live: &Live, interval: Duration, now: Timestamp) -> anyhow::Result<Steps> {
    if let Some(start) = live.start.filter(|start| *start > now) {
        bail!("start: `{start}` is after now");
    }
    Ok(Steps { start: live.start, interval, count: live.duration.map(|duration| steps_in(duration, interval)) })
}

/// At least one, so that a run shorter than its interval still sends each sensor's first reading.
fn steps_in(span: Duration, interval: Duration) -> u64 {
    u64::try_from(span.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn sensor_type(interval: Option<Duration>) -> SensorType {
        SensorType { id: "emb".to_owned(), name: None, sampling_interval: interval, properties: Vec::new(), csv: None }
    }

    fn backfill(start: Option<&str>, span: Duration, now: &str) -> anyhow::Result<Steps> {
        let backfill = Backfill { start: start.map(time), span, interval: None };
        let schedule = Schedule::new((Some(&backfill), None), &sensor_type(Some(HOUR)), time(now))?;
        Ok(schedule.backfill.expect("asked for"))
    }

    #[test]
    fn backfill_begins_in_2020_unless_it_would_end_in_the_future() {
        let steps = backfill(None, 24 * HOUR, "2026-01-01T00:00:00Z").expect("valid");
        assert_eq!((steps.start, steps.count), (Some(time("2020-01-01T00:00:00Z")), Some(24)));
        let steps = backfill(None, 24 * HOUR, "2020-01-01T12:00:00Z").expect("valid");
        assert_eq!(steps.start, Some(time("2019-12-31T12:00:00Z")));
    }

    #[test]
    fn run_into_the_future_is_refused() {
        let error = backfill(Some("2025-12-31T12:00:00Z"), 24 * HOUR, "2026-01-01T00:00:00Z").expect_err("future");
        assert!(error.to_string().contains("`2025-12-31T12:00:00Z`"), "{error}");
        let live = Live { start: Some(time("2026-01-01T00:00:01Z")), ..Live::default() };
        let now = time("2026-01-01T00:00:00Z");
        assert!(Schedule::new((None, Some(&live)), &sensor_type(Some(HOUR)), now).is_err());
    }

    #[test]
    fn interval_is_the_named_one_else_the_types() {
        let now = time("2026-01-01T00:00:00Z");
        let named = Live { every: Some(Duration::from_secs(5)), duration: Some(HOUR), ..Live::default() };
        let schedule = Schedule::new((None, Some(&named)), &sensor_type(Some(HOUR)), now).expect("valid");
        assert_eq!(schedule.live.expect("asked for").count, Some(720));
        let unnamed = Live::default();
        assert!(Schedule::new((None, Some(&unnamed)), &sensor_type(None), now).is_err());
        assert!(Schedule::new((None, None), &sensor_type(Some(HOUR)), now).is_err());
    }

    #[test]
    fn times_are_cut_to_microseconds_and_do_not_drift() {
        let steps = Steps { start: None, interval: Duration::from_secs(1) / 3, count: None };
        let start = time("2020-01-01T00:00:00Z");
        assert_eq!(steps.time(start, 1).expect("valid").to_string(), "2020-01-01T00:00:00.333333Z");
        assert_eq!(steps.time(start, 3_000_000).expect("valid").to_string(), "2020-01-12T13:46:39.999Z");
    }
}
