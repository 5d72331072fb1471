//! Stored readings judged again, as quality control does and as whoever asks for the flags of each test does: every version of a sensor
//! type with its tests, and slices of stored rows with all that their flags depend on.
//!
//! **Invariant:** flags follow from the sorted series that the store has; nothing here writes.

mod kind;
mod slice;
mod walk;

pub use kind::Kind;
pub use slice::{Neighbours, Slice, Source, Span, Stored, joined};
pub use walk::{Walk, Walked};
