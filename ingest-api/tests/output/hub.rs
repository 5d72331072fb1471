//! A service on a free port over ports in memory, with rows put straight into its store.

use std::{sync::Arc, time::Duration};

use actix_web::{App as Routes, HttpServer, dev::ServerHandle, web::Data};
use domain::{
    Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType,
    SensorTypeDraft, SensorTypeId, Timestamp, TypeVersion, Value,
};
use ingest_api::{App, Config, Ports, output};
use ports::{
    Judge, ManualClock, Outcome, Store,
    memory::{LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};
use registry::{Registry, SensorDraft};
use serde_json::Value as Json;

/// 2017-02-08T15:00:00Z.
pub const START: i64 = 1_486_566_000_000_000;
/// An hour in microseconds.
pub const HOUR: i64 = 3_600_000_000;

/// A running service.
pub struct Hub {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Where its rows are.
    pub store: Arc<dyn Store>,
    /// What detection has found.
    pub findings: Arc<MemoryFindings>,
    /// Its sensor types and sensors.
    pub registry: Registry,
    client: reqwest::Client,
    server: ServerHandle,
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The future does what it says when it is made; nobody needs its end.
        drop(self.server.stop(false));
    }
}

/// An answer read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The lines of NDJSON.
    pub fn lines(&self) -> Vec<Json> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Hub {
    /// A service whose types are `emb` (`sec` and `ph`) and `power` (`power`), without sensors.
    pub async fn empty() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    /// The same over this store.
    pub async fn over(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(START)));
        let log = Arc::new(MemoryLog::new(clock.clone(), LogSettings::default()));
        let registry = Registry::open(log.clone(), registry::Settings::default()).await.expect("a registry");
        let (store, findings) = (store.clone(), Arc::new(MemoryFindings::new()));
        let ports = Ports {
            log,
            store: store.clone(),
            findings: findings.clone(),
            registry: registry.clone(),
            clock,
            metrics: Default::default(),
        };
        let app = Data::new(App::new(ports, Config::default()).expect("fresh metrics"));
        let server = HttpServer::new(move || Routes::new().app_data(app.clone()).configure(output::configure))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .expect("a free port");
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        let hub = Self { url, store, findings, registry, client: reqwest::Client::new(), server: handle };
        hub.put_type("emb", &[("sec", "uS/cm"), ("ph", "[pH]")]).await;
        hub.put_type("power", &[("power", "W")]).await;
        hub
    }

    /// The same with sensors `emb10`, `emb2` and `emb3` of 60 hourly rows each: every 7th `ph` is missing, every 5th `sec` failed.
    pub async fn with_rows() -> Self {
        let hub = Self::empty().await;
        for id in ["emb3", "emb2", "emb10"] {
            hub.put_sensor("emb", id).await;
            let mut rows = Rows::new(2);
            for n in 0..60 {
                let ph = if n % 7 == 6 { Value::MISSING } else { number(7.0 + n as f64 / 100.0) };
                let flags = [
                    if n % 5 == 4 { Flag::Fail } else { Flag::Good },
                    if n % 7 == 6 { Flag::Missing } else { Flag::Suspect },
                ];
                push(&mut rows, START + n * HOUR, &[number(900.0 + n as f64), ph], &flags);
            }
            hub.write("emb", id, &rows).await;
        }
        hub
    }

    /// Registers a sensor type, or changes it, and makes room for it in the store.
    pub async fn put_type(&self, id: &str, properties: &[(&str, &str)]) -> Arc<SensorType> {
        let property = |(id, unit): &(&str, &str)| ObservedProperty {
            id: PropertyId::parse(id).expect("a property id"),
            name: String::new(),
            unit: (*unit).to_owned(),
            gross_range: None,
            required: false,
            qc: Default::default(),
            detection: Default::default(),
            resolution: None,
        };
        let draft = SensorTypeDraft {
            name: String::new(),
            description: String::new(),
            sampling_interval: Duration::from_secs(3600),
            retention: None,
            anomaly_flags: LabelRule::default(),
            properties: properties.iter().map(property).collect(),
            csv: None,
            detection: Default::default(),
        };
        let id = SensorTypeId::parse(id).expect("a type id");
        let (sensor_type, _) = self.registry.put_sensor_type(id, draft).await.expect("a valid type");
        self.store.prepare(&sensor_type).await.expect("a store in memory");
        sensor_type
    }

    /// Registers a sensor.
    pub async fn put_sensor(&self, sensor_type: &str, id: &str) {
        let sensor_type = SensorTypeId::parse(sensor_type).expect("a type id");
        let draft = SensorDraft { name: None, place: None, group: None, sensor_type };
        self.registry.put_sensor(SensorId::parse(id).expect("an id"), draft).await.expect("a valid sensor");
    }

    /// Puts rows of one sensor into the store.
    pub async fn write(&self, sensor_type: &str, sensor_id: &str, rows: &Rows) {
        let sensor_type = SensorTypeId::parse(sensor_type).expect("a type id");
        let sensor_id = SensorId::parse(sensor_id).expect("an id");
        let judged = Judged { sensor_ids: vec![sensor_id; rows.len()], rows: rows.clone() };
        let outcomes = self.store.write(&sensor_type, &judged, &NoMerges).await.expect("a store in memory");
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored));
    }

    /// Starts a request.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().expect("a method"), format!("{}{path}", self.url))
    }

    /// Gets an answer, whatever its status.
    pub async fn ask(&self, path: &str) -> Answer {
        let response = self.request("GET", path).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.expect("a whole body").to_vec() }
    }

    /// Gets a good answer.
    pub async fn get(&self, path: &str) -> Answer {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }
}

/// No rows here have an identity twice.
struct NoMerges;

impl Judge for NoMerges {
    fn judge(&self, _type_version: TypeVersion, _values: &[Value]) -> (Vec<Flag>, Label) {
        unreachable!("no rows here are merged")
    }
}

/// A value.
pub fn number(number: f64) -> Value {
    Value::number(number).expect("finite")
}

/// Appends a row of this time.
pub fn push(rows: &mut Rows, micros: i64, values: &[Value], flags: &[Flag]) {
    let row = Row {
        phenomenon_time: Timestamp::from_micros(micros),
        accepted_at: Timestamp::from_micros(START),
        position: Position(rows.len() as u64),
        first_position: Position(rows.len() as u64),
        type_version: 1,
        label: LabelRule::default().label(flags),
    };
    rows.push(RowRef { row, values, flags });
}

/// The items of an answer.
pub fn items(answer: &Json) -> &Vec<Json> {
    answer["items"].as_array().expect("items")
}
