//! Any text as a cursor.
#![no_main]

use domain::SensorTypeId;
use ingest_api::output::{Fingerprint, decode_cursor};
use ports::ReadingQuery;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let emb = SensorTypeId::parse("emb").expect("an id");
    let _ = decode_cursor(text, Fingerprint::of(&emb, &ReadingQuery::default(), None));
});
