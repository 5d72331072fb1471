//! Topics that are removed and created again.

use domain::{Partition, Position};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{document, readings, unique, unique_topic},
    },
    drain::{self, PATIENCE},
};
use crate::{Batch, Committed, ErrorKind, TopicKind, Totals};

/// A topic created under the name of a removed one starts behind its positions, empty and with nothing committed, also after
/// the log was opened again in between.
pub async fn a_topic_created_again_starts_behind_the_removed_one<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let (topic, group) = (unique_topic(), unique("group"));
    let mut ends: Vec<Position> = Vec::new();
    for ending in Ending::ALL.into_iter().cycle().take(4) {
        let log = backend.log();
        log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
        let extents = log.extents(&topic).await.expect("extents");
        assert!(extents.iter().zip(&ends).all(|(extent, end)| extent.start >= *end && extent.end == extent.start));
        let none = log.committed(&group, &topic).await.expect("nothing committed");
        assert!(none.iter().all(|its| its.totals == Totals::default() && its.position == Position(0)));
        log.append(&topic, readings((0..20).map(|number| (number, 1)))).await.expect("an append");
        let mut consumer = log.consumer(&group).await.expect("a consumer");
        consumer.subscribe(std::slice::from_ref(&topic)).await.expect("a subscription");
        let delivered = drain::poll_records(&mut *consumer, 20).await;
        for extent in log.extents(&topic).await.expect("extents") {
            let here = |record: &&drain::Delivered| record.partition == extent.partition;
            assert_eq!(delivered.iter().find(here).map(|record| record.position).unwrap_or(extent.end), extent.start);
            let totals = Totals { skipped: extent.start.0, stored: extent.end.0 - extent.start.0, ..Totals::default() };
            let committed = Committed { partition: extent.partition, position: extent.end, totals };
            consumer.commit(&topic, committed).await.expect("a commit");
        }
        ends = log.extents(&topic).await.expect("extents").iter().map(|extent| extent.end).collect();
        log.delete_topic(&topic).await.expect("a removal");
        assert_eq!(log.extents(&topic).await.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        drop((consumer, log));
        backend.reopen(ending).await;
        assert_eq!(backend.log().extents(&topic).await.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    }
}

/// To remove what is not there is no error; neither is a new topic of another kind under the name.
pub async fn removing_a_topic_twice_changes_nothing<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.delete_topic(&topic).await.expect("no such topic");
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings([(1, 1)])).await.expect("an append");
    log.delete_topic(&topic).await.expect("a removal");
    log.delete_topic(&topic).await.expect("no such topic any more");
    log.create_topic(&topic, TopicKind::Documents).await.expect("a topic of another kind");
    log.append(&topic, Batch::Documents(vec![document("key", Some("body"))])).await.expect("an append");
    assert_eq!(drain::topic(&*log, &topic).await.len(), 1);
}

/// A reader of a topic that was removed gets `NotFound`, also where it was created again, while a consumer goes on with the new one.
pub async fn a_reader_of_a_removed_topic_is_told<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings([(1, 1)])).await.expect("an append");
    let mut consumer = log.consumer(&unique("group")).await.expect("a consumer");
    consumer.subscribe(std::slice::from_ref(&topic)).await.expect("a subscription");
    drain::poll_records(&mut *consumer, 1).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        readers.push(log.reader(&topic, Partition(0), Position(0)).await.expect("a reader"));
    }
    log.delete_topic(&topic).await.expect("a removal");
    let error = readers[0].next(10, PATIENCE).await.expect_err("the topic is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings([(1, 2), (1, 3)])).await.expect("an append");
    let error = readers[1].next(10, PATIENCE).await.expect_err("its topic is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let delivered = drain::poll_records(&mut *consumer, 2).await;
    assert_eq!(delivered[0].identity().1, 2);
    assert!(delivered[0].position >= Position(1), "a used position comes again");
}
