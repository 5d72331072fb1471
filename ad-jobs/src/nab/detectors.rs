//! Scores each row of a file as it arrives, in either mode.
//!
//! **Invariant:** what a row is judged by (its history, season and scatter) ends with the row itself.

use detect::{
    Cell, find_period,
    guarded::{self, Fit, Season},
    strict,
};

use super::corpus::DataFile;
use crate::{csv_series::Series, detect_file::likely_seasons};

/// How many rows before one it is judged by in guarded mode: a week of five minutes.
const HISTORY_ROWS: usize = 2_016;
/// How many rows tell the time between two.
const FIRST_ROWS: usize = 100;
/// A season serves for a part of it this many times shorter before it is found again; in strict mode for this many rows.
const SEASON_SERVES: usize = 24;

/// A detector as the benchmark names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// The published method on the last two seasons.
    Strict,
    /// The guarded method.
    Guarded,
}

impl Detector {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Strict, Self::Guarded];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "shesd_strict",
            Self::Guarded => "shesd_guarded",
        }
    }
}

/// A score from 0 to 1 for each row of a file, each as if it were the last.
pub fn score_file(file: &DataFile, detector: Detector) -> Vec<f64> {
    match detector {
        Detector::Strict => strict_scores(file),
        Detector::Guarded => guarded_scores(file),
    }
}

/// Seasons that are likely by the times of the first rows, all of which are for learning.
fn likely(file: &DataFile) -> [usize; 2] {
    let first = file.times.len().min(FIRST_ROWS);
    likely_seasons(&Series { values: Vec::new(), times: Some(file.times[..first].to_vec()) })
}

fn strict_scores(file: &DataFile) -> Vec<f64> {
    let values: Vec<f64> = held(&file.values);
    let likely = likely(file);
    let mut period = 0;
    let mut score = |row: usize| {
        if row.is_multiple_of(SEASON_SERVES) {
            let found = find_period(&values[(row + 1).saturating_sub(HISTORY_ROWS)..=row], &likely);
            // The method needs a season even of what has none: then it is a day.
            period = found.unwrap_or(likely[0]);
        }
        let settings = strict::Settings { period, only_last: true, ..strict::Settings::default() };
        let from = (row + 1).saturating_sub(2 * period + 1);
        let found = strict::anomalies(&values[from..=row], &settings).unwrap_or_default();
        let last = found.last().filter(|anomaly| from + anomaly.index == row);
        last.map_or(0.0, |anomaly| anomaly.deviation / (anomaly.deviation + anomaly.critical))
    };
    (0..values.len()).map(&mut score).collect()
}

/// Missing values as the one before them: the published method takes none.
fn held(values: &[f64]) -> Vec<f64> {
    let mut last = 0.0;
    let mut hold = |value: &f64| {
        last = if value.is_nan() { last } else { *value };
        last
    };
    values.iter().map(&mut hold).collect()
}

fn guarded_scores(file: &DataFile) -> Vec<f64> {
    let settings = guarded::Settings {
        season: Season::Find { likely: likely(file) },
        // Learning takes little more than two days of most files.
        seasons_min: 2,
        ..guarded::Settings::default()
    };
    let cell = |(sample, value): (usize, &f64)| {
        if value.is_nan() { Cell::Faulty { sample } } else { Cell::Value { sample, value: *value } }
    };
    let cells: Vec<Cell> = file.values.iter().enumerate().map(cell).collect();
    let mut scores = vec![0.0; cells.len()];
    let mut known: Option<(usize, usize, Fit)> = None;
    for row in 0..cells.len() {
        let from = (row + 1).saturating_sub(HISTORY_ROWS);
        let history = &cells[from..=row];
        let (found_from, fit) = match known.take() {
            Some((until, found_from, fit)) if row < until => {
                known = Some((until, found_from, fit.clone()));
                (found_from, fit)
            }
            _ => {
                let fit = guarded::fit(history, &settings);
                let serves = (fit.period.unwrap_or(0) / SEASON_SERVES).max(SEASON_SERVES / 2);
                known = Some((row + serves, from, fit.clone()));
                (from, fit)
            }
        };
        let last = history.len() - 1;
        let scan = guarded::scan_with(history, last..last + 1, &settings, &fit.moved(from - found_from));
        scores[row] = scan.scores.last().map_or(0.0, |(_, score)| *score);
    }
    scores
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    fn file(values: Vec<f64>) -> DataFile {
        let times = (0..values.len()).map(|row| Timestamp::from_micros(row as i64 * 3_600_000_000)).collect();
        DataFile { category: "made".to_owned(), name: "made.csv".to_owned(), times, values, windows: Vec::new() }
    }

    #[test]
    fn no_score_uses_a_later_row() {
        let mut values: Vec<f64> = (0..500)
            .map(|row| {
                20.0 + 5.0 * (row as f64 / 24.0 * std::f64::consts::TAU).sin() + ((row * 7919) % 13) as f64 / 13.0
            })
            .collect();
        values[300] = 60.0;
        for detector in Detector::ALL {
            let whole = score_file(&file(values.clone()), detector);
            assert!(whole[300] > 0.6, "{detector:?}: {}", whole[300]);
            for count in [301, 420] {
                let part = score_file(&file(values[..count].to_vec()), detector);
                assert_eq!(part[250..count], whole[250..count], "{detector:?} of {count}");
            }
        }
    }
}
