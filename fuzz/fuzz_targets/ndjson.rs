//! Any bytes as a body of the parser `ndjson`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzz::check(|target| ingest_api::input::ndjson::parse(body, target)));
