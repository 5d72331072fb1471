//! Outages: times in which a datastream had readings and none of them was usable.
//!
//! **Invariant:** an outage ends with the first usable value; steps without any reading neither start nor end one.

use std::ops::Range;

use crate::Cell;

/// A run of cells without a usable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    /// Its first faulty cell.
    pub(crate) start: usize,
    /// The cell of the first usable value behind it, if there is one.
    pub(crate) end: Option<usize>,
}

/// The outages that start or end in `new`.
pub(crate) fn outages(cells: &[Cell], new: &Range<usize>) -> Vec<Outage> {
    let mut found = Vec::new();
    let mut open: Option<usize> = None;
    for (index, cell) in cells.iter().enumerate() {
        match (cell, open) {
            (Cell::Faulty { .. }, None) => open = Some(index),
            (Cell::Value { .. }, Some(start)) => {
                found.push(Outage { start, end: Some(index) });
                open = None;
            }
            _ => (),
        }
    }
    found.extend(open.map(|start| Outage { start, end: None }));
    found.retain(|outage| new.contains(&outage.start) || outage.end.is_some_and(|end| new.contains(&end)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `v` a usable value, `x` a faulty one, `.` no reading.
    fn check(pattern: &str, new: Range<usize>, expected: &[(usize, Option<usize>)]) {
        let cell = |(sample, kind)| match kind {
            'v' => Cell::Value { sample, value: 1.0 },
            'x' => Cell::Faulty { sample },
            _ => Cell::Empty,
        };
        let cells: Vec<Cell> = pattern.chars().enumerate().map(cell).collect();
        let found: Vec<_> = outages(&cells, &new).iter().map(|outage| (outage.start, outage.end)).collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn an_outage_is_one_from_its_first_faulty_value_to_the_next_usable_one() {
        check("vvxxxvv", 0..7, &[(2, Some(5))]);
        check("xxvxv", 0..5, &[(0, Some(2)), (3, Some(4))]);
        check("vvxx", 0..4, &[(2, None)]);
        check("vx.x..v", 0..7, &[(1, Some(6))]);
        check("v..v", 0..4, &[]);
    }

    #[test]
    fn it_is_found_where_it_starts_and_where_it_ends() {
        check("vvxxxvv", 2..3, &[(2, Some(5))]);
        check("vvx", 2..3, &[(2, None)]);
        check("vvxxx", 4..5, &[]);
        check("vvxxxv", 5..6, &[(2, Some(5))]);
        check("vvxxxvv", 6..7, &[]);
    }
}
