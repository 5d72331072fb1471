//! What the log on Kafka owes to others on the same Kafka: other programs, other processes of the hub, and who runs the brokers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use distributed::log::{Endangered, KafkaLog, Settings};
use domain::{Partition, Position, PropertyId, Readings, SensorId, SensorTypeId, Timestamp, Topic, Value};
use ports::{Batch, Clock, Committed, Consumer, Content, Delivery, ErrorKind, Log, SystemClock, TopicKind, Totals};
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers,
    producer::{BaseProducer, BaseRecord, Producer},
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(prefix: &str) -> Settings {
    let started = SystemClock.now().as_micros();
    let prefix = format!("{prefix}-{:x}-{started:x}.", std::process::id());
    Settings { bootstrap_servers: servers::kafka().bootstrap(), prefix, ..Settings::default() }
}

async fn open(settings: &Settings) -> KafkaLog {
    KafkaLog::open(settings.clone(), Arc::new(SystemClock)).await.expect("the log opens")
}

fn client(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.bootstrap_servers);
    config
}

fn topic() -> Topic {
    Topic::readings(&SensorTypeId::parse("emb").expect("a sensor type id"))
}

/// One reading each of sensors `s0`, `s1` and so on.
fn readings(sensors: u64) -> Batch {
    let property = PropertyId::parse("sec").expect("a property id");
    let mut readings = Readings::new([property].into());
    for number in 0..sensors {
        let sensor_id = SensorId::parse(&format!("s{number}")).expect("a sensor id");
        let time = Timestamp::from_micros(1_486_566_000_000_000);
        readings.push(sensor_id, time, &[Value::number(number as f64).expect("a finite number")]);
    }
    Batch::Readings { type_version: 2, readings }
}

/// Polls until so many records came.
async fn poll(consumer: &mut dyn Consumer, records: usize) -> Vec<Delivery> {
    let mut all: Vec<Delivery> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while all.iter().map(|delivery| delivery.content.len()).sum::<usize>() < records {
        assert!(Instant::now() < deadline, "of {records} records only {all:?} came");
        all.extend(consumer.poll(1_000, Duration::from_millis(100)).await.expect("a poll"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_reads_what_the_hub_wrote() {
    let settings = settings("reads");
    let log = open(&settings).await;
    log.create_topic(&topic(), TopicKind::Records).await.expect("a topic");
    log.append(&topic(), readings(50)).await.expect("an append");

    let mut config = client(&settings);
    config.set("group.id", format!("{}other", settings.prefix)).set("auto.offset.reset", "earliest");
    let other: BaseConsumer = config.create().expect("a consumer");
    let name = format!("{}{}", settings.prefix, topic());
    other.subscribe(&[&name]).expect("a subscription");
    let mut partitions = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while partitions.len() < 50 {
        assert!(Instant::now() < deadline, "{} of 50 records came", partitions.len());
        let Some(Ok(message)) = other.poll(Duration::from_millis(100)) else { continue };
        let key = String::from_utf8_lossy(message.key().expect("a key")).into_owned();
        let number = key.strip_prefix('s').expect("a sensor id");
        let expected = format!(r#"{{"sensor_id":"{key}","phenomenon_time":"2017-02-08T15:00:00Z","sec":{number}}}"#);
        assert_eq!(String::from_utf8_lossy(message.payload().expect("a value")), expected);
        let headers = message.headers().expect("headers");
        let header = |name| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        assert_eq!((header("format"), header("type_version")), (Some(&b"reading/1"[..]), Some(&b"2"[..])));
        let micros: i64 = String::from_utf8_lossy(header("accepted_at").expect("a stamp")).parse().expect("a number");
        assert_eq!(message.timestamp().to_millis(), Some(micros / 1_000));
        partitions.insert(key, message.partition());
    }

    // librdkafka's own partitioner, which is that of the Java client, puts each key where the hub has put it.
    let mut config = client(&settings);
    config.set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create().expect("a producer");
    for key in partitions.keys() {
        producer.send(BaseRecord::to(&name).key(key).payload("other")).expect("room");
    }
    producer.flush(PATIENCE).expect("all is sent");
    let mut compared = 0;
    while compared < 50 {
        assert!(Instant::now() < deadline, "{compared} of 50 records came");
        let Some(Ok(message)) = other.poll(Duration::from_millis(100)) else { continue };
        let key = String::from_utf8_lossy(message.key().expect("a key")).into_owned();
        assert_eq!(partitions[&key], message.partition(), "{key}");
        compared += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_writes_is_delivered() {
    let settings = Settings { partitions: 1, ..settings("writes") };
    let log = open(&settings).await;
    log.create_topic(&topic(), TopicKind::Records).await.expect("a topic");
    let name = format!("{}{}", settings.prefix, topic());
    let producer: BaseProducer = client(&settings).set("linger.ms", "0").create().expect("a producer");
    let good = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z","sec":904,"ph":null}"#;
    for value in [good, good, "no reading"] {
        producer.send(BaseRecord::<(), _>::to(&name).payload(value).timestamp(1_486_566_000_500)).expect("room");
    }
    producer.send(BaseRecord::<_, ()>::to(&name).key("emb3")).expect("room");
    producer.flush(PATIENCE).expect("all is sent");

    let mut consumer = log.consumer("qc").await.expect("a consumer");
    consumer.subscribe(&[topic()]).await.expect("a subscription");
    let deliveries = poll(&mut *consumer, 4).await;
    let Content::Readings { type_version: None, readings } = &deliveries[0].content else { panic!("{deliveries:?}") };
    assert_eq!(readings.len(), 2, "both in one delivery");
    assert_eq!(readings.get(0).values[1], Value::MISSING);
    assert_eq!(deliveries[0].accepted_at, Timestamp::from_micros(1_486_566_000_500_000));
    for (delivery, bytes) in deliveries[1..].iter().zip([&b"no reading"[..], b""]) {
        let Content::Undecodable(undecodable) = &delivery.content else { panic!("{delivery:?}") };
        assert_eq!((&*undecodable.bytes, undecodable.count), (bytes, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_topics_groups_and_positions() {
    let settings = settings("shares");
    let (one, other) = (open(&settings).await, open(&settings).await);
    let mut consumer = other.consumer("qc").await.expect("a consumer");
    consumer.subscribe(&[topic()]).await.expect("a subscription");
    assert!(consumer.poll(10, Duration::from_millis(200)).await.expect("no such topic yet").is_empty());

    one.create_topic(&topic(), TopicKind::Records).await.expect("a topic");
    one.append(&topic(), readings(30)).await.expect("an append");
    // Long before the client would ask for metadata again by itself, which it does every five minutes.
    let deliveries = poll(&mut *consumer, 30).await;
    for delivery in &deliveries {
        let totals = Totals { stored: delivery.next_position().0, ..Totals::default() };
        let committed = Committed { partition: delivery.partition, position: delivery.next_position(), totals };
        consumer.commit(&topic(), committed).await.expect("a commit");
    }
    let committed = one.committed("qc", &topic()).await.expect("committed");
    assert_eq!(committed, other.committed("qc", &topic()).await.expect("committed"));
    assert_eq!(committed.iter().map(|its| its.totals.stored).sum::<u64>(), 30);

    other.delete_topic(&topic()).await.expect("a removal");
    let deadline = Instant::now() + PATIENCE;
    while one.append(&topic(), readings(1)).await.is_ok() {
        assert!(Instant::now() < deadline, "the other process never hears of the removal");
    }
    assert_eq!(one.extents(&topic()).await.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_somebody_else_made_is_used_and_watched() {
    let settings = settings("made");
    let name = format!("{}{}", settings.prefix, topic());
    let admin: AdminClient<DefaultClientContext> = client(&settings).create().expect("a client");
    let day = Duration::from_secs(24 * 3_600).as_millis().to_string();
    let new = NewTopic::new(&name, 2, TopicReplication::Fixed(1)).set("retention.ms", &day);
    let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");

    let clock = Arc::new(ports::ManualClock::at(SystemClock.now()));
    let log = KafkaLog::open(settings.clone(), Arc::clone(&clock) as _).await.expect("the log opens");
    log.create_topic(&topic(), TopicKind::Records).await.expect("it is used as it is");
    assert_eq!(log.extents(&topic()).await.expect("extents").len(), 2);
    log.append(&topic(), readings(1)).await.expect("an append");
    let mut consumer = log.consumer("qc").await.expect("a consumer");
    consumer.subscribe(&[topic()]).await.expect("a subscription");
    for number in 0..2 {
        let committed = Committed { partition: Partition(number), ..Committed::default() };
        consumer.commit(&topic(), committed).await.expect("a commit");
    }
    assert_eq!(log.endangered("qc").await.expect("an answer"), []);
    clock.set(SystemClock.now().saturating_add(Duration::from_secs(20 * 3_600)));
    let extents = log.extents(&topic()).await.expect("extents");
    let partition = extents.iter().find(|extent| extent.end > Position(0)).expect("a record").partition;
    let kept_for = Duration::from_secs(24 * 3_600);
    assert_eq!(log.endangered("qc").await.expect("an answer"), [Endangered { topic: topic(), partition, kept_for }]);
}
