//! Starts services over the log and the store, and stops them in order.
//!
//! **Invariant:** stopping goes along the walk of a reading: requests first, then quality control, then the backends, so that nothing
//! is accepted behind the back of who would process it. Detection, which goes on where it was, stops with the requests.
//!
//! Whatever ends early is begun again (`supervise.rs`); the end of the REST service alone ends the process, which is of no use without it.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use backends::{Backends, OpenError, Upkeep};
use futures_util::future::BoxFuture;
use ingest_api::{ReadinessCheck, Surface};
use ports::{Clock, ErrorKind, Log, Mark, PortError, Standing, WatchedClock};
use registry::{Registry, RegistryError};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    address_file::AddressFile,
    config::Config,
    control::Control,
    detection, logging, signals,
    supervise::{self, Health},
};

/// How long quality control may work on what is pending when the hub stops; the rest waits in the log for the next start.
const PENDING_GRACE: Duration = Duration::from_secs(3);
/// How long quality control may take to finish and commit its last batch after that.
const COMMIT_GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at what is pending.
const PENDING_EVERY: Duration = Duration::from_millis(20);
/// How long a copy that was broken off may hold the process.
const BLOCKING_GRACE: Duration = Duration::from_millis(200);
/// Time between two looks at how far quality control is, in a process without it.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Time between two rounds of the log's upkeep, and before what failed is tried again.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);
/// Time between two looks at which sensors have changed.
const SENSORS_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two tries to reach log and store at the start.
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Which services a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// Every one of them.
    All,
    /// The REST API.
    IngestApi,
    /// Quality control; its HTTP port says how it is, and nothing else.
    QcConsumer,
    /// Scheduled detection; the same of its HTTP port.
    AdJobs,
}

impl Services {
    fn surface(self) -> Surface {
        match self {
            Self::All | Self::IngestApi => Surface::Everything,
            Self::QcConsumer | Self::AdJobs => Surface::Health,
        }
    }

    fn judge(self) -> bool {
        matches!(self, Self::All | Self::QcConsumer)
    }

    /// Says whether these services look for anomalies, where the configuration wants the hub to.
    fn detect(self, hub_detects: bool) -> bool {
        self == Self::AdJobs || self == Self::All && hub_detects
    }
}

/// Runs services until a signal stops them.
///
/// # Errors
/// When the backends can't be used, the address can't be bound, or the REST service fails.
pub fn run(config: &Config, services: Services) -> anyhow::Result<()> {
    logging::start(&config.tracing);
    block_on(async {
        let stop = signals::listen()?;
        let started = |address| match services.surface() {
            Surface::Everything => {
                tracing::info!("listening on http://{address}, documentation at http://{address}/docs");
            }
            Surface::Health => tracing::info!("health and metrics at http://{address}"),
        };
        run_until(config, services, stop, started).await
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

/// Runs services until `stop` turns true or one of them fails; `started` gets the bound address.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    config: &Config,
    services: Services,
    mut stop: watch::Receiver<bool>,
    started: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(WatchedClock::start());
    let open = async || Backends::open(&config.backends, Arc::clone(&clock)).await;
    let Some(backends) = until_there(&mut stop, OpenError::is_away, open).await? else { return Ok(()) };
    let hub = Hub { config, services, backends: &backends, clock };
    let result = hub.run(stop, started).await;
    if !backends.close().await.context("can't close the log and the store in order")? {
        tracing::warn!("stopped while a copy was being made; the copy is not complete");
    }
    result?;
    tracing::info!("stopped");
    Ok(())
}

/// Begins a service, which runs until it is told to stop.
type Begin = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// What the services of a process are started with.
struct Hub<'a> {
    config: &'a Config,
    services: Services,
    backends: &'a Backends,
    clock: Arc<dyn Clock>,
}

/// The services as they run, and how each is told to stop.
struct Running {
    requests: JoinHandle<anyhow::Result<()>>,
    /// Quality control, or the count of how far it is elsewhere.
    consumer: JoinHandle<()>,
    /// Detection, or nothing that ends with the stop.
    detection: JoinHandle<()>,
    control: Option<JoinHandle<()>>,
    stop_requests: watch::Sender<bool>,
    stop_consumer: watch::Sender<bool>,
    /// Turns true when the REST service ends, for whatever reason.
    ended: watch::Receiver<bool>,
    /// Exists while requests are accepted.
    address_file: Option<AddressFile>,
}

impl Hub<'_> {
    async fn run(self, mut stop: watch::Receiver<bool>, started: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        let Some(registry) = self.open_registry(&mut stop).await? else { return Ok(()) };
        let (mut running, address) = self.start(registry.clone())?;
        started(address);

        tokio::select! {
            () = signals::stopped(&mut stop) => (),
            () = signals::stopped(&mut running.ended) => (),
        }
        drop(running.address_file);
        running.stop_requests.send_replace(true);
        let requests = running.requests.await?;
        running.detection.await?;
        if let Some(control) = running.control {
            control.await?;
        }
        if self.services == Services::All && !running.consumer.is_finished() {
            process_pending(&self.backends.log()).await;
        }
        running.stop_consumer.send_replace(true);
        running.consumer.await?;
        requests.context("the REST service failed")
    }

    /// Opens the registry and gives it the built-in sensor types and those of the folder named in the configuration. Waits for a log
    /// that is away; `None` where the stop comes first.
    async fn open_registry(&self, stop: &mut watch::Receiver<bool>) -> anyhow::Result<Option<Registry>> {
        let mut drafts = registry::built_in_types();
        if let Some(folder) = &self.config.sensor_types {
            drafts.extend(registry::load_folder(folder)?);
        }
        let open = async || {
            let registry = Registry::open(self.backends.log(), self.config.registry).await?;
            registry.seed(drafts.clone()).await?;
            Ok(registry)
        };
        until_there(stop, is_away, open).await.context("can't read the registry")
    }

    /// Starts the services; answers with the address of the REST API.
    fn start(&self, registry: Registry) -> anyhow::Result<(Running, SocketAddr)> {
        let metrics = prometheus::Registry::new();
        let (stop_requests, requests_stopped) = watch::channel(false);
        let (stop_consumer, consumer_stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);

        let (judging, detecting) = self.healths();
        let service = self.bind(registry.clone(), metrics.clone(), [&judging, &detecting])?;
        let address = service.local_addr();
        let address_file = self.config.address_file.as_deref().map(|path| AddressFile::write(path, address));
        let address_file = address_file.transpose()?;
        let control = match self.backends.folder() {
            Some((path, folder)) => Some(Control::bind(&path)?.run(folder, path, requests_stopped.clone())),
            None => None,
        };
        let begin = self.detection(registry.clone(), &metrics, requests_stopped.clone())?;
        let detection = supervise::run(detecting, requests_stopped.clone(), begin);
        let begin = self.consumer(registry, &metrics, consumer_stopped.clone())?;
        let consumer = supervise::run(judging, consumer_stopped, begin);
        let requests = until_ended(async move { Ok(service.run(requests_stopped).await?) }, end);
        let running = Running {
            requests: tokio::spawn(requests),
            consumer: tokio::spawn(consumer),
            detection: tokio::spawn(detection),
            control: control.map(tokio::spawn),
            stop_requests,
            stop_consumer,
            ended,
            address_file,
        };
        Ok((running, address))
    }

    /// How quality control and detection are.
    fn healths(&self) -> (Health, Health) {
        let (judging, detecting) = (self.config.qc.status.clone(), self.config.detection.status.clone());
        let judging = Health::new("quality-control", move || judging.obstacle());
        (judging, Health::new("detection", move || detecting.obstacle()))
    }

    fn bind(
        &self,
        registry: Registry,
        metrics: prometheus::Registry,
        [judging, detecting]: [&Health; 2],
    ) -> anyhow::Result<ingest_api::Service> {
        let (log, store, findings) = (self.backends.log(), self.backends.store(), self.backends.findings());
        let ports = ingest_api::Ports { log, store, findings, registry, clock: Arc::clone(&self.clock), metrics };
        let mut http = ingest_api::Config { surface: self.services.surface(), ..self.config.http.clone() };
        http.readiness.push(clock_is_believed(Arc::clone(&self.clock)));
        if self.services.judge() {
            http.readiness.push(judging.readiness());
            http.readiness.push(unread_is_safe(self.backends.upkeep()));
            http.readiness.push(shards_are_left(self.backends.upkeep()));
        }
        if self.services.detect(self.config.detects) {
            http.readiness.push(detecting.readiness());
        }
        Ok(ingest_api::Service::bind(ports, http)?)
    }

    /// Detection, where these services have it: on a schedule unless that is switched off, and where it is asked for.
    fn detection(
        &self,
        registry: Registry,
        metrics: &prometheus::Registry,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Begin> {
        if !self.services.detect(true) {
            return Ok(Box::new(move || until_stopped(stop.clone())));
        }
        let (log, store, findings) = (self.backends.log(), self.backends.store(), self.backends.findings());
        let ports = ad_jobs::schedule::Ports { log, store, findings, registry, clock: Arc::clone(&self.clock) };
        let config = detection::config(&self.config.detection, self.backends.are_shared());
        let metrics = ad_jobs::metrics::Metrics::register(metrics)?;
        let on_schedule = self.config.detects || self.services != Services::All;
        Ok(Box::new(move || {
            let (ports, config, metrics, stop) = (ports.clone(), config.clone(), metrics.clone(), stop.clone());
            Box::pin(async move {
                match on_schedule {
                    true => Ok(ad_jobs::service::run(ports, config, metrics, stop).await?),
                    false => Ok(ad_jobs::service::run_requested(ports, config, metrics, stop).await?),
                }
            })
        }))
    }

    /// Quality control; where another process does that, what tells `/metrics` how far it is.
    fn consumer(
        &self,
        registry: Registry,
        metrics: &prometheus::Registry,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Begin> {
        let (log, store, clock) = (self.backends.log(), self.backends.store(), Arc::clone(&self.clock));
        if self.services == Services::AdJobs {
            return Ok(Box::new(move || until_stopped(stop.clone())));
        }
        if !self.services.judge() {
            let progress = qc_consumer::ProgressReport::register(metrics)?;
            return Ok(Box::new(move || {
                let (log, registry, mut stop) = (Arc::clone(&log), registry.clone(), stop.clone());
                let progress = progress.clone();
                Box::pin(async move {
                    tokio::select! {
                        never = progress.run(log, registry, PROGRESS_EVERY) => match never {},
                        () = signals::stopped(&mut stop) => Ok(()),
                    }
                })
            }));
        }
        let metrics = qc_consumer::Metrics::register(metrics)?;
        let qc = qc_consumer::Config { stop_wait_max: COMMIT_GRACE, ..self.config.qc.clone() };
        let ports = qc_consumer::Ports { log, store, registry, clock };
        let upkeep = self.backends.upkeep();
        Ok(Box::new(move || {
            let (ports, qc, metrics, stop) = (ports.clone(), qc.clone(), metrics.clone(), stop.clone());
            let upkeep = keep_up(upkeep.clone(), ports.registry.clone());
            Box::pin(async move {
                tokio::select! {
                    ended = qc_consumer::run(ports, qc, &metrics, stop) => Ok(ended?),
                    never = upkeep => match never {},
                }
            })
        }))
    }
}

/// A service that does nothing.
fn until_stopped(mut stop: watch::Receiver<bool>) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        signals::stopped(&mut stop).await;
        Ok(())
    })
}

/// Tries to open something until it is there, or fails for another reason than being away; `None` where the stop comes first.
async fn until_there<T, E: std::error::Error + Send + Sync + 'static>(
    stop: &mut watch::Receiver<bool>,
    is_away: impl Fn(&E) -> bool,
    mut open: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<Option<T>> {
    let mut pause = OPEN_PAUSE_MAX / 16;
    loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = signals::stopped(stop) => return Ok(None),
        };
        match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if is_away(&error) => {
                tracing::warn!(%error, "log or store are away; they are tried again until they are there");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(OPEN_PAUSE_MAX),
            () = signals::stopped(stop) => return Ok(None),
        }
    }
}

/// Says whether the log is away, and may come back while nobody does anything.
fn is_away(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Port(error) if error.kind() == ErrorKind::Unavailable)
}

/// Lets `/health/ready` say that the clock is not believed.
fn clock_is_believed(clock: Arc<dyn Clock>) -> ReadinessCheck {
    let check = move || -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(clock.believed().map(drop).map_err(|error| error.to_string())))
    };
    ReadinessCheck { name: "clock", check: Arc::new(check) }
}

/// Lets `/health/ready` say that unread records are about to be lost.
fn unread_is_safe(upkeep: Upkeep) -> ReadinessCheck {
    let check = move || -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(upkeep.check_unread(qc_consumer::GROUP)))
    };
    ReadinessCheck { name: "retention", check: Arc::new(check) }
}

/// Lets `/health/ready` say that the store's servers can hardly make another index.
fn shards_are_left(upkeep: Upkeep) -> ReadinessCheck {
    let check = move || -> BoxFuture<'static, Result<(), String>> {
        let upkeep = upkeep.clone();
        Box::pin(async move { upkeep.check_shards().await.map_err(|error| error.message().to_owned()) })
    };
    ReadinessCheck { name: "shards", check: Arc::new(check) }
}

/// Looks after the backends, for ever.
async fn keep_up(upkeep: Upkeep, registry: Registry) -> Infallible {
    tokio::select! {
        never = apply_retention(&upkeep) => match never {},
        never = show_sensors(&upkeep, &registry) => match never {},
    }
}

async fn apply_retention(upkeep: &Upkeep) -> Infallible {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        if let Err(error) = upkeep.apply_retention(qc_consumer::GROUP).await {
            tracing::warn!(%error, "the log's retention can't be applied now; the next round tries again");
        }
    }
}

async fn show_sensors(upkeep: &Upkeep, registry: &Registry) -> Infallible {
    let mut changes = registry.all_changes();
    loop {
        changes.mark_unchanged();
        let shown = upkeep.show_sensors(|| registry.sensors(None)).await;
        if let Err(error) = shown {
            tracing::warn!(%error, "the sensors can't be shown now; the next round tries again");
            tokio::time::sleep(UPKEEP_EVERY).await;
            continue;
        }
        tokio::time::sleep(SENSORS_EVERY).await;
        // The registry is there as long as this value: an error can't be.
        let _ = changes.changed().await;
    }
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
async fn process_pending(log: &Arc<dyn Log>) {
    let deadline = Instant::now() + PENDING_GRACE;
    loop {
        match pending(&**log).await {
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
async fn pending(log: &dyn Log) -> Result<u64, PortError> {
    let progress = log.progress(qc_consumer::GROUP, Mark::default()).await?;
    Ok(progress.standings.iter().map(Standing::pending).sum())
}
