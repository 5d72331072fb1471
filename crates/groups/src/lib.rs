//! Groups of sensors: trees that people rearrange while everything runs, and the statistics of what their members say in a window.
//!
//! A group has at most one parent; a group without one is the root of a tree. Several trees stand side by side, and a sensor is in at most one
//! place of each. Every change holds from a time on, so that it can be told of any time which tree held then.
//!
//! **Invariant:** pure: what comes out follows from what goes in, whatever the order in which it came to be.

mod forest;
mod history;
mod moments;
mod rearrange;
mod tree;

pub use forest::{Forest, GroupId, GroupPlace, SensorPlaces};
pub use history::{CHANGES_MAX, History, TooManyChanges};
pub use moments::{Moments, Statistics};
pub use rearrange::{Fault, LEVELS_MAX, Move, Rearranged, Subject};
pub use tree::{Children, Tree};
