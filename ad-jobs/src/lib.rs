//! Detection: what no single value shows, looked for in the light of a datastream's history.
//!
//! **Invariant:** detectors are in `detect`; here is what feeds them and what becomes of what they find.

mod aside;
pub mod cli;
pub mod csv_series;
pub mod detect_file;
pub mod files;
mod gaps;
mod groups;
pub mod judge;
pub mod metrics;
pub mod nab;
mod publish;
pub mod requested;
pub mod schedule;
pub mod service;
mod status;
pub mod window;

pub use status::Status;
