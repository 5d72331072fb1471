//! Indices, mappings and documents as others see them: Kibana, another process of the hub, a person with curl.

use std::time::Duration;

use distributed::store::{ElasticStore, Period, Settings};
use domain::{Timestamp, Value};
use elasticsearch::http::Method;
use ports::{BucketQuery, ErrorKind, Order, Outcome, ReadingQuery, SensorQuery, Store, TimeRange};
use serde_json::json;

use crate::place::{
    Place,
    rows::{self, emb, number, sensor, time},
};

async fn open(settings: Settings) -> ElasticStore {
    let store = ElasticStore::new(settings).expect("settings that make sense");
    store.prepare(&emb(1, 2)).await.expect("a type");
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_period_has_an_index_and_expiry_deletes_it_whole() {
    let place = Place::new();
    let store = open(Settings { period: Period::Month, ..place.settings() }).await;
    let (last, first) = (time("2017-02-28T23:59:59.999999Z"), time("2017-03-01T00:00:00Z"));
    let values = [number(1.0)];
    let rows = [("emb1", last, &values[..]), ("emb1", first, &values), ("emb2", first, &values)];
    assert_eq!(rows::write(&store, 0, &rows).await, vec![Outcome::Stored; 3]);
    let names = ["2017-02", "2017-03"].map(|month| format!("{}readings-emb.{month}", place.prefix));
    assert_eq!(place.indices().await, names);
    let found = rows::scanned(&store, &ReadingQuery::default()).await;
    assert_eq!(found.iter().map(|row| row.1).collect::<Vec<_>>(), [last, first, first]);
    assert_eq!(store.expire(&emb(1, 2).id, last).await.expect("expiry"), 0, "the month is not over");
    assert_eq!(place.indices().await, names);
    assert_eq!(store.expire(&emb(1, 2).id, first).await.expect("expiry"), 1);
    assert_eq!(place.indices().await, [names[1].clone()]);
    assert_eq!(rows::scanned(&store, &ReadingQuery::default()).await.len(), 2);
    assert_eq!(rows::write(&store, 3, &rows[..1]).await, [Outcome::Stored], "the index is made again");
}

/// One request of valid readings, one a year since 1900: it must not use up the shards that the servers may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_of_more_than_a_century_costs_few_indices() {
    let place = Place::new();
    let store = open(Settings { period: Period::Decade, ..place.settings() }).await;
    let values = [number(1.0)];
    let times: Vec<Timestamp> = (1900..2027).map(|year| time(&format!("{year}-06-15T00:00:00Z"))).collect();
    let rows: Vec<_> = times.iter().map(|at| ("emb1", *at, &values[..])).collect();
    assert_eq!(rows::write(&store, 0, &rows).await, vec![Outcome::Stored; rows.len()]);
    let names = ["2000s", "2010s", "2020s", "before-2000"].map(|name| format!("{}readings-emb.{name}", place.prefix));
    assert_eq!(place.indices().await, names);
    let found = rows::scanned(&store, &ReadingQuery::default()).await;
    assert_eq!(found.iter().map(|row| row.1).collect::<Vec<_>>(), times);
    let again: Vec<_> = rows.iter().rev().copied().collect();
    assert_eq!(rows::write(&store, 1_000, &again).await, vec![Outcome::Duplicate; rows.len()]);
    let latest = store.latest(&emb(1, 2).id, &SensorQuery::first(10)).await.expect("the newest");
    assert_eq!(latest.rows.times(), &times[times.len() - 1..]);
    assert_eq!(store.expire(&emb(1, 2).id, time("2000-01-01T00:00:00Z")).await.expect("expiry"), 100);
    assert_eq!(place.indices().await, names[..3]);
}

/// A type whose template was made before the indices for odd times: its rows are where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn type_that_was_made_before_keeps_its_indices_of_old_times() {
    let place = Place::new();
    let store = open(Settings { period: Period::Year, ..place.settings() }).await;
    let path = format!("/_index_template/{}readings-emb", place.prefix);
    let (_, mut found) = place.ask(Method::Get, &path, None).await;
    let mut template = found["index_templates"][0]["index_template"].take();
    template.as_object_mut().expect("a template").retain(|key, _| !key.contains("_date"));
    template["_meta"]["iot_hub"].as_object_mut().expect("what the type is").remove("bounded");
    let (status, said) = place.ask(Method::Put, &path, Some(&template.to_string())).await;
    assert_eq!(status, 200, "{said}");
    drop(store);
    let values = [number(1.0)];
    let row = [("emb1", time("1968-02-28T00:00:00Z"), &values[..])];
    for (position, outcome) in [(7, Outcome::Stored), (8, Outcome::Duplicate)] {
        let store = open(place.settings()).await;
        assert_eq!(rows::write(&store, position, &row).await, [outcome]);
        assert_eq!(place.indices().await, [format!("{}readings-emb.1968", place.prefix)]);
        assert_eq!(rows::scanned(&store, &ReadingQuery::default()).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn type_keeps_the_period_that_it_was_made_with() {
    let place = Place::new();
    let store = open(Settings { period: Period::Year, ..place.settings() }).await;
    let values = [number(1.0)];
    let row = [("emb1", time("2017-02-28T00:00:00Z"), &values[..])];
    assert_eq!(rows::write(&store, 0, &row).await, [Outcome::Stored]);
    let other = open(Settings { period: Period::Month, ..place.settings() }).await;
    assert_eq!(rows::write(&other, 1, &row).await, [Outcome::Duplicate], "it is found in the index of its year");
    assert_eq!(place.indices().await, [format!("{}readings-emb.2017", place.prefix)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_the_mapping_refuses_is_rejected_and_the_others_are_stored() {
    let place = Place::new();
    let store = open(place.settings()).await;
    // Somebody made the index by hand, with another mapping.
    let path = format!("/{}readings-emb.2010s", place.prefix);
    let foreign = r#"{"mappings":{"properties":{"p0":{"type":"ip"}}}}"#;
    assert_eq!(place.ask(Method::Put, &path, Some(foreign)).await.0, 200);
    let at = time("2017-02-28T00:00:00Z");
    let (bad, good) = ([number(904.5), number(1.0)], [Value::ABSENT, number(1.0)]);
    let rows =
        [("emb1", at, &bad[..]), ("emb2", at, &good), ("emb3", at, &bad), ("emb2", at, &good), ("emb2", at, &bad)];
    let outcomes = rows::write(&store, 0, &rows).await;
    for index in [0, 2, 4] {
        let Outcome::Rejected(reason) = &outcomes[index] else { panic!("{outcomes:?}") };
        assert!(reason.contains("p0") && reason.contains("904.5"), "{reason}");
    }
    assert_eq!(outcomes[3], Outcome::Duplicate);
    assert_eq!(rows::write(&store, 9, &[("emb4", at, &good)]).await, [Outcome::Stored]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn property_is_in_the_mapping_before_its_first_reading() {
    let place = Place::new();
    let store = open(place.settings()).await;
    let at = time("2017-02-28T00:00:00Z");
    let old = [number(1.0)];
    rows::write(&store, 0, &[("emb1", at, &old[..])]).await;
    // Another process, with what it knows from before.
    let reader = open(place.settings()).await;
    store.prepare(&emb(2, 3)).await.expect("a wider type");
    let path = format!("/{}readings-emb/_mapping", place.prefix);
    let (status, mapping) = place.ask(Method::Get, &path, None).await;
    let fields = mapping.pointer(&format!("/{}readings-emb.2010s/mappings/properties", place.prefix));
    assert_eq!((status, fields.map(|fields| fields["p2"]["type"].clone())), (200, Some(json!("double"))));
    let wide = [number(1.0), Value::MISSING, number(3.0)];
    assert_eq!(rows::write(&reader, 1, &[("emb2", at, &wide)]).await, [Outcome::Stored]);
    let found = rows::scanned(&reader, &ReadingQuery::default()).await;
    let narrow = vec![number(1.0), Value::ABSENT, Value::ABSENT];
    assert_eq!(found.into_iter().map(|row| row.2).collect::<Vec<_>>(), [narrow, wide.to_vec()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_missed_a_widening_loses_nothing_of_a_wider_row() {
    let place = Place::new();
    let store = open(place.settings()).await;
    let unaware = open(place.settings()).await;
    let at = time("2017-02-28T00:00:00Z");
    rows::write(&unaware, 0, &[("emb2", at, &[number(1.0)])]).await;
    store.prepare(&emb(2, 3)).await.expect("a wider type");
    rows::write(&store, 1, &[("emb1", at, &[number(1.0), number(2.0), number(3.0)])]).await;
    assert_eq!(rows::write(&unaware, 2, &[("emb1", at, &[number(9.0)])]).await, [Outcome::Revised]);
    let found = rows::scanned(&store, &ReadingQuery::default()).await;
    assert_eq!(found[0].2, [number(9.0), number(2.0), number(3.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_has_the_fields_that_kibana_shows() {
    let place = Place::new();
    let store = open(place.settings()).await;
    let at = time("2017-02-08T15:00:00.123456Z");
    let (normal, anomaly) = ([number(99.0), Value::MISSING], [number(7.25), number(101.0)]);
    rows::write(&store, 0, &[("emb1", at, &normal), ("emb2", at, &anomaly)]).await;
    rows::scanned(&store, &ReadingQuery::default()).await;
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"qc": "anomaly"}}, {"range": {"@timestamp": {"gte": "2017-02-08T00:00:00Z"}}}, {"range": {"p0": {"lt": 50}}}]}},
        "fields": [{"field": "@timestamp", "format": "strict_date_optional_time"}, "sensor_id", "p0", "p1", "flags.p1", "type_version", "accepted_at"],
        "aggs": {"days": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}, "aggs": {"level": {"avg": {"field": "p0"}}}}},
    });
    let path = format!("/{}readings-emb/_search", place.prefix);
    let (status, found) = place.ask(Method::Post, &path, Some(&body.to_string())).await;
    assert_eq!(status, 200, "{found}");
    let hit = &found["hits"]["hits"][0];
    assert_eq!(hit["_id"], "2017-02-08T15:00:00.123456Z@emb2");
    let expected = json!({
        "@timestamp": ["2017-02-08T15:00:00.123Z"], "sensor_id": ["emb2"], "p0": [7.25], "p1": [101.0], "flags.p1": [4],
        "type_version": [1], "accepted_at": [1_486_566_000_000_000_i64],
    });
    assert_eq!(hit["fields"], expected);
    assert_eq!(found["aggregations"]["days"]["buckets"][0]["level"]["value"], 7.25);
    let (_, missing) = place
        .ask(Method::Get, &format!("/{}readings-emb.2010s/_doc/2017-02-08T15:00:00.123456Z@emb1", place.prefix), None)
        .await;
    assert_eq!(missing["_source"]["p1"], json!(null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_is_not_made_by_writing_to_its_name() {
    let place = Place::new();
    let store = open(place.settings()).await;
    for index in ["readings-emb.2010s", "readings-unknown.2010s"] {
        let path = format!("/{}{index}/_doc", place.prefix);
        assert_eq!(place.ask(Method::Post, &path, Some("{}")).await.0, 404, "{index}");
    }
    store.remove(&emb(1, 2).id).await.expect("a removal");
    let values = [number(1.0)];
    let judged = rows::judged(0, &[("emb1", time("2017-02-08T15:00:00Z"), &values[..])]);
    let error = store.write(&emb(1, 2).id, &judged, &rows::AboveHundred).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Type removed by another process while this one knows its index: its rows find no type, and no index is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_to_a_type_that_another_process_removed_finds_none() {
    let place = Place::new();
    let (store, other) = (open(place.settings()).await, open(place.settings()).await);
    let values = [number(1.0)];
    let row = [("emb1", time("2017-02-08T15:00:00Z"), &values[..])];
    rows::write(&store, 0, &row).await;
    other.remove(&emb(1, 2).id).await.expect("a removal");
    let judged = rows::judged(1, &row);
    let error = store.write(&emb(1, 2).id, &judged, &rows::AboveHundred).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(place.indices().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scan_of_pages_smaller_than_a_sensor_answers_every_row_once() {
    let place = Place::new();
    let store = open(Settings { page_rows_max: 7, ..place.settings() }).await;
    let values = [number(1.0)];
    let at = |second: i64| Timestamp::from_micros(1_486_566_000_000_000 + second * 1_000_000);
    let mut rows = Vec::new();
    for (sensor_id, count) in [("a", 1), ("b", 30), ("c", 7), ("d", 2), ("e", 14)] {
        rows.extend((0..count).map(|second| (sensor_id, at(second), &values[..])));
    }
    rows::write(&store, 0, &rows).await;
    let expected: Vec<_> = rows.iter().map(|row| (row.0.to_owned(), row.1)).collect();
    for sensor_ids in [None, Some(["e", "a", "c", "b", "d"].map(sensor).to_vec())] {
        let query = ReadingQuery { sensor_ids, ..ReadingQuery::default() };
        let found = rows::scanned(&store, &query).await;
        assert_eq!(found.into_iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(), expected);
        let descending = ReadingQuery { order: Order::Descending, ..query };
        let mut found: Vec<_> =
            rows::scanned(&store, &descending).await.into_iter().map(|row| (row.0, row.1)).collect();
        assert!(found.is_sorted_by(|a, b| a.0 < b.0 || (a.0 == b.0 && a.1 > b.1)));
        found.sort();
        assert_eq!(found, expected);
    }
}

/// Around numbers this large, sums of squares hold nothing of deviations this small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deviation_of_large_numbers_that_hardly_differ_is_exact() {
    let place = Place::new();
    let store = open(place.settings()).await;
    let numbers: Vec<[Value; 1]> = (0..120).map(|index| [number(1e9 + f64::from(index % 4) / 8.0)]).collect();
    let at = |index: usize| Timestamp::from_micros(1_486_566_000_000_000 + index as i64 * 1_000_000);
    let rows: Vec<_> = numbers.iter().enumerate().map(|(index, values)| ("emb1", at(index), &values[..])).collect();
    rows::write(&store, 0, &rows).await;
    let query = BucketQuery {
        sensor_id: sensor("emb1"),
        property: emb(1, 1).property_ids[0].clone(),
        times: TimeRange { from: at(0), to: at(120) },
        interval: Duration::from_secs(60),
        label: None,
        buckets_max: 2,
    };
    let buckets = store.buckets(&emb(1, 2).id, &query).await.expect("buckets");
    assert_eq!(buckets.len(), 2);
    for bucket in buckets {
        // Of 0, 1/8, 2/8 and 3/8, equally often.
        assert_eq!((bucket.count, bucket.min, bucket.max), (60, 1e9, 1e9 + 0.375));
        assert!((bucket.stddev - 0.139_754_248_593_736_8).abs() < 1e-6, "{bucket:?}");
        assert!((bucket.mean - (1e9 + 0.1875)).abs() < 1e-6, "{bucket:?}");
    }
}
