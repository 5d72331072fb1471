//! Sensor types and values for the tests.

use checks::Checks;
use domain::{SensorTypeDraft, Value};

/// The built-in type whose settings are those of the reference.
pub const EMB_QARTOD: &str = include_str!("../../../registry/src/built_in/emb-qartod.toml");

/// The tests of a sensor type in TOML, with or without its id.
pub fn checks(text: &str) -> Checks {
    let mut table: toml::Table = toml::from_str(text).expect("TOML");
    table.remove("id");
    let definition: SensorTypeDraft = table.try_into().expect("a definition");
    definition.check().expect("nothing wrong with it");
    Checks::new(&definition)
}

pub fn number(number: f64) -> Value {
    Value::number(number).expect("finite")
}
