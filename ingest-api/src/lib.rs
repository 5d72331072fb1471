//! The REST service: readings, sensor types and sensors in; queries, exports, health, metrics and OpenAPI out.
//!
//! **Invariant:** a 2xx for a reading is sent only behind the answer of [`ports::Log::append`], so that accepted means durable.

mod config;
pub mod input;
pub mod output;
mod principal;
mod problem;
mod state;

pub use config::{Config, ReadinessCheck};
pub use principal::Principal;
pub use problem::{Code, Problem};
pub use state::{App, Ports};
