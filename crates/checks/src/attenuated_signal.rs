//! Attenuated signal: whether values vary too little without standing still.
//!
//! Test 10, "Attenuated Signal Test (Suggested)": the standard deviation or the range of the values over some time, against thresholds. The window
//! is that of ioos_qc: it ends with the value that is judged and leaves out the reading exactly as far back as it reaches.

use domain::{AttenuatedSignal, Flag, SignalMeasure, WINDOW_READINGS_MAX};

/// The most values in a window; of more readings within its time the newest count.
pub const VALUES_MAX: usize = WINDOW_READINGS_MAX as usize;

/// The flag of the last of `numbers`, the values within the test's time in their order; 2 where there are too few.
pub fn flag(settings: &AttenuatedSignal, numbers: impl Iterator<Item = f64> + Clone) -> Flag {
    let count = numbers.clone().count();
    if count < settings.values_min as usize {
        return Flag::NotEvaluated;
    }
    let variation = match settings.measure {
        SignalMeasure::StandardDeviation => {
            let mean = numbers.clone().sum::<f64>() / count as f64;
            (numbers.map(|number| (number - mean) * (number - mean)).sum::<f64>() / count as f64).sqrt()
        }
        SignalMeasure::Range => numbers.clone().fold(f64::MIN, f64::max) - numbers.fold(f64::MAX, f64::min),
    };
    if settings.fail.is_some_and(|least| variation < least) {
        return Flag::Fail;
    }
    if settings.suspect.is_some_and(|least| variation < least) {
        return Flag::Suspect;
    }
    Flag::Good
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(measure: SignalMeasure, numbers: &[f64], expected: Flag) {
        let over = Duration::from_secs(60);
        let settings = AttenuatedSignal { over, measure, values_min: 3, suspect: Some(1.0), fail: Some(0.1) };
        assert_eq!(flag(&settings, numbers.iter().copied()), expected, "{measure:?} of {numbers:?}");
    }

    #[test]
    fn value_is_flagged_by_the_variation_of_its_window() {
        for (numbers, expected) in [
            (&[0.0, 9.0][..], Flag::NotEvaluated),
            (&[0.0, 4.0, 8.0], Flag::Good),
            (&[0.0, 0.5, 0.0], Flag::Suspect),
            (&[5.0, 5.0, 5.05], Flag::Fail),
        ] {
            check(SignalMeasure::StandardDeviation, numbers, expected);
            check(SignalMeasure::Range, numbers, expected);
        }
        // Population standard deviation 0.82, range 2.
        check(SignalMeasure::StandardDeviation, &[1.0, 2.0, 3.0], Flag::Suspect);
        check(SignalMeasure::Range, &[1.0, 2.0, 3.0], Flag::Good);
    }
}
