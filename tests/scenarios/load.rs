//! Load whose outcome is known: clients that post new readings, equal ones again and corrections, and remember what was answered.

use std::time::Duration;

use harness::{Hub, Model};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{sync::watch, task::JoinHandle};

use crate::samples::{PROPERTIES, Sample, json_array, minute_of};

/// Clients that post at once; each has sensors of its own, so that it alone decides the order of their readings.
pub const CLIENTS: usize = 4;
/// Sensors of a client.
const SENSORS: usize = 3;
/// The most readings of one post.
const BATCH_MAX: usize = 60;
/// A pause that leaves a hub time for other things.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Clients at work.
pub struct Load {
    address: watch::Sender<Option<String>>,
    clients: Vec<JoinHandle<Client>>,
}

impl Load {
    /// Starts to post to a hub; each client pauses that long after each post.
    pub fn start(hub: &Hub, rng: &mut StdRng, pause: Duration) -> Self {
        let (address, listening) = watch::channel(Some(hub.address().to_owned()));
        let start = |number: usize| {
            let client = Client {
                rng: StdRng::seed_from_u64(rng.random()),
                sensors: (0..SENSORS).map(|sensor| format!("emb{number}.{sensor}")).collect(),
                sent: Vec::new(),
                next_minute: 0,
                pause,
                model: Model::default(),
                hub: listening.clone(),
                http: reqwest::Client::builder().no_proxy().build().expect("a client needs nothing"),
            };
            tokio::spawn(client.run())
        };
        let clients = (0..CLIENTS).map(start).collect();
        Self { address, clients }
    }

    /// Tells the clients where the hub listens after it was started again.
    pub fn follow(&self, hub: &Hub) {
        self.address.send_replace(Some(hub.address().to_owned()));
    }

    /// Ends the load; answers with what the hub must hold.
    pub async fn end(self) -> Model {
        self.address.send_replace(None);
        let mut models = Vec::new();
        for client in self.clients {
            let client = client.await.expect("a client sees nothing unexpected");
            models.push(client.model);
        }
        Model::all(models)
    }
}

/// Waits until a hub has processed what a load had accepted, and compares what it holds.
pub async fn assert_kept(hub: &Hub, model: &Model) {
    let metrics = hub.processed("emb", model.certain() as u64).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    println!("{} rows must be there, {} are", model.certain(), csv.lines().count() - 1);
    model.assert_holds(&csv, PROPERTIES.len());
    assert_eq!(metrics.outcome("emb", "stored"), csv.lines().count() as u64 - 1, "one `stored` per row");
    assert_eq!(metrics.outcome("emb", "dead_lettered"), 0);
}

/// One client: what it knows of its sensors, and the hub as it stands.
struct Client {
    rng: StdRng,
    sensors: Vec<String>,
    sent: Vec<Sample>,
    next_minute: u32,
    /// How long it waits after a post, before the next or before it tries again.
    pause: Duration,
    model: Model,
    /// The address of the hub; `None` when it is time to end.
    hub: watch::Receiver<Option<String>>,
    http: reqwest::Client,
}

impl Client {
    /// Posts until told to end.
    async fn run(mut self) -> Self {
        while self.hub.borrow().is_some() {
            let batch = self.batch();
            self.post(&batch).await;
            let _ = tokio::time::timeout(self.pause, self.hub.changed()).await;
        }
        self
    }

    /// New readings, equal ones again, and corrections.
    fn batch(&mut self) -> Vec<Sample> {
        let count = self.rng.random_range(1..=BATCH_MAX);
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            let known = self.sent.choose(&mut self.rng).cloned();
            let sample = match (self.rng.random_range(0..10), known) {
                (0, Some(equal)) => equal,
                (1, Some(wrong)) => Sample { time: wrong.time, ..Sample::random(&wrong.sensor_id, 0, &mut self.rng) },
                _ => {
                    self.next_minute += 1;
                    let sensor = self.sensors.choose(&mut self.rng).expect("there are some");
                    Sample { time: minute_of(self.next_minute), ..Sample::random(sensor, 0, &mut self.rng) }
                }
            };
            batch.push(sample);
        }
        batch
    }

    /// Posts a batch; where no answer comes, half the time again and again until one does.
    async fn post(&mut self, batch: &[Sample]) {
        let is_patient = self.rng.random_bool(0.5);
        loop {
            let Some(address) = self.hub.borrow().clone() else { return };
            let request = self.http.post(format!("http://{address}/v1/readings/emb"));
            let sent = request.header("content-type", "application/json").body(json_array(batch)).send().await;
            let status = sent.map(|response| response.status().as_u16());
            if let Ok(202) = status {
                return self.learn(batch, Model::accepted);
            }
            assert!(matches!(status, Err(_) | Ok(503)), "unexpected status {status:?}");
            self.learn(batch, Model::unanswered);
            if !is_patient {
                return;
            }
            let _ = tokio::time::timeout(PAUSE, self.hub.changed()).await;
        }
    }

    fn learn(&mut self, batch: &[Sample], how: fn(&mut Model, &str, &str, &harness::Row)) {
        for Sample { sensor_id, time, row } in batch {
            how(&mut self.model, sensor_id, time, row);
        }
        self.sent.extend_from_slice(batch);
    }
}
