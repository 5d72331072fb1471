//! A broker that is killed and comes back: nothing that was answered is lost, and everything recovers by itself.

use std::{sync::Arc, time::Duration};

use distributed::log::{KafkaLog, Settings};
use domain::{PropertyId, Readings, SensorId, SensorTypeId, Timestamp, Topic, Value};
use ports::{Batch, ErrorKind, Log, SystemClock, TopicKind};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

fn readings(second: i64, count: i64) -> Batch {
    let mut readings = Readings::new([PropertyId::parse("sec").expect("a property id")].into());
    for index in 0..count {
        let time = Timestamp::from_micros((second * 1_000 + index) * 1_000_000);
        readings.push(SensorId::parse("emb3").expect("a sensor id"), time, &[Value::MISSING]);
    }
    Batch::Readings { type_version: 1, readings }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_is_used_again() {
    let kafka = tokio::task::spawn_blocking(servers::Kafka::start_own).await.expect("a Kafka");
    let settings = Settings {
        bootstrap_servers: kafka.bootstrap(),
        delivery_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(2),
        queue_records_max: 100,
        ..Settings::default()
    };
    let log = Arc::new(KafkaLog::open(settings, Arc::new(SystemClock)).await.expect("the log opens"));
    let topic = Topic::readings(&SensorTypeId::parse("emb").expect("a sensor type id"));
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let mut consumer = log.consumer("qc").await.expect("a consumer");
    consumer.subscribe(std::slice::from_ref(&topic)).await.expect("a subscription");
    log.append(&topic, readings(0, 60)).await.expect("an append");

    kafka.kill();
    let (appending, to) = (Arc::clone(&log), topic.clone());
    let waiting = tokio::spawn(async move { appending.append(&to, readings(1, 60)).await });
    let started = Instant::now();
    let refused = loop {
        assert!(started.elapsed() < PATIENCE, "the queue has no bound");
        match log.append(&topic, readings(2, 60)).await {
            Err(error) if error.kind() == ErrorKind::Full => break error,
            other => assert_eq!(other.err().map(|error| error.kind()), Some(ErrorKind::Unavailable)),
        }
        if waiting.is_finished() {
            break waiting.await.expect("an answer").expect_err("there is no broker");
        }
    };
    assert!(refused.is_transient());
    assert_eq!(log.ready().await.err().map(|error| error.kind()), Some(ErrorKind::Unavailable));

    kafka.start();
    let restarted = Instant::now();
    while let Err(error) = log.append(&topic, readings(3, 60)).await {
        assert!(restarted.elapsed() < PATIENCE && error.is_transient(), "{error}");
    }
    log.ready().await.expect("a broker");
    let appended: u64 = log.extents(&topic).await.expect("extents").iter().map(|extent| extent.end.0).sum();
    let mut found = 0;
    let deadline = Instant::now() + PATIENCE;
    while found < appended {
        assert!(Instant::now() < deadline, "{found} of {appended} records came");
        let deliveries = consumer.poll(1_000, Duration::from_millis(100)).await.expect("a poll");
        found += deliveries.iter().map(|delivery| delivery.content.len() as u64).sum::<u64>();
    }
    assert!(appended >= 120, "what was answered is there: {appended}");
}
