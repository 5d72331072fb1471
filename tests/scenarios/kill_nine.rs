//! Accepted is kept: a hub that is killed over and over under load holds what it has accepted, once, and invents nothing.

use std::time::Duration;

use harness::{Hub, Model, seeded};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    folder, launch,
    samples::{Sample, json_array},
    stack,
};

/// How often the hub is killed.
const KILLS: usize = 15;
/// Clients that post at once; each has sensors of its own, so that it alone decides the order of their readings.
const CLIENTS: usize = 4;
/// Sensors of a client.
const SENSORS: usize = 3;
/// The most readings of one post.
const BATCH_MAX: usize = 60;
/// How long a hub lives at most, from listening to being killed.
const LIFE_MAX_MS: u64 = 500;

/// One client: what it knows of its sensors, and the hub as it stands.
struct Client {
    rng: StdRng,
    sensors: Vec<String>,
    sent: Vec<Sample>,
    next_hour: u32,
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
                    self.next_hour += 1;
                    let sensor = self.sensors.choose(&mut self.rng).expect("there are some");
                    Sample::random(sensor, self.next_hour, &mut self.rng)
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
            let _ = tokio::time::timeout(Duration::from_millis(20), self.hub.changed()).await;
        }
    }

    fn learn(&mut self, batch: &[Sample], how: fn(&mut Model, &str, &str, &harness::Row)) {
        for Sample { sensor_id, time, row } in batch {
            how(&mut self.model, sensor_id, time, row);
        }
        self.sent.extend_from_slice(batch);
    }
}

fn start_clients(rng: &mut StdRng, hub: &watch::Receiver<Option<String>>) -> Vec<JoinHandle<Client>> {
    let start = |number: usize| {
        let client = Client {
            rng: StdRng::seed_from_u64(rng.random()),
            sensors: (0..SENSORS).map(|sensor| format!("emb{number}.{sensor}")).collect(),
            sent: Vec::new(),
            next_hour: 0,
            model: Model::default(),
            hub: hub.clone(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client needs nothing"),
        };
        tokio::spawn(client.run())
    };
    (0..CLIENTS).map(start).collect()
}

async fn kill_over_and_over(hub: &mut Hub, address: &watch::Sender<Option<String>>, rng: &mut StdRng) {
    for _ in 0..KILLS {
        address.send_replace(Some(hub.address().to_owned()));
        harness::a_moment(Duration::from_millis(rng.random_range(20..LIFE_MAX_MS))).await;
        hub.kill();
        hub.restart().await;
        hub.metrics().await.add_up("emb").expect("counters add up after a kill");
    }
    address.send_replace(Some(hub.address().to_owned()));
    harness::a_moment(Duration::from_millis(LIFE_MAX_MS)).await;
    address.send_replace(None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_reading_is_stored_once_whenever_the_hub_is_killed() {
    let mut rng = seeded("kill_nine");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let (address, listening) = watch::channel(Some(hub.address().to_owned()));
    let clients = start_clients(&mut rng, &listening);
    kill_over_and_over(&mut hub, &address, &mut rng).await;

    let mut models = Vec::new();
    for client in clients {
        let client = client.await.expect("a client sees nothing unexpected");
        models.push(client.model);
    }
    let model = Model::all(models);
    let metrics = hub.processed("emb", model.certain() as u64).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    println!("kill_nine: {} rows must be there, {} are", model.certain(), csv.lines().count() - 1);
    assert!(model.certain() > KILLS * CLIENTS, "hardly anything was accepted");
    model.assert_holds(&csv, crate::samples::PROPERTIES.len());
    assert_eq!(metrics.outcome("emb", "stored"), csv.lines().count() as u64 - 1, "one `stored` per row");
    assert_eq!(metrics.outcome("emb", "dead_lettered"), 0);

    assert!(hub.stop().await.status.success());
    stack::verify(data.path());
}
