//! Seasonal-trend decomposition by loess, robust, with a season that repeats itself exactly.
//!
//! Cleveland, Cleveland, McRae and Terpenning, "STL: a seasonal-trend decomposition procedure based on loess", Journal of Official
//! Statistics 6 (1990) 3-73. The seasonal smoother spans more than all cycles (length 10n + 1, degree 0), and the season is then
//! replaced by its mean per phase, which is what a periodic season means there (section 3.6). f64 throughout: in f32 a quarter of
//! the anomalies found in residuals change.

use stlrs::Stl;

use crate::median;

/// The greatest magnitude of a number: beyond it sums and squares could overflow.
const MAGNITUDE_MAX: f64 = 1e150;

/// Season and trend of a series; what is left is neither.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// The season, the same in every cycle.
    pub seasonal: Vec<f64>,
    /// What changes slowly.
    pub trend: Vec<f64>,
}

/// Why a series has no decomposition.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SeasonError {
    /// The period is no period.
    #[error("period is `{0}`: must be at least 2")]
    Period(usize),
    /// There are too few numbers.
    #[error("`{points}` points: must be more than two periods, at least `{needed}`")]
    TooShort {
        /// How many there are.
        points: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A number can't be computed with.
    #[error("value {index} is `{value}`: must be finite, at most 1e150 in magnitude")]
    Magnitude {
        /// Its index.
        index: usize,
        /// What it is.
        value: f64,
    },
}

/// Decomposes a series into a season of `period` points, a trend, and the rest.
///
/// # Errors
/// [`SeasonError`].
pub fn decompose(values: &[f64], period: usize) -> Result<Decomposition, SeasonError> {
    check(values, period)?;
    let count = values.len();
    let seasonal_length = 10 * count + 1;
    // Section 3.5: the trend smoother must not take up what the seasonal one leaves.
    let trend_length = (1.5 * period as f64 / (1.0 - 1.5 / seasonal_length as f64)).ceil() as usize;
    let fitted = Stl::params()
        .robust(true)
        .seasonal_length(seasonal_length)
        .seasonal_degree(0)
        .trend_length(trend_length)
        .fit(values, period);
    let (mut seasonal, trend, _, _) =
        fitted.map_err(|_| SeasonError::TooShort { points: count, needed: 2 * period + 1 })?.into_parts();
    repeat_mean_cycle(&mut seasonal, period);
    if is_rounding(&seasonal, values, period) {
        seasonal.fill(0.0);
    }
    Ok(Decomposition { seasonal, trend })
}

fn check(values: &[f64], period: usize) -> Result<(), SeasonError> {
    if period < 2 {
        return Err(SeasonError::Period(period));
    }
    let needed = period.saturating_mul(2).saturating_add(1);
    if values.len() < needed {
        return Err(SeasonError::TooShort { points: values.len(), needed });
    }
    match values.iter().position(|value| value.is_nan() || value.abs() > MAGNITUDE_MAX) {
        Some(index) => Err(SeasonError::Magnitude { index, value: values[index] }),
        None => Ok(()),
    }
}

/// Says whether a season is nothing but the rounding of sums: it is that small, and not even one value in a cycle differs from the
/// others.
fn is_rounding(seasonal: &[f64], values: &[f64], period: usize) -> bool {
    let magnitude = values.iter().map(|value| value.abs()).sum::<f64>() / values.len() as f64;
    let season_min = 8.0 * f64::EPSILON * magnitude;
    if seasonal.iter().any(|value| value.abs() > season_min) {
        return false;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let usual = median(&sorted);
    values.iter().filter(|value| **value != usual).count() <= values.len() / period
}

/// Gives every phase its mean over all cycles, computed twice so that equal numbers have themselves as their mean.
fn repeat_mean_cycle(seasonal: &mut [f64], period: usize) {
    let mut cycle = vec![0.0; period];
    for _ in 0..2 {
        let mut sums = vec![0.0; period];
        for values in seasonal.chunks(period) {
            for ((sum, mean), value) in sums.iter_mut().zip(&cycle).zip(values) {
                *sum += value - mean;
            }
        }
        for (phase, (mean, sum)) in cycle.iter_mut().zip(sums).enumerate() {
            *mean += sum / (seasonal.len() - phase).div_ceil(period) as f64;
        }
    }
    for values in seasonal.chunks_mut(period) {
        values.copy_from_slice(&cycle[..values.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decomposed_is_refused_by_value_and_rule() {
        let check = |values: &[f64], period, message: &str| {
            assert_eq!(decompose(values, period).map_err(|error| error.to_string()), Err(message.to_owned()));
        };
        check(&[1.0; 48], 24, "`48` points: must be more than two periods, at least `49`");
        check(&[1.0; 48], 1, "period is `1`: must be at least 2");
        check(&[1.0], usize::MAX, &format!("`1` points: must be more than two periods, at least `{}`", usize::MAX));
        let mut values = [1.0; 49];
        values[7] = f64::INFINITY;
        check(&values, 24, "value 7 is `inf`: must be finite, at most 1e150 in magnitude");
        values[7] = f64::NAN;
        check(&values, 24, "value 7 is `NaN`: must be finite, at most 1e150 in magnitude");
        values[7] = 1e150;
        assert!(decompose(&values, 24).is_ok());
    }

    #[test]
    fn a_constant_series_has_no_season_not_even_of_roundings() {
        for level in [0.1, 844.3, -1e-9, 1e17] {
            let mut values = vec![level; 672];
            values[299] = level * 1.07;
            assert_eq!(decompose(&values, 24).expect("it is long enough").seasonal, [0.0; 672], "{level}");
        }
    }

    #[test]
    fn a_season_on_a_line_is_found_whole() {
        let wave = |index: usize| [3.0, -1.0, 0.0, -2.0][index % 4];
        let values: Vec<f64> = (0..41).map(|index| 10.0 + 0.5 * index as f64 + wave(index)).collect();
        let parts = decompose(&values, 4).expect("it is long enough");
        for (index, value) in values.iter().enumerate() {
            assert!((parts.seasonal[index] - wave(index)).abs() < 0.1, "{index}: {}", parts.seasonal[index]);
            assert!((parts.trend[index] + parts.seasonal[index] - value).abs() < 0.1);
            assert_eq!(parts.seasonal[index], parts.seasonal[index % 4]);
        }
    }
}
