//! Readings of boreholes for the scenarios, and the ways to write them down.

use std::fmt::Write as _;

use harness::Row;
use rand::{Rng, RngExt};

/// The properties of `emb`, in order.
pub const PROPERTIES: [&str; 5] = ["sec", "ph", "water_level", "water_temp", "tdg"];

/// A reading of a borehole.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The sensor.
    pub sensor_id: String,
    /// The phenomenon time.
    pub time: String,
    /// One value per property.
    pub row: Row,
}

impl Sample {
    /// A plausible reading for the hour `hour` since the start of 2020; one value in twenty is missing, one in twenty impossible.
    pub fn random(sensor_id: &str, hour: u32, rng: &mut impl Rng) -> Self {
        let row = [(850, 1), (734, 100), (2_816, 100), (114, 10), (885, 1)].map(|(usual, divisor)| {
            let number = match rng.random_range(0..40) {
                0 | 1 => return None,
                2 | 3 => -99_999.0,
                _ => f64::from(usual + rng.random_range(-50..50)) / f64::from(divisor),
            };
            Some(number.to_string())
        });
        Self { sensor_id: sensor_id.to_owned(), time: hour_of(hour), row: row.to_vec() }
    }

    /// A reading whose values all count up from `value`.
    pub fn plain(sensor_id: &str, hour: u32, value: u32) -> Self {
        let row =
            [300, 7, 20, 10, 900].map(|base| Some((f64::from(base) + f64::from(value % 100) / 100.0).to_string()));
        Self { sensor_id: sensor_id.to_owned(), time: hour_of(hour), row: row.to_vec() }
    }

    /// As a JSON object.
    pub fn json(&self) -> String {
        let mut text = format!("{{\"sensor_id\":\"{}\",\"phenomenon_time\":\"{}\"", self.sensor_id, self.time);
        for (property, value) in PROPERTIES.iter().zip(&self.row) {
            let value = value.as_deref().unwrap_or("null");
            write!(text, ",\"{property}\":{value}").expect("a string takes all");
        }
        text + "}"
    }
}

/// The hour `hour` since the start of 2020, as a phenomenon time.
pub fn hour_of(hour: u32) -> String {
    let (day, hour) = (hour / 24, hour % 24);
    let (year, day) = (2020 + day / 336, day % 336);
    format!("{year}-{:02}-{:02}T{hour:02}:00:00Z", day / 28 + 1, day % 28 + 1)
}

/// The minute `minute` since the start of 2020, as a phenomenon time.
pub fn minute_of(minute: u32) -> String {
    hour_of(minute / 60).replacen(":00:", &format!(":{:02}:", minute % 60), 1)
}

/// Readings as a JSON array.
pub fn json_array(samples: &[Sample]) -> String {
    let items: Vec<String> = samples.iter().map(Sample::json).collect();
    format!("[{}]", items.join(","))
}

/// Readings as NDJSON.
pub fn ndjson(samples: &[Sample]) -> String {
    samples.iter().map(|sample| sample.json() + "\n").collect()
}

/// Readings as CSV with a header row.
pub fn csv(samples: &[Sample]) -> String {
    let mut text = format!("sensor_id,phenomenon_time,{}\n", PROPERTIES.join(","));
    for Sample { sensor_id, time, row } in samples {
        let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or_default()).collect();
        writeln!(text, "{sensor_id},{time},{}", values.join(",")).expect("a string takes all");
    }
    text
}
