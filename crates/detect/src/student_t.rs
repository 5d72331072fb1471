//! Quantiles of Student's t distribution.

use std::f64::consts::PI;

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The number that a t-distributed one with `freedom` degrees of freedom stays below with probability `probability`.
///
/// `NaN` where `freedom` is not positive or `probability` not between 0 and 1.
pub fn student_t_quantile(probability: f64, freedom: f64) -> f64 {
    if !(0.0..=1.0).contains(&probability) {
        return f64::NAN;
    }
    if freedom == 1.0 {
        // Cauchy's distribution, whose far tails the library cuts off.
        return 1.0 / (PI * (1.0 - probability)).tan();
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |distribution| distribution.inverse_cdf(probability))
}
