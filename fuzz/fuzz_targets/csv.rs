//! Any bytes as a body of CSV, with a header row and in the dialect.
#![no_main]

use ingest_api::input::csv;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    fuzz::check(|target| csv::parse(body, target));
    fuzz::check(|target| csv::parse_dialect(body, "emb3", target));
    let headed = [b"sensor_id,phenomenon_time,sec,ph\n", body].concat();
    fuzz::check(|target| csv::parse(&headed, target));
});
