//! Topics of documents: compaction by key, removals, and notices.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{Partition, Position, Topic};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{at, document, unique},
    },
    drain::{self, Record},
};
use crate::{Batch, Document, Log, TopicKind};

type Bodies = BTreeMap<String, Arc<[u8]>>;

/// What the documents say in the end, each delivered alone and in order of positions.
async fn bodies(log: &dyn Log, topic: &Topic) -> Bodies {
    let extent = log.extents(topic).await.expect("extents")[0];
    let mut bodies = Bodies::new();
    let mut reader = log.reader(topic, extent.partition, Position(0)).await.expect("a reader");
    let mut next = Position(0);
    while next < extent.end {
        let deliveries = reader.next(100, drain::PATIENCE).await.expect("documents");
        assert!(!deliveries.is_empty(), "documents end at {next}, not at {}", extent.end);
        for delivery in &deliveries {
            assert_eq!(delivery.content.len(), 1, "documents of a compacted topic come alone");
            assert!(delivery.first_position >= next, "{} comes behind {next}", delivery.first_position);
            next = delivery.next_position();
            for record in drain::records(delivery) {
                let Record::Document(document) = record.record else { panic!("no document") };
                match document.body {
                    Some(body) => bodies.insert(document.key, body),
                    None => bodies.remove(&document.key),
                };
            }
        }
    }
    bodies
}

/// The newest document of each key is there for ever, however old; a removed key has none; positions are counted on.
pub async fn the_newest_document_of_each_key_is_kept<B: Backend>() {
    let mut backend = B::start(Settings { retention: Duration::from_secs(3_600), ..Settings::default() }).await;
    let (clock, topic) = (backend.clock(), Topic::from_name(&unique("registry")));
    backend.log().create_topic(&topic, TopicKind::Documents).await.expect("a topic");
    let mut expected = Bodies::new();
    let mut appended = 0;
    for round in 0..40u64 {
        let keys = (0..round % 5 + 1).map(|index| (round * 3 + index) % 17);
        let documents: Vec<Document> = keys
            .map(|key| document(&format!("key-{key}"), (key % 4 != round % 4).then_some(&*format!("{round}"))))
            .collect();
        for Document { key, body } in documents.clone() {
            match body {
                Some(body) => expected.insert(key, body),
                None => expected.remove(&key),
            };
        }
        let first = backend.log().append(&topic, Batch::Documents(documents.clone())).await.expect("an append");
        assert_eq!(first.first_position, Position(appended));
        appended += documents.len() as u64;
        assert_eq!(bodies(&*backend.log(), &topic).await, expected);
    }
    for ending in Ending::ALL {
        clock.set(at(48 * 3_600));
        backend.maintain().await;
        assert_eq!(bodies(&*backend.log(), &topic).await, expected);
        backend.reopen(ending).await;
        assert_eq!(bodies(&*backend.log(), &topic).await, expected);
        assert_eq!(drain::appended(&*backend.log(), &topic).await, appended);
    }
}

/// A reader that keeps up sees each change of a key as it comes, a removal among them.
pub async fn a_follower_sees_every_change_and_removal<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), Topic::from_name(&unique("registry")));
    log.create_topic(&topic, TopicKind::Documents).await.expect("a topic");
    let mut reader = log.reader(&topic, Partition(0), Position(0)).await.expect("a reader");
    for (position, body) in [Some("one"), Some("two"), None, Some("two")].into_iter().enumerate() {
        let changed = document("key", body);
        log.append(&topic, Batch::Documents(vec![changed.clone()])).await.expect("an append");
        let deliveries = reader.next(10, drain::PATIENCE).await.expect("a document");
        let records: Vec<_> = deliveries.iter().flat_map(drain::records).collect();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].position, Position(position as u64));
        assert_eq!(records[0].record, Record::Document(changed));
    }
}

/// A topic of notices keeps all documents, whatever their key, at dense positions.
pub async fn notices_stay_whatever_their_key<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), Topic::from_name(&unique("notices")));
    log.create_topic(&topic, TopicKind::Notices).await.expect("a topic");
    let batches = [
        vec![document("a", Some("1")), document("a", Some("2")), document("b", None)],
        vec![document("a", None)],
        vec![document("a", Some("1")), document("", Some(""))],
    ];
    for batch in &batches {
        log.append(&topic, Batch::Documents(batch.clone())).await.expect("an append");
    }
    backend.maintain().await;
    let delivered: Vec<Record> = drain::topic(&*log, &topic).await.into_iter().map(|its| its.record).collect();
    assert_eq!(delivered, batches.concat().into_iter().map(Record::Document).collect::<Vec<_>>());
}

/// Keys up to 512 bytes and bodies of any bytes, none and many, read back.
pub async fn documents_of_any_size_read_back<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), Topic::from_name(&unique("registry")));
    log.create_topic(&topic, TopicKind::Documents).await.expect("a topic");
    let mut expected = Bodies::new();
    for (key, size) in
        [("é".repeat(256), 0), ("k".repeat(512), 1), ("slash/zero\0".to_owned(), 65_536), ("big".to_owned(), 500_000)]
    {
        let body: Arc<[u8]> = (0..size).map(|index: u32| (index * 7 % 256) as u8).collect();
        let document = Document { key: key.clone(), body: Some(Arc::clone(&body)) };
        log.append(&topic, Batch::Documents(vec![document])).await.expect("an append");
        expected.insert(key, body);
    }
    assert_eq!(bodies(&*log, &topic).await, expected);
}
