//! Takes out of the store what is older than the retention of its sensor type.
//!
//! **Invariant:** nothing is taken out on the word of a clock that is not believed.

use std::{convert::Infallible, sync::Arc, time::Duration};

use domain::{SensorType, Timestamp};
use ports::{Clock, PortError, Store};
use registry::Registry;
use tokio::time::sleep;

/// The most calls for one type in one round, each of which takes out a part.
const CALLS_MAX: usize = 10_000;

/// Expires readings at the start and then every `interval`, for ever.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    registry: Registry,
    clock: Arc<dyn Clock>,
    interval: Duration,
) -> Infallible {
    loop {
        match clock.believed() {
            Ok(now) => expire_all(&*store, &registry, now).await,
            Err(error) => tracing::warn!(%error, "nothing is expired this time"),
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
