//! How fast the log on Kafka takes and gives readings, beside Kafka's own performance tool at the same record size. Run with
//! `cargo bench -p distributed --bench log`; `RECORDS` sets how many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use distributed::log::{KafkaLog, Settings};
use domain::{PropertyId, Readings, SensorId, SensorTypeId, Timestamp, Topic, Value};
use ports::{Batch, Clock, Log, SystemClock, TopicKind};

/// Readings in one append.
const BATCH: i64 = 1_000;
/// Appends that wait at the same time.
const WRITERS: i64 = 16;
/// Properties of a reading: those of the borehole sensors of the paper.
const PROPERTIES: [&str; 8] =
    ["sec", "ph", "water_level", "water_temperature", "tds", "salinity", "pressure", "battery"];

fn batch(properties: &Arc<[PropertyId]>, number: i64) -> Batch {
    let mut readings = Readings::with_capacity(properties.clone(), BATCH as usize);
    for index in 0..BATCH {
        let sensor_id = SensorId::parse(&format!("emb{}", index % 50)).expect("a sensor id");
        let time = Timestamp::from_micros(1_486_566_000_000_000 + (number * BATCH + index) * 1_000_000);
        let value = |place: usize| Value::number(((number + index) % 997) as f64 / 4.0 + place as f64);
        let values: Vec<Value> = (0..properties.len()).map(|place| value(place).expect("a finite number")).collect();
        readings.push(sensor_id, time, &values);
    }
    Batch::Readings { type_version: 1, readings }
}

fn rate(records: i64, since: Instant) -> f64 {
    records as f64 / since.elapsed().as_secs_f64()
}

async fn append(log: &Arc<KafkaLog>, topic: &Topic, records: i64) -> f64 {
    let properties: Arc<[PropertyId]> =
        PROPERTIES.iter().map(|name| PropertyId::parse(name).expect("a property id")).collect();
    let started = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let (log, topic, properties) = (Arc::clone(log), topic.clone(), properties.clone());
        tokio::spawn(async move {
            for number in (writer..records / BATCH).step_by(WRITERS as usize) {
                log.append(&topic, batch(&properties, number)).await.expect("an append");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    rate(records, started)
}

async fn consume(log: &Arc<KafkaLog>, topic: &Topic, records: i64) -> f64 {
    let mut consumer = log.consumer("bench").await.expect("a consumer");
    consumer.subscribe(std::slice::from_ref(topic)).await.expect("a subscription");
    let (mut found, mut started) = (0, Instant::now());
    while found < records {
        let deliveries = consumer.poll(10_000, Duration::from_secs(10)).await.expect("a poll");
        if found == 0 {
            started = Instant::now();
        }
        found += deliveries.iter().map(|delivery| delivery.content.len() as i64).sum::<i64>();
    }
    rate(records, started)
}

/// What Kafka's own tool sends, in records a second.
fn perf_tool(kafka: &servers::Kafka, topic: &str, (records, size): (i64, i64)) -> String {
    let mut tool = kafka.tool("org.apache.kafka.tools.ProducerPerformance");
    tool.args(["--topic", topic, "--num-records", &records.to_string(), "--record-size", &size.to_string()]);
    let servers = format!("bootstrap.servers={}", kafka.bootstrap());
    tool.args(["--throughput", "-1", "--producer-props", &servers, "acks=all", "compression.type=lz4"]);
    let said = tool.output().expect("the tool runs");
    let said = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&said).lines().rfind(|line| line.contains("records/sec")).unwrap_or_default().to_owned()
}

fn main() {
    let records: i64 = std::env::var("RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let kafka = servers::kafka();
    let prefix = format!("bench-{:x}.", SystemClock.now().as_micros());
    let settings = Settings { bootstrap_servers: kafka.bootstrap(), prefix: prefix.clone(), ..Settings::default() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let log = Arc::new(KafkaLog::open(settings, Arc::new(SystemClock)).await.expect("the log opens"));
        let topic = Topic::readings(&SensorTypeId::parse("emb").expect("a sensor type id"));
        let other = Topic::readings(&SensorTypeId::parse("other").expect("a sensor type id"));
        log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
        log.create_topic(&other, TopicKind::Records).await.expect("a topic");
        println!("append:  {:>9.0} readings/s in batches of {BATCH}", append(&log, &topic, records).await);
        println!("consume: {:>9.0} readings/s decoded", consume(&log, &topic, records).await);
        // A value of these readings takes about 190 bytes.
        println!("ProducerPerformance: {}", perf_tool(&kafka, &format!("{prefix}{other}"), (records, 190)));
    });
}
