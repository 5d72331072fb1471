//! Consumer groups: sharing, taking over, committing, going back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Partition, Position, Topic};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{readings, unique, unique_topic},
    },
    drain::{self, Delivered, PATIENCE},
};
use crate::{Committed, Consumer, Delivery, ErrorKind, Log, Mark, Standing, TopicKind, Totals};

/// Ends of polls that are expected to find nothing.
const SHORTLY: Duration = Duration::from_millis(50);

/// A topic of records with `batches` batches of ten readings of as many sensors.
async fn filled_topic(log: &dyn Log, batches: i64) -> Topic {
    let topic = unique_topic();
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    fill(log, &topic, 0..batches).await;
    topic
}

async fn fill(log: &dyn Log, topic: &Topic, seconds: std::ops::Range<i64>) {
    for second in seconds {
        log.append(topic, readings((0..10).map(|number| (number, second)))).await.expect("an append");
    }
}

async fn member(log: &dyn Log, group: &str, topics: &[Topic]) -> Box<dyn Consumer> {
    let mut consumer = log.consumer(group).await.expect("a consumer");
    consumer.subscribe(topics).await.expect("a subscription");
    consumer
}

/// What is committed after all of a delivery was stored.
fn behind(delivery: &Delivery, before: Committed) -> Committed {
    let position = delivery.next_position();
    let totals = Totals { stored: before.totals.stored + position.0 - before.position.0, ..before.totals };
    Committed { partition: delivery.partition, position, totals }
}

/// Where each partition of a topic ends, as if a group had stored all of it.
async fn all_stored(log: &dyn Log, topic: &Topic) -> Vec<Committed> {
    let extents = log.extents(topic).await.expect("extents");
    let of = |extent: crate::Extent| {
        let totals = Totals { stored: extent.end.0, ..Totals::default() };
        Committed { partition: extent.partition, position: extent.end, totals }
    };
    extents.into_iter().map(of).collect()
}

/// A group reads from the first record on and, closed or killed, goes on where it committed, with the totals it saved.
pub async fn a_group_goes_on_where_it_committed<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let (topic, group) = (filled_topic(&*backend.log(), 12).await, unique("group"));
    let none = backend.log().committed(&group, &topic).await.expect("nothing committed");
    for (committed, number) in none.into_iter().zip(0..) {
        assert_eq!(committed, Committed { partition: Partition(number), ..Committed::default() });
    }
    let mut accounted = 0;
    for ending in Ending::ALL.into_iter().cycle().take(6) {
        let log = backend.log();
        let mut consumer = member(&*log, &group, std::slice::from_ref(&topic)).await;
        let deliveries = consumer.poll(1, PATIENCE).await.expect("a poll");
        let delivery = deliveries.first().expect("records are left");
        let before = consumer.committed(&topic, delivery.partition);
        assert_eq!(delivery.first_position, before.position, "it goes on where it committed");
        let totals = Totals {
            stored: before.totals.stored + 1,
            duplicate: before.totals.duplicate + delivery.content.len() as u64 - 1,
            ..before.totals
        };
        let committed = Committed { totals, ..behind(delivery, before) };
        accounted += delivery.content.len() as u64;
        consumer.commit(&topic, committed).await.expect("a commit");
        assert_eq!(consumer.committed(&topic, delivery.partition), committed);
        drop((consumer, log));
        backend.reopen(ending).await;
        let found = backend.log().committed(&group, &topic).await.expect("committed");
        assert!(found.contains(&committed), "{committed:?} after {ending:?} in {found:?}");
        assert_eq!(found.iter().map(|its| its.totals.sum()).sum::<u64>(), accounted);
        assert_eq!(found.iter().map(|its| its.position.0).sum::<u64>(), accounted);
    }
    let left = (120 - accounted) as usize;
    let log = backend.log();
    drain::poll_records(&mut *member(&*log, &group, &[topic]).await, left).await;
}

/// A position in the middle of a batch can be committed: the next member starts exactly there.
pub async fn a_position_within_a_batch_can_be_committed<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic, group) = (backend.log(), unique_topic(), unique("group"));
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings((0..10).map(|second| (1, second)))).await.expect("an append");
    for position in 1..10u64 {
        let mut consumer = member(&*log, &group, std::slice::from_ref(&topic)).await;
        let delivered = drain::poll_records(&mut *consumer, 11 - position as usize).await;
        assert_eq!(delivered[0].position, Position(position - 1));
        assert_eq!(delivered[0].identity().1, position as i64 - 1);
        let totals = Totals { dead_lettered: position, ..Totals::default() };
        let committed = Committed { partition: delivered[0].partition, position: Position(position), totals };
        consumer.commit(&topic, committed).await.expect("a commit");
    }
}

/// Goes back to what is committed of a topic.
async fn go_back(log: &dyn Log, consumer: &mut dyn Consumer, topic: &Topic, pause: Duration) {
    for extent in log.extents(topic).await.expect("extents") {
        consumer.hold_back(topic, extent.partition, pause).await.expect("it goes back");
    }
}

/// A partition that is held back delivers all that was polled since the last commit again, and nothing before it.
pub async fn what_is_held_back_is_delivered_again<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let log = backend.log();
    let topic = filled_topic(&*log, 5).await;
    let mut consumer = member(&*log, &unique("group"), std::slice::from_ref(&topic)).await;
    let sorted = |mut records: Vec<Delivered>| {
        records.sort_by_key(|record| (record.partition, record.position));
        records
    };
    let first = sorted(drain::poll_records(&mut *consumer, 50).await);
    go_back(&*log, &mut *consumer, &topic, Duration::ZERO).await;
    assert_eq!(sorted(drain::poll_records(&mut *consumer, 50).await), first);
    for committed in all_stored(&*log, &topic).await {
        consumer.commit(&topic, committed).await.expect("a commit");
    }
    fill(&*log, &topic, 5..7).await;
    let second = sorted(drain::poll_records(&mut *consumer, 20).await);
    go_back(&*log, &mut *consumer, &topic, Duration::ZERO).await;
    assert_eq!(sorted(drain::poll_records(&mut *consumer, 20).await), second);
    assert!(consumer.poll(10, SHORTLY).await.expect("nothing more").is_empty());
}

/// While one topic is held back, the others go on.
pub async fn what_is_held_back_holds_nothing_else_back<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let log = backend.log();
    let topics = [filled_topic(&*log, 3).await, filled_topic(&*log, 3).await];
    let mut consumer = member(&*log, &unique("group"), &topics).await;
    drain::poll_records(&mut *consumer, 60).await;
    go_back(&*log, &mut *consumer, &topics[0], Duration::from_secs(3_600)).await;
    fill(&*log, &topics[0], 3..5).await;
    fill(&*log, &topics[1], 3..5).await;
    let mut of_the_other = 0;
    while of_the_other < 20 {
        let deliveries = consumer.poll(100, PATIENCE).await.expect("a poll");
        assert!(deliveries.iter().all(|delivery| delivery.topic == topics[1]), "{deliveries:?}");
        of_the_other += deliveries.iter().map(|delivery| delivery.content.len()).sum::<usize>();
    }
    assert!(consumer.poll(100, SHORTLY).await.expect("nothing more").is_empty());
    go_back(&*log, &mut *consumer, &topics[0], Duration::ZERO).await;
    drain::poll_records(&mut *consumer, 50).await;
}

/// Members that commit what they polled cover every record once, however the partitions move between them.
pub async fn members_share_the_work_without_overlap<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, group) = (backend.log(), unique("group"));
    let topics = [filled_topic(&*log, 15).await, filled_topic(&*log, 15).await, filled_topic(&*log, 15).await];
    let (committed, mut arriving) = mpsc::channel(1);
    let mut members = JoinSet::new();
    let mut done: BTreeSet<(Topic, Partition, Position)> = BTreeSet::new();
    while done.len() < 3 * 150 {
        if members.len() < 3 {
            members.spawn(commit_what_comes(member(&*log, &group, &topics).await, committed.clone()));
        }
        let delivery: Option<Delivery> = timeout(PATIENCE, arriving.recv()).await.unwrap_or_default();
        let delivery = delivery.unwrap_or_else(|| panic!("no more than {} of 450 records were committed", done.len()));
        for record in drain::records(&delivery) {
            let place = (delivery.topic.clone(), record.partition, record.position);
            assert!(done.insert(place), "{record:?} was committed twice");
        }
    }
    for topic in &topics {
        assert_eq!(log.committed(&group, topic).await.expect("committed"), all_stored(&*log, topic).await);
    }
}

/// Works as a member does, and tells of each delivery whose commit was taken.
async fn commit_what_comes(mut consumer: Box<dyn Consumer>, committed: mpsc::Sender<Delivery>) {
    loop {
        let deliveries = consumer.poll(1, PATIENCE).await.expect("a poll");
        drain::check_order(&deliveries);
        for delivery in deliveries {
            let before = consumer.committed(&delivery.topic, delivery.partition);
            assert_eq!(before.position, delivery.first_position, "only what is not committed is delivered");
            match consumer.commit(&delivery.topic, behind(&delivery, before)).await {
                Ok(()) => committed.send(delivery).await.expect("somebody counts"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    }
}

/// What a member had polled but not committed when it was dropped comes to the others.
pub async fn a_dropped_member_leaves_its_partitions_to_the_others<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, group) = (backend.log(), unique("group"));
    let topic = filled_topic(&*log, 10).await;
    let mut first = member(&*log, &group, std::slice::from_ref(&topic)).await;
    let polled = first.poll(1, PATIENCE).await.expect("a poll");
    let committed = behind(&polled[0], first.committed(&topic, polled[0].partition));
    first.commit(&topic, committed).await.expect("a commit");
    let left = 100 - polled[0].content.len();
    go_back(&*log, &mut *first, &topic, Duration::ZERO).await;
    drain::poll_records(&mut *first, left).await;
    let second = log.consumer(&group).await.expect("a consumer");
    let waiting = tokio::spawn(take_over(second, topic.clone(), left));
    tokio::time::sleep(SHORTLY).await;
    drop(first);
    let found: BTreeSet<_> = waiting.await.expect("a member").iter().map(|its| (its.partition, its.position)).collect();
    assert_eq!(found.len(), left);
    let again = found.iter().any(|place| place.0 == committed.partition && place.1 < committed.position);
    assert!(!again, "nothing that was committed comes again");
}

/// Subscribes while another member has the partitions, and polls until the records left over came.
async fn take_over(mut consumer: Box<dyn Consumer>, topic: Topic, records: usize) -> Vec<Delivered> {
    consumer.subscribe(&[topic]).await.expect("a subscription");
    drain::poll_records(&mut *consumer, records).await
}

/// A member can't commit for a partition that is not, or no longer, its own.
pub async fn a_commit_without_the_partition_is_a_conflict<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, group) = (backend.log(), unique("group"));
    let topic = filled_topic(&*log, 3).await;
    let mut first = member(&*log, &group, std::slice::from_ref(&topic)).await;
    let polled = first.poll(1, PATIENCE).await.expect("a poll");
    let committed = behind(&polled[0], first.committed(&topic, polled[0].partition));
    first.subscribe(&[]).await.expect("a subscription to nothing");
    let error = first.commit(&topic, committed).await.expect_err("it has no partition");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let mut second = member(&*log, &group, std::slice::from_ref(&topic)).await;
    drain::poll_records(&mut *second, 30).await;
    let error = first.commit(&topic, committed).await.expect_err("it is another member's");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(first.poll(10, SHORTLY).await.expect("subscribed to nothing").is_empty());
    second.commit(&topic, committed).await.expect("its own partition");
    let found = log.committed(&group, &topic).await.expect("committed");
    assert_eq!(found[committed.partition.0 as usize], committed);
}

/// Each group gets everything and commits for itself.
pub async fn groups_do_not_touch_each_other<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, groups) = (backend.log(), [unique("group"), unique("group")]);
    let topic = filled_topic(&*log, 4).await;
    let mut first = member(&*log, &groups[0], std::slice::from_ref(&topic)).await;
    let mut second = member(&*log, &groups[1], std::slice::from_ref(&topic)).await;
    drain::poll_records(&mut *first, 40).await;
    for committed in all_stored(&*log, &topic).await {
        first.commit(&topic, committed).await.expect("a commit");
    }
    drain::poll_records(&mut *second, 40).await;
    let found = log.committed(&groups[1], &topic).await.expect("committed");
    assert!(found.iter().all(|committed| committed.position == Position(0)));
    assert_eq!(log.committed(&groups[0], &topic).await.expect("committed"), all_stored(&*log, &topic).await);
}

/// A topic that a member is subscribed to before it exists is joined when it appears; others are left out.
pub async fn a_topic_is_joined_when_it_appears<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    let other = filled_topic(&*log, 2).await;
    let mut consumer = member(&*log, &unique("group"), std::slice::from_ref(&topic)).await;
    assert!(consumer.poll(10, SHORTLY).await.expect("no such topic yet").is_empty());
    let creating = Arc::clone(&log);
    let created = topic.clone();
    let creator = tokio::spawn(async move {
        tokio::time::sleep(SHORTLY).await;
        creating.create_topic(&created, TopicKind::Records).await.expect("a topic");
        fill(&*creating, &created, 0..3).await;
    });
    drain::poll_records(&mut *consumer, 30).await;
    creator.await.expect("a topic");
    consumer.subscribe(&[topic, other]).await.expect("one topic more");
    drain::poll_records(&mut *consumer, 20).await;
}

/// A topic with much to read does not keep others waiting.
pub async fn topics_take_turns<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let log = backend.log();
    let mut topics = Vec::new();
    for _ in 0..4 {
        topics.push(filled_topic(&*log, 1).await);
    }
    let mut consumer = member(&*log, &unique("group"), &topics).await;
    drain::poll_records(&mut *consumer, 40).await;
    for topic in &topics[1..] {
        fill(&*log, topic, 1..2).await;
    }
    fill(&*log, &topics[0], 1..61).await;
    let (mut seen, mut of_the_first) = (BTreeSet::new(), 0);
    while seen.len() < topics.len() {
        let deliveries = consumer.poll(1, PATIENCE).await.expect("a poll");
        drain::check_order(&deliveries);
        for delivery in deliveries {
            of_the_first += if delivery.topic == topics[0] { delivery.content.len() } else { 0 };
            let before = consumer.committed(&delivery.topic, delivery.partition);
            consumer.commit(&delivery.topic, behind(&delivery, before)).await.expect("a commit");
            seen.insert(delivery.topic);
        }
        assert!(of_the_first < 600, "only {seen:?} had a turn before all of the first was read");
    }
}

/// A poll answers with records of many topics, as many as there is room for.
pub async fn a_poll_answers_many_topics<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let log = backend.log();
    let mut topics = Vec::new();
    for _ in 0..5 {
        topics.push(filled_topic(&*log, 1).await);
    }
    let mut consumer = member(&*log, &unique("group"), &topics).await;
    drain::poll_records(&mut *consumer, 50).await;
    let (mut most, mut second) = (0, 1);
    // What is fetched in the background may come topic by topic.
    let started = Instant::now();
    while most < 2 {
        assert!(started.elapsed() < PATIENCE, "no poll answered more than one topic");
        for topic in &topics {
            fill(&*log, topic, second..second + 1).await;
        }
        second += 1;
        let mut records = 0;
        while records < 50 {
            let deliveries = consumer.poll(1_000, PATIENCE).await.expect("a poll");
            drain::check_order(&deliveries);
            let seen: BTreeSet<_> = deliveries.iter().map(|delivery| delivery.topic.clone()).collect();
            most = most.max(seen.len());
            records += deliveries.iter().map(|delivery| delivery.content.len()).sum::<usize>();
        }
    }
}

/// Commits of many partitions are saved together, and one that can't be does not keep the others back.
pub async fn commits_of_many_topics_are_answered_one_by_one<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, group) = (backend.log(), unique("group"));
    let topics = [filled_topic(&*log, 2).await, filled_topic(&*log, 3).await];
    let strange = filled_topic(&*log, 1).await;
    let mut consumer = member(&*log, &group, &topics).await;
    drain::poll_records(&mut *consumer, 50).await;
    let mut commits = Vec::new();
    for topic in [&topics[0], &strange, &topics[1]] {
        commits.extend(all_stored(&*log, topic).await.into_iter().map(|committed| (topic.clone(), committed)));
    }
    let answers = consumer.commit_all(&commits).await;
    assert_eq!(answers.len(), commits.len());
    for ((topic, _), answer) in commits.iter().zip(answers) {
        let kind = answer.err().map(|error| error.kind());
        assert_eq!(kind, (*topic == strange).then_some(ErrorKind::Conflict), "{topic}");
    }
    for topic in &topics {
        assert_eq!(log.committed(&group, topic).await.expect("committed"), all_stored(&*log, topic).await);
    }
    assert!(consumer.commit_all(&[]).await.is_empty());
}

/// Progress tells of all topics of records at first, then at least of those that have changed; what it tells is what the log says topic by
/// topic.
pub async fn progress_tells_what_has_changed<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, group) = (backend.log(), unique("group"));
    let topics = [filled_topic(&*log, 1).await, filled_topic(&*log, 2).await];
    let notices = Topic::from_name(&unique("notices"));
    log.create_topic(&notices, TopicKind::Notices).await.expect("a topic");
    let mut known: BTreeMap<Topic, Standing> = BTreeMap::new();
    let mut mark = Mark::default();
    let mut consumer = member(&*log, &group, &topics).await;
    for step in 0..4 {
        match step {
            1 => fill(&*log, &topics[0], 10..12).await,
            2 => {
                drain::poll_records(&mut *consumer, 50).await;
                for committed in all_stored(&*log, &topics[1]).await {
                    consumer.commit(&topics[1], committed).await.expect("a commit");
                }
            }
            3 => log.delete_topic(&topics[0]).await.expect("a removal"),
            _ => {}
        }
        let progress = log.progress(&group, mark).await.expect("progress");
        mark = progress.mark;
        known.extend(progress.standings.into_iter().map(|standing| (standing.topic.clone(), standing)));
        assert!(!known.contains_key(&notices), "notices are no records");
        for topic in topics.iter().skip(usize::from(step == 3)) {
            let expected = Standing {
                topic: topic.clone(),
                extents: log.extents(topic).await.expect("extents"),
                committed: log.committed(&group, topic).await.expect("committed"),
            };
            assert_eq!(known.get(topic), Some(&expected), "after step {step}");
        }
    }
    assert_eq!(known[&topics[1]].pending(), 0);
    let all = log.progress(&group, Mark::default()).await.expect("progress");
    assert!(all.standings.iter().all(|standing| standing.topic != topics[0]), "a removed topic is not told");
}
