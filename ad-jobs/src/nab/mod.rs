//! The Numenta Anomaly Benchmark: scores of the detectors on its corpus, and how good they are by its published rules.
//!
//! Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark", ICMLA 2015.
//!
//! **Invariant:** a row's score uses no later row.

mod corpus;
mod detectors;
mod results;
mod scorer;

pub use corpus::{Corpus, CorpusError, DataFile, Window, load};
pub use detectors::{Detector, score_file};
pub use results::write_results;
pub use scorer::{Profile, Rated, ScoredFile, probation_rows, rate};
