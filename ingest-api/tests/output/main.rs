//! Readings out over a real socket: pages, streams, formats and problems.

mod anomalies;
mod endless;
mod flags;
mod formats;
mod hub;
mod problems;
mod queries;
mod streams;
mod summary;
