//! How good scores are, by the benchmark's published rules (Lavin and Ahmad 2015, section III).
//!
//! * A window that is detected earns up to 1, the earlier the more: the scaled sigmoid of where in the window its first detection lies.
//! * A window that is not costs the weight of a miss; a detection outside costs the weight of a false one, less close behind a window.
//! * The first 15 % of a file (of 5,000 rows at most) are for learning and do not count.
//! * One threshold for all files, the one that is best for the profile; the sum is then put between that of no detection at all (0) and that
//!   of perfect detection (100).
//!
//! **Invariant:** a threshold is one of the scores; what is at least the threshold is a detection.

use super::corpus::Window;

/// What detections are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// What it is called.
    pub name: &'static str,
    /// What a detected window earns at most.
    pub detected: f64,
    /// What a false detection costs at most.
    pub false_detection: f64,
    /// What a missed window costs.
    pub missed: f64,
}

impl Profile {
    /// All as the paper weighs them.
    pub const STANDARD: Self = Self { name: "standard", detected: 1.0, false_detection: 0.11, missed: 1.0 };
    /// False detections cost twice as much.
    pub const REWARD_LOW_FP: Self = Self { name: "reward_low_FP_rate", false_detection: 0.22, ..Self::STANDARD };
    /// Missed windows cost twice as much.
    pub const REWARD_LOW_FN: Self = Self { name: "reward_low_FN_rate", missed: 2.0, ..Self::STANDARD };
    /// The three of the benchmark.
    pub const ALL: [Self; 3] = [Self::STANDARD, Self::REWARD_LOW_FP, Self::REWARD_LOW_FN];
}

/// What a detector said of a file, and what is labelled there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredFile<'a> {
    /// A score for each row.
    pub scores: &'a [f64],
    /// The labelled windows, in order.
    pub windows: &'a [Window],
}

/// How good scores are at the threshold that is best for them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rated {
    /// 0 as good as no detection, 100 perfect; below 0 is worse than none.
    pub score: f64,
    /// What is at least this is a detection; infinite for none.
    pub threshold: f64,
    /// How many windows are detected.
    pub detected: usize,
    /// How many there are.
    pub windows: usize,
    /// How many rows outside are detections.
    pub false_detections: usize,
}

/// How many rows of a file are for learning.
pub fn probation_rows(rows: usize) -> usize {
    (0.15 * rows.min(5_000) as f64) as usize
}

/// One row that counts: what it would add.
struct Row {
    score: f64,
    /// Number of its window over all files and what the window earns by it, or what a false detection costs.
    effect: Effect,
}

enum Effect {
    Detects { window: usize, earns: f64 },
    False { costs: f64 },
}

/// Rates the scores of all files together.
pub fn rate(files: &[ScoredFile<'_>], profile: &Profile) -> Rated {
    let windows: usize = files.iter().map(|file| file.windows.len()).sum();
    let mut rows = rows(files, profile);
    rows.sort_by(|a, b| b.score.total_cmp(&a.score));
    let nothing = -(windows as f64) * profile.missed;
    let perfect = windows as f64 * profile.detected;
    let mut best = (nothing, f64::INFINITY, 0, 0);
    let (mut sum, mut earned) = (nothing, vec![None::<f64>; windows]);
    let (mut detected, mut false_detections) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        match row.effect {
            Effect::False { costs } => {
                sum -= costs;
                false_detections += 1;
            }
            Effect::Detects { window, earns } => {
                let before = earned[window].unwrap_or(-profile.missed);
                let now = earned[window].map_or(earns, |before| before.max(earns));
                detected += usize::from(earned[window].is_none());
                earned[window] = Some(now);
                sum += now - before;
            }
        }
        let is_last_of_score = rows.get(index + 1).is_none_or(|next| next.score < row.score);
        if is_last_of_score && sum > best.0 {
            best = (sum, row.score, detected, false_detections);
        }
    }
    let span = perfect - nothing;
    let score = if span > 0.0 { 100.0 * (best.0 - nothing) / span } else { 0.0 };
    Rated { score, threshold: best.1, detected: best.2, windows, false_detections: best.3 }
}

fn rows(files: &[ScoredFile<'_>], profile: &Profile) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut first_window = 0;
    for file in files {
        for (index, score) in file.scores.iter().copied().enumerate().skip(probation_rows(file.scores.len())) {
            let effect = effect(index, file.windows, first_window, profile);
            rows.push(Row { score, effect });
        }
        first_window += file.windows.len();
    }
    rows
}

fn effect(row: usize, windows: &[Window], first_window: usize, profile: &Profile) -> Effect {
    let next = windows.partition_point(|window| window.last < row);
    if let Some(window) = windows.get(next).filter(|window| window.first <= row) {
        let width = (window.last - window.first + 1) as f64;
        let position = -((window.last - row + 1) as f64) / width;
        let earns = profile.detected * scaled_sigmoid(position) / scaled_sigmoid(-1.0);
        return Effect::Detects { window: first_window + next, earns };
    }
    let worth = match next.checked_sub(1).map(|before| windows[before]) {
        None => -1.0,
        Some(before) => {
            let width = (before.last - before.first).max(1) as f64;
            scaled_sigmoid((row - before.last) as f64 / width)
        }
    };
    Effect::False { costs: -worth * profile.false_detection }
}

/// From nearly 1 at -1 over 0 at 0 to -1 far behind (equation 1, scaled).
fn scaled_sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { first: 50, last: 59 };

    /// Rates detections in a file of 100 rows with one window; its first 15 rows do not count.
    fn rated(detections: &[usize], profile: &Profile) -> Rated {
        let mut scores = vec![0.0; 100];
        for row in detections {
            scores[*row] = 1.0;
        }
        rate(&[ScoredFile { scores: &scores, windows: &[WINDOW] }], profile)
    }

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} {right}");
    }

    #[test]
    fn perfect_detection_is_100_and_none_is_0() {
        for profile in &Profile::ALL {
            near(rated(&[50], profile).score, 100.0);
            near(rated(&[], profile).score, 0.0);
        }
        assert_eq!(rated(&[], &Profile::STANDARD).threshold, f64::INFINITY);
    }

    #[test]
    fn an_early_detection_earns_more_and_further_ones_nothing() {
        // Position -0.5 of a window of 10 rows: five rows are left, row 55 among them.
        let earns = (2.0 / (1.0 + (-2.5_f64).exp()) - 1.0) / (2.0 / (1.0 + (-5.0_f64).exp()) - 1.0);
        near(rated(&[55], &Profile::STANDARD).score, 100.0 * (earns + 1.0) / 2.0);
        near(rated(&[55, 56, 59], &Profile::STANDARD).score, 100.0 * (earns + 1.0) / 2.0);
        near(rated(&[50, 59], &Profile::STANDARD).score, 100.0);
    }

    #[test]
    fn false_detections_cost_less_close_behind_a_window_and_nothing_while_learning() {
        near(rated(&[20, 50], &Profile::STANDARD).score, 100.0 * (2.0 - 0.11) / 2.0);
        near(rated(&[20, 50], &Profile::REWARD_LOW_FP).score, 100.0 * (2.0 - 0.22) / 2.0);
        near(rated(&[20, 50], &Profile::REWARD_LOW_FN).score, 100.0 * (3.0 - 0.11) / 3.0);
        near(rated(&[14, 50], &Profile::STANDARD).score, 100.0);
        let close = 1.0 - 2.0 / (1.0 + (5.0_f64 / 9.0).exp());
        near(rated(&[50, 60], &Profile::STANDARD).score, 100.0 * (2.0 - 0.11 * close) / 2.0);
        near(rated(&[50, 99], &Profile::STANDARD).score, 100.0 * (2.0 - 0.11) / 2.0);
    }

    #[test]
    fn the_threshold_is_one_for_all_files_and_the_best() {
        let (mut loud, mut quiet) = (vec![0.1; 100], vec![0.1; 100]);
        loud[50] = 0.9;
        loud[80..].fill(0.4);
        quiet[52] = 0.3;
        let windows = [WINDOW];
        let files = [ScoredFile { scores: &loud, windows: &windows }, ScoredFile { scores: &quiet, windows: &windows }];
        let rated = rate(&files, &Profile::STANDARD);
        // Taking the quiet one costs 20 false detections of 0.11 and earns less than 2.
        assert_eq!((rated.threshold, rated.detected, rated.windows, rated.false_detections), (0.9, 1, 2, 0));
        near(rated.score, 50.0);
    }

    #[test]
    fn learning_takes_15_percent_of_5000_rows_at_most() {
        assert_eq!([100, 4_032, 5_000, 22_695].map(probation_rows), [15, 604, 750, 750]);
    }
}
