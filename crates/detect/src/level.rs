//! The level that a datastream without its season has had of late, and when it changed for good.
//!
//! The median of the last values, as Vallis, Hochenbaum and Kejariwal's piecewise median (2014, section 3.4) but moving with the series
//! and of the past alone: a spike does not move it, a new level becomes it once it fills half the window.
//!
//! **Invariant:** what is said of a value uses no later one.

use std::collections::VecDeque;

/// The fewest values that have a level.
pub(crate) const LEVEL_POINTS_MIN: usize = 8;

/// For each value the median of up to `window` values before it; `NaN` for the first few.
pub(crate) fn levels(values: &[f64], window: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(window + 1);
    let mut levels = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        levels.push(if sorted.len() < LEVEL_POINTS_MIN { f64::NAN } else { crate::median(&sorted) });
        if let Some(old) = index.checked_sub(window) {
            let place = sorted.partition_point(|other| other.total_cmp(&values[old]).is_lt());
            sorted.remove(place);
        }
        let place = sorted.partition_point(|other| other.total_cmp(value).is_lt());
        sorted.insert(place, *value);
    }
    levels
}

/// What an extreme value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing else than extreme.
    Point,
    /// The value that makes it certain that the level changed.
    Shift {
        /// Index of the first value on the new level.
        start: usize,
    },
    /// Usual on the new level.
    Absorbed,
}

/// Tells lasting changes of the level from passing ones, value by value.
pub(crate) struct Shifts {
    /// How many values in a row make a new level.
    points: usize,
    /// How many of them its median is taken of.
    window: usize,
    /// Indices and values of the extreme values in a row that are on no level, all on one side.
    astray: Vec<(usize, f64)>,
    /// The values on the new level while the old one is still the median.
    new_level: Option<NewLevel>,
    /// How many values in a row were not extreme.
    calm: usize,
}

struct NewLevel {
    values: VecDeque<f64>,
    is_above: bool,
    /// How far from it a value may be.
    tolerance: f64,
}

impl NewLevel {
    fn median(&self) -> f64 {
        let mut sorted: Vec<f64> = self.values.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        crate::median(&sorted)
    }
}

impl Shifts {
    /// Starts with no change; `points` in a row make one.
    pub(crate) fn new(points: usize, window: usize) -> Self {
        Self { points: points.max(2), window: window.max(1), astray: Vec::new(), new_level: None, calm: 0 }
    }

    /// Takes note of a value that is not extreme.
    pub(crate) fn usual(&mut self) {
        self.astray.clear();
        self.calm += 1;
        if self.calm >= self.points {
            self.new_level = None;
        }
    }

    /// Judges an extreme value: its index, itself, the level before it, and the distance from a level that is still usual.
    pub(crate) fn extreme(&mut self, index: usize, value: f64, level: f64, usual_max: f64) -> Verdict {
        self.calm = 0;
        let is_above = value > level;
        if self.new_level.as_ref().is_some_and(|new| new.is_above != is_above) {
            self.new_level = None;
        }
        if let Some(new) = &mut self.new_level
            && (value - new.median()).abs() <= new.tolerance.max(usual_max)
        {
            new.values.push_back(value);
            if new.values.len() > self.window {
                new.values.pop_front();
            }
            self.astray.clear();
            return Verdict::Absorbed;
        }
        self.astray.retain(|(_, other)| (*other > level) == is_above);
        self.astray.push((index, value));
        self.settle(level, is_above)
    }

    /// Says whether the last values in a row lie closer together than half their distance from the old level.
    fn settle(&mut self, level: f64, is_above: bool) -> Verdict {
        let Some(first) = self.astray.len().checked_sub(self.points) else { return Verdict::Point };
        let last = &self.astray[first..];
        let mut sorted: Vec<f64> = last.iter().map(|(_, value)| *value).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let tolerance = (crate::median(&sorted) - level).abs() / 2.0;
        if sorted[sorted.len() - 1] - sorted[0] > tolerance {
            return Verdict::Point;
        }
        let start = last[0].0;
        self.new_level = Some(NewLevel { values: sorted.into(), is_above, tolerance });
        self.astray.clear();
        Verdict::Shift { start }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{prop_assert_eq, proptest},
    };

    use super::*;

    /// Judges values against a level of 0, extreme from 3 on: `.` usual, `p` a point, `S` a shift, `a` absorbed.
    fn check(values: &[f64], expected: &str) {
        let mut shifts = Shifts::new(3, 24);
        let mut verdicts = String::new();
        for (index, value) in values.iter().enumerate() {
            if value.abs() < 3.0 {
                shifts.usual();
                verdicts.push('.');
                continue;
            }
            verdicts.push(match shifts.extreme(index, *value, 0.0, 3.0) {
                Verdict::Point => 'p',
                Verdict::Shift { .. } => 'S',
                Verdict::Absorbed => 'a',
            });
        }
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn values_that_stay_where_they_went_are_a_shift_once() {
        check(&[0.0, 20.0, 21.0, 20.0, 22.0, 19.0, 25.0, 0.0], ".ppSaaa.");
    }

    #[test]
    fn a_spike_that_falls_off_is_none() {
        check(&[0.0, 59.0, 23.0, 25.0, 0.0, 0.0], ".ppp..");
        check(&[0.0, 40.0, 0.0, 40.0, 0.0, 40.0], ".p.p.p");
        check(&[9.0, -9.0, 9.0, -9.0, 9.0, -9.0], "pppppp");
    }

    #[test]
    fn a_spike_on_the_new_level_is_a_point_and_no_new_shift() {
        check(&[20.0, 20.0, 20.0, 20.0, 90.0, 20.0, 20.0, 20.0], "ppSapaaa");
    }

    #[test]
    fn a_value_back_on_the_old_level_does_not_end_the_new_one() {
        check(&[20.0, 20.0, 20.0, 0.0, 20.0, 20.0, 20.0], "ppS.aaa");
        check(&[20.0, 20.0, 20.0, 0.0, 0.0, 0.0, 20.0, 20.0, 20.0], "ppS...ppS");
    }

    #[test]
    fn a_second_shift_is_another() {
        check(&[20.0, 20.0, 20.0, 20.0, 80.0, 81.0, 80.0, 80.0], "ppSappSa");
        check(&[20.0, 20.0, 20.0, -20.0, -20.0, -20.0], "ppSppS");
    }

    proptest! {
        #[test]
        fn levels_are_medians_of_the_values_before(values in vec(-50i32..50, 0..60), window in 8usize..20) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            for (index, level) in levels(&values, window).into_iter().enumerate() {
                let mut before = values[index.saturating_sub(window)..index].to_vec();
                before.sort_by(f64::total_cmp);
                let expected = if before.len() < LEVEL_POINTS_MIN { f64::NAN } else { crate::median(&before) };
                prop_assert_eq!(level.to_bits(), expected.to_bits());
            }
        }
    }
}
