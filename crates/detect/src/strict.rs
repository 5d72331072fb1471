//! Seasonal Hybrid ESD as it was published, equal to the authors' own program in every answer.
//!
//! Vallis, Hochenbaum and Kejariwal, "A novel technique for long-term anomaly detection in the cloud", HotCloud 2014: the residual
//! is the series without its season and without its median (the trend is not removed, section 3.2); a long series is taken in pieces
//! with a median each (section 3.4). Where the paper leaves a choice, the choice is that of the published program: it is compared
//! with its outputs row by row in `tests/reference.rs`.
//!
//! **Invariant:** nothing is added here that the published method does not have; what it lacks is in the guarded mode.

use crate::{
    Direction, SeasonError, decompose,
    esd::{EsdSettings, esd},
    median,
};

/// Settings of the published method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Points in one season.
    pub period: usize,
    /// The greatest share of points that may be anomalies, below 0.5; where it is less than one point, it is one point.
    pub anomalies_max: f64,
    /// Chance of finding an anomaly where there is none, between 0 and 1.
    pub alpha: f64,
    /// On which side of the median to look.
    pub direction: Direction,
    /// Points that share a median and a season: for long series, whose median is not the same all along.
    pub piece: Option<usize>,
    /// Leaves anomalies below this level out.
    pub threshold: Option<Threshold>,
    /// Leaves anomalies before the last `period` points out.
    pub only_last: bool,
}

impl Default for Settings {
    /// What the paper recommends, for hourly readings with a daily season.
    fn default() -> Self {
        Self {
            period: 24,
            anomalies_max: 0.2,
            alpha: 0.05,
            direction: Direction::Both,
            piece: None,
            threshold: None,
            only_last: false,
        }
    }
}

/// A level that the greatest values of all periods give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// Their median.
    MedianOfMaxima,
    /// Their 95th percentile.
    Percentile95,
    /// Their 99th percentile.
    Percentile99,
}

/// A point that does not fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anomaly {
    /// Its index in the series.
    pub index: usize,
    /// What is there.
    pub value: f64,
    /// What trend and season would have there, truncated towards zero.
    pub expected: f64,
    /// Its distance from the median of its piece, in scaled median absolute deviations.
    pub deviation: f64,
    /// What the distance had to exceed.
    pub critical: f64,
}

/// Why a series can't be looked at.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It can't be decomposed.
    #[error(transparent)]
    Season(#[from] SeasonError),
    /// There are values on both sides of a missing one.
    #[error("value {0} is missing: must be interpolated, only the ends may be missing")]
    Gap(usize),
    /// The share of anomalies is none.
    #[error("share of anomalies is `{0}`: must be less than 0.5")]
    AnomaliesMax(f64),
    /// The chance is none.
    #[error("alpha is `{0}`: must be between 0 and 1")]
    Alpha(f64),
}

/// The anomalies of a series, by index; `NaN` is a missing value, at either end alone.
///
/// # Errors
/// [`Refusal`].
pub fn anomalies(values: &[f64], settings: &Settings) -> Result<Vec<Anomaly>, Refusal> {
    if settings.anomalies_max.is_nan() || settings.anomalies_max >= 0.5 {
        return Err(Refusal::AnomaliesMax(settings.anomalies_max));
    }
    if !(settings.alpha > 0.0 && settings.alpha < 1.0) {
        return Err(Refusal::Alpha(settings.alpha));
    }
    let (start, present) = without_missing_ends(values)?;
    let mut found: Vec<Anomaly> = Vec::new();
    for (from, to) in pieces(present.len(), settings.piece) {
        for mut anomaly in anomalies_of_piece(&present[from..to], settings)? {
            anomaly.index += start + from;
            // The last two pieces may overlap: the earlier one decides.
            if !found.iter().any(|other| other.index == anomaly.index) {
                found.push(anomaly);
            }
        }
    }
    if let Some(threshold) = settings.threshold {
        let level = level_of(threshold, present, settings.period);
        found.retain(|anomaly| anomaly.value >= level);
    }
    if settings.only_last {
        found.retain(|anomaly| anomaly.index + settings.period >= values.len());
    }
    found.sort_by_key(|anomaly| anomaly.index);
    Ok(found)
}

fn without_missing_ends(values: &[f64]) -> Result<(usize, &[f64]), Refusal> {
    let is_present = |value: &f64| !value.is_nan();
    let start = values.iter().position(is_present).unwrap_or(0);
    let end = values.iter().rposition(is_present).map_or(start, |last| last + 1);
    match values[start..end].iter().position(|value| value.is_nan()) {
        Some(gap) => Err(Refusal::Gap(start + gap)),
        None => Ok((start, &values[start..end])),
    }
}

/// From where to where each piece goes. A last one that would be short is as many points long as the others and one, up to the end.
fn pieces(count: usize, piece: Option<usize>) -> Vec<(usize, usize)> {
    let Some(piece) = piece.filter(|piece| (1..count).contains(piece)) else { return vec![(0, count)] };
    let mut pieces: Vec<(usize, usize)> =
        (0..count / piece).map(|number| (number * piece, (number + 1) * piece)).collect();
    if !count.is_multiple_of(piece) {
        pieces.push((count - piece - 1, count));
    }
    pieces
}

fn anomalies_of_piece(values: &[f64], settings: &Settings) -> Result<Vec<Anomaly>, Refusal> {
    let parts = decompose(values, settings.period)?;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let center = median(&sorted);
    let residuals: Vec<f64> =
        values.iter().zip(&parts.seasonal).map(|(value, seasonal)| value - seasonal - center).collect();
    let candidates_max = (values.len() as f64 * settings.anomalies_max) as usize;
    let extremes = esd(
        &residuals,
        &EsdSettings {
            candidates_max: candidates_max.max(1),
            alpha: settings.alpha,
            direction: settings.direction,
            scale_min: 0.0,
        },
    );
    let mut found: Vec<Anomaly> = extremes
        .into_iter()
        .map(|extreme| Anomaly {
            index: extreme.index,
            value: values[extreme.index],
            expected: (parts.trend[extreme.index] + parts.seasonal[extreme.index]).trunc(),
            deviation: extreme.deviation,
            critical: extreme.critical,
        })
        .collect();
    found.sort_by_key(|anomaly| anomaly.index);
    Ok(found)
}

/// The level below which anomalies are left out.
fn level_of(threshold: Threshold, values: &[f64], period: usize) -> f64 {
    let mut maxima: Vec<f64> =
        values.chunks(period).map(|cycle| cycle.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
    maxima.sort_unstable_by(f64::total_cmp);
    match threshold {
        Threshold::MedianOfMaxima => median(&maxima),
        Threshold::Percentile95 => quantile(&maxima, 0.95),
        Threshold::Percentile99 => quantile(&maxima, 0.99),
    }
}

/// A quantile of numbers in ascending order, linear between neighbours (definition 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * probability;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, proptest},
    };

    use super::*;

    fn season_with(changes: &[(usize, f64)]) -> Vec<f64> {
        let noise = |index: usize| ((index * 7919) % 13) as f64 / 13.0;
        let mut values: Vec<f64> = (0..240).map(|index| 50.0 + (index % 12) as f64 + noise(index)).collect();
        for (index, value) in changes {
            values[*index] = *value;
        }
        values
    }

    fn indices(values: &[f64], settings: &Settings) -> Vec<usize> {
        anomalies(values, settings).expect("it can be looked at").iter().map(|anomaly| anomaly.index).collect()
    }

    #[test]
    fn a_direction_finds_its_own_side() {
        let values = season_with(&[(100, 90.0), (150, 10.0)]);
        let of = |direction| indices(&values, &Settings { period: 12, direction, ..Settings::default() });
        assert_eq!(of(Direction::Both), [100, 150]);
        assert_eq!(of(Direction::Positive), [100]);
        assert_eq!(of(Direction::Negative), [150]);
    }

    #[test]
    fn missing_ends_are_left_out_and_indices_stay() {
        let mut values = season_with(&[(100, 90.0)]);
        values[..5].fill(f64::NAN);
        values[237..].fill(f64::NAN);
        let settings = Settings { period: 12, ..Settings::default() };
        assert_eq!(indices(&values, &settings), [100]);
        values[120] = f64::NAN;
        assert_eq!(anomalies(&values, &settings), Err(Refusal::Gap(120)));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let check = |change: &dyn Fn(&mut Settings), message: &str| {
            let mut settings = Settings { period: 12, ..Settings::default() };
            change(&mut settings);
            let refusal = anomalies(&season_with(&[]), &settings).expect_err("it is refused");
            assert_eq!(refusal.to_string(), message);
        };
        check(&|s| s.anomalies_max = 0.5, "share of anomalies is `0.5`: must be less than 0.5");
        check(&|s| s.anomalies_max = f64::NAN, "share of anomalies is `NaN`: must be less than 0.5");
        check(&|s| s.alpha = 0.0, "alpha is `0`: must be between 0 and 1");
        check(&|s| s.period = 120, "`240` points: must be more than two periods, at least `241`");
        check(&|s| s.piece = Some(20), "`20` points: must be more than two periods, at least `25`");
    }

    proptest! {
        #[test]
        fn any_series_is_looked_at_or_refused(
            values in vec(any::<f64>(), 0..80),
            period in 0usize..40,
            anomalies_max in any::<f64>(),
            alpha in any::<f64>(),
            piece in proptest::option::of(0usize..90),
            only_last in any::<bool>(),
        ) {
            let threshold = Some(Threshold::Percentile95);
            let settings =
                Settings { period, anomalies_max, alpha, direction: Direction::Both, piece, threshold, only_last };
            if let Ok(found) = anomalies(&values, &settings) {
                prop_assert!(found.windows(2).all(|pair| pair[0].index < pair[1].index));
                prop_assert!(found.iter().all(|anomaly| values[anomaly.index] == anomaly.value));
            }
        }
    }
}
