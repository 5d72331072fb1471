//! Spike: whether a value stands out between its neighbours in time.
//!
//! Test 6, "Spike Test (Required)": the value n-1 is compared with the mean of the values n and n-2. The differential form is that of ioos_qc.

use domain::{Flag, Spike, SpikeMethod};

/// The flag of a number between the values of the readings right before and behind it; 2 where one of them has none or does not exist.
pub fn flag(settings: &Spike, previous: Option<f64>, number: f64, next: Option<f64>) -> Flag {
    let (Some(previous), Some(next)) = (previous, next) else { return Flag::NotEvaluated };
    let size = size(settings.method, previous, number, next);
    if settings.fail.is_some_and(|largest| size > largest) {
        return Flag::Fail;
    }
    if settings.suspect.is_some_and(|largest| size > largest) {
        return Flag::Suspect;
    }
    Flag::Good
}

/// How large the spike of a number is, in its unit.
fn size(method: SpikeMethod, previous: f64, number: f64, next: f64) -> f64 {
    match method {
        SpikeMethod::Average => (number - (previous + next) / 2.0).abs(),
        SpikeMethod::Differential => {
            let (before, behind) = (number - previous, next - number);
            if before * behind >= 0.0 { 0.0 } else { before.abs().min(behind.abs()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_flagged_by_its_distance_from_the_mean_of_its_neighbours() {
        let settings = Spike { suspect: Some(1.0), fail: Some(5.0), method: SpikeMethod::Average };
        assert_eq!(flag(&settings, Some(10.0), 12.0, Some(12.0)), Flag::Good);
        assert_eq!(flag(&settings, Some(10.0), 12.0, Some(11.0)), Flag::Suspect);
        assert_eq!(flag(&settings, Some(10.0), 4.9, Some(10.0)), Flag::Fail);
        assert_eq!(flag(&settings, None, 4.0, Some(10.0)), Flag::NotEvaluated);
        assert_eq!(flag(&settings, Some(10.0), 4.0, None), Flag::NotEvaluated);
    }

    #[test]
    fn differential_spike_is_the_lesser_step_where_both_go_back() {
        let settings = Spike { suspect: Some(1.0), fail: Some(5.0), method: SpikeMethod::Differential };
        assert_eq!(flag(&settings, Some(0.0), 50.0, Some(100.0)), Flag::Good);
        assert_eq!(flag(&settings, Some(0.0), 50.0, Some(49.0)), Flag::Good);
        assert_eq!(flag(&settings, Some(0.0), 50.0, Some(48.0)), Flag::Suspect);
        assert_eq!(flag(&settings, Some(0.0), -50.0, Some(0.0)), Flag::Fail);
    }
}
