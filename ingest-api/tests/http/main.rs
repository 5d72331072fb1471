//! The service over a real socket, with both ports in memory.

mod hub;
mod readings;
mod registry;
mod replays;
mod runs;
mod serving;
