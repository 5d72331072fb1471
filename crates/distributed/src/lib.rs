//! Both ports past one machine.

pub mod store;
