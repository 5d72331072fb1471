//! The tests of the IOOS QARTOD manuals as pure functions of a value and its window, over a sorted series, and as a stream.
//!
//! One module per test says what its flag is and where the manual says so. [`Checks`] are the tests of a version of a sensor type:
//! [`Checks::judge_series`] runs them over a series, each flag from scratch; [`Tail`] takes readings one by one and remembers what the next needs.
//!
//! Sections are those of the Manual for Real-Time Quality Control of In-situ Temperature and Salinity Data (IOOS QARTOD, version 2.1, 2020);
//! where the manual leaves a choice, it is that of ioos_qc 3.0.0, whose answers the tests compare with.
//!
//! **Invariant:** pure. A flag depends on the readings of the series alone, never on when or in which order they came.

pub mod attenuated_signal;
mod checks;
pub mod climatology;
mod flags;
pub mod flat_line;
pub mod gap;
pub mod gross_range;
pub mod neighbour;
pub mod rate_of_change;
mod series;
pub mod spike;
mod stream;

pub use checks::{Checks, Reach};
pub use flags::{Test, TestFlags};
pub use series::Series;
pub use stream::{Next, Tail};
