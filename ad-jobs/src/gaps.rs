//! What strict mode does with missing values between others, which the published method has no answer to.

use domain::DetectionGaps;

/// Which values of a series are looked at, and what they are: `NaN` is missing.
pub fn without_gaps(values: &[f64], gaps: DetectionGaps) -> (Vec<usize>, Vec<f64>) {
    let mut rows: Vec<usize> = (0..values.len()).collect();
    if gaps == DetectionGaps::Drop {
        rows.retain(|row| !values[*row].is_nan());
    }
    let mut kept: Vec<f64> = rows.iter().map(|row| values[*row]).collect();
    if gaps == DetectionGaps::Interpolate {
        interpolate(&mut kept);
    }
    (rows, kept)
}

/// Puts what a line between its neighbours has in place of each missing value; holds the ends.
fn interpolate(values: &mut [f64]) {
    let present: Vec<usize> = (0..values.len()).filter(|index| !values[*index].is_nan()).collect();
    let (Some(&first), Some(&last)) = (present.first(), present.last()) else { return };
    let (first_value, last_value) = (values[first], values[last]);
    values[..first].fill(first_value);
    values[last + 1..].fill(last_value);
    for pair in present.windows(2) {
        let (left, right) = (pair[0], pair[1]);
        let slope = (values[right] - values[left]) / (right - left) as f64;
        for index in left + 1..right {
            values[index] = values[left] + slope * (index - left) as f64;
        }
    }
}
