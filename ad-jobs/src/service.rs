//! The service: looks for anomalies on a schedule, and carries out the runs that are asked for.

use tokio::sync::watch;

use crate::{
    metrics::Metrics,
    requested,
    schedule::{self, Config, Error, Ports},
};

/// Does both until the stop signal.
///
/// # Errors
/// What no retry mends, of either.
pub async fn run(ports: Ports, config: Config, metrics: Metrics, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let requested = requested(ports.clone(), config.clone(), metrics.clone(), stop.clone());
    tokio::try_join!(schedule::run(ports, config, metrics, stop), requested)?;
    Ok(())
}

/// Carries out the runs that are asked for, until the stop signal.
///
/// # Errors
/// What no retry mends.
pub async fn run_requested(
    ports: Ports,
    config: Config,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    requested(ports, config, metrics, stop).await
}

async fn requested(ports: Ports, config: Config, metrics: Metrics, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let status = config.status.clone();
    requested::run(ports, (&config).into(), metrics, stop).await.map_err(|error| {
        status.set(Some(format!("runs that are asked for have stopped: {error}")));
        error.into()
    })
}
