//! What the tests of quality control share: ports in memory that fail when told to, and readings to send.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Deletion, Judged, Partition, Position, PropertyId, Readings, Rows, SensorId, SensorType, SensorTypeId, Timestamp,
    Topic, TypeVersion, Value,
};
use ports::{
    Appended, Batch, Bucket, BucketQuery, Clock, Committed, Consumer, Delivery, ErrorKind, Extent, Judge, Log, Mark,
    Outcome, PortError, Progress, Reader, ReadingQuery, Revisions, Scan, SensorQuery, SensorSummary, Store,
    SystemClock, TopicKind, Totals,
    memory::{LogSettings, MemoryLog, MemoryStore},
};
use qc_consumer::{Backoff, Config, Error, GROUP, Metrics, Ports, Status};
use registry::{Registry, Settings, built_in_types};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// A step of the consumer that can fail or hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `Store::write`, before it is done.
    Write,
    /// `Store::write`, after it was done.
    Written,
    /// `Log::append` to the dead letters, before it is done.
    DeadLetter,
    /// The same, after it was done.
    DeadLettered,
    /// `Consumer::commit`, before it is done.
    Commit,
    /// The same, after it was done.
    Committed,
    /// `Store::delete`, after it was done.
    Deleted,
    /// `Store::revise`, after it was done.
    Revised,
}

/// What happens at steps: each of the next `count` times that `step` comes, `then`.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Where.
    pub step: Step,
    /// How often.
    pub count: usize,
    /// What: `None` hangs for ever, as a process that is killed there.
    pub then: Option<ErrorKind>,
}

/// What writes of one sensor type meet until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// An error.
    Kind(ErrorKind),
    /// A panic.
    Panic,
}

/// Faults yet to happen; clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    planned: Arc<Mutex<Vec<Fault>>>,
    hanging: Arc<AtomicUsize>,
    broken: Arc<Mutex<Option<(&'static str, Broken)>>>,
}

impl Faults {
    pub fn plan(&self, step: Step, count: usize, then: Option<ErrorKind>) {
        self.planned.lock().expect("not poisoned").push(Fault { step, count, then });
    }

    /// Breaks one sensor type, or mends all.
    pub fn break_type(&self, broken: Option<(&'static str, Broken)>) {
        *self.broken.lock().expect("not poisoned") = broken;
    }

    fn of_type(&self, id: &SensorTypeId) -> Result<(), PortError> {
        let broken = *self.broken.lock().expect("not poisoned");
        match broken.filter(|(broken, _)| *broken == id.as_str()) {
            None => Ok(()),
            Some((_, Broken::Kind(kind))) => Err(PortError::new(kind, "planned for the type")),
            Some((_, Broken::Panic)) => panic!("planned for the type"),
        }
    }

    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    async fn at(&self, step: Step) -> Result<(), PortError> {
        let due = {
            let mut planned = self.planned.lock().expect("not poisoned");
            let found = planned.iter_mut().find(|fault| fault.step == step && fault.count > 0);
            found.map(|fault| {
                fault.count -= 1;
                fault.then
            })
        };
        match due {
            None => Ok(()),
            Some(Some(kind)) => Err(PortError::new(kind, format!("planned fault at {step:?}"))),
            Some(None) => {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }
}

/// The log in memory with faults.
pub struct FaultyLog(pub MemoryLog, pub Faults);

#[async_trait]
impl Log for FaultyLog {
    async fn create_topic(&self, topic: &Topic, kind: TopicKind) -> Result<(), PortError> {
        self.0.create_topic(topic, kind).await
    }
    async fn delete_topic(&self, topic: &Topic) -> Result<(), PortError> {
        self.0.delete_topic(topic).await
    }
    async fn append(&self, topic: &Topic, batch: Batch) -> Result<Appended, PortError> {
        if *topic != Topic::dead_letters() {
            return self.0.append(topic, batch).await;
        }
        self.1.at(Step::DeadLetter).await?;
        let appended = self.0.append(topic, batch).await?;
        self.1.at(Step::DeadLettered).await?;
        Ok(appended)
    }
    async fn reader(&self, topic: &Topic, partition: Partition, from: Position) -> Result<Box<dyn Reader>, PortError> {
        self.0.reader(topic, partition, from).await
    }
    async fn consumer(&self, group: &str) -> Result<Box<dyn Consumer>, PortError> {
        Ok(Box::new(FaultyConsumer(self.0.consumer(group).await?, self.1.clone())))
    }
    async fn extents(&self, topic: &Topic) -> Result<Vec<Extent>, PortError> {
        self.0.extents(topic).await
    }
    async fn committed(&self, group: &str, topic: &Topic) -> Result<Vec<Committed>, PortError> {
        self.0.committed(group, topic).await
    }
    async fn progress(&self, group: &str, since: Mark) -> Result<Progress, PortError> {
        self.0.progress(group, since).await
    }
    async fn ready(&self) -> Result<(), PortError> {
        self.0.ready().await
    }
}

struct FaultyConsumer(Box<dyn Consumer>, Faults);

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.0.subscribe(topics).await
    }
    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        self.0.poll(records_max, wait).await
    }
    fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        self.0.committed(topic, partition)
    }
    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::new();
        for (topic, committed) in commits {
            let mut commit = async || {
                self.1.at(Step::Commit).await?;
                self.0.commit(topic, *committed).await?;
                self.1.at(Step::Committed).await
            };
            answers.push(commit().await);
        }
        answers
    }
    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError> {
        self.0.hold_back(topic, partition, pause).await
    }
}

/// The store in memory with faults; it can't hold a number of 13 (a reading is rejected by it).
pub struct FaultyStore(pub MemoryStore, pub Faults);

#[async_trait]
impl Store for FaultyStore {
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        self.0.prepare(sensor_type).await
    }
    async fn write(&self, id: &SensorTypeId, judged: &Judged, judge: &dyn Judge) -> Result<Vec<Outcome>, PortError> {
        self.1.at(Step::Write).await?;
        self.1.of_type(id)?;
        let (accepted, rejected) = part_by_luck(judged);
        let mut stored = self.0.write(id, &accepted, judge).await?.into_iter();
        let unlucky = || Outcome::Rejected("13 is unlucky".to_owned());
        let outcome = |rejected: bool| if rejected { unlucky() } else { stored.next().expect("one for each row") };
        let outcomes = rejected.into_iter().map(outcome).collect();
        self.1.at(Step::Written).await?;
        Ok(outcomes)
    }
    async fn revise(&self, id: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError> {
        let revised = self.0.revise(id, revisions).await?;
        self.1.at(Step::Revised).await?;
        Ok(revised)
    }
    async fn delete(&self, id: &SensorTypeId, deletion: &Deletion, position: Position) -> Result<u64, PortError> {
        let deleted = self.0.delete(id, deletion, position).await?;
        self.1.at(Step::Deleted).await?;
        Ok(deleted)
    }
    async fn scan(&self, id: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        self.0.scan(id, query).await
    }
    async fn latest(&self, id: &SensorTypeId, query: &SensorQuery) -> Result<Judged, PortError> {
        self.0.latest(id, query).await
    }
    async fn summaries(&self, id: &SensorTypeId, query: &SensorQuery) -> Result<Vec<SensorSummary>, PortError> {
        self.0.summaries(id, query).await
    }
    async fn buckets(&self, id: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        self.0.buckets(id, query).await
    }
    async fn expire(&self, id: &SensorTypeId, before: Timestamp) -> Result<u64, PortError> {
        self.0.expire(id, before).await
    }
    async fn remove(&self, id: &SensorTypeId) -> Result<(), PortError> {
        self.0.remove(id).await
    }
    async fn ready(&self) -> Result<(), PortError> {
        self.0.ready().await
    }
}

/// The rows without those of a 13, and for each whether it is one of those.
fn part_by_luck(judged: &Judged) -> (Judged, Vec<bool>) {
    let mut accepted = Judged { sensor_ids: Vec::new(), rows: Rows::new(judged.rows.width()) };
    let rejected = judged.rows.iter().map(|row| row.values.contains(&number(13.0)));
    let rejected: Vec<bool> = rejected.collect();
    for (index, row) in judged.rows.iter().enumerate().filter(|(index, _)| !rejected[*index]) {
        accepted.sensor_ids.push(judged.sensor_ids[index].clone());
        accepted.rows.push(row);
    }
    (accepted, rejected)
}

/// A hub in memory without its ingest: log, store, registry and the consumer's runs.
pub struct Hub {
    pub clock: Arc<dyn Clock>,
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub registry: Registry,
    pub faults: Faults,
    pub status: Status,
    pub metrics: prometheus::Registry,
    pub records_max: usize,
}

/// A consumer at work.
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
}

impl Hub {
    pub async fn new(settings: LogSettings) -> Self {
        Self::with_clock(settings, Arc::new(SystemClock)).await
    }

    pub async fn with_clock(settings: LogSettings, clock: Arc<dyn Clock>) -> Self {
        let log = MemoryLog::new(Arc::clone(&clock), settings);
        let registry = Registry::open(Arc::new(log.clone()), Settings::default()).await.expect("opens");
        registry.seed(built_in_types()).await.expect("seeded");
        let (store, metrics) = (MemoryStore::new(), prometheus::Registry::new());
        let (faults, status) = (Faults::default(), Status::default());
        Self { clock, log, store, registry, faults, status, metrics, records_max: 32_768 }
    }

    /// Starts a consumer, as a process that has just started would: with metrics from zero.
    pub fn start(&mut self) -> Running {
        self.metrics = prometheus::Registry::new();
        self.status = Status::default();
        let ports = Ports {
            log: Arc::new(FaultyLog(self.log.clone(), self.faults.clone())),
            store: Arc::new(FaultyStore(self.store.clone(), self.faults.clone())),
            registry: self.registry.clone(),
            clock: Arc::clone(&self.clock),
        };
        let config = Config {
            records_max: self.records_max,
            poll_wait: Duration::from_millis(5),
            backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(5) },
            refresh_interval: Duration::from_millis(5),
            status: self.status.clone(),
            ..Config::default()
        };
        let (stop, stopped) = watch::channel(false);
        let metrics = Metrics::register(&self.metrics).expect("none is registered yet");
        let task = tokio::spawn(async move { qc_consumer::run(ports, config, &metrics, stopped).await });
        Running { stop, task }
    }

    pub async fn append(&self, sensor_type: &str, batch: Batch) -> Appended {
        let topic = Topic::readings(&SensorTypeId::parse(sensor_type).expect("an id"));
        self.log.append(&topic, batch).await.expect("appended")
    }

    /// The group's totals on a topic, after it has read everything there.
    pub async fn drained(&self, sensor_type: &str) -> Totals {
        let topic = Topic::readings(&SensorTypeId::parse(sensor_type).expect("an id"));
        wait_for(&format!("{topic} to be drained"), async || {
            let extents = self.log.extents(&topic).await.expect("extents");
            let committed = self.log.committed(GROUP, &topic).await.expect("committed");
            extents.iter().zip(&committed).all(|(extent, committed)| extent.end == committed.position)
        })
        .await;
        let mut all = Totals::default();
        for committed in self.log.committed(GROUP, &topic).await.expect("committed") {
            assert_eq!(committed.totals.sum(), committed.position.0, "the totals add up");
            all = all + committed.totals;
        }
        all
    }

    /// Every row of a type as text, without what depends on the order of arrival.
    pub async fn rows(&self, sensor_type: &str) -> Vec<String> {
        let id = SensorTypeId::parse(sensor_type).expect("an id");
        let mut scan = self.store.scan(&id, &ReadingQuery::default()).await.expect("a scan");
        let mut out = Vec::new();
        while let Some(part) = scan.next(1_000).await.expect("rows") {
            for row in part.rows.iter() {
                let (time, label) = (row.row.phenomenon_time, row.row.label.as_str());
                out.push(format!("{} {time} {:?} {:?} {label}", part.sensor_id, row.values, row.flags));
            }
        }
        out
    }

    /// The bodies of all dead letters.
    pub async fn dead_letters(&self) -> Vec<domain::DeadLetter> {
        let Ok(mut reader) = self.log.reader(&Topic::dead_letters(), Partition(0), Position(0)).await else {
            return Vec::new();
        };
        let mut letters = Vec::new();
        for delivery in reader.next(usize::MAX, Duration::ZERO).await.expect("letters") {
            let ports::Content::Documents(documents) = delivery.content else { panic!("documents") };
            for document in documents {
                let body = document.body.expect("no tombstones here");
                let letter: domain::DeadLetter = serde_json::from_slice(&body).expect("a dead letter");
                assert_eq!(letter.key(), document.key);
                letters.push(letter);
            }
        }
        letters
    }

    /// The series of a metric by their labels, as `name{label="value"} number` lines.
    pub fn exposition(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).expect("text")
    }

    /// The value of one series of the exposition.
    pub fn series(&self, series: &str) -> Option<f64> {
        let text = self.exposition();
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Running {
    /// Tells it to stop and waits for it.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.send_replace(true);
        timeout(Duration::from_secs(10), self.task).await.expect("stops in time").expect("does not panic")
    }

    /// Kills it wherever it is.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it was at work");
    }
}

pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}

/// Seconds after the start of 2017.
pub fn time(second: i64) -> Timestamp {
    Timestamp::from_micros((1_483_228_800 + second) * 1_000_000)
}

pub fn number(number: f64) -> Value {
    Value::number(number).expect("finite")
}

pub fn sensor_id(text: &str) -> SensorId {
    SensorId::parse(text).expect("an id")
}

/// Readings of one property, each of (sensor, second, value).
pub fn readings(property: &str, all: &[(&str, i64, Value)]) -> Readings {
    let properties: Vec<PropertyId> = vec![PropertyId::parse(property).expect("an id")];
    let mut readings = Readings::new(properties.into());
    for (sensor, second, value) in all {
        readings.push(sensor_id(sensor), time(*second), &[*value]);
    }
    readings
}

/// A batch of the type `power`, stamped with its version.
pub fn power(type_version: TypeVersion, all: &[(&str, i64, f64)]) -> Batch {
    let all: Vec<_> = all.iter().map(|(sensor, second, value)| (*sensor, *second, number(*value))).collect();
    Batch::Readings { type_version, readings: readings("power", &all) }
}

/// The shared test data, where it is there.
pub fn data_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    folder.is_dir().then_some(folder)
}
