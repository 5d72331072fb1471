//! `iot-hub serve`: opens the data folder, starts every service over it, and stops them in order.
//!
//! **Invariant:** stopping goes along the walk of a reading: requests first, then quality control, then the folder, so that nothing
//! is accepted behind the back of who would process it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use domain::Topic;
use embedded::Folder;
use futures_util::future::BoxFuture;
use ingest_api::ReadinessCheck;
use ports::{Clock, ErrorKind, Log, PortError, SystemClock};
use registry::Registry;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{config::Config, control::Control, data_folder::AddressFile, logging, signals};

/// How long quality control may work on what is pending when the hub stops; the rest waits in the log for the next start.
const PENDING_GRACE: Duration = Duration::from_secs(3);
/// How long quality control may take to finish and commit its last batch after that.
const COMMIT_GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at what is pending.
const PENDING_EVERY: Duration = Duration::from_millis(20);
/// How long a copy that was broken off may hold the process.
const BLOCKING_GRACE: Duration = Duration::from_millis(200);

/// Runs the hub until a signal stops it.
///
/// # Errors
/// When the folder can't be used, the address can't be bound, or a service fails.
pub fn run(config: &Config) -> anyhow::Result<()> {
    logging::start(&config.tracing);
    block_on(async {
        let stop = signals::listen()?;
        hub(config, stop, |address| {
            tracing::info!("listening on http://{address}, documentation at http://{address}/docs")
        })
        .await
    })
}

/// Runs a future on a runtime of its own.
///
/// # Errors
/// Those of the future, or when the system refuses threads.
pub fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start threads")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKING_GRACE);
    result
}

/// Runs every service over the data folder until `stop` turns true or one of them fails; `started` gets the bound address.
///
/// # Errors
/// As [`run`].
pub async fn hub(config: &Config, stop: watch::Receiver<bool>, started: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let folder = Folder::open(&config.data_folder, config.folder.clone(), Arc::clone(&clock))?;
    let folder = Arc::new(folder);
    let result = services(config, &folder, clock, stop, started).await;
    match Arc::into_inner(folder) {
        Some(folder) => folder.close().context("can't close the data folder in order")?,
        None => tracing::warn!("stopped while a copy was being made; the copy is not complete"),
    }
    result?;
    tracing::info!("stopped");
    Ok(())
}

/// The services as they run, and how each is told to stop.
struct Running {
    requests: JoinHandle<anyhow::Result<()>>,
    consumer: JoinHandle<anyhow::Result<()>>,
    control: JoinHandle<()>,
    stop_requests: watch::Sender<bool>,
    stop_consumer: watch::Sender<bool>,
    /// Turns true when a service ends, for whatever reason.
    ended: watch::Receiver<bool>,
}

async fn services(
    config: &Config,
    folder: &Arc<Folder>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
    started: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let log = folder.log();
    let registry = open_registry(config, &log).await?;
    let (mut running, address) = start(config, folder, clock, registry.clone())?;
    let address_file = AddressFile::write(&config.data_folder, address)?;
    started(address);

    tokio::select! {
        () = signals::stopped(&mut stop) => (),
        () = signals::stopped(&mut running.ended) => (),
    }
    drop(address_file);
    running.stop_requests.send_replace(true);
    let requests = running.requests.await?;
    running.control.await?;
    if !running.consumer.is_finished() {
        process_pending(&log, &registry).await;
    }
    running.stop_consumer.send_replace(true);
    let consumer = running.consumer.await?;
    requests.context("the REST service failed")?;
    consumer.context("quality control failed")
}

/// Opens the registry and gives it the built-in sensor types and those of the folder named in the configuration.
async fn open_registry(config: &Config, log: &Arc<dyn Log>) -> anyhow::Result<Registry> {
    let mut drafts = registry::built_in_types();
    if let Some(folder) = &config.sensor_types {
        drafts.extend(registry::load_folder(folder)?);
    }
    let registry = Registry::open(Arc::clone(log), config.registry).await.context("can't read the registry")?;
    registry.seed(drafts).await.context("can't add sensor types")?;
    Ok(registry)
}

/// Starts the services; answers with the address of the REST API.
fn start(
    config: &Config,
    folder: &Arc<Folder>,
    clock: Arc<dyn Clock>,
    registry: Registry,
) -> anyhow::Result<(Running, SocketAddr)> {
    let (log, store, metrics) = (folder.log(), folder.store(), prometheus::Registry::new());
    let (stop_requests, requests_stopped) = watch::channel(false);
    let (stop_consumer, consumer_stopped) = watch::channel(false);
    let (end, ended) = watch::channel(false);

    let ports = ingest_api::Ports {
        log: Arc::clone(&log),
        store: Arc::clone(&store),
        registry: registry.clone(),
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
    };
    let readiness = vec![quality_control_is_ready(config.qc.status.clone())];
    let http = ingest_api::Config { readiness, ..config.http.clone() };
    let service = ingest_api::Service::bind(ports, http)?;
    let address = service.local_addr();
    let control = Control::bind(&config.data_folder)?;
    let control = control.run(Arc::clone(folder), config.data_folder.clone(), requests_stopped.clone());
    let ports = qc_consumer::Ports { log, store, registry, clock };
    let qc = qc_consumer::Config { stop_wait_max: COMMIT_GRACE, ..config.qc.clone() };
    let requests = until_ended(async move { Ok(service.run(requests_stopped).await?) }, end.clone());
    let consumer = async move { Ok(qc_consumer::run(ports, qc, &metrics, consumer_stopped).await?) };
    let consumer = until_ended(consumer, end);
    let running = Running {
        requests: tokio::spawn(requests),
        consumer: tokio::spawn(consumer),
        control: tokio::spawn(control),
        stop_requests,
        stop_consumer,
        ended,
    };
    Ok((running, address))
}

/// Lets `/health/ready` say what keeps quality control from going on.
fn quality_control_is_ready(status: qc_consumer::Status) -> ReadinessCheck {
    let check = move || -> BoxFuture<'static, Result<(), String>> {
        let obstacle = status.obstacle();
        Box::pin(std::future::ready(obstacle.map_or(Ok(()), Err)))
    };
    ReadinessCheck { name: "quality-control", check: Arc::new(check) }
}

async fn until_ended(
    service: impl Future<Output = anyhow::Result<()>>,
    end: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let result = service.await;
    end.send_replace(true);
    result
}

/// Waits until quality control has read all that was accepted, or its time is up.
async fn process_pending(log: &Arc<dyn Log>, registry: &Registry) {
    let deadline = Instant::now() + PENDING_GRACE;
    loop {
        match pending(log, registry).await {
            Ok(0) => return,
            Ok(pending) if Instant::now() >= deadline => {
                tracing::warn!(
                    pending,
                    "stopped before all was processed; the rest is in the log and is processed at the next start"
                );
                return;
            }
            Ok(_) => tokio::time::sleep(PENDING_EVERY).await,
            Err(error) => {
                tracing::warn!(%error, "can't tell what is pending");
                return;
            }
        }
    }
}

/// How many records quality control has not committed yet.
async fn pending(log: &Arc<dyn Log>, registry: &Registry) -> Result<u64, PortError> {
    let mut pending = 0;
    for sensor_type in registry.sensor_types() {
        let topic = Topic::readings(&sensor_type.id);
        let committed = match log.committed(qc_consumer::GROUP, &topic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            committed => committed?,
        };
        for extent in log.extents(&topic).await? {
            let position = committed.iter().find(|committed| committed.partition == extent.partition);
            pending += extent.end.0.saturating_sub(position.map_or(0, |committed| committed.position.0));
        }
    }
    Ok(pending)
}
