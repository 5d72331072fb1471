//! The loop of quality control: poll, judge, write, append dead letters, commit. While one batch is written the next is polled, so that store and
//! log work at the same time.
//!
//! **Invariant:** the commit comes last. A crash before it brings the same records again, which then change nothing; nothing is
//! committed that the store or the dead letters do not hold.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{Partition, Position, SensorId, Topic};
use judge::Kind;
use ports::{Committed, Consumer, Content, Delivery, ErrorKind, Log, Mark, PortError, TopicKind, Totals};
use registry::Registry;
use tokio::{sync::watch, time::Instant};

use crate::{
    Config, Ports,
    effects::Effects,
    first_readings,
    metrics::{Metrics, Progress},
    plan::{Plan, Planner},
    retry::{Failure, Retry},
    tails::Tails,
    windowed::Pending,
};

/// The name of the consumer group.
pub const GROUP: &str = "qc-consumer";
/// How many times as long as subscribing takes it is not done again.
const SUBSCRIBING_REST: u32 = 20;

/// A member of the group at work.
pub(crate) struct Worker<'a> {
    ports: &'a Ports,
    config: &'a Config,
    effects: Effects<'a>,
    retry: Retry,
    consumer: Box<dyn Consumer>,
    changes: watch::Receiver<u64>,
    /// When it may subscribe again: where many types come one after the other, not after each.
    subscribes_from: Instant,
    /// The types that the store is prepared for.
    kinds: HashMap<Topic, Kind>,
    /// What was polled while something else was written.
    ahead: Option<Result<Vec<Delivery>, PortError>>,
}

impl<'a> Worker<'a> {
    /// Joins the group, subscribed to the readings of every sensor type.
    pub(crate) async fn join(
        ports: &'a Ports,
        config: &'a Config,
        metrics: &'a Metrics,
        retry: Retry,
    ) -> Result<Self, Failure> {
        let letters = Topic::dead_letters();
        let create = || ports.log.create_topic(&letters, TopicKind::Notices);
        retry.until_done("creating the topic of dead letters", create).await?;
        let consumer = retry.until_done("joining the consumer group", || ports.log.consumer(GROUP)).await?;
        let changes = ports.registry.changes();
        let effects =
            Effects { ports, metrics, retry: retry.clone(), tails: Tails::default(), pending: Pending::default() };
        let mut worker = Self {
            ports,
            config,
            effects,
            retry,
            consumer,
            changes,
            subscribes_from: Instant::now(),
            kinds: HashMap::new(),
            ahead: None,
        };
        worker.subscribe().await?;
        Ok(worker)
    }

    /// Works until the stop signal, or until an error that no retry mends.
    pub(crate) async fn work(mut self) -> Result<(), PortError> {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(Failure::Stopped) => return Ok(()),
                Err(Failure::Port(error)) if is_lost(&error) => {
                    tracing::warn!(%error, "going back to what is committed: a partition or its topic changed hands");
                    if let Err(Failure::Port(error)) = self.start_over().await {
                        return Err(error);
                    }
                }
                Err(Failure::Port(error)) => return Err(error),
            }
            if *self.retry.stop.borrow() {
                return Ok(());
            }
        }
    }

    /// One poll and all that follows from it.
    async fn turn(&mut self) -> Result<(), Failure> {
        if self.changes.has_changed().unwrap_or(false) && Instant::now() >= self.subscribes_from {
            self.subscribe().await?;
        }
        let polled = match self.ahead.take() {
            Some(polled) => polled,
            None => self.consumer.poll(self.config.records_max, self.config.poll_wait).await,
        };
        let deliveries = match polled {
            Ok(deliveries) => deliveries,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the log can't be read; it is tried again until it can");
                self.retry.status.set(Some(format!("reading the log does not work: {error}")));
                return self.retry.pause(self.retry.backoff.first * 5).await;
            }
            Err(error) => return Err(Failure::Port(error)),
        };
        self.retry.status.set(None);
        for (topic, partition, deliveries) in by_partition(deliveries) {
            self.process(&topic, partition, deliveries).await?;
        }
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.changes.borrow_and_update();
        let types = self.ports.registry.sensor_types();
        let topics: Vec<_> = types.iter().map(|sensor_type| Topic::readings(&sensor_type.id)).collect();
        let wanted: HashSet<&Topic> = topics.iter().collect();
        self.kinds.retain(|topic, _| wanted.contains(topic));
        // Those of which there are readings show what they have gained at once; the others are prepared for their first reading.
        for topic in self.kinds.keys().cloned().collect::<Vec<_>>() {
            self.prepare(&topic).await?;
        }
        let mut pause = self.retry.backoff.first;
        // Not by `until_done`: its action may not borrow the consumer for longer than a call.
        while let Err(error) = self.consumer.subscribe(&topics).await {
            if !error.is_transient() {
                return Err(Failure::Port(error));
            }
            self.retry.status.set(Some(format!("subscribing to the log does not work: {error}")));
            self.retry.pause(pause).await?;
            pause = (pause * 2).min(self.retry.backoff.longest);
        }
        self.subscribes_from = Instant::now() + began.elapsed() * SUBSCRIBING_REST;
        Ok(())
    }

    /// After a partition or topic was lost: subscribes anew and goes back to what is committed.
    async fn start_over(&mut self) -> Result<(), Failure> {
        self.retry.pause(self.retry.backoff.first).await?;
        self.ahead = None;
        self.kinds.clear();
        self.effects.tails.clear();
        self.effects.pending = Pending::default();
        self.subscribe().await?;
        while let Err(error) = self.consumer.rewind().await {
            if !error.is_transient() {
                return Err(Failure::Port(error));
            }
            self.retry.pause(self.retry.backoff.longest).await?;
        }
        Ok(())
    }

    /// The newest version of the topic's type, for which the store is prepared; `None` where the type is gone.
    async fn prepare(&mut self, topic: &Topic) -> Result<Option<Kind>, Failure> {
        let Some(id) = topic.sensor_type() else { return Ok(None) };
        let Some(newest) = self.ports.registry.sensor_type(id.as_str()) else { return Ok(None) };
        if let Some(kind) = self.kinds.get(topic).filter(|kind| kind.is_same_version(&newest)) {
            return Ok(Some(kind.clone()));
        }
        let Some(kind) = Kind::find(&self.ports.registry, id.as_str()) else { return Ok(None) };
        let prepare = || self.ports.store.prepare(&kind.newest);
        self.retry.until_done("preparing the store", prepare).await?;
        if !kind.is_plain() {
            let judged = Topic::judged(&kind.newest.id);
            let create = || self.ports.log.create_topic(&judged, TopicKind::Notices);
            self.retry.until_done("creating the topic of judgements", create).await?;
        }
        self.kinds.insert(topic.clone(), kind.clone());
        Ok(Some(kind))
    }

    /// The same, after making sure that this process knows every version the deliveries are stamped with, if anybody does.
    async fn prepare_for(&mut self, topic: &Topic, deliveries: &[Delivery]) -> Result<Option<Kind>, Failure> {
        let kind = self.prepare(topic).await?;
        let knows_all = kind.as_ref().is_some_and(|kind| {
            deliveries.iter().all(|delivery| match &delivery.content {
                Content::Readings { type_version, .. } => kind.judging(*type_version).is_some(),
                Content::Rejudgements(all) => all.iter().all(|one| kind.judging(Some(one.type_version)).is_some()),
                _ => true,
            })
        });
        if knows_all {
            return Ok(kind);
        }
        let catch_up = async || {
            let unavailable = |error: registry::RegistryError| match error {
                registry::RegistryError::Port(error) => error,
                other => PortError::new(ErrorKind::Unavailable, other.to_string()),
            };
            self.ports.registry.catch_up().await.map_err(unavailable)
        };
        self.retry.until_done("catching up with the registry", catch_up).await?;
        self.prepare(topic).await
    }

    async fn process(&mut self, topic: &Topic, partition: Partition, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let Some(kind) = self.prepare_for(topic, &deliveries).await? else {
            let message = format!("the sensor type of topic `{topic}` is gone");
            return Err(Failure::Port(PortError::new(ErrorKind::NotFound, message)));
        };
        let committed = self.consumer.committed(topic, partition);
        let register = || first_readings::register(&self.ports.registry, &kind.newest.id, &deliveries);
        let crowded = self.retry.until_done("registering sensors", register).await?;
        let plan = self.plan((topic, partition), &kind, &crowded, (committed.position, deliveries));
        if plan.skipped > 0 {
            let skipped = plan.skipped;
            tracing::warn!(%topic, %partition, skipped, "records were gone before quality control read them");
        }
        let next = plan.next;
        if !kind.is_plain() {
            let of_type = (kind.newest.number, kind.newest.width());
            self.effects.tails.resume(topic, of_type, (partition, committed.position));
        }
        let totals = self.carry_out_and_poll((topic, partition), &kind, plan).await?;
        let has_moved = self.consumer.committed(topic, partition) != committed;
        let comes_again = |delivery: &Delivery| {
            (&delivery.topic, delivery.partition) == (topic, partition) && delivery.first_position < next
        };
        if has_moved || self.ahead.iter().flatten().flatten().any(comes_again) {
            let message = format!("partition `{partition}` of topic `{topic}` was taken away meanwhile");
            return Err(Failure::Port(PortError::new(ErrorKind::Conflict, message)));
        }
        let committed = Committed { partition, position: next, totals: committed.totals + totals };
        self.commit(topic, committed).await?;
        self.effects.tails.committed(topic, partition, next);
        self.effects.metrics.progress().committed(topic, committed);
        Ok(())
    }

    /// Does what is planned, and polls what is processed next unless that was done before.
    async fn carry_out_and_poll(
        &mut self,
        (topic, partition): (&Topic, Partition),
        kind: &Kind,
        plan: Plan,
    ) -> Result<Totals, Failure> {
        let carry_out = self.effects.carry_out(topic, partition, kind, plan);
        if self.ahead.is_some() {
            return carry_out.await;
        }
        let (totals, polled) = tokio::join!(carry_out, self.consumer.poll(self.config.records_max, Duration::ZERO));
        let is_nothing = polled.as_ref().is_ok_and(Vec::is_empty);
        self.ahead = (!is_nothing).then_some(polled);
        totals
    }

    fn plan(
        &self,
        (topic, partition): (&Topic, Partition),
        kind: &Kind,
        crowded: &HashSet<SensorId>,
        (from, deliveries): (Position, Vec<Delivery>),
    ) -> Plan {
        let sensors = self.ports.registry.lookup();
        let refused = |id: &SensorId| {
            if crowded.contains(id) {
                return Some("the hub has as many sensors as it may have (`registry.sensors_max`)".to_owned());
            }
            let (bound_to, this) = (&sensors.get(id.as_str())?.sensor_type, &kind.newest.id);
            (bound_to != this).then(|| format!("the sensor is bound to sensor type `{bound_to}`, not `{this}`"))
        };
        let records_max = self.config.records_max;
        Planner { topic, partition, kind, refused, records_max }.plan(from, deliveries)
    }

    async fn commit(&mut self, topic: &Topic, committed: Committed) -> Result<(), Failure> {
        let mut pause = self.retry.backoff.first;
        loop {
            match self.consumer.commit(topic, committed).await {
                Err(error) if error.is_transient() => {
                    self.retry.status.set(Some(format!("committing does not work: {error}")));
                    self.retry.pause(pause).await?;
                    pause = (pause * 2).min(self.retry.backoff.longest);
                }
                Err(error) => return Err(Failure::Port(error)),
                Ok(()) => return Ok(()),
            }
        }
    }
}

/// Says whether what was polled is to be polled again, by whoever has the partition now.
fn is_lost(error: &PortError) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}

/// Parts deliveries where the partition changes; each part keeps the order.
fn by_partition(deliveries: Vec<Delivery>) -> Vec<(Topic, Partition, Vec<Delivery>)> {
    let mut parts: Vec<(Topic, Partition, Vec<Delivery>)> = Vec::new();
    for delivery in deliveries {
        match parts.last_mut() {
            Some((topic, partition, part)) if *topic == delivery.topic && *partition == delivery.partition => {
                part.push(delivery);
            }
            _ => parts.push((delivery.topic.clone(), delivery.partition, vec![delivery])),
        }
    }
    parts
}

/// How long a poll waits for records: also how soon a new sensor type flows and a stop is noticed.
pub(crate) const POLL_WAIT: Duration = Duration::from_millis(100);

/// How many times as long as it takes to ask the log how far it is nothing is asked.
const ASKING_REST: u32 = 50;

/// Keeps the counters in line with the log, for ever.
pub(crate) async fn refresh(log: Arc<dyn Log>, registry: Registry, progress: Progress, interval: Duration) {
    let mut changes = registry.changes();
    let mut mark = Mark::default();
    loop {
        let began = Instant::now();
        if changes.has_changed().unwrap_or(false) {
            changes.mark_unchanged();
            let is_there =
                |topic: &Topic| topic.sensor_type().is_some_and(|id| registry.sensor_type(id.as_str()).is_some());
            progress.keep_only(is_there);
            mark = Mark::default();
        }
        // A topic that can't be asked keeps what is known of it; the worker tells that the log is away.
        if let Ok(told) = log.progress(GROUP, mark).await {
            for standing in &told.standings {
                let sensor_type = standing.topic.sensor_type().and_then(|id| registry.sensor_type(id.as_str()));
                if let Some(sensor_type) = sensor_type {
                    progress.refresh(standing, sensor_type.number);
                }
            }
            mark = told.mark;
        }
        tokio::time::sleep(interval.max(began.elapsed() * ASKING_REST)).await;
    }
}
