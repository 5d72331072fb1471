//! The generalized extreme Studentized deviate test with median and median absolute deviation in place of mean and standard deviation.
//!
//! Rosner, "Percentage points for a generalized ESD …", Technometrics 25 (1983) 165-172; the robust form is that of Vallis, Hochenbaum
//! and Kejariwal, "A novel technique for long-term anomaly detection in the cloud", HotCloud 2014, section 3.3. One sort and then
//! O(log n) a candidate, because the most extreme of what is left is always at one of its ends.
//!
//! **Invariant:** candidates come in the order in which they were taken; of equally extreme ones the earliest in the series is first.

use crate::{
    remaining::{MAD_TO_DEVIATION, Remaining},
    student_t_quantile,
};

/// On which side of the median an anomaly may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// On either.
    #[default]
    Both,
    /// Above it.
    Positive,
    /// Below it.
    Negative,
}

/// Settings of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EsdSettings {
    /// The most anomalies there may be; at least two fewer than the numbers are taken.
    pub candidates_max: usize,
    /// Chance of finding an anomaly where there is none.
    pub alpha: f64,
    /// On which side to look.
    pub direction: Direction,
    /// The least that numbers are taken to scatter, as a standard deviation; 0 for none.
    pub scale_min: f64,
}

/// A number that the test finds too far from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extreme {
    /// Its index.
    pub index: usize,
    /// Its distance from the median of what was left, in scaled median absolute deviations: Rosner's R.
    pub deviation: f64,
    /// What the distance had to exceed where it was taken: Rosner's λ.
    pub critical: f64,
}

/// The numbers too far from the others, most extreme first. They are finite.
///
/// All candidates up to the last that exceeds its critical value are anomalies, those before it that do not exceed theirs among them
/// (which is what keeps anomalies from hiding each other). The test ends where what is left does not scatter.
pub fn esd(values: &[f64], settings: &EsdSettings) -> Vec<Extreme> {
    let candidates = take_candidates(values, settings);
    let critical = |taken: usize| critical_value(values.len() - taken, settings.alpha, settings.direction);
    // Critical values fall from candidate to candidate, so that what does not exceed the last one exceeds none.
    let least = if candidates.is_empty() { 0.0 } else { critical(candidates.len() - 1) };
    let last = (0..candidates.len()).rev().find(|&taken| {
        let deviation = candidates[taken].1;
        deviation > least && deviation > critical(taken)
    });
    let found = last.map_or(0, |last| last + 1);
    let extreme =
        |(taken, &(index, deviation)): (usize, &(usize, f64))| Extreme { index, deviation, critical: critical(taken) };
    candidates[..found].iter().enumerate().map(extreme).collect()
}

/// Index and deviation of each candidate, in the order in which they are taken.
fn take_candidates(values: &[f64], settings: &EsdSettings) -> Vec<(usize, f64)> {
    let count = settings.candidates_max.min(values.len().saturating_sub(2));
    let mut candidates = Vec::with_capacity(count);
    let mut remaining = Remaining::new(values);
    while candidates.len() < count {
        let center = remaining.median();
        let scale = (MAD_TO_DEVIATION * remaining.deviation_around(center)).max(settings.scale_min);
        let ((lowest, lowest_at), (highest, highest_at)) = (remaining.lowest(), remaining.highest());
        if scale == 0.0 || lowest == highest {
            break;
        }
        let (down, up) = ((center - lowest) / scale, (highest - center) / scale);
        let is_low = match settings.direction {
            Direction::Positive => false,
            Direction::Negative => true,
            Direction::Both => down > up || (down == up && lowest_at < highest_at),
        };
        if is_low {
            candidates.push((lowest_at, down));
            remaining.take_lowest();
        } else {
            candidates.push((highest_at, up));
            remaining.take_highest();
        }
    }
    candidates
}

/// What the most extreme of `count` numbers must exceed (Rosner 1983, equation 2.5), at least 3 of them.
pub fn critical_value(count: usize, alpha: f64, direction: Direction) -> f64 {
    let n = count as f64;
    let sides = if direction == Direction::Both { 2.0 } else { 1.0 };
    let t = student_t_quantile(1.0 - alpha / (sides * n), n - 2.0);
    t * (n - 1.0) / ((n - 2.0 + t * t) * n).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, prop_assert_eq, proptest},
        sample::select,
    };

    use super::*;
    use crate::median;

    /// The test as it is written down: sorts what is left for every candidate and looks at every critical value.
    fn plain(values: &[f64], settings: &EsdSettings) -> Vec<usize> {
        let mut left: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
        let (mut taken, mut found) = (Vec::new(), 0);
        while taken.len() < settings.candidates_max.min(values.len().saturating_sub(2)) {
            let middle = |numbers: Vec<f64>| {
                let mut numbers = numbers;
                numbers.sort_by(f64::total_cmp);
                median(&numbers)
            };
            let center = middle(left.iter().map(|(_, value)| *value).collect());
            let deviation = middle(left.iter().map(|(_, value)| (value - center).abs()).collect());
            let scale = (MAD_TO_DEVIATION * deviation).max(settings.scale_min);
            if scale == 0.0 || left.iter().all(|(_, value)| *value == left[0].1) {
                break;
            }
            let distance = |value: f64| match settings.direction {
                Direction::Both => (value - center).abs() / scale,
                Direction::Positive => (value - center) / scale,
                Direction::Negative => (center - value) / scale,
            };
            let greatest = left.iter().map(|(_, value)| distance(*value)).fold(f64::MIN, f64::max);
            let place = left.iter().position(|(_, value)| distance(*value) == greatest).expect("one is the greatest");
            let count = left.len();
            taken.push(left.remove(place).0);
            if greatest > critical_value(count, settings.alpha, settings.direction) {
                found = taken.len();
            }
        }
        taken.truncate(found);
        taken
    }

    proptest! {
        #[test]
        fn the_test_is_the_one_that_is_written_down(
            values in vec(select(vec![-90.0, -9.0, -2.5, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 8.0, 40.0]), 0..80),
            candidates_max in 0usize..50,
            alpha in select(vec![1e-6, 0.001, 0.05, 0.5]),
            direction in select(vec![Direction::Both, Direction::Positive, Direction::Negative]),
            scale_min in select(vec![0.0, 0.3, 2.0]),
        ) {
            let settings = EsdSettings { candidates_max, alpha, direction, scale_min };
            let found: Vec<usize> = esd(&values, &settings).iter().map(|extreme| extreme.index).collect();
            prop_assert_eq!(found, plain(&values, &settings));
        }

        #[test]
        fn any_numbers_are_tested_as_it_is_written_down(
            values in vec(-1e6f64..1e6, 3..120),
            fraction in 0.0f64..0.5,
        ) {
            let candidates_max = (values.len() as f64 * fraction) as usize;
            let settings = EsdSettings { candidates_max, alpha: 0.05, direction: Direction::Both, scale_min: 0.0 };
            let found: Vec<usize> = esd(&values, &settings).iter().map(|extreme| extreme.index).collect();
            prop_assert_eq!(found, plain(&values, &settings));
        }

        #[test]
        fn order_decides_nothing_but_which_of_equal_numbers_comes_first(
            values in vec(-30i32..30, 3..60),
            rotation in any::<usize>(),
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let mut rotated = values.clone();
            rotated.rotate_left(rotation % values.len());
            let settings =
                EsdSettings { candidates_max: values.len() / 3, alpha: 0.05, direction: Direction::Positive, scale_min: 0.0 };
            let numbers = |values: &[f64]| -> Vec<f64> {
                esd(values, &settings).iter().map(|extreme| values[extreme.index]).collect()
            };
            prop_assert_eq!(numbers(&values), numbers(&rotated));
        }

        #[test]
        fn critical_values_grow_with_the_count(
            count in 3usize..20_000,
            alpha in select(vec![1e-6, 0.001, 0.05, 0.5]),
            direction in select(vec![Direction::Both, Direction::Positive]),
        ) {
            prop_assert!(critical_value(count, alpha, direction) < critical_value(count + 1, alpha, direction));
        }
    }

    #[test]
    fn rosners_example_has_its_three_anomalies() {
        // Rosner 1983, table 1, as the NIST/SEMATECH handbook (section 1.3.5.17.3) gives it; with mean and standard deviation it has three.
        let values = [
            -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69,
            1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37,
            2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42,
            6.01,
        ];
        let critical = |count| critical_value(count, 0.05, Direction::Both);
        for (count, published) in [(54, 3.158), (53, 3.151), (52, 3.143), (51, 3.136), (45, 3.085)] {
            assert!((critical(count) - published).abs() < 1e-3, "{count}: {}", critical(count));
        }
        let settings = EsdSettings { candidates_max: 10, alpha: 0.05, direction: Direction::Both, scale_min: 0.0 };
        let found: Vec<f64> = esd(&values, &settings).iter().map(|extreme| values[extreme.index]).collect();
        assert!(found.starts_with(&[6.01, 5.42, 5.34]), "{found:?}");
    }
}
