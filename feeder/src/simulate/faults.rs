//! Which faults a simulation makes, how likely each is, and how many there were.

use std::str::FromStr;

use anyhow::{Context, bail};
use serde::Serialize;

/// How likely each kind of fault is, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Faults {
    /// Per value: it jumps away by more than half of the usual span.
    pub spikes: f64,
    /// Per reading: an outage begins, in which all values are 0, or 99999, or beyond the gross range, for 5 to 60 readings.
    pub outages: f64,
    /// Per value: it is missing.
    pub missing: f64,
    /// Per value: a drift begins that takes the values up to a third of the usual span away over 200 to 2000 readings, until
    /// the sensor is set right.
    pub drift: f64,
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (kind, rate) = part.split_once('=').with_context(|| format!("faults: `{part}` is not a kind=rate"))?;
            let rate: f64 = rate.trim().parse().with_context(|| format!("faults: {kind}: `{rate}` is not a number"))?;
            if !(0.0..=1.0).contains(&rate) {
                bail!("faults: {kind}: `{rate}` is not from 0 to 1");
            }
            match kind.trim() {
                "spikes" => faults.spikes = rate,
                "outages" => faults.outages = rate,
                "missing" => faults.missing = rate,
                "drift" => faults.drift = rate,
                other => bail!("faults: `{other}` is not one of spikes, outages, missing, drift"),
            }
        }
        Ok(faults)
    }
}

/// How many faults a simulation made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Values that are spikes.
    pub spikes: u64,
    /// Outages that began.
    pub outages: u64,
    /// Readings within outages.
    pub outage_readings: u64,
    /// Values that are missing.
    pub missing: u64,
    /// Drifts that began.
    pub drifts: u64,
}

impl FaultCounts {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.spikes += other.spikes;
        self.outages += other.outages;
        self.outage_readings += other.outage_readings;
        self.missing += other.missing;
        self.drifts += other.drifts;
    }
}

/// A probability to compare 32 random bits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// Makes a chance from a probability of 0 to 1, to a precision of 2^-32.
    pub fn new(probability: f64) -> Self {
        Self((probability.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64)
    }

    /// Decides by 32 random bits.
    pub fn happens(self, bits: u32) -> bool {
        u64::from(bits) < self.0
    }

    /// Returns whether it can happen at all.
    pub fn possible(self) -> bool {
        self.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_with_their_rates() {
        let faults: Faults = "spikes=0.001, outages=1e-4,missing=0".parse().expect("valid");
        assert_eq!(faults, Faults { spikes: 0.001, outages: 0.0001, missing: 0.0, drift: 0.0 });
        assert_eq!("".parse::<Faults>().expect("valid"), Faults::default());
    }

    #[test]
    fn unknown_fault_or_impossible_rate_is_refused_with_its_value() {
        for (text, named) in [
            ("spikes", "`spikes`"),
            ("spikes=2", "`2`"),
            ("spikes=-0.1", "`-0.1`"),
            ("spikes=NaN", "`NaN`"),
            ("missing=often", "`often`"),
            ("fire=0.1", "`fire`"),
        ] {
            let error = text.parse::<Faults>().expect_err(text).to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn chance_is_exact_at_its_ends() {
        assert!(!Chance::new(0.0).happens(0));
        assert!(Chance::new(1.0).happens(u32::MAX));
        assert!(Chance::new(0.5).happens(u32::MAX / 2) && !Chance::new(0.5).happens(u32::MAX / 2 + 1));
    }
}
