//! Numbers that are left while the most extreme are taken away one by one, with their median and median absolute deviation.
//!
//! **Invariant:** what is left is sorted, because only ends are taken: median and deviation never need another sort.

/// Makes the median absolute deviation an estimate of a normal distribution's standard deviation: 1 / Φ⁻¹(3/4), to the four digits
/// that statistical software uses (Rousseeuw and Croux 1993).
pub const MAD_TO_DEVIATION: f64 = 1.4826;

/// The median of numbers in ascending order: of an even count the mean of the middle two. 0 of none.
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The median distance of numbers in ascending order from `center`, their median: O(log n). 0 of none.
pub fn median_deviation(sorted: &[f64], center: f64) -> f64 {
    let (count, middle) = (sorted.len(), sorted.len() / 2);
    if count == 0 {
        return 0.0;
    }
    // Both halves hold distances in ascending order: downwards from the middle and upwards from it.
    let below = |index: usize| middle.checked_sub(index + 1).map_or(f64::INFINITY, |place| center - sorted[place]);
    let above = |index: usize| sorted.get(middle + index).map_or(f64::INFINITY, |value| value - center);
    let rank = (count - 1) / 2;
    // How many of the `rank` least distances lie below the middle.
    let (mut least, mut most) = (rank.saturating_sub(count - middle), rank.min(middle));
    while least < most {
        let tried = (least + most) / 2;
        if below(tried) < above(rank - tried - 1) {
            least = tried + 1;
        } else {
            most = tried;
        }
    }
    let (down, up) = (below(least), above(rank - least));
    if count % 2 == 1 {
        return down.min(up);
    }
    let next = if down <= up { below(least + 1).min(up) } else { down.min(above(rank - least + 1)) };
    (down.min(up) + next) / 2.0
}

/// Numbers by size, of which the ends are taken.
pub(crate) struct Remaining {
    /// All numbers, ascending.
    sorted: Vec<f64>,
    /// Where each was in the series; of equal numbers the earlier first.
    places: Vec<usize>,
    /// The first that is left.
    low: usize,
    /// Behind the last that is left.
    high: usize,
    /// Where the run of numbers equal to the greatest starts, and how many were taken of it.
    top_run: (usize, usize),
}

impl Remaining {
    /// Sorts the numbers, which are finite.
    pub(crate) fn new(values: &[f64]) -> Self {
        // Plus zero, so that the two zeros are one number.
        let mut pairs: Vec<(f64, usize)> =
            values.iter().enumerate().map(|(place, value)| (value + 0.0, place)).collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (sorted, places) = pairs.into_iter().unzip();
        let mut remaining = Self { sorted, places, low: 0, high: values.len(), top_run: (0, 0) };
        remaining.find_top_run();
        remaining
    }

    fn left(&self) -> &[f64] {
        &self.sorted[self.low..self.high]
    }

    /// The median of what is left.
    pub(crate) fn median(&self) -> f64 {
        median(self.left())
    }

    /// The median distance of what is left from `center`, its median: O(log n).
    pub(crate) fn deviation_around(&self, center: f64) -> f64 {
        median_deviation(self.left(), center)
    }

    /// The least number left and its place in the series, the earliest of equal ones.
    pub(crate) fn lowest(&self) -> (f64, usize) {
        (self.sorted[self.low], self.places[self.low])
    }

    /// The greatest number left and its place in the series, the earliest of equal ones.
    pub(crate) fn highest(&self) -> (f64, usize) {
        let (start, taken) = self.top_run;
        (self.sorted[self.high - 1], self.places[start + taken])
    }

    /// Takes the least away.
    pub(crate) fn take_lowest(&mut self) {
        self.low += 1;
    }

    /// Takes the greatest away.
    pub(crate) fn take_highest(&mut self) {
        self.high -= 1;
        self.top_run.1 += 1;
        if self.high > self.low && self.high <= self.top_run.0 {
            self.find_top_run();
        }
    }

    fn find_top_run(&mut self) {
        let Some(&top) = self.left().last() else { return };
        let start = self.low + self.left().partition_point(|value| *value < top);
        self.top_run = (start, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, prop_assert_eq, proptest},
    };

    use super::*;

    fn plain(values: &[f64]) -> (f64, f64) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let center = median(&sorted);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
        distances.sort_by(f64::total_cmp);
        (center, median(&distances))
    }

    proptest! {
        #[test]
        fn median_and_deviation_are_those_of_what_is_left(
            values in vec((-20i32..20).prop_map_to_halves(), 1..60),
            ends in vec(any::<bool>(), 0..60),
        ) {
            let mut remaining = Remaining::new(&values);
            let mut left: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
            for take_low in ends {
                let now: Vec<f64> = left.iter().flatten().copied().collect();
                if now.is_empty() {
                    break;
                }
                let (center, deviation) = plain(&now);
                prop_assert_eq!(remaining.median(), center);
                prop_assert_eq!(remaining.deviation_around(center), deviation);
                if deviation == 0.0 && now.iter().all(|value| *value == center) {
                    break;
                }
                let (value, place) = if take_low { remaining.lowest() } else { remaining.highest() };
                let earliest = left.iter().position(|other| *other == Some(value));
                prop_assert_eq!(Some(place), earliest);
                let is_end = now.iter().all(|other| if take_low { *other >= value } else { *other <= value });
                prop_assert!(is_end);
                left[place] = None;
                if take_low { remaining.take_lowest() } else { remaining.take_highest() }
                prop_assert_eq!(remaining.left().len(), now.len() - 1);
            }
        }
    }

    /// Whole numbers and halves, so that many are equal and medians are exact.
    trait ToHalves {
        fn prop_map_to_halves(self) -> proptest::strategy::BoxedStrategy<f64>;
    }

    impl ToHalves for std::ops::Range<i32> {
        fn prop_map_to_halves(self) -> proptest::strategy::BoxedStrategy<f64> {
            use proptest::strategy::Strategy;
            self.prop_map(|number| f64::from(number) / 2.0).boxed()
        }
    }
}
