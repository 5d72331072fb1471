//! Both ports past one machine.

pub mod log;
pub mod store;
