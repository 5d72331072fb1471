//! S-H-ESD made fit for sensors: the season of STL, the generalized ESD test and its critical values, and around them what the published
//! method lacks.
//!
//! * Residuals are distances from the level of late (a moving median), not from one median of weeks: a level that has changed or
//!   drifts is not an anomaly for days.
//! * They scatter at least as far as the sensor's resolution makes them: a quiet, quantised series is not full of anomalies, and a spike
//!   on a flat line is one.
//! * Values that quality control flagged have no part in anything, and are reported as an outage, once.
//! * A lasting shift of the level is reported once, and the new level is usual from then on.
//! * What has been as extreme again and again is usual.
//! * Too little history is a state, not an error.
//!
//! **Invariant:** of cells behind `new` nothing is reported, and of a cell nothing before enough usable ones have come before it.

mod recurrent;

use std::ops::Range;

use crate::{
    Cell, Direction, EsdSettings, MAD_TO_DEVIATION, baseline, critical_value, esd, find_period,
    level::{LEVEL_POINTS_MIN, Shifts, Verdict, levels},
    median, median_deviation,
    outage::outages,
};
use recurrent::Recurrent;

/// The score of an extreme value that is usual on a new level.
const USUAL_SCORE: f64 = 0.25;

/// What is known of a datastream's season.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Season {
    /// It has this many cells, at least 2.
    Of(usize),
    /// It is to be found, one of these rather than another (0 for none).
    Find {
        /// Cells that a season probably has, such as those of a day and of a week.
        likely: [usize; 2],
    },
    /// There is none.
    None,
}

/// Settings of the guarded method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The season.
    pub season: Season,
    /// The greatest share of values that may be anomalies, below 0.5.
    pub anomalies_max: f64,
    /// Chance of finding an anomaly where there is none, between 0 and 1.
    pub alpha: f64,
    /// On which side of the level to look.
    pub direction: Direction,
    /// The smallest difference the sensor can tell; where it is not known, it is taken from the values' decimals.
    pub resolution: Option<f64>,
    /// How many times its resolution a sensor is taken to scatter at least, as a standard deviation.
    pub resolution_steps: f64,
    /// How many cells the level of late is taken of; half a season, from 12 to 720, if not given.
    pub level_window: Option<usize>,
    /// How many values in a row make a new level, at least 2.
    pub shift_points: usize,
    /// How many seasons of usable values must have come before a value that is judged.
    pub seasons_min: usize,
    /// The same in values where there is no season.
    pub points_min: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            season: Season::Find { likely: [0, 0] },
            anomalies_max: 0.2,
            alpha: 0.05,
            direction: Direction::Both,
            resolution: None,
            resolution_steps: 1.0,
            level_window: None,
            shift_points: 3,
            seasons_min: 3,
            points_min: 48,
        }
    }
}

/// What was seen of a datastream.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// Whether values could be judged.
    pub state: State,
    /// The season in cells, if there is one.
    pub period: Option<usize>,
    /// What is anomalous, by cell.
    pub findings: Vec<Finding>,
    /// How anomalous each value in `new` is, by its cell: see [`Finding::score`]. Values without enough history have none.
    pub scores: Vec<(usize, f64)>,
}

/// Whether values could be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They were.
    Judged,
    /// They have too little history.
    TooLittleHistory {
        /// How many usable values there are in all.
        usable: usize,
        /// How many must come before one that is judged.
        needed: usize,
    },
}

/// Something anomalous.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The cell where it is or starts.
    pub start: usize,
    /// Of an outage, the cell of the first usable value behind it.
    pub end: Option<usize>,
    /// What is there; of an outage nothing.
    pub value: Option<f64>,
    /// What level and season would have there.
    pub expected: Option<f64>,
    /// From 0 to 1: deviation over the sum of deviation and critical value, so that 0.5 is critical. Of an outage 1.
    pub score: f64,
}

/// What something anomalous is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that does not fit.
    Point,
    /// A time of unusable values.
    Outage,
    /// A lasting change of the level.
    LevelShift,
}

/// A season that was found in some cells, to be used for them or for later ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Its cells, if there is one.
    pub period: Option<usize>,
    /// What it has at each phase, counted from the first cell it was found in; empty where there is none.
    season: Vec<f64>,
}

impl Fit {
    /// The same for cells of which the first is `later` cells behind the first that the season was found in.
    #[must_use]
    pub fn moved(&self, later: usize) -> Self {
        let mut season = self.season.clone();
        if !season.is_empty() {
            let phases = season.len();
            season.rotate_left(later % phases);
        }
        Self { period: self.period, season }
    }

    fn at(&self, cell: usize) -> f64 {
        if self.season.is_empty() { 0.0 } else { self.season[cell % self.season.len()] }
    }
}

/// Finds the season of cells; where they are too few to judge any value by it, it is not computed.
pub fn fit(cells: &[Cell], settings: &Settings) -> Fit {
    let period = match settings.season {
        Season::Of(period) => Some(period.max(2)),
        Season::Find { likely } => find_period(&baseline::held(cells), &likely),
        Season::None => None,
    };
    let usable = cells.iter().filter(|cell| cell.value().is_some()).count();
    let season = period.filter(|_| usable > needed(period, settings)).map(|period| baseline::season(cells, period));
    Fit { period, season: season.unwrap_or_default() }
}

/// How many usable values must come before one that is judged: with fewer, a season that is likely could not have been found.
fn needed(period: Option<usize>, settings: &Settings) -> usize {
    let likely = match settings.season {
        Season::Find { likely } => likely[0],
        Season::Of(_) | Season::None => 0,
    };
    let seasons = settings.seasons_min.max(2).saturating_mul(period.unwrap_or(likely));
    let points = if period.is_some() { 0 } else { settings.points_min };
    seasons.max(points).max(2 * LEVEL_POINTS_MIN)
}

/// Looks at the cells in `new` in the light of all others, which mostly come before them.
pub fn scan(cells: &[Cell], new: Range<usize>, settings: &Settings) -> Scan {
    scan_with(cells, new, settings, &fit(cells, settings))
}

/// The same with a season that is known.
pub fn scan_with(cells: &[Cell], new: Range<usize>, settings: &Settings, fit: &Fit) -> Scan {
    let outage = |outage: crate::outage::Outage| Finding {
        kind: Kind::Outage,
        start: outage.start,
        end: outage.end,
        value: None,
        expected: None,
        score: 1.0,
    };
    let mut findings: Vec<Finding> = outages(cells, &new).into_iter().map(outage).collect();
    let usable: Vec<(usize, f64)> =
        cells.iter().enumerate().filter_map(|(index, cell)| Some((index, cell.value()?))).collect();
    let (period, needed) = (fit.period, needed(fit.period, settings));
    let judged = usable.iter().skip(needed).any(|(index, _)| new.contains(index));
    if !judged {
        let has_new = usable.iter().any(|(index, _)| new.contains(index));
        let too_little = State::TooLittleHistory { usable: usable.len(), needed };
        let state = if has_new { too_little } else { State::Judged };
        return Scan { state, period, findings, scores: Vec::new() };
    }
    let judgement = Judgement::of(&usable, fit, settings);
    let (points, scores) = judgement.report(needed, &new, settings);
    findings.extend(points);
    findings.sort_by_key(|finding| finding.start);
    Scan { state: State::Judged, period, findings, scores }
}

/// Everything that is known of each usable value.
struct Judgement<'a> {
    /// Cells and values.
    usable: &'a [(usize, f64)],
    /// What the season has at each.
    seasonal: Vec<f64>,
    /// The level before each.
    levels: Vec<f64>,
    /// Residuals of those that have a level, which are the last ones.
    residuals: Vec<f64>,
    /// The deviation of each of them that the test found.
    extremes: Vec<Option<f64>>,
    /// Median and scatter of those that it did not find, and what the most extreme of them must exceed.
    center: f64,
    scale: f64,
    critical: f64,
    level_window: usize,
}

impl<'a> Judgement<'a> {
    fn of(usable: &'a [(usize, f64)], fit: &Fit, settings: &Settings) -> Self {
        let seasonal: Vec<f64> = usable.iter().map(|(cell, _)| fit.at(*cell)).collect();
        let plain: Vec<f64> = usable.iter().zip(&seasonal).map(|((_, value), seasonal)| value - seasonal).collect();
        let half_season = fit.period.unwrap_or(0) / 2;
        let level_window = settings.level_window.unwrap_or(half_season.clamp(12, 720)).max(LEVEL_POINTS_MIN);
        let levels = levels(&plain, level_window);
        let residuals: Vec<f64> =
            plain.iter().zip(&levels).skip(LEVEL_POINTS_MIN).map(|(value, level)| value - level).collect();
        let scale_min = scale_min(usable, settings);
        let candidates_max = ((residuals.len() as f64 * settings.anomalies_max) as usize).max(1);
        let (alpha, direction) = (settings.alpha, settings.direction);
        let found = esd(&residuals, &EsdSettings { candidates_max, alpha, direction, scale_min });
        let mut extremes = vec![None; residuals.len()];
        for extreme in &found {
            extremes[extreme.index] = Some(extreme.deviation);
        }
        let mut others: Vec<f64> = residuals
            .iter()
            .zip(&extremes)
            .filter(|(_, found)| found.is_none())
            .map(|(residual, _)| *residual)
            .collect();
        others.sort_unstable_by(f64::total_cmp);
        let center = median(&others);
        let scale = (MAD_TO_DEVIATION * median_deviation(&others, center)).max(scale_min);
        let critical = critical_value(others.len().max(3), alpha, direction);
        Self { usable, seasonal, levels, residuals, extremes, center, scale, critical, level_window }
    }

    /// Findings and scores of the values in `new` behind the first `needed`.
    fn report(&self, needed: usize, new: &Range<usize>, settings: &Settings) -> (Vec<Finding>, Vec<(usize, f64)>) {
        let (mut findings, mut scores) = (Vec::new(), Vec::new());
        let mut usual = Recurrent::of(self.residuals.len());
        let mut shifts = Shifts::new(settings.shift_points, self.level_window);
        for (place, extreme) in self.extremes.iter().enumerate() {
            let index = place + LEVEL_POINTS_MIN;
            let verdict = match extreme {
                None => {
                    shifts.usual();
                    None
                }
                Some(_) => {
                    let plain = self.usable[index].1 - self.seasonal[index];
                    Some(shifts.extreme(index, plain, self.levels[index], self.critical * self.scale))
                }
            };
            let is_above = self.residuals[place] > self.center;
            let critical = usual.critical(is_above).max(self.critical);
            let deviation = self.deviation(place, settings.direction);
            if matches!(verdict, Some(Verdict::Point | Verdict::Shift { .. })) {
                usual.note(is_above, deviation);
            }
            let cell = self.usable[index].0;
            if index < needed || !new.contains(&cell) {
                continue;
            }
            let score = match verdict {
                Some(Verdict::Absorbed) => USUAL_SCORE,
                None => (deviation / (deviation + critical)).min(0.5),
                Some(_) => deviation / (deviation + critical),
            };
            scores.push((cell, score));
            let (kind, start) = match verdict {
                Some(Verdict::Point) if score >= 0.5 => (Kind::Point, index),
                Some(Verdict::Shift { start }) if score >= 0.5 => (Kind::LevelShift, start),
                _ => continue,
            };
            findings.push(Finding {
                kind,
                start: self.usable[start].0,
                end: None,
                value: Some(self.usable[start].1),
                expected: Some(self.levels[start] + self.seasonal[start]),
                score,
            });
        }
        (findings, scores)
    }

    /// How far a residual is from the others' median on the side that is looked at, in what they scatter.
    fn deviation(&self, place: usize, direction: Direction) -> f64 {
        let distance = self.residuals[place] - self.center;
        let distance = match direction {
            Direction::Both => distance.abs(),
            Direction::Positive => distance.max(0.0),
            Direction::Negative => (-distance).max(0.0),
        };
        // What the test found was further from what was left then.
        let found = self.extremes[place].unwrap_or(0.0);
        (distance / self.scale).max(found)
    }
}

/// The least that residuals are taken to scatter: so many times the resolution, and never less than what computing loses.
fn scale_min(usable: &[(usize, f64)], settings: &Settings) -> f64 {
    let magnitude = usable.iter().map(|(_, value)| value.abs()).sum::<f64>() / usable.len().max(1) as f64;
    let lost = (1e-9 * magnitude).max(f64::MIN_POSITIVE);
    let resolution = settings.resolution.unwrap_or_else(|| decimal_step(usable.iter().map(|(_, value)| *value)));
    (resolution * settings.resolution_steps).max(lost)
}

/// The greatest of 1, 0.1, … 0.000001 of which all values are multiples; 0 if none is.
fn decimal_step(values: impl Iterator<Item = f64>) -> f64 {
    let mut places = 0;
    for value in values {
        let is_whole = |places: i32| {
            let scaled = value * 10_f64.powi(places);
            (scaled - scaled.round()).abs() <= 1e-9 * scaled.abs().max(1.0)
        };
        while places <= DECIMALS_MAX && !is_whole(places) {
            places += 1;
        }
    }
    if places > DECIMALS_MAX { 0.0 } else { 10_f64.powi(-places) }
}

/// Values with more decimals than this are not taken for rounded ones.
const DECIMALS_MAX: i32 = 6;

#[cfg(test)]
mod tests;
