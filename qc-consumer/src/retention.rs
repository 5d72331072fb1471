//! Takes out of the store what is older than the retention of its sensor type.
//!
//! **Invariant:** nothing is taken out on the word of a clock that has just jumped ahead.

use std::{convert::Infallible, sync::Arc, time::Duration};

use domain::{SensorType, Timestamp};
use ports::{Clock, PortError, Store};
use registry::Registry;
use tokio::time::{Instant, sleep};

/// How far the clock may run ahead of the time that has passed before it is not believed.
const JUMP_MAX: Duration = Duration::from_secs(3600);
/// The most calls for one type in one round, each of which takes out a part.
const CALLS_MAX: usize = 10_000;

/// Compares the time of day with the time that has passed.
#[derive(Debug)]
pub(crate) struct Watchman {
    wall: Timestamp,
    steady: Instant,
}

impl Watchman {
    /// Believes the clock for a start.
    pub(crate) fn new(wall: Timestamp) -> Self {
        Self { wall, steady: Instant::now() }
    }

    /// How far the clock has run ahead of the time that passed since it was asked last; `None` where that is no more than an hour.
    pub(crate) fn jump(&mut self, wall: Timestamp) -> Option<Duration> {
        let steady = Instant::now();
        let expected = self.wall.saturating_add(steady - self.steady);
        (self.wall, self.steady) = (wall, steady);
        let ahead = wall.since(expected);
        (ahead > JUMP_MAX).then_some(ahead)
    }
}

/// Expires readings at the start and then every `interval`, for ever.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    registry: Registry,
    clock: Arc<dyn Clock>,
    interval: Duration,
) -> Infallible {
    let mut watchman = Watchman::new(clock.now());
    loop {
        let now = clock.now();
        match watchman.jump(now) {
            Some(ahead) => {
                tracing::warn!(ahead_s = ahead.as_secs(), "the clock jumped ahead: nothing is expired this time");
            }
            None => expire_all(&*store, &registry, now).await,
        }
        sleep(interval).await;
    }
}

async fn expire_all(store: &dyn Store, registry: &Registry, now: Timestamp) {
    for sensor_type in registry.sensor_types() {
        let Some(retention) = sensor_type.definition.retention else { continue };
        match expire(store, &sensor_type, now.saturating_sub(retention)).await {
            Ok(0) => {}
            Ok(readings) => tracing::info!(sensor_type = %sensor_type.id, readings, "expired readings"),
            Err(error) => {
                tracing::warn!(sensor_type = %sensor_type.id, %error, "readings can't be expired now; the next round tries again");
            }
        }
    }
}

async fn expire(store: &dyn Store, sensor_type: &SensorType, before: Timestamp) -> Result<u64, PortError> {
    store.prepare(sensor_type).await?;
    let mut expired = 0;
    for _ in 0..CALLS_MAX {
        let part = store.expire(&sensor_type.id, before).await?;
        if part == 0 {
            break;
        }
        expired += part;
    }
    Ok(expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clock_that_runs_ahead_of_the_time_passed_is_not_believed_once() {
        let start = Timestamp::from_micros(1_000_000_000_000);
        let mut watchman = Watchman::new(start);
        let hour = Duration::from_secs(3600);
        tokio::time::advance(hour).await;
        assert_eq!(watchman.jump(start.saturating_add(hour)), None);
        tokio::time::advance(hour).await;
        let jumped = start.saturating_add(24 * 365 * hour);
        assert!(watchman.jump(jumped).is_some());
        tokio::time::advance(hour).await;
        assert_eq!(watchman.jump(jumped.saturating_add(hour)), None);
        assert_eq!(watchman.jump(start), None, "back is harmless");
    }
}
