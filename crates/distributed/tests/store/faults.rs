//! The store while Elasticsearch is busy, away, full or not Elasticsearch at all: nothing is lost, nothing is doubled, errors say why.

use std::time::Duration;

use distributed::store::{ElasticStore, Period, Settings};
use domain::{Deletion, Flag, Label, Position, Timestamp, Value};
use elasticsearch::http::Method;
use ports::{ErrorKind, Outcome, PortError, ReadingQuery, Revisions, Store};

use crate::place::{
    self, Place,
    proxy::{Fate, Proxy},
    rows::{self, emb, number, time},
};

/// Longer than any test needs.
const PATIENT: Duration = Duration::from_secs(60);

/// A store that reaches the server through a proxy, in small requests.
async fn behind_proxy(place: &Place, retry_for: Duration) -> (ElasticStore, Proxy) {
    let proxy = Proxy::start(&place::address()).await;
    let settings = Settings {
        urls: vec![proxy.url.clone()],
        bulk_rows_max: 50,
        retry_for,
        retry_pause: Duration::from_millis(1),
        retry_pause_max: Duration::from_millis(20),
        ..place.settings()
    };
    let store = ElasticStore::new(settings).expect("settings that make sense");
    store.prepare(&emb(1, 1)).await.expect("a type");
    (store, proxy)
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(time("2017-02-08T15:00:00Z").as_micros() + second * 1_000_000)
}

/// A batch of `count` rows of one value each, from a second on.
fn batch(from: i64, count: i64, values: &[Value]) -> Vec<(&'static str, Timestamp, &[Value])> {
    (from..from + count).map(|at| (["s0", "s1", "s2"][at as usize % 3], second(at), values)).collect()
}

/// Each bulk request meets one of these before the same one passes.
fn troubles() -> impl FnMut(&str) -> Fate + Send + 'static {
    let fates = [
        Fate::Answered(429),
        Fate::AnswerLost,
        Fate::Passes,
        Fate::ItemsRejected,
        Fate::Passes,
        Fate::Answered(503),
        Fate::Reset,
        Fate::AnswerLost,
        Fate::Passes,
    ];
    let mut count = 0;
    move |line| {
        if !line.contains("_bulk") {
            return Fate::Passes;
        }
        count += 1;
        fates[count % fates.len()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_written_once_through_busy_servers_and_broken_connections() {
    let place = Place::new();
    let (store, proxy) = behind_proxy(&place, PATIENT).await;
    proxy.set(troubles());
    let (first, second) = ([number(1.0)], [number(2.0)]);
    for round in 0..4 {
        let outcomes = rows::write(&store, round as u64 * 500, &batch(round * 500, 500, &first)).await;
        assert_eq!(outcomes, vec![Outcome::Stored; 500]);
    }
    let outcomes = rows::write(&store, 2_000, &batch(500, 700, &second)).await;
    assert_eq!(outcomes, vec![Outcome::Revised; 700]);
    proxy.set(|_| Fate::Passes);
    let found = rows::scanned(&store, &ReadingQuery::default()).await;
    assert_eq!(found.len(), 2_000);
    assert_eq!(found.iter().filter(|(_, _, values)| values[..] == second).count(), 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_are_revised_through_busy_servers_and_undo_no_write_beside() {
    let place = Place::new();
    let (store, proxy) = behind_proxy(&place, PATIENT).await;
    let (first, second_value) = ([number(1.0)], [number(2.0)]);
    rows::write(&store, 0, &batch(0, 600, &first)).await;
    let mut revisions = Revisions { width: 1, ..Revisions::default() };
    for (sensor_id, time, _) in batch(0, 600, &first) {
        revisions.push((rows::sensor(sensor_id), time), (1, Label::Normal), &[Flag::Suspect]);
    }
    proxy.set(troubles());
    let id = emb(1, 1).id;
    let again = batch(0, 600, &second_value);
    let (revised, outcomes) = tokio::join!(store.revise(&id, &revisions), rows::write(&store, 600, &again));
    revised.expect("revised");
    assert_eq!(outcomes, vec![Outcome::Revised; 600]);
    store.revise(&id, &revisions).await.expect("revised");
    proxy.set(|_| Fate::Passes);
    let mut scan = store.scan(&id, &ReadingQuery::default()).await.expect("a scan");
    let mut count = 0;
    while let Some(part) = scan.next(1_000).await.expect("rows") {
        count += part.rows.len();
        assert!(part.rows.iter().all(|row| row.values == second_value && row.flags == [Flag::Suspect]));
    }
    assert_eq!(count, 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_was_given_up_halfway_is_whole_when_it_comes_again() {
    let place = Place::new();
    let (store, proxy) = behind_proxy(&place, Duration::from_millis(200)).await;
    let mut bulks = 0;
    proxy.set(move |line| {
        bulks += usize::from(line.contains("_bulk"));
        if line.contains("_bulk") && bulks > 4 { Fate::Answered(429) } else { Fate::Passes }
    });
    let values = [number(1.0)];
    let rows = batch(0, 1_000, &values);
    let judged = rows::judged(0, &rows);
    let error = store.write(&emb(1, 1).id, &judged, &rows::AboveHundred).await.expect_err("busy servers");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("by the test"), "{error}");
    proxy.set(|_| Fate::Passes);
    assert_eq!(rows::write(&store, 0, &rows).await, vec![Outcome::Stored; 1_000]);
    assert_eq!(rows::scanned(&store, &ReadingQuery::default()).await.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scan_goes_on_when_its_point_in_time_is_lost() {
    let place = Place::new();
    let (store, proxy) = behind_proxy(&place, PATIENT).await;
    let values = [number(1.0)];
    rows::write(&store, 0, &batch(0, 900, &values)).await;
    let mut searches = 0;
    proxy.set(move |line| {
        searches += usize::from(line.contains("_search"));
        // The first page is in none.
        let is_lost = line.contains("_search") && searches > 1 && searches % 2 == 1;
        if is_lost { Fate::Answered(404) } else { Fate::Passes }
    });
    let mut scan = store.scan(&emb(1, 1).id, &ReadingQuery::default()).await.expect("a scan");
    let mut count = 0;
    while let Some(some) = scan.next(40).await.expect("rows") {
        count += some.rows.len();
    }
    assert_eq!(count, 900);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_are_unavailable() {
    let settings =
        Settings { urls: vec!["http://127.0.0.1:9".to_owned()], retry_for: Duration::ZERO, ..Settings::default() };
    let store = ElasticStore::new(settings).expect("settings that make sense");
    for error in [store.ready().await, store.prepare(&emb(1, 1)).await] {
        let error = error.expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().to_lowercase().contains("connect"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_not_elasticsearch_is_refused_in_words() {
    let proxy = Proxy::start(&place::address()).await;
    proxy.set(|_| Fate::Answered(200));
    let settings = Settings { urls: vec![proxy.url.clone()], ..Settings::default() };
    let store = ElasticStore::new(settings).expect("settings that make sense");
    for error in [store.ready().await, store.prepare(&emb(1, 1)).await] {
        let error = error.expect_err("it does not say what it is");
        assert!(error.to_string().contains("OpenSearch"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_of_the_servers_is_a_full_disk() {
    let place = Place::new();
    let store = ElasticStore::new(place.settings()).expect("settings that make sense");
    store.prepare(&emb(1, 1)).await.expect("a type");
    let values = [number(1.0)];
    rows::write(&store, 0, &batch(0, 1, &values)).await;
    store.ready().await.expect("ready");
    let index = place.indices().await.remove(0);
    let path = format!("/{index}/_settings");
    // What a node does at the flood stage.
    let full = r#"{"index.blocks.read_only_allow_delete":true}"#;
    assert_eq!(place.ask(Method::Put, &path, Some(full)).await.0, 200);
    assert_eq!(store.ready().await.expect_err("closed to writes").kind(), ErrorKind::DiskFull);
    let judged = rows::judged(1, &batch(1, 1, &values));
    let error = store.write(&emb(1, 1).id, &judged, &rows::AboveHundred).await.expect_err("closed to writes");
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    let free = r#"{"index.blocks.read_only_allow_delete":null}"#;
    assert_eq!(place.ask(Method::Put, &path, Some(free)).await.0, 200);
    assert_eq!(rows::write(&store, 1, &batch(1, 1, &values)).await, [Outcome::Stored]);
    store.ready().await.expect("ready again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_that_is_no_row_concerns_its_own_readings_alone_and_can_be_deleted() {
    let place = Place::new();
    let store = ElasticStore::new(place.settings()).expect("settings that make sense");
    store.prepare(&emb(1, 1)).await.expect("a type");
    let (first, other) = ([number(1.0)], [number(2.0)]);
    rows::write(&store, 0, &batch(0, 9, &first)).await;
    let index = place.indices().await.pop().expect("an index");
    let id = format!("{}@s1", second(1));
    let micros = second(1).as_micros();
    let body = format!(r#"{{"sensor_id":"s1","phenomenon_time":{micros},"@position":1}}"#);
    let (status, answer) = place.ask(Method::Put, &format!("/{index}/_doc/{id}?refresh=true"), Some(&body)).await;
    assert_eq!(status, 200, "{answer}");

    let outcomes = rows::write(&store, 9, &batch(0, 12, &other)).await;
    for (row, outcome) in outcomes.iter().enumerate() {
        match (row, outcome) {
            (1, Outcome::Rejected(reason)) => assert!(reason.contains(&id) && reason.contains("no row"), "{reason}"),
            (0 | 2..9, Outcome::Revised) | (9.., Outcome::Stored) => {}
            _ => panic!("row {row}: {outcome:?}"),
        }
    }
    let mut revisions = Revisions { width: 1, ..Revisions::default() };
    for (sensor_id, time, _) in batch(0, 12, &other) {
        revisions.push((rows::sensor(sensor_id), time), (1, Label::Normal), &[Flag::Suspect]);
    }
    let sensor_type = emb(1, 1).id;
    assert_eq!(store.revise(&sensor_type, &revisions).await.expect("the others are revised"), 11);

    let scanned = async || {
        let mut scan = store.scan(&sensor_type, &ReadingQuery::default()).await?;
        let mut count = 0;
        while let Some(part) = scan.next(1_000).await? {
            count += part.rows.len();
        }
        Ok::<_, PortError>(count)
    };
    let error = scanned().await.expect_err("a document is no row");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&id), "{error}");
    let deletion = Deletion { sensor_id: rows::sensor("s1"), from: second(1), to: second(2) };
    assert_eq!(store.delete(&sensor_type, &deletion, Position(100)).await.expect("deleted"), 1);
    assert_eq!(scanned().await.expect("what is left can be read"), 11);
}

/// Servers that may have no more shards: what has no index waits or is rejected with the reason, and everything else is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shard_limit_holds_back_only_readings_without_an_index() {
    let own = tokio::task::spawn_blocking(servers::Elasticsearch::start_own).await.expect("an Elasticsearch");
    let place = Place::at(own.url());
    let store = ElasticStore::new(Settings { period: Period::Year, ..place.settings() }).expect("settings");
    store.prepare(&emb(1, 1)).await.expect("a type");
    let values = [number(1.0)];
    // Rows are accepted in February 2017.
    let (last_year, this_year) = (time("2016-12-31T23:00:00Z"), time("2017-02-08T14:00:00Z"));
    assert_eq!(rows::write(&store, 0, &[("s0", last_year, &values)]).await, [Outcome::Stored]);
    store.check_shards().await.expect("many shards are left");
    let limit = |shards: &str| format!(r#"{{"persistent": {{"cluster.max_shards_per_node": {shards}}}}}"#);
    assert_eq!(place.ask(Method::Put, "/_cluster/settings", Some(&limit("1"))).await.0, 200);

    let odd: Vec<Timestamp> = (1900..2000).step_by(9).map(|year| time(&format!("{year}-01-01T00:00:00Z"))).collect();
    let mut mixed = vec![("s1", last_year, &values[..]), ("s1", time("2050-01-01T00:00:00Z"), &values)];
    mixed.extend(odd.iter().map(|at| ("s1", *at, &values[..])));
    let outcomes = rows::write(&store, 1, &mixed).await;
    assert_eq!(outcomes[0], Outcome::Stored);
    for outcome in &outcomes[1..] {
        let Outcome::Rejected(reason) = outcome else { panic!("{outcomes:?}") };
        assert!(reason.contains("maximum") && reason.contains("readings-emb."), "{reason}");
    }

    let judged = rows::judged(100, &[("s2", this_year, &values), ("s2", last_year, &values)]);
    let error = store.write(&emb(1, 1).id, &judged, &rows::AboveHundred).await.expect_err("no index for this year");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Full, true), "{error}");
    let stored = rows::scanned(&store, &ReadingQuery::default()).await;
    assert_eq!(
        stored.into_iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(),
        ["s0", "s1", "s2"].map(|id| (id.to_owned(), last_year))
    );
    let error = store.check_shards().await.expect_err("no shards are left");
    assert!(error.kind() == ErrorKind::Full && error.to_string().contains("cluster.max_shards_per_node"), "{error}");

    assert_eq!(place.ask(Method::Put, "/_cluster/settings", Some(&limit("null"))).await.0, 200);
    let outcomes = store.write(&emb(1, 1).id, &judged, &rows::AboveHundred).await.expect("room again");
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Stored]);
    assert_eq!(rows::write(&store, 1, &mixed).await, vec![Outcome::Stored; mixed.len()]);
    store.check_shards().await.expect("shards are left again");
}
