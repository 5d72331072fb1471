//! Finds the season of a series by its autocorrelation.
//!
//! A season of `p` points makes the series correlate with itself `p`, `2p`, … points later, and less in between (Box and Jenkins,
//! "Time series analysis", chapter 2). Trends correlate as well, but without the dip before the peak: so a peak counts by its height above
//! the deepest dip before it.
//!
//! **Invariant:** what is found has been seen three times at least.

use crate::{MAD_TO_DEVIATION, median, median_deviation};

/// How far a peak of the autocorrelation must rise above the deepest dip before it.
const RISE_MIN: f64 = 0.35;
/// How high a peak must be.
const PEAK_MIN: f64 = 0.3;
/// What share of height and rise it must have again, twice as late.
const AGAIN_MIN: f64 = 0.6;
/// A lesser peak at a shorter or likelier lag is preferred from this share of the highest peak's height on.
const SHARE_OF_HIGHEST: f64 = 0.85;
/// Shortest season that is looked for.
const PERIOD_MIN: usize = 4;
/// How many deviations from the median numbers count at most, so that anomalies do not decide.
const DEVIATIONS_MAX: f64 = 3.0;

/// The season of a series, in points; `None` where it has none that was seen three times. Numbers are finite.
///
/// `likely` are seasons that are expected, such as those of a day and a week: one of them is taken where the series has it about as
/// much as any other.
pub fn find_period(values: &[f64], likely: &[usize]) -> Option<usize> {
    let lag_max = values.len() / 3;
    if lag_max < PERIOD_MIN {
        return None;
    }
    let correlation = autocorrelation(&without_trend(values), 2 * lag_max)?;
    let peaks = peaks(&correlation, lag_max);
    let highest = peaks.iter().map(|peak| correlation[*peak]).fold(f64::NEG_INFINITY, f64::max);
    let enough = highest * SHARE_OF_HIGHEST;
    let is_near = |lag: usize, peak: usize| lag.abs_diff(peak) <= lag / 50 + 1;
    let expected = likely.iter().copied().find(|&lag| {
        lag >= PERIOD_MIN
            && lag <= lag_max
            && correlation[lag] >= enough
            && peaks.iter().any(|peak| is_near(lag, *peak))
    });
    expected.or_else(|| peaks.into_iter().find(|peak| correlation[*peak] >= enough))
}

/// The numbers without the straight line between the medians of their halves, held within a few deviations.
fn without_trend(values: &[f64]) -> Vec<f64> {
    let sorted = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    };
    let (early, late) = values.split_at(values.len() / 2);
    let slope = (median(&sorted(late)) - median(&sorted(early))) / (values.len() as f64 / 2.0);
    let level: Vec<f64> = values.iter().enumerate().map(|(index, value)| value - slope * index as f64).collect();
    let by_size = sorted(&level);
    let center = median(&by_size);
    let most = DEVIATIONS_MAX * MAD_TO_DEVIATION * median_deviation(&by_size, center);
    level.into_iter().map(|value| (value - center).clamp(-most, most)).collect()
}

/// Correlation of numbers around zero with themselves, 0 up to `lag_max` later; `None` of numbers that do not vary.
///
/// Each lag is scaled by how many pairs it has, so that long seasons are not put back.
fn autocorrelation(values: &[f64], lag_max: usize) -> Option<Vec<f64>> {
    let count = values.len();
    let mean = values.iter().sum::<f64>() / count as f64;
    let centered: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let variance = centered.iter().map(|value| value * value).sum::<f64>() / count as f64;
    if variance <= 0.0 || !variance.is_finite() {
        return None;
    }
    let at = |lag: usize| {
        let products = centered[lag..].iter().zip(&centered).map(|(later, earlier)| later * earlier);
        products.sum::<f64>() / (count - lag) as f64 / variance
    };
    Some((0..=lag_max).map(at).collect())
}

/// Lags up to `lag_max` of the peaks that are high enough, rise enough and come again after as long, ascending.
fn peaks(correlation: &[f64], lag_max: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut deepest = f64::INFINITY;
    for lag in 1..=lag_max {
        let height = correlation[lag];
        deepest = deepest.min(height);
        // The highest within a fiftieth around, so that noise on a broad peak does not make many.
        let around = lag / 50 + 1;
        let (from, to) = (lag.saturating_sub(around), (lag + around).min(correlation.len() - 1));
        let is_top = correlation[from..=to].iter().all(|other| *other <= height);
        let is_high = height >= PEAK_MIN && height - deepest >= RISE_MIN;
        if lag >= PERIOD_MIN && is_top && is_high && comes_again(correlation, lag) {
            found.push(lag);
        }
    }
    found
}

/// Says whether there is a peak of nearly the height and rise twice as late.
fn comes_again(correlation: &[f64], lag: usize) -> bool {
    let around = lag / 25 + 1;
    let to = (2 * lag + around).min(correlation.len() - 1);
    let again = correlation[2 * lag - around..=to].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let dip = correlation[lag..=2 * lag].iter().copied().fold(f64::INFINITY, f64::min);
    again >= correlation[lag] * AGAIN_MIN && again - dip >= RISE_MIN * AGAIN_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -0.5 and 0.5, the same in every run.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
        }
    }

    fn daily(points: usize, day: usize, amplitude: f64, scatter: f64) -> Vec<f64> {
        let mut noise = noise(7);
        let phase = |index: usize| std::f64::consts::TAU * (index % day) as f64 / day as f64;
        (0..points)
            .map(|index| 20.0 + amplitude * (phase(index).sin() + 0.4 * (2.0 * phase(index)).cos()) + scatter * noise())
            .collect()
    }

    #[test]
    fn a_day_is_found_in_hourly_five_minute_and_minutely_series() {
        for (days, day) in [(7, 24), (28, 24), (7, 288), (5, 1440)] {
            for scatter in [0.0, 1.0, 3.0] {
                let values = daily(days * day, day, 1.0, scatter);
                let found = find_period(&values, &[day, 7 * day]);
                assert_eq!(found, Some(day), "{days} days of {day} points, scatter {scatter}");
                let unaided = find_period(&values, &[]).expect("a season");
                assert!(unaided.abs_diff(day) <= day / 50 + 1, "{unaided} of {day}, scatter {scatter}");
            }
        }
    }

    #[test]
    fn trend_spikes_and_gaps_filled_flat_do_not_hide_it() {
        let mut values = daily(14 * 24, 24, 1.0, 0.5);
        for (index, value) in values.iter_mut().enumerate() {
            *value += index as f64 * 0.02;
        }
        values[50] = 1e6;
        values[200..230].fill(22.0);
        assert_eq!(find_period(&values, &[24, 168]), Some(24));
    }

    #[test]
    fn what_does_not_repeat_itself_has_no_season() {
        let mut scatter = noise(3);
        let white: Vec<f64> = (0..1000).map(|_| scatter()).collect();
        assert_eq!(find_period(&white, &[24, 168]), None);
        let line: Vec<f64> = (0..500).map(f64::from).collect();
        assert_eq!(find_period(&line, &[24]), None);
        assert_eq!(find_period(&[5.0; 400], &[24]), None);
        let step: Vec<f64> = (0..400).map(|index| if index < 150 { 3.0 } else { 9.0 }).collect();
        assert_eq!(find_period(&step, &[24]), None);
        assert_eq!(find_period(&[1.0, 2.0, 1.0], &[]), None);
        for seed in 0..50 {
            let (mut scatter, mut level) = (noise(seed), 0.0);
            let walk: Vec<f64> = (0..672)
                .map(|_| {
                    level = 0.9 * level + scatter();
                    level
                })
                .collect();
            assert_eq!(find_period(&walk, &[24, 168]), None, "seed {seed}");
        }
    }

    #[test]
    fn a_season_that_nobody_expects_is_found() {
        let tide = daily(3000, 149, 1.0, 1.0);
        let found = find_period(&tide, &[144, 1008]).expect("a season");
        assert!(found.abs_diff(149) <= 2, "{found}");
    }
}
