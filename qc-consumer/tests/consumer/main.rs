//! Quality control on ports in memory: outcomes, dead letters, failures, crashes, metrics and real data.

mod failures;
mod outcomes;
mod real_data;
mod support;
mod windowed;
