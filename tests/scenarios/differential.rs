//! One meaning: the same traffic (late, doubled, corrected, bad) to the embedded and to the distributed stack ends in the same bytes.

use harness::{Hub, Launch, seeded};
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

use crate::{
    folder, launch,
    samples::{Sample, csv, json_array, ndjson},
    stack::PROGRAMS,
};

/// Hours of each sensor.
const HOURS: u32 = 600;
/// The sensors.
const SENSORS: [&str; 4] = ["emb2", "emb3", "EMB.3", "a:b.c_d-e"];
/// What is asked of both.
const QUESTIONS: [&str; 12] = [
    "/v1/readings/emb?format=json&limit=1000",
    "/v1/readings/emb?format=ndjson",
    "/v1/readings/emb?format=csv",
    "/v1/readings/emb?format=parquet",
    "/v1/readings/emb?format=arrow",
    "/v1/readings/emb?format=csv&order=desc",
    "/v1/readings/emb?format=csv&qc=anomaly",
    "/v1/readings/emb?format=csv&qc=normal&properties=ph,sec",
    "/v1/readings/emb?format=csv&sensor_id=emb3&sensor_id=EMB.3&from=2020-01-05T00:00:00Z&to=2020-01-15T12:00:00Z",
    "/v1/readings/emb/latest",
    "/v1/datastreams/emb3/ph/buckets?interval=1d&statistics=count,min,max",
    "/v1/datastreams/emb3/sec/buckets?interval=7h&statistics=count,min,max&qc=normal",
];
/// Means and deviations, which may differ by 1e-9 of their value.
const STATISTICS: &str = "/v1/datastreams/emb2/water_level/buckets?interval=1d&statistics=count,mean,stddev";

/// One request of the traffic.
#[derive(Clone)]
enum Request {
    Post(&'static str, String),
    Delete(String),
}

/// Readings in any order, some of them again, some corrected, some bad; and deletions.
fn traffic(rng: &mut StdRng) -> Vec<Request> {
    let mut samples: Vec<Sample> = Vec::new();
    for sensor in SENSORS {
        samples.extend((0..HOURS).map(|hour| Sample::random(sensor, hour, rng)));
    }
    let again: Vec<Sample> = samples.iter().filter(|_| rng.random_bool(0.2)).cloned().collect();
    let mut corrected = Vec::new();
    for wrong in &samples {
        if rng.random_bool(0.1) {
            corrected.push(Sample { time: wrong.time.clone(), ..Sample::random(&wrong.sensor_id, 0, rng) });
        }
    }
    samples.extend(again.into_iter().chain(corrected));
    samples.shuffle(rng);
    let mut requests = Vec::new();
    let mut rest = &samples[..];
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(rng.random_range(1..=rest.len().min(400)));
        requests.push(match rng.random_range(0..3) {
            0 => Request::Post("application/json", with_bad_item(json_array(batch))),
            1 => Request::Post("application/x-ndjson", ndjson(batch)),
            _ => Request::Post("text/csv", csv(batch)),
        });
        rest = later;
    }
    let middle = requests.len() / 2;
    let range = "sensor_id=emb2&from=2020-01-03T00:00:00Z&to=2020-01-06T00:00:00Z";
    requests.insert(middle, Request::Delete(format!("/v1/readings/emb?{range}")));
    requests
}

/// The same array with an item that is refused.
fn with_bad_item(array: String) -> String {
    array.replacen('[', r#"[{"sensor_id":"emb2","phenomenon_time":"2020-01-01T00:00:00Z","nonsense":1},"#, 1)
}

/// Sends the traffic, one request after the other; answers with what the hub answered.
async fn send(hub: &Hub, traffic: &[Request]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut appended = 0;
    for request in traffic {
        let answer = match request {
            Request::Post(media_type, body) => hub.post("/v1/readings/emb", media_type, body.clone()).await.expect(202),
            Request::Delete(path) => hub.delete(path).await.expect(202),
        };
        appended += answer.json()["accepted"].as_u64().unwrap_or(1);
        answers.push(answer.body);
    }
    hub.processed("emb", appended).await;
    answers
}

async fn statistics(hub: &Hub) -> Vec<[f64; 3]> {
    let answer = hub.get(STATISTICS).await.expect(200).json();
    let number = |item: &Value, name: &str| item[name].as_f64().unwrap_or_else(|| panic!("`{name}` in {item}"));
    let items = answer["items"].as_array().expect("items").clone();
    items.iter().map(|item| [number(item, "count"), number(item, "mean"), number(item, "stddev")]).collect()
}

#[tokio::test]
async fn both_stacks_answer_the_same_bytes_to_the_same_traffic() {
    let mut rng = seeded("differential");
    let traffic = traffic(&mut rng);
    let (here, there) = (folder(), folder());
    let beside = std::path::Path::new(PROGRAMS[0]).with_file_name("iot-hub");
    assert!(beside.exists(), "`{}` is not built: `cargo test --workspace` builds it", beside.display());
    let embedded = Launch::new(beside, here.path()).start().await;
    let distributed = launch(there.path()).start().await;
    let answers = [send(&embedded, &traffic).await, send(&distributed, &traffic).await];
    let text =
        |answers: &[Vec<u8>]| answers.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect::<Vec<_>>();
    assert_eq!(text(&answers[0]), text(&answers[1]), "answers to the traffic");
    for question in QUESTIONS {
        let [one, other] =
            [embedded.get(question).await.expect(200).body, distributed.get(question).await.expect(200).body];
        assert!(one.len() > 50, "{question}: {}", String::from_utf8_lossy(&one));
        if one != other {
            let [one, other] = [one, other].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
            panic!("{question}: {} and {} bytes; the first lines that differ: {differing:#?}", one.len(), other.len());
        }
    }
    let [one, other] = [statistics(&embedded).await, statistics(&distributed).await];
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().flatten().zip(other.iter().flatten()) {
        assert!((one - other).abs() <= 1e-9 * one.abs().max(other.abs()), "{one} and {other}");
    }
}
