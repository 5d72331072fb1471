//! The REST service: readings, sensor types and sensors in; queries, exports, health, metrics and OpenAPI out.
//!
//! **Invariant:** a 2xx for a reading is sent only behind the answer of [`ports::Log::append`], so that accepted means durable.

mod accept;
mod api;
mod config;
mod definition;
mod gate;
mod hosts;
pub mod input;
pub mod openapi;
pub mod output;
mod principal;
mod problem;
mod replays;
mod routes;
mod service;
mod state;

pub use config::{Config, ReadinessCheck, Surface};
pub use hosts::Host;
pub use principal::Principal;
pub use problem::{Code, Problem};
pub use service::{Service, ServiceError};
pub use state::{App, Ports};
