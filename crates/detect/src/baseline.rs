//! What a datastream's season is where readings are missing or unusable.
//!
//! **Invariant:** an unusable value has no part in the season: its cell is filled with what the others say of its phase.

use crate::{Cell, decompose, median};

/// The season by phase, counted from the first cell; all zero where the cells are too few for one.
pub(crate) fn season(cells: &[Cell], period: usize) -> Vec<f64> {
    let filled = fill(cells, period);
    match decompose(&filled, period) {
        Ok(parts) => parts.seasonal[..period].to_vec(),
        Err(_) => vec![0.0; period],
    }
}

/// Every cell's value or, where it has none, the level around it with the usual distance of its phase from the level.
fn fill(cells: &[Cell], period: usize) -> Vec<f64> {
    let levels = levels(cells, period);
    let mut distances: Vec<Vec<f64>> = vec![Vec::new(); period];
    for (index, (cell, level)) in cells.iter().zip(&levels).enumerate() {
        if let Some(value) = cell.value() {
            distances[index % period].push(value - level);
        }
    }
    let usual: Vec<f64> = distances.into_iter().map(middle).collect();
    let value = |index: usize| cells[index].value().unwrap_or(levels[index] + usual[index % period]);
    (0..cells.len()).map(value).collect()
}

/// The median of the values of each cycle, by cell; of a cycle without values that of the one before it (or, at the start, behind it).
fn levels(cells: &[Cell], period: usize) -> Vec<f64> {
    let of_cycle = |cycle: &[Cell]| {
        let values: Vec<f64> = cycle.iter().filter_map(|cell| cell.value()).collect();
        if values.is_empty() { f64::NAN } else { middle(values) }
    };
    let mut cycles: Vec<f64> = cells.chunks(period).map(of_cycle).collect();
    let mut last = cycles.iter().copied().find(|level| !level.is_nan()).unwrap_or(0.0);
    for level in &mut cycles {
        if level.is_nan() {
            *level = last;
        }
        last = *level;
    }
    (0..cells.len()).map(|index| cycles[index / period]).collect()
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    median(&values)
}

/// Every cell's value or, where it has none, the last one before it: for a look at whether there is a season at all.
pub(crate) fn held(cells: &[Cell]) -> Vec<f64> {
    let mut last = cells.iter().find_map(|cell| cell.value()).unwrap_or(0.0);
    let mut hold = |cell: &Cell| {
        last = cell.value().unwrap_or(last);
        last
    };
    cells.iter().map(&mut hold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(values: &[Option<f64>]) -> Vec<Cell> {
        let cell = |(sample, value): (usize, &Option<f64>)| match value {
            Some(value) => Cell::Value { sample, value: *value },
            None => Cell::Faulty { sample },
        };
        values.iter().enumerate().map(cell).collect()
    }

    #[test]
    fn what_is_missing_has_the_level_around_it_and_the_distance_of_its_phase() {
        let wave = [0.0, 4.0, 0.0, -4.0];
        let value = |index: usize| Some(10.0 * (index / 4) as f64 + wave[index % 4]);
        let mut values: Vec<Option<f64>> = (0..16).map(value).collect();
        values[9] = None;
        let filled = fill(&cells(&values), 4);
        assert_eq!(filled[8], 20.0);
        assert_eq!(filled[9], 24.0);
    }

    #[test]
    fn an_outage_of_a_whole_cycle_does_not_change_the_season() {
        let value = |index: usize| 100.0 + (index % 6) as f64;
        let whole: Vec<Option<f64>> = (0..120).map(|index| Some(value(index))).collect();
        let mut broken = whole.clone();
        broken[60..70].fill(None);
        let (whole, broken) = (season(&cells(&whole), 6), season(&cells(&broken), 6));
        for (whole, broken) in whole.iter().zip(&broken) {
            assert!((whole - broken).abs() < 0.05, "{whole} {broken}");
        }
    }
}
