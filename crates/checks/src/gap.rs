//! Gap: whether a reading comes soon enough after the one before.
//!
//! Test 1, "Gap Test (Required)": data have to arrive within an expected window of time. The manual asks the clock; here the time since
//! the reading before is judged, as in ioos_qc's `time_gap_test`, so that the flag is the same whenever it is asked for.

use std::time::Duration;

use domain::{Flag, Gap};

/// The flag of a reading that speaks of `since_previous` after the one before; 2 for the first, which follows none.
pub fn flag(settings: &Gap, since_previous: Option<Duration>) -> Flag {
    let Some(gap) = since_previous else { return Flag::NotEvaluated };
    if settings.fail.is_some_and(|longest| gap > longest) {
        return Flag::Fail;
    }
    if settings.suspect.is_some_and(|longest| gap > longest) {
        return Flag::Suspect;
    }
    Flag::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_flagged_by_the_time_since_the_one_before() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let settings = Gap { suspect: Some(minutes(10)), fail: Some(minutes(30)) };
        assert_eq!(flag(&settings, None), Flag::NotEvaluated);
        assert_eq!(flag(&settings, Some(minutes(10))), Flag::Good);
        assert_eq!(flag(&settings, Some(minutes(11))), Flag::Suspect);
        assert_eq!(flag(&settings, Some(minutes(30))), Flag::Suspect);
        assert_eq!(flag(&settings, Some(minutes(31))), Flag::Fail);
        assert_eq!(flag(&Gap { suspect: None, ..settings }, Some(minutes(11))), Flag::Good);
    }
}
