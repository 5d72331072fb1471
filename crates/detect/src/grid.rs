//! Puts readings at any times on a grid of equal steps, as decomposition and season need it.
//!
//! **Invariant:** a cell knows the reading it got its value from; of several readings in one cell the one nearest to the grid wins, a
//! usable one before one that is not.

/// A reading's value at its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Microseconds since the Unix epoch.
    pub time_micros: i64,
    /// What was read; `None` is missing.
    pub value: Option<f64>,
    /// Whether quality control found it fit for use; a missing value never is.
    pub usable: bool,
}

/// What is known of one step of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    /// No reading.
    Empty,
    /// A reading without a usable value.
    Faulty {
        /// Index of the reading.
        sample: usize,
    },
    /// A usable value.
    Value {
        /// Index of the reading.
        sample: usize,
        /// Its value, finite.
        value: f64,
    },
}

impl Cell {
    /// The usable value, if there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Value { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Index of the reading, if there is one.
    pub fn sample(self) -> Option<usize> {
        match self {
            Self::Empty => None,
            Self::Faulty { sample } | Self::Value { sample, .. } => Some(sample),
        }
    }
}

/// The most cells that readings are put on; of a longer time only the last are.
pub const CELLS_MAX: usize = 1 << 20;

/// Puts readings, which are in time order, on a grid with steps of `step_micros`, from the first one's cell to the last one's.
///
/// The grid lies where most readings are: it starts at the first reading, moved by the median distance of all readings from it.
pub fn to_grid(samples: &[Sample], step_micros: i64) -> Vec<Cell> {
    let step = i128::from(step_micros.max(1));
    let Some(first) = samples.first() else { return Vec::new() };
    let since_first = |sample: &Sample| i128::from(sample.time_micros) - i128::from(first.time_micros);
    // Distance from the nearest step, from -step/2 up to step/2.
    let off = |micros: i128| (micros + step / 2).rem_euclid(step) - step / 2;
    let mut distances: Vec<i128> = samples.iter().map(|sample| off(since_first(sample))).collect();
    let middle = distances.len() / 2;
    let anchor = *distances.select_nth_unstable(middle).1;
    let place = |sample: &Sample| (since_first(sample) - anchor + step / 2).div_euclid(step);

    let low = place(first).max(place(&samples[samples.len() - 1]) - CELLS_MAX as i128 + 1);
    let count = (place(&samples[samples.len() - 1]) - low + 1).max(0) as usize;
    let mut cells = vec![Cell::Empty; count];
    for (index, sample) in samples.iter().enumerate() {
        let Ok(number) = usize::try_from(place(sample) - low) else { continue };
        let new = match sample.value.filter(|value| sample.usable && value.is_finite()) {
            Some(value) => Cell::Value { sample: index, value },
            None => Cell::Faulty { sample: index },
        };
        let distance = |sample: usize| off(since_first(&samples[sample]) - anchor).abs();
        let old = cells[number];
        let wins = match (old, new) {
            (Cell::Empty, _) | (Cell::Faulty { .. }, Cell::Value { .. }) => true,
            (Cell::Value { .. }, Cell::Faulty { .. }) => false,
            _ => old.sample().is_none_or(|old| distance(index) < distance(old)),
        };
        if wins {
            cells[number] = new;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, prop_assert_eq, proptest},
    };

    use super::*;

    fn samples(times: &[i64]) -> Vec<Sample> {
        times.iter().map(|time| Sample { time_micros: *time, value: Some(*time as f64), usable: true }).collect()
    }

    fn check(times: &[i64], expected: &[Option<usize>]) {
        let cells = to_grid(&samples(times), 10);
        assert_eq!(cells.iter().map(|cell| cell.sample()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn steps_without_a_reading_are_empty() {
        check(&[0, 10, 40], &[Some(0), Some(1), None, None, Some(2)]);
        check(&[], &[]);
        check(&[-7], &[Some(0)]);
    }

    #[test]
    fn readings_beside_the_grid_fall_into_the_nearest_cell() {
        check(&[0, 12, 19, 31], &[Some(0), Some(1), Some(2), Some(3)]);
        // All but the first are later by 4: the grid is where they are.
        check(&[0, 14, 28, 34, 44], &[Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn of_two_readings_in_a_cell_the_nearer_wins_and_a_usable_one_before_any() {
        check(&[0, 10, 13, 20], &[Some(0), Some(1), Some(3)]);
        let mut both = samples(&[0, 10, 13, 20]);
        both[1].usable = false;
        let cells = to_grid(&both, 10);
        assert_eq!(cells[1], Cell::Value { sample: 2, value: 13.0 });
        both[2].value = None;
        assert_eq!(to_grid(&both, 10)[1], Cell::Faulty { sample: 1 });
    }

    proptest! {
        #[test]
        fn any_times_have_a_grid_in_their_order(mut times in vec(any::<i64>(), 0..30), step in any::<i64>()) {
            times.sort_unstable();
            let step = step.unsigned_abs().max(1 << 45) as i64;
            let cells = to_grid(&samples(&times), step);
            prop_assert!(cells.len() <= CELLS_MAX);
            let kept: Vec<usize> = cells.iter().filter_map(|cell| cell.sample()).collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(kept.is_empty(), times.is_empty());
        }

        #[test]
        fn jitter_below_half_a_step_loses_no_reading(jitter in vec(-20i64..20, 1..50)) {
            let times: Vec<i64> = jitter.iter().enumerate().map(|(index, off)| index as i64 * 100 + off).collect();
            let cells = to_grid(&samples(&times), 100);
            prop_assert_eq!(cells.iter().filter(|cell| cell.value().is_some()).count(), times.len());
        }
    }
}
