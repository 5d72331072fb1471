//! A simulation under way: workers on their connections, the metrics followed, the report drawn up.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::Endpoint;
use crate::hub::{Hub, Retries};
use crate::sensor_type::SensorType;
use crate::simulate::Options;
use crate::simulate::faults::FaultCounts;
use crate::simulate::generator::{Plan, Shard};
use crate::simulate::load::{Counters, Posting, TypeNames, Worker, list_rejections};
use crate::simulate::metrics::MetricsWatch;
use crate::simulate::progress::Progress;
use crate::simulate::report::{self, Freshness, Latency, Queryable, Report, Settings, StepSettings, per_second};
use crate::simulate::schedule::{Schedule, Steps};

/// How long `/metrics` may be out of reach before the run goes on without it.
const METRICS_PATIENCE: Duration = Duration::from_secs(2);

/// A simulation under way.
pub struct Simulation {
    options: Options,
    schedule: Schedule,
    counters: Arc<Counters>,
    workers: Vec<Worker>,
    metrics: Result<MetricsWatch, String>,
}

impl Simulation {
    /// Shares the sensors out to connections and asks the hub where its metrics stand.
    ///
    /// # Errors
    ///
    /// When an option cannot stand in a URL.
    pub async fn new(
        options: Options,
        schedule: Schedule,
        sensor_type: &SensorType,
        endpoint: Endpoint,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::default());
        let plan = Arc::new(Plan::new(sensor_type, options.faults, options.seed, &options.sensor_prefix));
        let posting = Posting {
            uri: endpoint.path(&format!("/v1/readings/{}", sensor_type.id))?,
            batch: options.batch,
            stop: options.stop.clone(),
            counters: counters.clone(),
        };
        let connections = u32::try_from(options.connections)?.min(options.sensors);
        let mut workers = Vec::with_capacity(connections as usize);
        for connection in 0..connections {
            let boundary = |of: u32| (u64::from(options.sensors) * u64::from(of) / u64::from(connections)) as u32;
            let (first, end) = (boundary(connection) + 1, boundary(connection + 1) + 1);
            let hub = Hub::new(endpoint.clone(), options.give_up_after, options.stop.clone())?;
            let phase = f64::from(connection) / f64::from(connections);
            workers.push(Worker::new(hub, posting.clone(), (Shard::new(plan.clone(), first..end), first), phase));
        }
        let hub = Hub::new(endpoint, METRICS_PATIENCE, options.stop.clone())?;
        let metrics = MetricsWatch::begin(hub, format!("readings.{}", sensor_type.id)).await;
        let metrics = metrics.map_err(|error| format!("{error:#}"));
        Ok(Self { options, schedule, counters, workers, metrics })
    }

    /// Registers the sensors where that is asked for.
    ///
    /// # Errors
    ///
    /// When the hub refuses one or stays out of reach.
    pub async fn register(&mut self, sensor_type: &SensorType) -> anyhow::Result<()> {
        let Some(registration) = self.options.registration.clone() else { return Ok(()) };
        let names = TypeNames {
            id: sensor_type.id.clone(),
            name: sensor_type.name.clone().unwrap_or_else(|| sensor_type.id.clone()),
            prefix: self.options.sensor_prefix.clone(),
            seed: self.options.seed,
        };
        let workers = std::mem::take(&mut self.workers);
        let (registration, names) = (Arc::new(registration), Arc::new(names));
        self.workers = on_all(workers, |mut worker| {
            let (registration, names) = (registration.clone(), names.clone());
            async move { worker.register(&registration, &names).await.map(|()| worker) }
        })
        .await?;
        Ok(())
    }

    /// Posts the schedule and waits until all of it is queryable.
    ///
    /// # Errors
    ///
    /// When the hub refuses a post as a whole or stays out of reach.
    pub async fn run(mut self) -> anyhow::Result<Report> {
        let started_at = Timestamp::now();
        let began = Instant::now();
        let workers = std::mem::take(&mut self.workers);
        let (schedule, backfilled) = (self.schedule, self.options.backfilled.clone());
        let mut progress = Progress::new(self.counters.clone(), began, self.options.quiet);
        self.workers = tokio::select! {
            workers = post_all(workers, schedule, backfilled) => workers?,
            never = progress.show(self.metrics.as_mut().ok()) => match never {},
        };
        let ended = Instant::now();
        let stopped_early = self.options.stop.requested();
        let queryable = self.queryable(began, ended).await;
        Ok(self.report((started_at, ended - began), stopped_early, queryable))
    }

    /// Waits until everything is queryable; says why not when that cannot be known.
    async fn queryable(&mut self, began: Instant, ended: Instant) -> Result<Queryable, String> {
        if self.options.settle_timeout.is_zero() {
            return Err("not asked".to_owned());
        }
        if self.options.stop.requested() {
            return Err("stopped".to_owned());
        }
        let metrics = self.metrics.as_mut().map_err(|problem| problem.clone())?;
        let accepted = self.counters.accepted.load(Ordering::Relaxed);
        let settled = metrics.settle(accepted, self.options.settle_timeout).await;
        let (after, settled_at) = settled.map_err(|error| format!("{error:#}"))?;
        let before = metrics.before();
        let stored = after.processed_since(before, "stored");
        let freshness_ms = |quantile| after.freshness_quantile(before, quantile).map(|seconds| seconds * 1e3);
        Ok(Queryable {
            after_seconds: (settled_at - began).as_secs_f64(),
            after_last_accepted_seconds: (settled_at - ended).as_secs_f64(),
            processed: after.all_processed_since(before),
            stored,
            duplicate: after.processed_since(before, "duplicate"),
            revised: after.processed_since(before, "revised"),
            dead_lettered: after.processed_since(before, "dead_lettered"),
            stored_per_second: per_second(stored, settled_at - began),
            pending_max: metrics.pending_max,
            freshness_ms: Freshness { p50: freshness_ms(0.5), p99: freshness_ms(0.99), p99_9: freshness_ms(0.999) },
        })
    }

    fn report(
        self,
        (started_at, elapsed): (Timestamp, Duration),
        stopped_early: bool,
        queryable: Result<Queryable, String>,
    ) -> Report {
        let mut latency: Option<Histogram<u64>> = None;
        let (mut retries, mut faults_made) = (Retries::default(), FaultCounts::default());
        let (mut rejections, mut lag_max) = (Vec::new(), Duration::ZERO);
        for worker in &self.workers {
            retries.add(worker.hub().retries());
            faults_made.add(worker.shard().counts());
            list_rejections(&mut rejections, worker.rejections.iter().cloned());
            lag_max = lag_max.max(worker.lag_max);
            match &mut latency {
                Some(latency) => *latency += &worker.latency,
                None => latency = Some(worker.latency.clone()),
            }
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (accepted, requests) = (count(&self.counters.accepted), count(&self.counters.requests));
        let (queryable, queryable_unknown) = match queryable {
            Ok(queryable) => (Some(queryable), None),
            Err(reason) => (None, Some(reason)),
        };
        Report {
            format_version: report::FORMAT_VERSION,
            settings: self.settings(),
            started_at: started_at.to_string(),
            elapsed_seconds: elapsed.as_secs_f64(),
            stopped_early,
            accepted,
            rejected: count(&self.counters.rejected),
            rejections,
            requests,
            retries,
            accepted_per_second: per_second(accepted, elapsed),
            requests_per_second: per_second(requests, elapsed),
            latency_ms: latency.as_ref().map(Latency::of).unwrap_or_default(),
            lag_ms_max: lag_max.as_secs_f64() * 1e3,
            faults_made,
            queryable,
            queryable_unknown,
        }
    }

    fn settings(&self) -> Settings {
        let steps = |steps: Steps| StepSettings {
            start: steps.start.map(|start| start.to_string()),
            interval_seconds: steps.interval.as_secs_f64(),
            readings_per_sensor: steps.count,
        };
        Settings {
            hub: self.options.hub.clone(),
            sensor_type: self.options.sensor_type.clone(),
            sensors: self.options.sensors,
            sensor_prefix: self.options.sensor_prefix.clone(),
            backfill: self.schedule.backfill.map(steps),
            live: self.schedule.live.map(steps),
            batch: self.options.batch,
            connections: self.workers.len(),
            seed: self.options.seed,
            faults: self.options.faults,
            registered: self.options.registration.is_some(),
        }
    }
}

/// Posts the whole schedule; returns the workers with what they learnt.
async fn post_all(
    mut workers: Vec<Worker>,
    schedule: Schedule,
    backfilled: Option<watch::Sender<bool>>,
) -> anyhow::Result<Vec<Worker>> {
    if let Some(steps) = schedule.backfill {
        let start = steps.start.unwrap_or_else(Timestamp::now);
        workers = on_all(workers, |mut worker| async move {
            worker.backfill(steps, start).await?;
            Ok(worker)
        })
        .await?;
    }
    if let Some(backfilled) = backfilled {
        backfilled.send_replace(true);
    }
    if let Some(steps) = schedule.live {
        let now = Timestamp::now();
        // Whole milliseconds read better, and no two live readings of a sensor are nearer than that by accident.
        let start = steps.start.or_else(|| Timestamp::from_millisecond(now.as_millisecond()).ok()).unwrap_or(now);
        let began = Instant::now();
        workers = on_all(workers, |mut worker| async move {
            worker.live(steps, start, began).await?;
            Ok(worker)
        })
        .await?;
    }
    Ok(workers)
}

/// Runs work on all workers at once; the first error ends the others.
async fn on_all<F>(workers: Vec<Worker>, work: impl Fn(Worker) -> F) -> anyhow::Result<Vec<Worker>>
where
    F: Future<Output = anyhow::Result<Worker>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(work(worker));
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(worker) = tasks.join_next().await {
        done.push(worker.context("a connection's task failed")??);
    }
    Ok(done)
}
