//! Extremes that come again and again: a pump that starts, a rain shower, a nightly job.
//!
//! The test assumes that what is usual scatters about as a normal distribution. Where a datastream has tails by nature, its extremes are
//! told from anomalies by how often they have been there.
//!
//! **Invariant:** what is said of a value uses no later one.

/// How many extremes as far out there must have been, at least, before another is usual.
const TIMES_MIN: usize = 5;
/// The same as a share of all values: one in so many.
const ONE_IN: usize = 100;

/// The extremes seen so far, on either side.
pub(super) struct Recurrent {
    /// How many as far out make another one usual.
    times: usize,
    /// Deviations of those below and above, greatest first, as many as count.
    sides: [Vec<f64>; 2],
}

impl Recurrent {
    /// Has seen none yet, of this many values.
    pub(super) fn of(values: usize) -> Self {
        Self { times: TIMES_MIN.max(values.div_ceil(ONE_IN)), sides: [Vec::new(), Vec::new()] }
    }

    /// What a deviation must exceed not to be usual.
    pub(super) fn critical(&self, is_above: bool) -> f64 {
        self.sides[usize::from(is_above)].get(self.times - 1).copied().unwrap_or(0.0)
    }

    /// Takes note of an extreme.
    pub(super) fn note(&mut self, is_above: bool, deviation: f64) {
        let side = &mut self.sides[usize::from(is_above)];
        let place = side.partition_point(|other| *other >= deviation);
        side.insert(place, deviation);
        side.truncate(self.times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_as_far_out_often_enough_is_usual() {
        let mut recurrent = Recurrent::of(700);
        assert_eq!(recurrent.times, 7);
        for deviation in [9.0, 30.0, 8.0, 7.0, 10.0, 11.0] {
            recurrent.note(true, deviation);
            assert_eq!(recurrent.critical(true), 0.0);
        }
        recurrent.note(true, 20.0);
        assert_eq!((recurrent.critical(true), recurrent.critical(false)), (7.0, 0.0));
        recurrent.note(true, 12.0);
        assert_eq!(recurrent.critical(true), 8.0);
    }
}
