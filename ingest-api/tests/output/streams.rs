//! How a long answer goes over the wire: broken off on failure, no faster than the client, headers alone for `HEAD`.

use std::{
    io::Read,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flate2::read::GzDecoder;
use futures_util::StreamExt;

use crate::{endless::Endless, hub::Hub};

async fn endless(fails_after: u64) -> (Hub, Endless) {
    let store = Endless { fails_after, given: Arc::default() };
    (Hub::over(Arc::new(store.clone())).await, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_mid_stream_breaks_the_transfer_off() {
    for format in ["ndjson", "csv", "parquet", "arrow"] {
        let (hub, _) = endless(300_000).await;
        let path = format!("/v1/readings/power?format={format}");
        let response = hub.request("GET", &path).send().await.expect("a head");
        assert_eq!(response.status(), 200, "{format}");
        assert!(response.bytes().await.is_err(), "{format}: a part must not look like the whole");
    }
    for coding in ["gzip", "zstd"] {
        let (hub, _) = endless(300_000).await;
        let request = hub.request("GET", "/v1/readings/power?format=csv").header("accept-encoding", coding);
        assert!(request.send().await.expect("a head").bytes().await.is_err(), "{coding}");
    }
    let (hub, _) = endless(5_000).await;
    let page = hub.request("GET", "/v1/readings/power?limit=10000").send().await.expect("a head");
    assert!(page.bytes().await.is_err(), "a page must not look whole either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_first_piece_is_a_problem() {
    let (hub, _) = endless(0).await;
    for format in ["json", "ndjson", "csv", "parquet", "arrow"] {
        let answer = hub.ask(&format!("/v1/readings/power?format={format}")).await;
        assert_eq!(answer.status, 503, "{format}");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.text().contains("disk"), "no internals: {}", answer.text());
    }
    hub.put_sensor("power", "m1").await;
    assert_eq!(hub.ask("/v1/readings/power/latest").await.status, 503);
    assert_eq!(hub.ask("/v1/datastreams/m1/power/buckets?interval=1h").await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_stops_the_scan_and_one_that_leaves_ends_it() {
    let (hub, store) = endless(u64::MAX).await;
    let response = hub.request("GET", "/v1/readings/power?format=csv").send().await.expect("a head");
    let mut body = response.bytes_stream();
    body.next().await.expect("a piece").expect("no failure");
    let stands_still_at = stands_still(&store).await;
    assert!(stands_still_at < 1_000_000, "{stands_still_at} rows (35 MB) are more than sockets and buffers hold");
    let mut read = 0;
    while read < 16 * 1024 * 1024 {
        read += body.next().await.expect("a piece").expect("no failure").len();
    }
    assert!(store.given.load(Ordering::SeqCst) > stands_still_at, "it goes on where it stopped");
    drop(body);
    stands_still(&store).await;
}

/// Waits until the scan gives no more rows; answers with how many it gave.
async fn stands_still(store: &Endless) -> u64 {
    let mut last = 0;
    for _ in 0..200 {
        let given = store.given.load(Ordering::SeqCst);
        if given == last {
            return given;
        }
        last = given;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the scan still runs after 10 s: {last} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_a_stream_cleanly() {
    let (hub, store) = endless(u64::MAX).await;
    let csv = hub.get("/v1/readings/power?format=csv&limit=100000").await;
    assert_eq!(csv.text().lines().count(), 100_001);
    assert_eq!(csv.text().lines().last(), Some("m1,2017-02-09T18:46:39Z,99999,normal,1"));
    assert!(store.given.load(Ordering::SeqCst) <= 100_001, "no more rows are read than are wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_the_headers_alone() {
    let hub = Hub::with_rows().await;
    for path in [
        "/v1/readings/emb?format=csv",
        "/v1/readings/emb?format=parquet",
        "/v1/readings/emb/latest",
        "/v1/datastreams/emb3/sec/buckets?interval=1h",
    ] {
        let get = hub.get(path).await;
        let head = hub.request("HEAD", path).send().await.expect("an answer");
        assert_eq!(head.status(), 200, "{path}");
        for name in ["content-type", "content-disposition", "vary"] {
            assert_eq!(head.headers().get(name), get.headers.get(name), "{name} of {path}");
        }
        assert!(head.bytes().await.expect("no body").is_empty());
    }
    assert_eq!(hub.request("HEAD", "/v1/readings/none").send().await.expect("an answer").status(), 404);
    assert_eq!(hub.request("PUT", "/v1/readings/emb").send().await.expect("an answer").status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_names() {
    let hub = Hub::with_rows().await;
    hub.put_sensor("emb", "urn:emb:1").await;
    for (path, name) in [
        ("/v1/readings/emb?format=parquet", "attachment; filename=\"emb-readings.parquet\""),
        ("/v1/readings/emb/latest?format=csv", "attachment; filename=\"emb-latest.csv\""),
        (
            "/v1/datastreams/urn:emb:1/sec/buckets?interval=1h&format=csv",
            "attachment; filename=\"urn_emb_1-sec-buckets.csv\"",
        ),
        ("/v1/readings/emb", ""),
    ] {
        assert_eq!(hub.get(path).await.header("content-disposition"), name, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_compressed_for_those_who_take_it() {
    let path = "/v1/readings/power?format=ndjson&limit=20000";
    let coded = async |coding: &str| {
        let (hub, _) = endless(u64::MAX).await;
        let answer = hub.request("GET", path).header("accept-encoding", coding).send().await.expect("a head");
        assert_eq!(answer.headers()["content-encoding"], coding);
        answer.bytes().await.expect("a whole body")
    };
    let (mut gzip, zstd) = (Vec::new(), coded("zstd").await);
    GzDecoder::new(&coded("gzip").await[..]).read_to_end(&mut gzip).expect("gzip");
    let (hub, _) = endless(u64::MAX).await;
    let plain = hub.get(path).await;
    assert_eq!(plain.header("content-encoding"), "");
    assert!(gzip == plain.body && zstd::decode_all(&zstd[..]).expect("Zstandard") == plain.body);
    assert!(zstd.len() * 4 < plain.body.len());
    let (hub, _) = endless(u64::MAX).await;
    let parquet = hub.request("GET", "/v1/readings/power?format=parquet&limit=1").header("accept-encoding", "gzip");
    assert!(!parquet.send().await.expect("a head").headers().contains_key("content-encoding"));
}
