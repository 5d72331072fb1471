//! One connection's share of a simulation: makes readings of its sensors and posts them, one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use hyper::{Method, Uri};
use jiff::Timestamp;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::http::Request;
use crate::hub::{Hub, Rejection, problem_text};
use crate::simulate::Registration;
use crate::simulate::generator::{Moment, Shard};
use crate::simulate::report::latency_histogram;
use crate::simulate::schedule::Steps;
use crate::stop::Stop;

/// The rejections that a report lists; the others are counted.
pub const REJECTIONS_MAX: usize = 20;

/// Posts of one step are spread over the interval to the next, but over no more than this, so that readings of rarer steps
/// are not much older than their phenomenon time says.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// What all connections did so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Readings that the hub accepted.
    pub accepted: AtomicU64,
    /// Readings that the hub refused.
    pub rejected: AtomicU64,
    /// Posts that the hub answered.
    pub requests: AtomicU64,
    /// Posts that were sent again.
    pub retries: AtomicU64,
}

/// A connection's sensors and what happened to their readings.
pub struct Worker {
    shard: Shard,
    first_number: u32,
    hub: Hub,
    uri: Uri,
    batch: usize,
    stop: Stop,
    counters: Arc<Counters>,
    /// Its share of the pause between two posts of all connections, 0 to 1, so that they do not post in step.
    phase: f64,
    buffer: BytesMut,
    buffered: usize,
    /// Microseconds from sending a post to its answer.
    pub latency: Histogram<u64>,
    /// The first [`REJECTIONS_MAX`] rejections that differ in more than their index.
    pub rejections: Vec<Rejection>,
    /// The longest that a post was sent after it was due.
    pub lag_max: Duration,
}

/// How a worker is to post.
#[derive(Clone)]
pub struct Posting {
    /// Where to.
    pub uri: Uri,
    /// Readings per post.
    pub batch: usize,
    /// Ends the work early.
    pub stop: Stop,
    /// Where to count.
    pub counters: Arc<Counters>,
}

impl Worker {
    /// Makes the worker of some sensors, the first of which has a number; `phase` spreads workers over the time between posts.
    pub fn new(hub: Hub, posting: Posting, (shard, first_number): (Shard, u32), phase: f64) -> Self {
        let Posting { uri, batch, stop, counters } = posting;
        Self {
            shard,
            first_number,
            hub,
            uri,
            batch,
            stop,
            counters,
            phase,
            buffer: BytesMut::with_capacity(batch * 128),
            buffered: 0,
            latency: latency_histogram(),
            rejections: Vec::new(),
            lag_max: Duration::ZERO,
        }
    }

    /// Returns the sensors.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Returns the connection.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Registers the sensors, named after their type, at places drawn from a seed.
    ///
    /// # Errors
    ///
    /// When the hub refuses one or stays out of reach.
    pub async fn register(&mut self, registration: &Registration, about: &TypeNames) -> anyhow::Result<()> {
        for index in 0..self.shard.len() {
            let number = self.first_number + index as u32;
            let id = format!("{}{number}", about.prefix);
            let mut random = Xoshiro256PlusPlus::seed_from_u64(about.seed.wrapping_add(u64::from(number)));
            let mut near = |degrees: f64| {
                let spread = registration.spread_degrees;
                ((degrees + spread * random.random_range(-1.0..1.0)) * 1e5).round() / 1e5
            };
            let place = serde_json::json!({
                "latitude": near(registration.latitude), "longitude": near(registration.longitude)
            });
            let name = format!("{} {number}", about.name);
            let sensor = serde_json::json!({
                "id": id, "sensor_type": about.id, "name": name, "place": place, "group": registration.group
            });
            let request = Request {
                method: Method::PUT,
                uri: self.hub.endpoint().path(&format!("/v1/sensors/{id}"))?,
                content_type: Some("application/json"),
                body: Bytes::from(sensor.to_string()),
            };
            let Some(reply) = self.hub.send(&request).await? else { return Ok(()) };
            if !(200..300).contains(&reply.status) {
                bail!("hub {}: PUT {}: {}", self.hub.endpoint(), request.uri, problem_text(&reply));
            }
        }
        Ok(())
    }

    /// Posts steps one after the other without waiting, batches reaching across steps.
    ///
    /// # Errors
    ///
    /// When the hub refuses a post as a whole or stays out of reach.
    pub async fn backfill(&mut self, steps: Steps, start: Timestamp) -> anyhow::Result<()> {
        let mut step = 0;
        while steps.has(step) {
            let moment = Moment::new(steps.time(start, step)?);
            for sensor in 0..self.shard.len() {
                self.write(sensor, &moment);
                if self.buffered == self.batch && !self.post().await? {
                    return Ok(());
                }
            }
            step += 1;
        }
        self.post().await?;
        Ok(())
    }

    /// Posts steps when they are due, each step's batches spread over its interval or [`SPREAD_MAX`].
    ///
    /// # Errors
    ///
    /// When the hub refuses a post as a whole or stays out of reach.
    pub async fn live(&mut self, steps: Steps, start: Timestamp, began: Instant) -> anyhow::Result<()> {
        let batches = self.shard.len().div_ceil(self.batch).max(1);
        let spread = steps.interval.min(SPREAD_MAX);
        let mut step = 0;
        while steps.has(step) {
            let moment = Moment::new(steps.time(start, step)?);
            for batch in 0..batches {
                let share = (batch as f64 + self.phase) / batches as f64;
                let due = began + steps.offset(step) + spread.mul_f64(share);
                if !self.wait_until(due).await {
                    return Ok(());
                }
                for sensor in batch * self.batch..((batch + 1) * self.batch).min(self.shard.len()) {
                    self.write(sensor, &moment);
                }
                self.lag_max = self.lag_max.max(due.elapsed());
                if !self.post().await? {
                    return Ok(());
                }
            }
            step += 1;
        }
        Ok(())
    }

    /// Waits until a moment; returns false when stopped before it.
    async fn wait_until(&mut self, due: Instant) -> bool {
        if due <= Instant::now() {
            return !self.stop.requested();
        }
        tokio::select! {
            biased;
            () = self.stop.wait() => false,
            () = tokio::time::sleep_until(due.into()) => true,
        }
    }

    fn write(&mut self, sensor: usize, moment: &Moment) {
        if self.batch > 1 {
            self.buffer.put_u8(if self.buffered == 0 { b'[' } else { b',' });
        }
        self.shard.write_reading(sensor, moment, &mut self.buffer);
        self.buffered += 1;
    }

    /// Posts what is buffered; returns false when stopped before an answer.
    async fn post(&mut self) -> anyhow::Result<bool> {
        let sent = std::mem::take(&mut self.buffered) as u64;
        if sent == 0 {
            return Ok(!self.stop.requested());
        }
        if self.batch > 1 {
            self.buffer.put_u8(b']');
        }
        let length = self.buffer.len();
        let body = self.buffer.split().freeze();
        let request =
            Request { method: Method::POST, uri: self.uri.clone(), content_type: Some("application/json"), body };
        let retries_before = self.hub.retries().total();
        let answer = self.hub.post_readings(&request).await?;
        drop(request);
        // The posted bytes are free again, so this takes their room back instead of asking for new.
        self.buffer.reserve(length + length / 8);
        self.counters.retries.fetch_add(self.hub.retries().total() - retries_before, Ordering::Relaxed);
        let Some((acknowledgement, took)) = answer else { return Ok(false) };
        let rejected = acknowledgement.refused();
        if acknowledgement.accepted + rejected != sent {
            bail!("the hub answered for `{}` readings of the {sent} posted", acknowledgement.accepted + rejected);
        }
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.counters.accepted.fetch_add(acknowledgement.accepted, Ordering::Relaxed);
        self.counters.rejected.fetch_add(rejected, Ordering::Relaxed);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        list_rejections(&mut self.rejections, acknowledgement.rejected);
        Ok(true)
    }
}

/// Lists rejections that are not listed yet for the same field, value and reason, up to [`REJECTIONS_MAX`].
pub fn list_rejections(listed: &mut Vec<Rejection>, more: impl IntoIterator<Item = Rejection>) {
    for rejection in more {
        if listed.len() >= REJECTIONS_MAX {
            return;
        }
        let same = |other: &Rejection| Rejection { index: rejection.index, ..other.clone() } == rejection;
        if !listed.iter().any(same) {
            listed.push(rejection);
        }
    }
}

/// What the registration of sensors says of their type.
#[derive(Debug, Clone)]
pub struct TypeNames {
    /// The type's id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// What the sensors' ids begin with.
    pub prefix: String,
    /// Where chance begins.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_listed_once_and_up_to_a_bound() {
        let rejection = |index: u64, reason: u64| Rejection {
            index,
            field: Some("ph".to_owned()),
            value: None,
            reason: format!("rule {reason}"),
        };
        let mut listed = Vec::new();
        list_rejections(&mut listed, (0..100).map(|index| rejection(index, index % 3)));
        assert_eq!(listed, [rejection(0, 0), rejection(1, 1), rejection(2, 2)]);
        list_rejections(&mut listed, (0..100).map(|index| rejection(index, index)));
        assert_eq!(listed.len(), REJECTIONS_MAX);
    }
}
