//! Flat line: whether values stay the same for too long.
//!
//! Test 8, "Flat Line Test (Required)": a value is compared with a number of readings before it, within a tolerance that allows for the
//! resolution. As in ioos_qc the test looks at the range of the values, and thresholds are times that are counted in readings; the sampling
//! interval of the sensor type stands for ioos_qc's median step, which is unknown while readings come in (and which ioos_qc cuts to
//! whole seconds, so that it divides by zero below one).

use std::{collections::VecDeque, time::Duration};

use domain::{Flag, FlatLine, Value};

/// How many readings have to be the same as the one behind them to be suspect, and to fail; `None` where that is not tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    suspect: Option<u32>,
    fail: Option<u32>,
}

impl Lengths {
    /// The lengths for readings of a sampling interval.
    pub fn new(settings: &FlatLine, sampling_interval: Duration) -> Self {
        let readings = |threshold| FlatLine::readings(threshold, sampling_interval);
        Self { suspect: settings.suspect.map(readings), fail: settings.fail.map(readings) }
    }

    /// The longer of them: how far back a value's flag reaches, in readings.
    pub fn longest(self) -> u32 {
        self.suspect.max(self.fail).unwrap_or(0)
    }

    /// The flag of a value that is the same as the `length` readings before it.
    fn flag(self, length: u64) -> Flag {
        let reaches = |threshold: Option<u32>| threshold.is_some_and(|threshold| length >= u64::from(threshold));
        if reaches(self.fail) {
            return Flag::Fail;
        }
        if reaches(self.suspect) { Flag::Suspect } else { Flag::Good }
    }
}

/// The flag of the last of `values`, which holds a number: those of a datastream up to it, of which at least the longest length are looked at.
///
/// A reading without a number counts as one and is the same as any other; at the start of a datastream there are not enough of them.
pub fn flag(settings: &FlatLine, lengths: Lengths, values: impl DoubleEndedIterator<Item = Value>) -> Flag {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut same: u64 = 0;
    for value in values.rev().take(lengths.longest() as usize + 1) {
        if let Some(number) = value.as_number() {
            (low, high) = (low.min(number), high.max(number));
        }
        let is_flat = high - low < settings.tolerance;
        if !is_flat {
            break;
        }
        same += 1;
    }
    lengths.flag(same.saturating_sub(1))
}

/// The readings up to the last that are the same within the tolerance, kept by the numbers that can still be the greatest or least.
///
/// Numbers that a later one outdoes are forgotten, so that a steady value takes one entry however long it stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// Index of its first reading.
    start: u64,
    /// Index of the next reading.
    next: u64,
    /// Indexes and numbers, the numbers descending: the first is the greatest.
    greatest: VecDeque<(u64, f64)>,
    /// Numbers ascending: the first is the least.
    least: VecDeque<(u64, f64)>,
}

impl Run {
    /// Takes a reading without a number.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    /// Takes the next reading's number and gives its flag.
    pub(crate) fn push(&mut self, settings: &FlatLine, lengths: Lengths, number: f64) -> Flag {
        let index = self.next;
        self.next += 1;
        while self.greatest.back().is_some_and(|(_, other)| *other <= number) {
            self.greatest.pop_back();
        }
        self.greatest.push_back((index, number));
        while self.least.back().is_some_and(|(_, other)| *other >= number) {
            self.least.pop_back();
        }
        self.least.push_back((index, number));
        // What is further back than the test looks does not count and is not kept.
        self.cut(self.start.max(index.saturating_sub(u64::from(lengths.longest()))));
        while let (Some((high_at, high)), Some((low_at, low))) = (self.greatest.front(), self.least.front())
            && high - low >= settings.tolerance
        {
            self.cut(high_at.min(low_at) + 1);
        }
        lengths.flag(index - self.start)
    }

    fn cut(&mut self, start: u64) {
        self.start = start;
        while self.greatest.front().is_some_and(|(index, _)| *index < start) {
            self.greatest.pop_front();
        }
        while self.least.front().is_some_and(|(index, _)| *index < start) {
            self.least.pop_front();
        }
    }

    /// Bytes it takes besides its own.
    pub(crate) fn heap_bytes(&self) -> usize {
        (self.greatest.capacity() + self.least.capacity()) * size_of::<(u64, f64)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn settings(tolerance: f64) -> FlatLine {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        FlatLine { tolerance, suspect: seconds(3), fail: seconds(6) }
    }

    #[track_caller]
    fn check(interval: Duration, values: &[Value], expected: &[u8]) {
        let settings = settings(0.5);
        let lengths = Lengths::new(&settings, interval);
        let flags = (0..values.len()).map(|end| flag(&settings, lengths, values[..=end].iter().copied()).code());
        assert_eq!(flags.collect::<Vec<_>>(), expected);
    }

    fn number(number: f64) -> Value {
        Value::number(number).expect("finite")
    }

    #[test]
    fn value_is_flagged_after_enough_that_are_the_same() {
        let second = Duration::from_secs(1);
        check(second, &[number(1.0); 8], &[1, 1, 1, 3, 3, 3, 4, 4]);
        let values = [1.0, 1.4, 1.0, 1.2, 1.5, 1.4, 1.4, 1.4].map(number);
        // The fifth differs by the tolerance from the third, and the third is within the reach of the sixth.
        check(second, &values, &[1, 1, 1, 3, 1, 1, 3, 3]);
    }

    #[test]
    fn reading_without_a_number_counts_as_one_that_is_the_same() {
        check(Duration::from_secs(1), &[number(1.0), Value::MISSING, Value::ABSENT, number(1.0)], &[1, 1, 1, 3]);
    }

    #[test]
    fn sampling_below_a_second_is_counted_in_readings_too() {
        let expected = [[1; 30].as_slice(), &[3; 30], &[4; 5]].concat();
        check(Duration::from_millis(100), &[number(7.0); 65], &expected);
        check(Duration::from_micros(1_500_000), &[number(7.0); 6], &[1, 1, 3, 3, 4, 4]);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![1 => Just(Value::MISSING), 6 => (0..6i32).prop_map(|n| number(f64::from(n) / 4.0))]
    }

    proptest! {
        #[test]
        fn run_gives_the_flags_of_the_window(values in proptest::collection::vec(value(), 0..60)) {
            let settings = settings(0.5);
            let lengths = Lengths::new(&settings, Duration::from_secs(1));
            let mut run = Run::default();
            for (end, value) in values.iter().enumerate() {
                let Some(number) = value.as_number() else {
                    run.skip();
                    continue;
                };
                let expected = flag(&settings, lengths, values[..=end].iter().copied());
                prop_assert_eq!(run.push(&settings, lengths, number), expected);
                prop_assert!(run.greatest.len() + run.least.len() <= 2 * 7);
            }
        }
    }
}
