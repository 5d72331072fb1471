//! The whole distributed path, from the first post to the last reading that can be queried, against a raw bulk load of the same documents
//! into the same Elasticsearch, in turns, in one run.
//!
//! `cargo bench -p services [-- --ticks 20 --rounds 3 --sensor-type emb]`: 20,000 sensors with that many readings each; `emb-qartod` goes through
//! every test. The page docs/benchmarks.md says what each figure means.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use distributed::store::{ElasticStore, Settings};
use feeder::simulate::{self, Backfill, Faults, Options};
use harness::{Hub, Launch};
use ports::Store;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Sensors of the load.
const SENSORS: u32 = 20_000;
/// Documents in one page of a search, and in one bulk request of the raw load.
const DOCUMENTS: usize = 5_000;
/// Bulk requests of the raw load under way at once.
const IN_FLIGHT: usize = 4;
/// What the hub's indices begin with.
const HUB: &str = "bench-hub-";
/// What the indices of the raw load begin with.
const RAW: &str = "bench-raw-";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut ticks, mut rounds, mut sensor_type) = (20, 3, "emb".to_owned());
    while let Some(name) = arguments.next() {
        let mut text = || arguments.next().expect("something behind the option");
        let number = |text: String| text.parse().expect("a number");
        match name.as_str() {
            "--ticks" => ticks = number(text()),
            "--rounds" => rounds = number(text()),
            "--sensor-type" => sensor_type = text(),
            _ => (),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(ticks, rounds, &sensor_type));
}

async fn run(ticks: u32, rounds: u32, sensor_type: &str) {
    let elasticsearch = Elasticsearch { url: servers::elasticsearch().url(), http: Client::new() };
    let mut rates = Vec::new();
    // The first round warms the servers up and does not count.
    for round in 0..=rounds {
        let path = whole_path(round, ticks, sensor_type).await;
        let bulks = elasticsearch.bulks(sensor_type).await;
        let raw = elasticsearch.load(bulks).await;
        elasticsearch.remove(HUB).await;
        elasticsearch.remove(RAW).await;
        println!(
            "round {round}: whole path {path:.0} stored/s, raw bulk load {raw:.0} documents/s: {:.2} of it",
            path / raw
        );
        if round > 0 {
            rates.push([path, raw]);
        }
    }
    let median = |which: usize| {
        let mut sorted: Vec<f64> = rates.iter().map(|rate| rate[which]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let [path, raw] = [median(0), median(1)];
    println!("median: whole path {path:.0} stored/s, raw bulk load {raw:.0} documents/s: {:.2} of it", path / raw);
}

/// Posts readings as fast as the hub takes them; answers how many a second were stored until the last can be queried.
async fn whole_path(round: u32, ticks: u32, sensor_type: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hub = start(folder.path(), round).await;
    let interval = Duration::from_secs(3600);
    let options = Options {
        hub: hub.url(""),
        sensor_type: sensor_type.to_owned(),
        sensors: SENSORS,
        sensor_prefix: "emb-sim".to_owned(),
        seed: u64::from(round) + 1,
        faults: Faults::default(),
        backfill: Some(Backfill { start: None, span: interval * ticks, interval: Some(interval) }),
        settle_timeout: Duration::from_secs(600),
        quiet: true,
        ..Options::default()
    };
    let report = simulate::run(options).await.expect("the load runs");
    let stored = report.queryable.as_ref().expect("it waits until all can be queried").stored_per_second;
    println!(
        "round {round}: {:.0} accepted/s; the largest process took {} MB",
        report.accepted_per_second,
        hub.memory_peak_bytes() >> 20
    );
    stored
}

async fn start(folder: &Path, round: u32) -> Hub {
    let programs = [env!("CARGO_BIN_EXE_ingest-api"), env!("CARGO_BIN_EXE_qc-consumer")];
    Launch::distributed(&programs, folder)
        .key("KAFKA__BOOTSTRAP_SERVERS", &servers::kafka().bootstrap())
        .key("KAFKA__PREFIX", &format!("bench-{}-{round}-", std::process::id()))
        .key("ELASTICSEARCH__URLS", &servers::elasticsearch().url())
        .key("ELASTICSEARCH__INDEX_PREFIX", HUB)
        .key("ELASTICSEARCH__REPLICAS", "0")
        .key("TRACING__FILTER", "warn")
        .start()
        .await
}

/// The server, without any of our code between.
struct Elasticsearch {
    url: String,
    http: Client,
}

impl Elasticsearch {
    async fn ask(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Value {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url)).body(body);
        let answer = request.header("content-type", "application/x-ndjson").send().await.expect("an answer");
        let status = answer.status();
        let answer: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    /// Every document of the hub as the body of a bulk load under the raw prefix, in indices made as the hub makes them.
    async fn bulks(&self, id: &str) -> Vec<String> {
        let settings =
            Settings { urls: vec![self.url.clone()], index_prefix: RAW.to_owned(), replicas: 0, ..Settings::default() };
        let raw = ElasticStore::new(settings).expect("settings that make sense");
        raw.prepare(&sensor_type(id)).await.expect("a template");
        let mut bulks = Vec::new();
        let mut after: Option<Value> = None;
        self.ask("POST", &format!("/{HUB}readings-{id}.*/_refresh"), "").await;
        let mut indices = std::collections::BTreeSet::new();
        loop {
            let mut query = json!({"size": DOCUMENTS, "sort": ["phenomenon_time", "sensor_id"]});
            if let Some(after) = &after {
                query["search_after"] = after.clone();
            }
            let request = self.http.post(format!("{}/{HUB}readings-{id}.*/_search", self.url)).json(&query);
            let page: Value = request.send().await.expect("an answer").json().await.expect("JSON");
            let hits = page["hits"]["hits"].as_array().expect("hits");
            let Some(last) = hits.last() else { break };
            after = Some(last["sort"].clone());
            let mut bulk = String::new();
            for hit in hits {
                let index = hit["_index"].as_str().expect("a name").replacen(HUB, RAW, 1);
                bulk += &format!("{}\n{}\n", json!({"create": {"_index": index, "_id": hit["_id"]}}), hit["_source"]);
                indices.insert(index);
            }
            bulks.push(bulk);
        }
        for index in indices {
            self.ask("PUT", &format!("/{index}"), "").await;
        }
        bulks
    }

    /// Loads all bulks; answers how many documents a second that were.
    async fn load(&self, bulks: Vec<String>) -> f64 {
        let documents: usize = bulks.iter().map(|bulk| bulk.lines().count() / 2).sum();
        let started = Instant::now();
        let mut loads = JoinSet::new();
        for bulk in bulks {
            if loads.len() >= IN_FLIGHT {
                loads.join_next().await.expect("one is under way").expect("it is loaded");
            }
            let request = self.http.post(format!("{}/_bulk?filter_path=errors", self.url)).body(bulk);
            let request = request.header("content-type", "application/x-ndjson");
            loads.spawn(async move {
                let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
                assert_eq!(answer["errors"], false, "{answer}");
            });
        }
        while let Some(loaded) = loads.join_next().await {
            loaded.expect("it is loaded");
        }
        documents as f64 / started.elapsed().as_secs_f64()
    }

    async fn remove(&self, prefix: &str) {
        let indices = self.ask("GET", &format!("/{prefix}*/_alias"), "").await;
        for index in indices.as_object().expect("indices by name").keys() {
            self.ask("DELETE", &format!("/{index}"), "").await;
        }
        self.ask("DELETE", &format!("/_index_template/{prefix}*"), "").await;
    }
}

/// The type `emb`, as every hub has it.
fn sensor_type(id: &str) -> domain::SensorType {
    let (id, draft) = registry::built_in_types().into_iter().find(|(known, _)| known.as_str() == id).expect("a type");
    domain::SensorType::assemble(id, 1, 1, draft)
}
