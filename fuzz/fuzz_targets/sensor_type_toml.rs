//! Any text as the TOML file of a sensor type; what is one makes a valid first version.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok((id, draft)) = registry::parse_toml(text, "fuzz.toml") {
        assert!(domain::SensorType::first(id, 1, draft).is_ok(), "{text}");
    }
});
