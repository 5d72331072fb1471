//! Kafka's own clients beside the hub: what they write is ingested or named as unreadable, and what the hub writes they can read.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use domain::{SensorTypeId, Topic};
use serde_json::{Value, json};

use crate::{folder, launch, samples::Sample, stack};

fn topic_name(folder: &std::path::Path) -> String {
    let topic = Topic::readings(&SensorTypeId::parse("emb").expect("an id"));
    format!("{}{topic}", stack::prefix(folder))
}

fn run(mut tool: Command, input: &[u8]) -> String {
    let mut process =
        tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    process.stdin.take().expect("it is piped").write_all(input).expect("the tool reads");
    let output = process.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn what_another_client_writes_is_judged_or_named_and_poison_stops_nothing() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    let kafka = servers::kafka();
    let mut producer = kafka.tool("org.apache.kafka.tools.ConsoleProducer");
    producer.args(["--bootstrap-server", &kafka.bootstrap(), "--topic", &topic_name(data.path())]);
    producer.args(["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]);
    let foreign = Sample::plain("emb9", 2, 2).json();
    let lines =
        ["emb9|not a reading", "emb9|{\"sensor_id\":\"emb9\"", "emb9|[]", "emb9|{}", &format!("emb9|{foreign}")];
    run(producer, (lines.join("\n") + "\n").as_bytes());
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb9", 3, 3).json()).await.expect(202);

    let metrics = hub.processed("emb", 7).await;
    assert_eq!((metrics.outcome("emb", "stored"), metrics.outcome("emb", "dead_lettered")), (3, 4));
    let letters = hub.get("/v1/dead-letters").await.expect(200).json();
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(4), "{letters}");
    let items = hub.get("/v1/readings/emb?sensor_id=emb9").await.expect(200).json();
    let posted: Value = serde_json::from_str(&foreign).expect("JSON");
    assert_eq!((&items["items"][0]["sec"], &items["items"][0]["qc"]), (&posted["sec"], &json!("normal")), "{items}");
}

#[tokio::test]
async fn another_client_reads_the_readings_as_they_were_posted() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let samples = [Sample::plain("emb3", 1, 1), Sample::plain("emb3", 2, 2)];
    for sample in &samples {
        hub.post("/v1/readings/emb", "application/json", sample.json()).await.expect(202);
    }
    let kafka = servers::kafka();
    let mut consumer = kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
    consumer.args(["--bootstrap-server", &kafka.bootstrap(), "--topic", &topic_name(data.path())]);
    consumer.args(["--from-beginning", "--max-messages", "2", "--timeout-ms", "30000"]);
    let said = run(consumer, b"");
    let read: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let number = |value: &Value| value["sec"].as_f64();
    assert_eq!(read.len(), 2, "{said}");
    for (read, sample) in read.iter().zip(&samples) {
        let posted: Value = serde_json::from_str(&sample.json()).expect("JSON");
        assert_eq!((&read["sensor_id"], &read["phenomenon_time"]), (&posted["sensor_id"], &posted["phenomenon_time"]));
        assert_eq!(number(read), number(&posted));
    }
}
