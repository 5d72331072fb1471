//! Any bytes as a body of the parser `paper`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzz::check(|target| ingest_api::input::paper::parse(body, target)));
