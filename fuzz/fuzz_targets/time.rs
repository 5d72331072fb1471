//! Any text as a time; what is one reads back from its canonical form.
#![no_main]

use domain::Timestamp;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(time) = Timestamp::parse(text) {
        // Years outside of 1 to 9999 have no RFC 3339 form.
        let has_form = (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&time.as_micros());
        assert!(!has_form || Timestamp::parse(&time.to_string()) == Ok(time), "{text}");
    }
});
