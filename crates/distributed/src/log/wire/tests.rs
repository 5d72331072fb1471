//! What is written reads back, what others write is understood, and no bytes make reading panic.

use std::sync::Arc;

use domain::{Deletion, Partition, Position, PropertyId, Readings, Rejudgement, SensorId, Timestamp, Topic, Value};
use ports::{Batch, Content, Delivery, TopicKind};
use proptest::prelude::{any, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection::vec, strategy::Strategy};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp as Written};

use super::{Decoder, encode, headers};

const ACCEPTED_AT: Timestamp = Timestamp::from_micros(1_486_566_000_123_456);

fn properties(names: &[&str]) -> Arc<[PropertyId]> {
    names.iter().map(|name| PropertyId::parse(name).expect("a property id")).collect()
}

fn sensor() -> SensorId {
    SensorId::parse("emb3").expect("a sensor id")
}

fn number(number: f64) -> Value {
    Value::number(number).expect("a finite number")
}

fn decoder() -> Decoder {
    Decoder::new(Topic::from_name("readings.emb"), Partition(0), TopicKind::Records)
}

fn message(offset: i64, value: Option<&[u8]>, headers: Option<OwnedHeaders>) -> OwnedMessage {
    let written = Written::CreateTime(1_486_566_000_123);
    let topic = "readings.emb".to_owned();
    OwnedMessage::new(value.map(<[u8]>::to_vec), Some(b"emb3".to_vec()), topic, written, 0, offset, headers)
}

/// The records of a batch as messages, from an offset on.
fn sent(batch: &Batch, offset: i64) -> Vec<OwnedMessage> {
    let encoded = encode(batch, 1);
    let (whole, with_absent) = headers(&encoded, ACCEPTED_AT);
    let records = encoded.records(0).zip(offset..);
    let headers = |has_absent| if has_absent { with_absent.clone() } else { whole.clone() };
    records.map(|(record, offset)| message(offset, record.value, Some(headers(record.has_absent)))).collect()
}

fn decode(messages: &[OwnedMessage]) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let mut decoder = decoder();
    messages.iter().for_each(|message| decoder.take(message, &mut deliveries));
    deliveries
}

#[track_caller]
fn check_foreign(value: &str, expected: Result<(&[&str], &[Value]), &str>) {
    let delivery = decode(&[message(7, Some(value.as_bytes()), None)]).remove(0);
    assert_eq!(delivery.first_position, Position(7));
    assert_eq!(delivery.accepted_at, Timestamp::from_micros(1_486_566_000_123_000));
    match (expected, delivery.content) {
        (Ok((names, values)), Content::Readings { type_version: None, readings }) => {
            assert_eq!(*readings.properties(), properties(names));
            assert_eq!(readings.get(0).values, values);
            assert_eq!(*readings.get(0).sensor_id, sensor());
        }
        (Err(reason), Content::Undecodable(found)) => {
            assert!(found.reason.contains(reason), "`{}` does not say `{reason}`", found.reason);
            assert_eq!(found.bytes, value.as_bytes());
        }
        (expected, content) => panic!("{content:?} instead of {expected:?}"),
    }
}

#[test]
fn a_reading_is_written_as_a_client_would_post_it() {
    let mut readings = Readings::new(properties(&["sec", "ph", "water_level"]));
    readings.push(sensor(), ACCEPTED_AT, &[number(904.0), Value::MISSING, Value::ABSENT]);
    let encoded = encode(&Batch::Readings { type_version: 3, readings }, 1);
    let record = encoded.records(0).next().expect("a record");
    assert_eq!(record.key, b"emb3");
    let expected = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00.123456Z","sec":904,"ph":null}"#;
    assert_eq!(record.value.map(String::from_utf8_lossy).as_deref(), Some(expected));
    assert!(record.has_absent, "the writer knew of a third property");
}

#[test]
fn what_another_program_writes_is_a_reading_of_the_newest_version() {
    let all = r#"{"phenomenon_time":"2017-02-08T15:00:00Z","sec":904.5,"ph":null,"ec":NaN,"sensor_id":"emb3"}"#;
    check_foreign(all, Ok((&["sec", "ph", "ec"], &[number(904.5), Value::MISSING, Value::MISSING])));
    check_foreign(r#" {"sensor_id":"emb3","phenomenon_time":"2017-02-08T16:00:00+01:00"} "#, Ok((&[], &[])));
}

#[test]
fn what_is_no_reading_is_delivered_with_its_reason() {
    let reading = |rest: &str| format!(r#"{{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z"{rest}}}"#);
    check_foreign("", Err("no JSON"));
    check_foreign("[1]", Err("must be a JSON object"));
    check_foreign(r#"{"sensor_id":"emb3"}"#, Err("`phenomenon_time` is missing"));
    check_foreign(r#"{"phenomenon_time":"2017-02-08T15:00:00Z"}"#, Err("`sensor_id` is missing"));
    check_foreign(r#"{"sensor_id":"a/b"}"#, Err("sensor id `a/b` is not allowed"));
    check_foreign(r#"{"sensor_id":7}"#, Err("`sensor_id`"));
    check_foreign(r#"{"phenomenon_time":"yesterday"}"#, Err("`yesterday` is not an RFC 3339 time"));
    check_foreign(&reading(r#","sec":"904""#), Err("`sec` must be a number or null"));
    check_foreign(&reading(r#","sec":1,"sec":1"#), Err("`sec` is there twice"));
    check_foreign(&reading(r#","sec":Infinity"#), Err("`sec`"));
    check_foreign(&reading(r#","qc":1"#), Err("property id `qc` is not allowed"));
    check_foreign(&reading(&format!(r#","{}":1"#, "é".repeat(200))), Err("is not allowed"));
    check_foreign(&reading(r#","sec":1}"#), Err("no JSON"));
}

#[test]
fn records_of_one_append_are_one_delivery() {
    let mut readings = Readings::new(properties(&["sec", "ph"]));
    readings.push(sensor(), ACCEPTED_AT, &[number(1.0), number(2.0)]);
    readings.push(sensor(), ACCEPTED_AT, &[Value::ABSENT, number(2.0)]);
    readings.push(sensor(), ACCEPTED_AT, &[number(3.0), number(4.0)]);
    let batch = |type_version| Batch::Readings { type_version, readings: readings.clone() };
    let messages = [sent(&batch(1), 0), sent(&batch(1), 3), sent(&batch(2), 6), sent(&batch(2), 10)].concat();
    let found: Vec<(u64, usize)> =
        decode(&messages).iter().map(|delivery| (delivery.first_position.0, delivery.content.len())).collect();
    assert_eq!(found, [(0, 6), (6, 3), (10, 3)], "apart by version, and where a position is missing");
}

#[test]
fn acceptance_times_never_go_back_for_whoever_reads() {
    let at = |offset, micros: &str| {
        let stamp = Header { key: "accepted_at", value: Some(micros) };
        let value = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z"}"#;
        message(offset, Some(value.as_bytes()), Some(OwnedHeaders::new().insert(stamp)))
    };
    let deliveries = decode(&[at(0, "10"), at(1, "20"), at(2, "15"), at(3, "21")]);
    let times: Vec<i64> = deliveries.iter().map(|delivery| delivery.accepted_at.as_micros()).collect();
    assert_eq!(times, [10, 20, 21]);
    assert_eq!(deliveries[1].content.len(), 2);
}

#[test]
fn a_format_from_the_future_is_not_guessed_at() {
    let headers = OwnedHeaders::new().insert(Header { key: "format", value: Some("reading/2") });
    let value = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z"}"#;
    let delivery = decode(&[message(0, Some(value.as_bytes()), Some(headers))]).remove(0);
    assert!(matches!(delivery.content, Content::Undecodable(_)));
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_map(|number| Value::number(number).unwrap_or(Value::MISSING));
    prop_oneof![number, proptest::strategy::Just(Value::MISSING), proptest::strategy::Just(Value::ABSENT)]
}

proptest! {
    #[test]
    fn readings_read_back(rows in vec(vec(any_value(), 3), 1..20), micros in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
        let mut readings = Readings::new(properties(&["a", "b", "c"]));
        for values in &rows {
            readings.push(sensor(), Timestamp::from_micros(micros), values);
        }
        let found = decode(&sent(&Batch::Readings { type_version: 4, readings: readings.clone() }, 0));
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].content, &Content::Readings { type_version: Some(4), readings });
        prop_assert_eq!(found[0].accepted_at, ACCEPTED_AT);
    }

    #[test]
    fn deletions_read_back(from in any::<i64>(), to in any::<i64>()) {
        let deletion = Deletion { sensor_id: sensor(), from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) };
        let found = decode(&sent(&Batch::Deletions(vec![deletion.clone()]), 0));
        prop_assert_eq!(&found[0].content, &Content::Deletions(vec![deletion]));
    }

    #[test]
    fn rejudgements_read_back(from in any::<i64>(), to in any::<i64>(), part in any::<u64>(), replay in ".{0,20}", is_dry in any::<bool>()) {
        let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
        let rejudgement = Rejudgement { sensor_id: sensor(), from, to, type_version: 3, replay, part, is_dry };
        let found = decode(&sent(&Batch::Rejudgements(vec![rejudgement.clone()]), 0));
        prop_assert_eq!(&found[0].content, &Content::Rejudgements(vec![rejudgement]));
    }

    #[test]
    fn any_bytes_are_a_reading_or_delivered_as_none(
        value in vec(any::<u8>(), 0..200),
        names in vec(prop_oneof!["format", "accepted_at", "type_version", "properties", "[ -~]{0,20}"], 0..5),
        header in prop_oneof![vec(any::<u8>(), 0..20), "reading/1".prop_map(String::into_bytes), "deletion/1".prop_map(String::into_bytes)],
    ) {
        let mut headers = OwnedHeaders::new();
        for name in &names {
            headers = headers.insert(Header { key: name, value: Some(&header) });
        }
        let found = decode(&[message(0, Some(&value), Some(headers)), message(1, None, None)]);
        prop_assert_eq!(found.iter().map(|delivery| delivery.content.len()).sum::<usize>(), 2);
    }

    #[test]
    fn broken_readings_are_a_reading_or_delivered_as_none(at in 0usize..90, byte in any::<u8>(), cut in 0usize..90) {
        let mut value = br#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z","sec":904.25,"ph":null}"#.to_vec();
        let len = value.len();
        value[at % len] = byte;
        value.truncate(len - cut % len);
        prop_assert_eq!(decode(&[message(0, Some(&value), None)])[0].content.len(), 1);
    }
}
