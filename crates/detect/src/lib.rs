//! Detectors of anomalies: pure functions over a series of numbers.
//!
//! **Invariant:** nothing here does I/O, knows the time of day or keeps anything between two calls: the same series with the same
//! settings has the same anomalies.

mod baseline;
mod esd;
mod grid;
pub mod guarded;
mod level;
mod outage;
mod period;
mod remaining;
mod seasonal;
pub mod strict;
mod student_t;

pub use esd::{Direction, EsdSettings, Extreme, critical_value, esd};
pub use grid::{CELLS_MAX, Cell, Sample, to_grid};
pub use period::find_period;
pub use remaining::{MAD_TO_DEVIATION, median, median_deviation};
pub use seasonal::{Decomposition, SeasonError, decompose};
pub use student_t::student_t_quantile;
