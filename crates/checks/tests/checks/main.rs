//! The tests as a whole: against the reference, and the streaming form against the series.

mod order;
mod reference;
mod support;
