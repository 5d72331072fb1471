//! The loop of quality control: poll, judge, write, append dead letters, commit. While one batch is written the next is polled, so that store and
//! log work at the same time.
//!
//! **Invariant:** the commit comes last. A crash before it brings the same records again, which then change nothing; nothing is
//! committed that the store or the dead letters do not hold.

use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use domain::{Partition, Position, SensorId, Topic};
use futures_util::FutureExt;
use judge::Kind;
use ports::{Committed, Consumer, Content, Delivery, ErrorKind, Log, Mark, PortError, TopicKind, Totals};
use registry::Registry;
use tokio::{sync::watch, time::Instant};

use crate::{
    Config, Ports,
    aside::Aside,
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
/// How many times as long as subscribing takes it is not done again, and the longest time: a broker that was away has made it take long.
const SUBSCRIBING_REST: u32 = 20;
const SUBSCRIBING_REST_MAX: Duration = Duration::from_secs(5);
/// How long the parts of one poll may take before what is left of them is polled again: a member that does not poll is taken for dead.
const TURN_MAX: Duration = Duration::from_secs(10);
/// How long after a failed poll it is told that the log can't be read: the log leaves what it can't read alone for a while.
const UNREADABLE_TOLD: Duration = Duration::from_secs(15);
/// How often a commit is tried before its partition is put aside.
const COMMITS: u32 = 3;
/// The parts of the status that concern all topics.
const READING: &str = "reading the log";
const SUBSCRIBING: &str = "subscribing to the log";

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
    aside: Aside,
    /// When a poll failed last, while that is told.
    unreadable_at: Option<Instant>,
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
        let (tails, pending) = (Tails::default(), Pending::default());
        let effects = Effects { ports, metrics, retry: retry.a_few_times(), tails, pending };
        let aside = Aside::new(config.backoff, config.status.clone());
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
            aside,
            unreadable_at: None,
        };
        worker.subscribe().await?;
        Ok(worker)
    }

    /// Works until the stop signal. What can't be processed is put aside by partition; the error that ends it concerns all of them.
    pub(crate) async fn work(mut self) -> Result<(), PortError> {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(Failure::Stopped) => return Ok(()),
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
            Err(error) => {
                if self.unreadable_at.replace(Instant::now()).is_none() {
                    tracing::error!(%error, "the log, or a part of it, can't be read; it is tried again until it can");
                }
                self.retry.status.set(READING, Some(format!("reading the log does not work: {error}")));
                return self.retry.pause(self.retry.backoff.first * 5).await;
            }
        };
        if self.unreadable_at.is_some_and(|at| at.elapsed() > UNREADABLE_TOLD) {
            self.unreadable_at = None;
            self.retry.status.set(READING, None);
        }
        self.process_all(by_partition(deliveries)).await
    }

    /// Processes the records of each partition, then commits all of them at once.
    async fn process_all(&mut self, parts: Vec<Part>) -> Result<(), Failure> {
        let (began, mut done) = (Instant::now(), Vec::new());
        let mut parts = VecDeque::from(parts);
        while began.elapsed() < TURN_MAX
            && let Some((topic, partition, deliveries)) = parts.pop_front()
        {
            let processed = AssertUnwindSafe(self.process(&topic, partition, deliveries)).catch_unwind().await;
            match processed.unwrap_or_else(|panic| Err(Failure::Port(panicked(&*panic)))) {
                Ok(processed) => done.push(processed),
                Err(Failure::Stopped) => {
                    self.commit(done).await?;
                    return Err(Failure::Stopped);
                }
                Err(Failure::Port(error)) => self.put_aside(&topic, partition, &error).await?,
            }
        }
        self.commit(done).await?;
        for (topic, partition, _) in parts {
            self.deliver_again(&topic, partition, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Leaves a partition alone for a while, whose records are delivered again then.
    async fn put_aside(&mut self, topic: &Topic, partition: Partition, error: &PortError) -> Result<(), Failure> {
        self.kinds.remove(topic);
        let pause = self.aside.put(topic, partition, error);
        self.deliver_again(topic, partition, pause).await
    }

    /// Forgets what was polled of a partition, which is delivered again after a pause.
    async fn deliver_again(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), Failure> {
        self.effects.tails.forget(topic);
        self.effects.pending = Pending::default();
        if let Some(Ok(ahead)) = &mut self.ahead {
            ahead.retain(|delivery| (&delivery.topic, delivery.partition) != (topic, partition));
        }
        let mut wait = self.retry.backoff.first;
        while let Err(error) = self.consumer.hold_back(topic, partition, pause).await {
            self.retry.status.set(READING, Some(format!("going back in the log does not work: {error}")));
            self.unreadable_at = Some(Instant::now());
            self.retry.pause(wait).await?;
            wait = (wait * 2).min(self.retry.backoff.longest);
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
        self.aside.keep_only(|topic| wanted.contains(topic));
        // Those of which there are readings show what they have gained at once; the others are prepared for their first reading.
        for topic in self.kinds.keys().cloned().collect::<Vec<_>>() {
            match self.prepare(&topic).await {
                // Those behind it are prepared when their next readings come.
                Err(Failure::Port(_)) => break,
                prepared => drop(prepared?),
            }
        }
        let mut pause = self.retry.backoff.first;
        // Not by `until_done`: its action may not borrow the consumer for longer than a call.
        while let Err(error) = self.consumer.subscribe(&topics).await {
            if !error.is_transient() {
                return Err(Failure::Port(error));
            }
            self.retry.status.set(SUBSCRIBING, Some(format!("{SUBSCRIBING} does not work: {error}")));
            self.retry.pause(pause).await?;
            pause = (pause * 2).min(self.retry.backoff.longest);
        }
        self.retry.status.set(SUBSCRIBING, None);
        self.subscribes_from = Instant::now() + (began.elapsed() * SUBSCRIBING_REST).min(SUBSCRIBING_REST_MAX);
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
        self.effects.retry.until_done("preparing the store", prepare).await?;
        if !kind.is_plain() {
            let judged = Topic::judged(&kind.newest.id);
            let create = || self.ports.log.create_topic(&judged, TopicKind::Notices);
            self.effects.retry.until_done("creating the topic of judgements", create).await?;
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
        self.effects.retry.until_done("catching up with the registry", catch_up).await?;
        self.prepare(topic).await
    }

    /// Does what follows from records of one partition, but for the commit.
    async fn process(
        &mut self,
        topic: &Topic,
        partition: Partition,
        deliveries: Vec<Delivery>,
    ) -> Result<Done, Failure> {
        let Some(kind) = self.prepare_for(topic, &deliveries).await? else {
            let message = format!("the sensor type of topic `{topic}` is gone");
            return Err(Failure::Port(PortError::new(ErrorKind::NotFound, message)));
        };
        let committed = self.consumer.committed(topic, partition);
        let register = || first_readings::register(&self.ports.registry, &kind.newest.id, &deliveries);
        let crowded = self.effects.retry.until_done("registering sensors", register).await?;
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
        let after = Committed { partition, position: next, totals: committed.totals + totals };
        Ok(Done { topic: topic.clone(), before: committed, after })
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

    /// Commits what is done, but for what was taken away meanwhile.
    async fn commit(&mut self, done: Vec<Done>) -> Result<(), Failure> {
        let mut ahead: HashMap<(Topic, Partition), Position> = HashMap::new();
        for delivery in self.ahead.iter().flatten().flatten() {
            ahead.entry((delivery.topic.clone(), delivery.partition)).or_insert(delivery.first_position);
        }
        let (mut commits, mut lost) = (Vec::new(), Vec::new());
        for Done { topic, before, after } in done {
            let partition = after.partition;
            let has_moved = self.consumer.committed(&topic, partition) != before;
            match ahead.get(&(topic.clone(), partition)) {
                _ if has_moved => lost.push((topic, partition)),
                Some(again) if *again < after.position => lost.push((topic, partition)),
                _ => commits.push((topic, after)),
            }
        }
        for (topic, partition) in lost {
            let message = format!("partition `{partition}` of topic `{topic}` was taken away meanwhile");
            self.put_aside(&topic, partition, &PortError::new(ErrorKind::Conflict, message)).await?;
        }
        let mut pause = self.retry.backoff.first;
        for attempt in 1..=COMMITS {
            let mut again = Vec::new();
            for ((topic, committed), answer) in commits.iter().zip(self.consumer.commit_all(&commits).await) {
                match answer {
                    Ok(()) => {
                        self.effects.tails.committed(topic, committed.partition, committed.position);
                        self.effects.metrics.progress().committed(topic, *committed);
                        self.aside.goes_on(topic, committed.partition);
                    }
                    Err(error) if error.is_transient() && attempt < COMMITS => again.push((topic.clone(), *committed)),
                    Err(error) => self.put_aside(topic, committed.partition, &error).await?,
                }
            }
            commits = again;
            if commits.is_empty() {
                break;
            }
            self.retry.pause(pause).await?;
            pause = (pause * 2).min(self.retry.backoff.longest);
        }
        Ok(())
    }
}

/// What is done of a partition and not committed yet.
struct Done {
    topic: Topic,
    before: Committed,
    after: Committed,
}

/// What a panic said, as the error of the partition that was processed.
fn panicked(panic: &(dyn Any + Send)) -> PortError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    PortError::new(ErrorKind::Corrupt, format!("quality control panicked: {}", said.unwrap_or("it did not say why")))
}

/// What was polled of one partition.
type Part = (Topic, Partition, Vec<Delivery>);

/// Parts deliveries where the partition changes; each part keeps the order.
fn by_partition(deliveries: Vec<Delivery>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
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

/// How many times as long as it takes to ask the log how far it is nothing is asked, and the longest time: a log that was away has made it
/// take long.
const ASKING_REST: u32 = 50;
const ASKING_REST_MAX: Duration = Duration::from_secs(15);

/// Keeps the counters in line with the log, for ever.
pub(crate) async fn refresh(
    log: Arc<dyn Log>,
    registry: Registry,
    progress: Progress,
    interval: Duration,
) -> Infallible {
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
        tokio::time::sleep(interval.max((began.elapsed() * ASKING_REST).min(ASKING_REST_MAX))).await;
    }
}
