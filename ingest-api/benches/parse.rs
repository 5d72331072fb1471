//! Measures the parsers: nanoseconds per reading.

fn main() {}
