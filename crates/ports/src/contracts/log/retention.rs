//! Retention and the bound: what goes, what stays, and when appends are refused.

use std::time::Duration;

use domain::{Position, Topic};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{at, readings, unique, unique_topic},
    },
    drain,
};
use crate::{Committed, ErrorKind, Log, TopicKind, Totals};

/// Hourly retention.
const HOURLY: Settings = Settings { retention: Duration::from_secs(3_600), small: false };

/// How often retention is asked to do its work before a contract gives up.
const ROUNDS_MAX: usize = 20;

async fn commit_all(log: &dyn Log, group: &str, topic: &Topic) {
    let mut consumer = log.consumer(group).await.expect("a consumer");
    consumer.subscribe(std::slice::from_ref(topic)).await.expect("a subscription");
    for extent in log.extents(topic).await.expect("extents") {
        let totals = Totals { stored: extent.end.0, ..Totals::default() };
        let committed = Committed { partition: extent.partition, position: extent.end, totals };
        consumer.commit(topic, committed).await.expect("a commit");
    }
}

async fn starts(log: &dyn Log, topic: &Topic) -> Vec<u64> {
    log.extents(topic).await.expect("extents").iter().map(|extent| extent.start.0).collect()
}

/// Lets retention work until it has taken everything from each partition.
async fn wait_until_empty<B: Backend>(backend: &B, topic: &Topic) {
    for _ in 0..ROUNDS_MAX {
        backend.maintain().await;
        let extents = backend.log().extents(topic).await.expect("extents");
        if extents.iter().all(|extent| extent.start == extent.end) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("retention left {:?}", backend.log().extents(topic).await.expect("extents"));
}

/// What is older than the retention and read by every group goes; what is younger stays; a reader starts at what is left.
pub async fn retention_takes_what_is_old_and_read<B: Backend>() {
    let backend = B::start(HOURLY).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    backend.clock().set(at(0));
    for batch in 0..10 {
        log.append(&topic, readings((0..50).map(|number| (number, batch)))).await.expect("an append");
    }
    for group in [unique("group"), unique("group")] {
        commit_all(&*log, &group, &topic).await;
    }
    backend.clock().set(at(3_500));
    backend.maintain().await;
    assert_eq!(drain::topic(&*log, &topic).await.len(), 500, "all are younger than the retention");
    backend.clock().set(at(3_700));
    wait_until_empty(&backend, &topic).await;
    log.append(&topic, readings((0..50).map(|number| (number, 10)))).await.expect("an append");
    backend.maintain().await;
    let delivered = drain::topic(&*log, &topic).await;
    assert_eq!(delivered.len(), 50, "what came after is left");
    for extent in log.extents(&topic).await.expect("extents") {
        let from_zero = drain::partition_from(&*log, &topic, extent, Position(0)).await;
        let here: Vec<_> = delivered.iter().filter(|record| record.partition == extent.partition).cloned().collect();
        assert_eq!(from_zero, here, "a reader of what is gone starts at what is left");
    }
}

/// However old, a record stays until every group that committed on its topic has read it.
pub async fn retention_never_takes_what_a_group_has_not_read<B: Backend>() {
    let mut backend = B::start(HOURLY).await;
    let (topic, groups) = (unique_topic(), [unique("group"), unique("group")]);
    backend.clock().set(at(0));
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let append = |second| readings((0..50).map(move |number| (number, second)));
    backend.log().append(&topic, append(0)).await.expect("an append");
    for group in &groups {
        commit_all(&*backend.log(), group, &topic).await;
    }
    let read = drain::appended(&*backend.log(), &topic).await;
    for second in 1..10 {
        backend.log().append(&topic, append(second)).await.expect("an append");
    }
    commit_all(&*backend.log(), &groups[0], &topic).await;
    backend.clock().set(at(1_000_000));
    for ending in Ending::ALL {
        backend.maintain().await;
        let log = backend.log();
        assert!(starts(&*log, &topic).await.iter().sum::<u64>() <= read, "what one group has not read is there");
        let mut slow = log.consumer(&groups[1]).await.expect("a consumer");
        slow.subscribe(std::slice::from_ref(&topic)).await.expect("a subscription");
        drain::poll_records(&mut *slow, 450).await;
        drop((slow, log));
        backend.reopen(ending).await;
    }
    commit_all(&*backend.log(), &groups[1], &topic).await;
    wait_until_empty(&backend, &topic).await;
}

/// A clock that was 63 years ahead for a moment and is right again keeps nothing back: what came after is stamped right and goes when it is
/// old, and so does what was stamped wrongly, as old as the time at which that was seen.
pub async fn a_clock_that_jumped_ahead_and_back_leaves_retention_working<B: Backend>() {
    let backend = B::start(HOURLY).await;
    let (log, topic, group) = (backend.log(), unique_topic(), unique("group"));
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    backend.clock().set(at(0));
    commit_all(&*log, &group, &topic).await;
    for second in [0, 2_000_000_000, 1, 2] {
        backend.clock().set(at(second));
        let appended = log.append(&topic, readings((0..50).map(|number| (number, second)))).await.expect("an append");
        assert_eq!(appended.accepted_at, at(second));
    }
    commit_all(&*log, &group, &topic).await;
    let delivered = drain::topic(&*log, &topic).await;
    assert_eq!(delivered.iter().filter(|record| record.accepted_at <= at(2)).count(), 150);
    // What stood before them has gone when they are seen first.
    for second in [3_700, 3_700 + 3_500] {
        backend.clock().set(at(second));
        backend.maintain().await;
        starts(&*log, &topic).await;
    }
    let held: u64 = log.extents(&topic).await.expect("extents").iter().map(|its| its.end.0 - its.start.0).sum();
    assert_eq!(held, 150, "only what was stamped before the jump is known to be old");
    backend.clock().set(at(3_700 + 3_700));
    wait_until_empty(&backend, &topic).await;
    assert_eq!(drain::appended(&*log, &topic).await, 200);
}

/// Positions are counted on when retention has taken everything and the log was opened again.
pub async fn positions_go_on_behind_what_retention_took<B: Backend>() {
    let mut backend = B::start(HOURLY).await;
    let (topic, group) = (unique_topic(), unique("group"));
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for (round, ending) in (0i64..).zip(Ending::ALL.into_iter().cycle().take(4)) {
        backend.clock().set(at(round * 100_000));
        backend.log().append(&topic, readings((0..50).map(|number| (number, round)))).await.expect("an append");
        commit_all(&*backend.log(), &group, &topic).await;
        backend.clock().set(at(round * 100_000 + 50_000));
        wait_until_empty(&backend, &topic).await;
        backend.reopen(ending).await;
        assert_eq!(drain::appended(&*backend.log(), &topic).await, 50 * (round as u64 + 1));
    }
}

/// At its bound the log takes nothing of a batch and says `Full`; what it holds can be read; when retention has made room, it takes
/// batches again.
pub async fn a_full_log_refuses_whole_batches_until_there_is_room<B: Backend>() {
    let backend = B::start(Settings { small: true, ..HOURLY }).await;
    let (log, topic, group) = (backend.log(), unique_topic(), unique("group"));
    backend.clock().set(at(0));
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    commit_all(&*log, &group, &topic).await;
    let mut taken = 0;
    let refused = loop {
        assert!(taken < 500_000, "a small log is full before {taken} readings");
        match log.append(&topic, readings((0..500).map(|index| (index % 8, taken + index as i64)))).await {
            Ok(_) => taken += 500,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.is_transient());
    assert_eq!(log.ready().await.err().map(|error| error.kind()), Some(ErrorKind::Full));
    assert_eq!(drain::topic(&*log, &topic).await.len() as i64, taken);
    backend.clock().set(at(10_000));
    backend.maintain().await;
    let error = log.append(&topic, readings((0..500).map(|index| (index, 0)))).await.expect_err("nobody has read it");
    assert_eq!(error.kind(), ErrorKind::Full);
    commit_all(&*log, &group, &topic).await;
    wait_until_empty(&backend, &topic).await;
    log.ready().await.expect("room again");
    log.append(&topic, readings((0..500).map(|index| (index, 0)))).await.expect("room again");
    assert_eq!(drain::appended(&*log, &topic).await as i64, taken + 500);
}
