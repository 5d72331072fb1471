//! Makes up readings and writes them as JSON.
//!
//! **Invariant:** a sensor's readings depend on the seed, the type, the faults, the sensor's number and the times alone: not on
//! how sensors are shared out, batched or sent. Nothing is allocated per reading.

use std::f64::consts::TAU;
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};

use crate::sensor_type::{Property, SensorType};
use crate::simulate::faults::{Chance, FaultCounts, Faults};
use crate::simulate::number::Grid;

/// The usual span of a property without a gross range.
const DEFAULT_SPAN: (f64, f64) = (0.0, 100.0);
/// Shares of the usual span: where a sensor's level lies, how far its daily cycle and its noise go.
const LEVEL: Range<f64> = 0.35..0.65;
const AMPLITUDE: Range<f64> = 0.05..0.15;
const NOISE_DEVIATION: f64 = 0.005;
/// Shares of the usual span: how far a spike jumps, how far a drift goes.
const SPIKE: Range<f64> = 0.6..1.5;
const DRIFT: Range<f64> = 0.1..0.35;
/// Readings that an outage and a drift last.
const OUTAGE_READINGS: Range<u32> = 5..61;
const DRIFT_READINGS: Range<u32> = 200..2001;
/// What a broken sensor of this field is known to send.
const OUTAGE_VALUE: f64 = 99_999.0;
const SECONDS_A_DAY: f64 = 86_400.0;

/// What all sensors of a simulation share.
#[derive(Debug, Clone)]
pub struct Plan {
    channels: Vec<Channel>,
    chances: Chances,
    seed: u64,
    prefix: String,
}

/// An observed property as the generator sees it.
#[derive(Debug, Clone)]
struct Channel {
    /// `,"ph":`
    key: Vec<u8>,
    grid: Grid,
    low: f64,
    width: f64,
    /// A value beyond what the sensor can report.
    impossible: f64,
}

#[derive(Debug, Clone, Copy)]
struct Chances {
    spike: Chance,
    outage: Chance,
    missing: Chance,
    drift: Chance,
}

impl Plan {
    /// Plans a simulation of sensors `{prefix}1`, `{prefix}2`, and so on.
    pub fn new(sensor_type: &SensorType, faults: Faults, seed: u64, prefix: &str) -> Self {
        let chances = Chances {
            spike: Chance::new(faults.spikes),
            outage: Chance::new(faults.outages),
            missing: Chance::new(faults.missing),
            drift: Chance::new(faults.drift),
        };
        let channels = sensor_type.properties.iter().map(Channel::new).collect();
        Self { channels, chances, seed, prefix: prefix.to_owned() }
    }

    /// Returns the id of a sensor; numbers begin at 1.
    pub fn sensor_id(&self, number: u32) -> String {
        format!("{}{number}", self.prefix)
    }
}

impl Channel {
    fn new(property: &Property) -> Self {
        let (low, high) = match property.gross_range {
            Some(range) => range.suspect.unwrap_or(range.fail),
            None => DEFAULT_SPAN,
        };
        let width = (high - low).clamp(f64::MIN_POSITIVE, 1e12);
        let grid = property.resolution.and_then(Grid::new).unwrap_or_else(|| Grid::for_span(width));
        let impossible = property.gross_range.map_or(high, |range| range.fail.1) + width;
        let key = format!(",{}:", serde_json::Value::from(property.id.as_str())).into_bytes();
        Self { key, grid, low, width, impossible }
    }
}

/// One phenomenon time, and what is the same for all sensors at it.
#[derive(Debug, Clone)]
pub struct Moment {
    text: String,
    sine: f64,
    cosine: f64,
}

impl Moment {
    /// Prepares a phenomenon time.
    pub fn new(time: Timestamp) -> Self {
        let second_of_day = time.as_second().rem_euclid(86_400) as f64 + f64::from(time.subsec_nanosecond()) / 1e9;
        let (sine, cosine) = (TAU * second_of_day / SECONDS_A_DAY).sin_cos();
        Self { text: time.to_string(), sine, cosine }
    }
}

/// A datastream's course: level + cycle + drift + noise.
#[derive(Debug, Clone)]
struct Stream {
    level: f64,
    /// The daily cycle as shares of the sine and cosine of the time of day.
    with_sine: f64,
    with_cosine: f64,
    drift: f64,
    drift_step: f64,
    drift_left: u32,
}

/// What a broken sensor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Zero,
    Nines,
    Impossible,
}

#[derive(Debug)]
struct Sensor {
    random: Xoshiro256PlusPlus,
    outage: Outage,
    outage_left: u32,
    /// `{"sensor_id":"sim1","phenomenon_time":"`
    head: Box<[u8]>,
}

/// Some of the sensors of a simulation.
#[derive(Debug)]
pub struct Shard {
    plan: std::sync::Arc<Plan>,
    sensors: Vec<Sensor>,
    /// Those of the first sensor, then those of the second, and so on.
    streams: Vec<Stream>,
    counts: FaultCounts,
}

impl Shard {
    /// Makes the sensors with the given numbers.
    pub fn new(plan: std::sync::Arc<Plan>, numbers: Range<u32>) -> Self {
        let mut sensors = Vec::with_capacity(numbers.len());
        let mut streams = Vec::with_capacity(numbers.len() * plan.channels.len());
        for number in numbers {
            // A multiple of an odd constant keeps the seeds of neighbours apart (Weyl sequence of SplitMix64).
            let own_seed = plan.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = Xoshiro256PlusPlus::seed_from_u64(own_seed);
            streams.extend(plan.channels.iter().map(|channel| Stream::new(channel, &mut random)));
            let id = serde_json::Value::from(plan.sensor_id(number));
            let head = format!("{{\"sensor_id\":{id},\"phenomenon_time\":\"").into_bytes().into();
            sensors.push(Sensor { random, outage: Outage::Zero, outage_left: 0, head });
        }
        Self { plan, sensors, streams, counts: FaultCounts::default() }
    }

    /// Returns how many sensors there are.
    pub fn len(&self) -> usize {
        self.sensors.len()
    }

    /// Returns whether there are no sensors.
    pub fn is_empty(&self) -> bool {
        self.sensors.is_empty()
    }

    /// Returns the faults made so far.
    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// Appends the next reading of a sensor (by its index in the shard) as a JSON object.
    pub fn write_reading(&mut self, sensor: usize, moment: &Moment, out: &mut BytesMut) {
        let plan = &*self.plan;
        let width = plan.channels.len();
        let streams = &mut self.streams[sensor * width..][..width];
        let sensor = &mut self.sensors[sensor];
        out.put_slice(&sensor.head);
        out.put_slice(moment.text.as_bytes());
        out.put_u8(b'"');
        sensor.next_outage(plan.chances.outage, &mut self.counts);
        for (channel, stream) in plan.channels.iter().zip(streams) {
            out.put_slice(&channel.key);
            match sensor.next_value(channel, stream, (plan.chances, moment), &mut self.counts) {
                Some(value) => channel.grid.write(channel.grid.nearest(value), out),
                None => out.put_slice(b"null"),
            }
        }
        out.put_u8(b'}');
    }
}

impl Stream {
    fn new(channel: &Channel, random: &mut Xoshiro256PlusPlus) -> Self {
        let level = channel.low + channel.width * random.random_range(LEVEL);
        let amplitude = channel.width * random.random_range(AMPLITUDE);
        let (with_cosine, with_sine) = random.random_range(0.0..TAU).sin_cos();
        let (with_sine, with_cosine) = (amplitude * with_sine, amplitude * with_cosine);
        Self { level, with_sine, with_cosine, drift: 0.0, drift_step: 0.0, drift_left: 0 }
    }

    /// Goes on with a drift, or begins one.
    fn next_drift(&mut self, channel: &Channel, chance: Chance, random: &mut Xoshiro256PlusPlus) -> bool {
        if self.drift_left > 0 {
            self.drift_left -= 1;
            self.drift = if self.drift_left == 0 { 0.0 } else { self.drift + self.drift_step };
            return false;
        }
        if !chance.possible() || !chance.happens(random.next_u32()) {
            return false;
        }
        self.drift_left = random.random_range(DRIFT_READINGS);
        self.drift_step = sign(random) * channel.width * random.random_range(DRIFT) / f64::from(self.drift_left);
        true
    }
}

impl Sensor {
    fn next_outage(&mut self, chance: Chance, counts: &mut FaultCounts) {
        let bits = self.random.next_u32();
        self.outage_left = self.outage_left.saturating_sub(1);
        if self.outage_left == 0 && chance.happens(bits) {
            counts.outages += 1;
            self.outage_left = self.random.random_range(OUTAGE_READINGS);
            self.outage = [Outage::Zero, Outage::Nines, Outage::Impossible][self.random.random_range(0..3)];
        }
        counts.outage_readings += u64::from(self.outage_left > 0);
    }

    fn next_value(
        &mut self,
        channel: &Channel,
        stream: &mut Stream,
        (chances, moment): (Chances, &Moment),
        counts: &mut FaultCounts,
    ) -> Option<f64> {
        let random = &mut self.random;
        let (rolls, noise) = (random.next_u64(), random.next_u64());
        counts.drifts += u64::from(stream.next_drift(channel, chances.drift, random));
        if chances.missing.happens(rolls as u32) {
            counts.missing += 1;
            return None;
        }
        if self.outage_left > 0 {
            return Some(match self.outage {
                Outage::Zero => 0.0,
                Outage::Nines => OUTAGE_VALUE,
                Outage::Impossible => channel.impossible,
            });
        }
        let cycle = stream.with_sine * moment.sine + stream.with_cosine * moment.cosine;
        let value = stream.level + cycle + stream.drift + channel.width * NOISE_DEVIATION * normal(noise);
        if chances.spike.happens((rolls >> 32) as u32) {
            counts.spikes += 1;
            return Some(value + sign(random) * channel.width * random.random_range(SPIKE));
        }
        Some(value)
    }
}

fn sign(random: &mut Xoshiro256PlusPlus) -> f64 {
    if random.next_u32() & 1 == 0 { 1.0 } else { -1.0 }
}

/// Turns random bits into a nearly normal number: the sum of four uniform ones has variance 1/3 (Irwin-Hall), here brought to 1.
fn normal(bits: u64) -> f64 {
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    (sum as f64 / 65_536.0 - 2.0) * 3.0_f64.sqrt()
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
