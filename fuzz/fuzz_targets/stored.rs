//! Any bytes as entries of the log and the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| embedded::decode_anything(bytes));
