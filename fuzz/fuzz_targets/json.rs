//! Any bytes as a body of the parser `json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzz::check(|target| ingest_api::input::json::parse(body, target)));
