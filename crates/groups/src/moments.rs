//! Statistics that can be put together from those of parts.

/// What is kept of some numbers to tell their statistics, also together with others.
///
/// Parts are put together as Chan, Golub and LeVeque do (1979, "Updating formulae and a pairwise algorithm for computing sample variances",
/// equation 2.1), which does not cancel where the numbers are far from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// How many numbers.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of the squares of their distances to their mean.
    pub squares: f64,
    /// The least; positive infinity of none.
    pub min: f64,
    /// The greatest; negative infinity of none.
    pub max: f64,
}

/// The statistics of some numbers, at least one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their population standard deviation.
    pub stddev: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Moments {
    /// Those of one number.
    pub fn of(number: f64) -> Self {
        Self { count: 1, sum: number, squares: 0.0, min: number, max: number }
    }

    /// Those of the numbers that statistics speak of.
    pub fn from_statistics(statistics: Statistics) -> Self {
        let Statistics { count, sum, min, max, stddev, .. } = statistics;
        Self { count, sum, squares: stddev * stddev * count as f64, min, max }
    }

    /// Adds one number.
    pub fn add(&mut self, number: f64) {
        self.merge(Self::of(number));
    }

    /// Adds those of other numbers.
    pub fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let apart = other.sum / there - self.sum / here;
        self.squares += other.squares + apart * apart * (here * there / (here + there));
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The statistics; `None` of no number, and where they are no finite numbers any more.
    pub fn statistics(&self) -> Option<Statistics> {
        if self.count == 0 || !self.sum.is_finite() || !self.squares.is_finite() {
            return None;
        }
        let count = self.count as f64;
        let (mean, stddev) = (self.sum / count, (self.squares / count).max(0.0).sqrt());
        Some(Statistics { count: self.count, sum: self.sum, mean, min: self.min, max: self.max, stddev })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn of(numbers: &[f64]) -> Moments {
        let mut moments = Moments::default();
        numbers.iter().for_each(|number| moments.add(*number));
        moments
    }

    /// Equal within 1e-9 of the numbers' size.
    fn is_close(one: f64, other: f64, size: f64) -> bool {
        (one - other).abs() <= 1e-9 * size.max(1.0)
    }

    proptest! {
        #[test]
        fn parts_put_together_say_what_all_numbers_say(
            numbers in proptest::collection::vec(-1e6..1e6f64, 1..60), offset in -1e9..1e9f64, cut in any::<proptest::sample::Index>()) {
            let numbers: Vec<f64> = numbers.iter().map(|number| number + offset).collect();
            let cut = cut.index(numbers.len() + 1);
            let mut parts = of(&numbers[..cut]);
            parts.merge(of(&numbers[cut..]));
            let found = parts.statistics().expect("finite");
            let count = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / count;
            let variance = numbers.iter().map(|number| (number - mean) * (number - mean)).sum::<f64>() / count;
            let size = offset.abs() + 1e6;
            prop_assert!(is_close(found.mean, mean, size));
            prop_assert!(is_close(found.stddev, variance.sqrt(), size));
            prop_assert!(found.count == numbers.len() as u64 && is_close(found.sum, mean * count, size * count));
            let again = Moments::from_statistics(found).statistics().expect("finite");
            prop_assert!(is_close(again.stddev, found.stddev, size));
        }
    }

    #[test]
    fn of_no_number_there_are_no_statistics() {
        assert_eq!(Moments::default().statistics(), None);
        assert_eq!(of(&[f64::MAX, f64::MAX]).statistics(), None, "beyond what a number can hold");
        let one = of(&[2.5]).statistics().expect("one number");
        assert_eq!((one.count, one.sum, one.mean, one.min, one.max, one.stddev), (1, 2.5, 2.5, 2.5, 2.5, 0.0));
    }
}
