//! The feeder: replays CSV files or simulates sensors, through a hub's public REST API only.
//!
//! **Invariant:** the feeder knows a hub by its REST API alone and depends on no other crate of the workspace, so that what
//! it can do, any device can do.

pub mod dialect;
pub mod http;
pub mod hub;
pub mod pace;
pub mod replay;
pub mod retry;
pub mod sensor_type;
pub mod simulate;
pub mod stop;
