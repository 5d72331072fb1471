//! The ports in memory: the plainest reading of the contracts, for tests of services and as the model of the other backends.
//!
//! **Invariant:** nothing here is clever. Everything is a sorted map under a mutex, and each call does at once all that it has to do.

mod faulty;
mod findings;
mod group;
mod log;
mod partition;
mod store;

pub use faulty::{Call, Effect, Faulty};
pub use findings::MemoryFindings;
pub use log::{LogSettings, MemoryLog};
pub use store::MemoryStore;
