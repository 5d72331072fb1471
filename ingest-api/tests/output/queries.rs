//! What the parameters leave in and out, pages, the latest readings and buckets.

use domain::{Flag, Rows, Value};
use serde_json::{Value as Json, json};

use crate::hub::{HOUR, Hub, START, items, number, push};

#[tokio::test(flavor = "multi_thread")]
async fn pages_put_together_are_the_stream() {
    let hub = Hub::with_rows().await;
    for query in ["", "&order=desc", "&qc=anomaly", "&sensor_id=emb3,emb10&properties=ph&order=desc"] {
        let stream = hub.get(&format!("/v1/readings/emb?format=ndjson{query}")).await.lines();
        for limit in [1, 7, stream.len(), 10_000] {
            let mut pages: Vec<Json> = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = hub.get(&format!("/v1/readings/emb?limit={limit}{query}{cursor}")).await.json();
                assert!(items(&page).len() <= limit);
                pages.extend(items(&page).iter().cloned());
                let Some(next) = page["next_cursor"].as_str() else { break };
                assert_eq!(items(&page).len(), limit, "only the last page may be short");
                cursor = format!("&cursor={next}");
            }
            assert_eq!(pages, stream, "limit {limit}, {query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_by_sensor_then_time() {
    let hub = Hub::with_rows().await;
    let all = hub.get("/v1/readings/emb?format=ndjson").await.lines();
    let keys: Vec<(String, String)> =
        all.iter().map(|item| (item["sensor_id"].to_string(), item["phenomenon_time"].to_string())).collect();
    assert_eq!(keys.len(), 180);
    assert!(keys.is_sorted());
    let descending = hub.get("/v1/readings/emb?format=ndjson&order=desc&sensor_id=emb2").await.lines();
    let ascending = hub.get("/v1/readings/emb?format=ndjson&order=asc&sensor_id=emb2").await.lines();
    assert_eq!(descending.into_iter().rev().collect::<Vec<_>>(), ascending);
    assert_eq!(items(&hub.get("/v1/readings/emb").await.json())[0], all[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_leaves_out_what_it_says() {
    type Stays = fn(&Json) -> bool;
    let cases: [(&str, Stays); 8] = [
        ("sensor_id=emb2", |item| item["sensor_id"] == "emb2"),
        ("sensor_id=emb3&sensor_id=emb10,emb3", |item| item["sensor_id"] != "emb2"),
        ("from=2017-02-09T00:00:00Z", |item| item["phenomenon_time"].as_str() >= Some("2017-02-09T00:00:00Z")),
        ("to=2017-02-09T00:00:00Z", |item| item["phenomenon_time"].as_str() < Some("2017-02-09T00:00:00Z")),
        ("from=2017-02-09T01:00:00%2B01:00&to=2017-02-09T00:00:00.000001Z", |item| {
            item["phenomenon_time"] == "2017-02-09T00:00:00Z"
        }),
        ("from=2017-02-09T00:00:00Z&to=2017-02-09T00:00:00Z", |_| false),
        ("qc=anomaly", |item| item["qc"] == "anomaly"),
        ("qc=normal&sensor_id=emb2", |item| item["qc"] == "normal" && item["sensor_id"] == "emb2"),
    ];
    let hub = Hub::with_rows().await;
    let all = hub.get("/v1/readings/emb?format=ndjson").await.lines();
    for (query, stays) in cases {
        let expected: Vec<Json> = all.iter().filter(|item| stays(item)).cloned().collect();
        let stream = hub.get(&format!("/v1/readings/emb?format=ndjson&{query}")).await.lines();
        assert_eq!(stream, expected, "{query}");
        assert_eq!(items(&hub.get(&format!("/v1/readings/emb?{query}")).await.json()), &expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_come_in_the_order_of_the_type_and_a_limit_caps_a_stream() {
    let hub = Hub::with_rows().await;
    let csv = hub.get("/v1/readings/emb?format=csv&properties=ph,sec&limit=2").await;
    let expected = "sensor_id,phenomenon_time,sec,ph,qc,sec_flag,ph_flag\n\
                    emb10,2017-02-08T15:00:00Z,900,7,normal,1,3\n\
                    emb10,2017-02-08T16:00:00Z,901,7.01,normal,1,3\n";
    assert_eq!(csv.text(), expected);
    let page = hub.get("/v1/readings/emb?properties=ph&limit=1").await.json();
    let expected = json!({"sensor_id": "emb10", "phenomenon_time": "2017-02-08T15:00:00Z", "ph": 7, "qc": "normal",
        "flags": {"ph": 3}});
    assert_eq!(items(&page)[0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_added_later_is_null_and_not_evaluated_in_earlier_readings() {
    let hub = Hub::empty().await;
    hub.put_type("ice", &[("depth", "m")]).await;
    hub.put_sensor("ice", "i1").await;
    let mut rows = Rows::new(1);
    push(&mut rows, START, &[number(2.5)], &[Flag::Good]);
    hub.write("ice", "i1", &rows).await;
    hub.put_type("ice", &[("depth", "m"), ("salt", "g/kg")]).await;
    let mut rows = Rows::new(2);
    push(&mut rows, START + HOUR, &[number(2.0), number(35.0)], &[Flag::Good, Flag::Good]);
    hub.write("ice", "i1", &rows).await;
    let csv = hub.get("/v1/readings/ice?format=csv").await;
    let expected = "sensor_id,phenomenon_time,depth,salt,qc,depth_flag,salt_flag\n\
                    i1,2017-02-08T15:00:00Z,2.5,,normal,1,2\n\
                    i1,2017-02-08T16:00:00Z,2,35,normal,1,1\n";
    assert_eq!(csv.text(), expected);
    let page = hub.get("/v1/readings/ice").await.json();
    assert_eq!(items(&page)[0]["salt"], Json::Null);
    assert_eq!(items(&page)[0]["flags"], json!({"depth": 1, "salt": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_newest_reading_of_every_sensor() {
    let hub = Hub::with_rows().await;
    hub.put_sensor("emb", "emb4").await;
    let newest = hub.get("/v1/readings/emb?format=ndjson&from=2017-02-11T02:00:00Z").await;
    assert_eq!(newest.lines().len(), 3);
    let latest = hub.get("/v1/readings/emb/latest").await.json();
    assert_eq!(latest, json!({"items": newest.lines(), "next_cursor": null}));
    assert_eq!(hub.get("/v1/readings/emb/latest?format=ndjson").await.text(), newest.text());
    let csv = hub.get("/v1/readings/emb/latest?format=csv&properties=ph").await;
    assert_eq!(csv.text().lines().nth(1), Some("emb10,2017-02-11T02:00:00Z,7.59,anomaly,3"));
    let none = hub.get("/v1/readings/power/latest").await.json();
    assert_eq!(none, json!({"items": [], "next_cursor": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_readings_come_in_pages_and_by_sensor() {
    let hub = Hub::with_rows().await;
    let all = hub.get("/v1/readings/emb/latest").await.json();
    let all = items(&all).clone();
    let (mut paged, mut path) = (Vec::new(), "/v1/readings/emb/latest?limit=2".to_owned());
    loop {
        let page = hub.get(&path).await.json();
        paged.extend(items(&page).clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/readings/emb/latest?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, all);
    let named = hub.get("/v1/readings/emb/latest?sensor_id=emb3,emb10").await.json();
    let ids: Vec<&str> = items(&named).iter().filter_map(|item| item["sensor_id"].as_str()).collect();
    assert_eq!(ids, ["emb10", "emb3"]);
    assert_eq!(hub.get("/v1/readings/emb/latest?format=ndjson&limit=1").await.lines(), [all[0].clone()]);
    let readings = hub.get("/v1/readings/emb?limit=2").await.json();
    let foreign = readings["next_cursor"].as_str().expect("more readings").to_owned();
    assert_eq!(hub.ask(&format!("/v1/readings/emb/latest?cursor={foreign}")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_summarise_the_numbers_of_each_interval() {
    let hub = Hub::empty().await;
    hub.put_sensor("emb", "emb3").await;
    let mut rows = Rows::new(2);
    let cells = [(0, 1.0, Flag::Good), (1, 3.0, Flag::Good), (2, 100.0, Flag::Fail), (6, 5.0, Flag::Good)];
    for (half_hours, sec, flag) in cells {
        let time = START + half_hours * HOUR / 2;
        push(&mut rows, time, &[number(sec), Value::ABSENT], &[flag, Flag::NotEvaluated]);
    }
    hub.write("emb", "emb3", &rows).await;
    let path = "/v1/datastreams/emb3/sec/buckets";
    let all = hub.get(&format!("{path}?interval=1h")).await.json();
    let expected = json!({"sensor_id": "emb3", "property": "sec", "unit": "uS/cm", "interval": "1h", "items": [
        {"start": "2017-02-08T15:00:00Z", "count": 2, "mean": 2, "min": 1, "max": 3, "stddev": 1},
        {"start": "2017-02-08T16:00:00Z", "count": 1, "mean": 100, "min": 100, "max": 100, "stddev": 0},
        {"start": "2017-02-08T18:00:00Z", "count": 1, "mean": 5, "min": 5, "max": 5, "stddev": 0},
    ]});
    assert_eq!(all, expected);
    let csv = hub.get(&format!("{path}?interval=1d&qc=normal&statistics=max,count&format=csv")).await;
    assert_eq!(csv.text(), "start,count,max\n2017-02-08T00:00:00Z,3,5\n");
    let week = hub.get(&format!("{path}?interval=7d&statistics=count&to=2017-02-08T16:00:00Z")).await.json();
    assert_eq!(week["items"], json!([{"start": "2017-02-02T00:00:00Z", "count": 2}]));
    let none = hub.get("/v1/datastreams/emb3/ph/buckets?interval=1h").await.json();
    assert_eq!(none["items"], json!([]));
}
