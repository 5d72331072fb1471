//! Rate of change: whether values change too fast.
//!
//! Test 7, "Rate of Change Test (Strongly Recommended)": the change since the reading before, against a threshold the operator chooses; here, as
//! in ioos_qc, per second. Times are exact to the microsecond (ioos_qc cuts their difference to whole seconds and takes a change within one
//! second for a rate, so that it misses a ramp at 10 Hz).

use std::time::Duration;

use domain::{Flag, RateOfChange};

/// The flag of a number that follows `previous`, the value of the reading right before and the time since, greater than zero; 1 where that
/// has no value or does not exist, as in ioos_qc: there is no change that could be too fast.
pub fn flag(settings: &RateOfChange, previous: Option<(f64, Duration)>, number: f64) -> Flag {
    let Some((previous, since)) = previous else { return Flag::Good };
    let rate = ((number - previous) / since.as_secs_f64()).abs();
    if settings.fail.is_some_and(|fastest| rate > fastest) {
        return Flag::Fail;
    }
    if settings.suspect.is_some_and(|fastest| rate > fastest) {
        return Flag::Suspect;
    }
    Flag::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RateOfChange = RateOfChange { suspect: Some(0.5), fail: Some(2.0) };

    #[test]
    fn number_is_flagged_by_its_change_per_second() {
        let hour = Duration::from_secs(3600);
        assert_eq!(flag(&SETTINGS, None, 1e9), Flag::Good);
        assert_eq!(flag(&SETTINGS, Some((0.0, hour)), 1_800.0), Flag::Good);
        assert_eq!(flag(&SETTINGS, Some((0.0, hour)), -1_801.0), Flag::Suspect);
        assert_eq!(flag(&SETTINGS, Some((0.0, hour)), 7_201.0), Flag::Fail);
    }

    #[test]
    fn ramp_at_ten_hertz_is_seen() {
        let tick = Duration::from_millis(100);
        // A unit a second is twice what is plausible; the step of 0.1 alone is not.
        assert_eq!(flag(&SETTINGS, Some((5.0, tick)), 5.1), Flag::Suspect);
        assert_eq!(flag(&SETTINGS, Some((5.0, tick)), 5.01), Flag::Good);
        assert_eq!(flag(&SETTINGS, Some((5.0, tick)), 5.3), Flag::Fail);
    }
}
