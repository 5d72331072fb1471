//! A service with both ports in memory, on a free port of this machine.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use domain::{
    Flag, Judged, Label, Partition, Position, Row, RowRef, Rows, SensorTypeId, Timestamp, Topic, TypeVersion, Value,
};
use ingest_api::{Config, Ports, Service};
use ports::{
    Batch, Clock, Committed, Content, Document, Findings, Judge, Log, ManualClock, Store, TopicKind, Totals,
    memory::{Faulty, LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};
use registry::{Registry, Settings};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinHandle,
};

/// A valid reading of `emb`.
pub const GOOD: &str = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z","sec":904,"ph":7.34}"#;

/// A running service.
pub struct Hub {
    pub address: SocketAddr,
    pub client: reqwest::Client,
    pub ports: Ports,
    pub faults: Faulty<MemoryLog>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Hub {
    /// Starts with the built-in types.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with other settings than the defaults.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::assemble(LogSettings::default(), Settings::default(), change).await
    }

    /// Starts with a log that holds one record only.
    pub async fn start_full() -> Self {
        Self::assemble(LogSettings { records_max: 1, ..LogSettings::default() }, Settings::default(), |_| {}).await
    }

    /// Starts with a bound on the sensors.
    pub async fn start_sensors_max(sensors_max: usize) -> Self {
        Self::assemble(
            LogSettings::default(),
            Settings { sensors_max, sensors_reserved: 1, ..Settings::default() },
            |_| {},
        )
        .await
    }

    /// One whose first readings register so many sensors a minute.
    pub async fn start_pace(first_readings_per_minute: usize) -> Self {
        let settings = Settings { first_readings_per_minute, ..Settings::default() };
        Self::assemble(LogSettings::default(), settings, |_| {}).await
    }

    async fn assemble(log: LogSettings, settings: Settings, change: impl FnOnce(&mut Config)) -> Self {
        let now = Timestamp::parse("2020-01-01T00:00:00Z").expect("a time");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(now));
        let faults = Faulty::new(Arc::new(MemoryLog::new(Arc::clone(&clock), log)));
        let log: Arc<dyn Log> = Arc::new(faults.clone());
        let registry = Registry::open(Arc::clone(&log), settings).await.expect("a registry");
        registry.seed(registry::built_in_types()).await.expect("the built-in types");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let findings: Arc<dyn Findings> = Arc::new(MemoryFindings::new());
        let ports = Ports { log, store, findings, registry, clock, metrics: prometheus::Registry::new() };
        let mut config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
        change(&mut config);
        let service = Service::bind(ports.clone(), config).expect("a free port");
        let address = service.local_addr();
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(async move { service.run(stopping).await.expect("served") });
        Self { address, client: reqwest::Client::new(), ports, faults, stop, running: Some(running) }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts a body.
    pub async fn post(
        &self,
        path: &str,
        media_type: &str,
        coding: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> (StatusCode, Json) {
        let mut request = self.client.post(self.url(path)).body(body);
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        answer(request).await
    }

    /// Sends a request.
    pub async fn send(&self, method: Method, path: &str, media_type: &str, body: &str) -> (StatusCode, Json) {
        let mut request = self.client.request(method, self.url(path)).body(body.to_owned());
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        answer(request).await
    }

    /// Sends bytes and answers what comes back until the connection closes.
    pub async fn raw(&self, bytes: &[u8], timeout: Duration) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        let outcome = tokio::time::timeout(timeout, stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(outcome.is_ok(), "the connection stays open: {answer}");
        answer
    }

    /// How many readings the log holds of a type.
    pub async fn readings(&self, sensor_type: &str) -> usize {
        let topic = Topic::readings(&SensorTypeId::parse(sensor_type).expect("an id"));
        let mut reader = self.ports.log.reader(&topic, Partition(0), Position(0)).await.expect("a reader");
        let mut count = 0;
        loop {
            let deliveries = reader.next(10_000, Duration::ZERO).await.expect("records");
            if deliveries.is_empty() {
                return count;
            }
            count += deliveries.iter().map(|delivery| delivery.content.len()).sum::<usize>();
        }
    }

    /// Moves what the log holds of a type into the store, as quality control does: every value is good.
    pub async fn process(&self, sensor_type: &str) {
        let sensor_type = self.ports.registry.sensor_type(sensor_type).expect("a type");
        let topic = Topic::readings(&sensor_type.id);
        let store = &self.ports.store;
        store.prepare(&sensor_type).await.expect("prepared");
        let mut consumer = self.ports.log.consumer("qc-consumer").await.expect("a consumer");
        consumer.subscribe(std::slice::from_ref(&topic)).await.expect("subscribed");
        loop {
            let deliveries = consumer.poll(10_000, Duration::ZERO).await.expect("records");
            if deliveries.is_empty() {
                return;
            }
            for delivery in deliveries {
                let position = delivery.next_position();
                match &delivery.content {
                    Content::Readings { readings, .. } => {
                        let judged = judged(readings, delivery.first_position, delivery.accepted_at);
                        store.write(&sensor_type.id, &judged, &Good).await.expect("written");
                    }
                    Content::Deletions(deletions) => {
                        for deletion in deletions {
                            store.delete(&sensor_type.id, deletion, position).await.expect("deleted");
                            if deletion.is_of_all() {
                                let (registry, id) = (&self.ports.registry, &deletion.sensor_id);
                                registry.end_removal(&sensor_type.id, id).await.expect("removed");
                            }
                        }
                    }
                    other => panic!("readings or deletions: {other:?}"),
                }
                let totals = Totals { stored: position.0, ..Totals::default() };
                let committed = Committed { partition: delivery.partition, position, totals };
                consumer.commit(&topic, committed).await.expect("committed");
            }
        }
    }

    /// Appends dead letters by key.
    pub async fn bury(&self, letters: Vec<(String, Json)>) {
        let topic = Topic::dead_letters();
        self.ports.log.create_topic(&topic, TopicKind::Notices).await.expect("a topic");
        let document =
            |(key, letter): (String, Json)| Document { key, body: Some(letter.to_string().into_bytes().into()) };
        let batch = Batch::Documents(letters.into_iter().map(document).collect());
        self.ports.log.append(&topic, batch).await.expect("appended");
    }

    /// Tells the service to stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has stopped.
    pub async fn stopped(&mut self) {
        self.running.take().expect("it runs").await.expect("it ends without panic");
    }
}

/// Checks that an answer is a problem of this status, and answers its members.
#[track_caller]
pub fn problem(answer: (StatusCode, Json), status: u16, detail: &str) -> Json {
    let (given, body) = answer;
    assert_eq!(given.as_u16(), status, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert!(body["detail"].as_str().is_some_and(|text| text.contains(detail)), "{detail} in {body}");
    body
}

/// Sends a request and reads its JSON answer; null for an empty one.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Json) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let bytes = response.bytes().await.expect("a body");
    let json = if bytes.is_empty() { Json::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
    (status, json)
}

/// Tries again until it holds, for at most 10 s.
pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}

struct Good;

impl Judge for Good {
    fn judge(&self, _type_version: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

fn judged(readings: &domain::Readings, first: Position, accepted_at: Timestamp) -> Judged {
    let mut rows = Rows::new(readings.properties().len());
    for (index, reading) in readings.iter().enumerate() {
        let position = first.after(index as u64);
        let row = Row {
            phenomenon_time: reading.phenomenon_time,
            accepted_at,
            position,
            first_position: position,
            type_version: 1,
            label: Label::Normal,
        };
        rows.push(RowRef { row, values: reading.values, flags: &vec![Flag::Good; reading.values.len()] });
    }
    Judged { sensor_ids: readings.sensor_ids().to_vec(), rows }
}
