//! The one thread that writes the log: takes all appends that wait, gives them positions and one acceptance time, writes them
//! as one batch, syncs once, answers all.
//!
//! **Invariant:** topics and extents change here alone, after the disk has them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
};

use domain::{Position, Timestamp, Topic};
use fjall::{OwnedWriteBatch, PersistMode};
use ports::{Appended, Batch, Document, ErrorKind, PortError, TopicKind};
use tokio::sync::oneshot;

use super::{
    Shared,
    chores::Chores,
    keys::{
        decode_topic, encode_extent, encode_topic, extent_key, garbage_key, load_extent, name_key, next_number,
        not_before, record_key,
    },
    topics::{TopicExtent, TopicState},
};
use crate::{
    disk::Need,
    error::{from_database, from_malformed, from_write},
    records_codec::{encode_segment, push_segment, start_entry},
};

/// The most appends and about the most bytes that share a sync.
const COMMIT_APPENDS_MAX: usize = 1_024;
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// About the most bytes of an entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;

type Reply<T> = oneshot::Sender<Result<T, PortError>>;

/// What the committer is asked to do.
pub(crate) enum Request {
    Append(Append),
    Create { topic: Topic, kind: TopicKind, reply: Reply<()> },
    Delete { topic: Topic, reply: Reply<()> },
    ApplyRetention { reply: Reply<()> },
    Stop,
}

/// One append that waits for its commit.
pub(crate) struct Append {
    pub topic: Arc<TopicState>,
    pub batch: Batch,
    /// The batch's bytes.
    pub segment: Vec<u8>,
    pub reply: Reply<Appended>,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    queue: Receiver<Request>,
    chores: Chores,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, queue: Receiver<Request>) -> Result<Self, PortError> {
        let chores = Chores::open(Arc::clone(&shared))?;
        Ok(Self { shared, queue, chores })
    }

    pub fn run(mut self) {
        loop {
            let request = match self.queue.recv_timeout(self.chores.wait()) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(request) = request
                && self.handle(request)
            {
                return;
            }
            self.chores.work();
        }
    }

    /// Does what is asked and what waits behind it; says whether to stop.
    fn handle(&mut self, request: Request) -> bool {
        let mut next = Some(request);
        while let Some(request) = next.take() {
            match request {
                Request::Append(append) => next = self.commit_with_all_that_wait(append),
                Request::Create { topic, kind, reply } => {
                    let _ = reply.send(self.create(topic, kind));
                }
                Request::Delete { topic, reply } => {
                    let _ = reply.send(self.delete(&topic));
                }
                Request::ApplyRetention { reply } => {
                    self.chores.finish();
                    let _ = reply.send(Ok(()));
                }
                Request::Stop => return true,
            }
        }
        false
    }

    /// Commits this append with all that wait behind it; answers with the first request of another kind.
    fn commit_with_all_that_wait(&mut self, first: Append) -> Option<Request> {
        let mut bytes = first.segment.len();
        let mut appends = vec![first];
        let mut other = None;
        while appends.len() < COMMIT_APPENDS_MAX && bytes < COMMIT_BYTES_MAX {
            match self.queue.try_recv() {
                Ok(Request::Append(append)) => {
                    bytes += append.segment.len();
                    appends.push(append);
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        match self.commit(&appends) {
            Ok(answers) => {
                self.shared.wake();
                for (append, answer) in appends.into_iter().zip(answers) {
                    let _ = append.reply.send(answer);
                }
            }
            Err(error) => {
                tracing::warn!(%error, appends = appends.len(), "appends refused");
                for append in appends {
                    let _ = append.reply.send(Err(PortError::new(error.kind(), error.to_string())));
                }
            }
        }
        other
    }

    /// Writes all appends as one synced batch; answers one by one, or with the error that none was written for.
    fn commit(&mut self, appends: &[Append]) -> Result<Vec<Result<Appended, PortError>>, PortError> {
        self.shared.disk.check(Need::Finish)?;
        let shared = &self.shared;
        let accepting = shared.disk.check(Need::Accept).and_then(|()| shared.topics.check_size(shared.bounds.size_max));
        let mut group = Group::new(&self.shared, self.shared.clock.believed()?);
        let answers: Vec<_> = appends
            .iter()
            .map(|append| match &accepting {
                // Dead letters and the registry are what it takes to work off what was accepted.
                Err(error) if append.topic.kind == TopicKind::Records => {
                    Err(PortError::new(error.kind(), error.to_string()))
                }
                _ => group.add(append),
            })
            .collect();
        for topic in group.write()? {
            self.shared.tell(&topic);
            self.chores.note(&topic);
        }
        Ok(answers)
    }

    fn create(&self, name: Topic, kind: TopicKind) -> Result<(), PortError> {
        if let Some(state) = self.shared.topics.get(&name) {
            let exists = || PortError::new(ErrorKind::Conflict, format!("topic `{name}` exists as another kind"));
            return if state.kind == kind { Ok(()) } else { Err(exists()) };
        }
        self.shared.disk.check(Need::Finish)?;
        let keyspaces = &self.shared.keyspaces;
        let doing = "creating a topic";
        let removed = keyspaces.topics.get(name_key(&name)).map_err(|e| from_database(doing, e))?;
        let floor = match removed {
            None => 0,
            Some(bytes) => {
                let (number, _) = decode_topic(&bytes).map_err(|e| from_malformed("a removed topic", e))?;
                load_extent(keyspaces, number)?.end
            }
        };
        let (number, number_key) = next_number(keyspaces)?;
        let extent = TopicExtent { start: floor, end: floor, bytes: 0, accepted_last: i64::MIN };
        let mut batch = self.shared.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&keyspaces.topics, name_key(&name), encode_topic(number, Some(kind)));
        batch.insert(&keyspaces.topics, number_key, encode_topic(number, None));
        batch.insert(&keyspaces.topics, extent_key(number), encode_extent(extent));
        batch.commit().map_err(|e| from_write(doing, e))?;
        let state = Arc::new(TopicState::new(name, number, kind, extent));
        self.shared.topics.insert(Arc::clone(&state));
        self.shared.changes.touch(&state);
        self.shared.members.tell(None, &state);
        Ok(())
    }

    fn delete(&mut self, name: &Topic) -> Result<(), PortError> {
        let Some(state) = self.shared.topics.get(name) else { return Ok(()) };
        let keyspaces = &self.shared.keyspaces;
        let doing = "removing a topic";
        let mut batch = self.shared.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&keyspaces.topics, name_key(name), encode_topic(state.number, None));
        batch.insert(&keyspaces.topics, garbage_key(state.number), []);
        batch.commit().map_err(|e| from_write(doing, e))?;
        self.shared.topics.remove(&state);
        self.shared.changes.forget(&state);
        state.groups.tell_owners(&state);
        self.shared.wake();
        self.chores.remove(&state);
        Ok(())
    }
}

/// One commit being put together.
struct Group<'a> {
    shared: &'a Shared,
    now: Timestamp,
    batch: OwnedWriteBatch,
    topics: HashMap<u32, Pending>,
}

/// One topic's share of a commit.
struct Pending {
    state: Arc<TopicState>,
    extent: TopicExtent,
    accepted_at: Timestamp,
    /// The entry being filled, with its first position.
    entry: Option<(u64, Vec<u8>)>,
    /// Where this commit put the newest document of a key.
    documents: HashMap<String, u64>,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared, now: Timestamp) -> Self {
        let batch = shared.database.batch().durability(Some(PersistMode::SyncData));
        Self { shared, now, batch, topics: HashMap::new() }
    }

    fn add(&mut self, append: &Append) -> Result<Appended, PortError> {
        if append.topic.is_removed() {
            return Err(PortError::new(ErrorKind::NotFound, format!("topic `{}` was removed", append.topic.name)));
        }
        let pending = self.topics.entry(append.topic.number).or_insert_with(|| {
            let extent = append.topic.extent();
            let accepted_at = not_before(self.now, extent.accepted_last);
            Pending { state: Arc::clone(&append.topic), extent, accepted_at, entry: None, documents: HashMap::new() }
        });
        let first_position = Position(pending.extent.end);
        let accepted_at = pending.accepted_at;
        pending.extent.accepted_last = accepted_at.as_micros();
        match &append.batch {
            Batch::Documents(documents) if append.topic.kind == TopicKind::Documents => {
                for document in documents {
                    self.add_document(append.topic.number, document)?;
                }
            }
            batch => {
                let count = batch.len() as u64;
                if count > 0 {
                    let (_, entry) =
                        pending.entry.get_or_insert_with(|| (pending.extent.end, start_entry(accepted_at)));
                    push_segment(entry, &append.segment);
                    pending.extent.end += count;
                    if entry.len() >= ENTRY_BYTES_MAX {
                        self.close_entry(append.topic.number);
                    }
                }
            }
        }
        Ok(Appended { accepted_at, first_position })
    }

    /// Puts a document into an entry of its own and takes out the one that its key had before.
    fn add_document(&mut self, number: u32, document: &Document) -> Result<(), PortError> {
        let keyspaces = &self.shared.keyspaces;
        let Some(pending) = self.topics.get_mut(&number) else { return Ok(()) };
        let key = [&number.to_be_bytes()[..], document.key.as_bytes()].concat();
        let before = match pending.documents.get(&document.key) {
            Some(position) => Some(*position),
            None => {
                let saved =
                    keyspaces.document_keys.get(&key).map_err(|e| from_database("reading a document's place", e))?;
                saved.and_then(|bytes| bytes[..].try_into().ok()).map(u64::from_be_bytes)
            }
        };
        if let Some(before) = before {
            self.batch.remove(&keyspaces.records, record_key(number, before, 1));
        }
        let position = pending.extent.end;
        let mut entry = start_entry(pending.accepted_at);
        push_segment(&mut entry, &encode_segment(&Batch::Documents(vec![document.clone()])));
        pending.extent.end += 1;
        pending.documents.insert(document.key.clone(), position);
        self.batch.insert(&keyspaces.records, record_key(number, position, 1), entry);
        self.batch.insert(&keyspaces.document_keys, key, position.to_be_bytes());
        Ok(())
    }

    fn close_entry(&mut self, number: u32) {
        let Some(pending) = self.topics.get_mut(&number) else { return };
        let Some((first, entry)) = pending.entry.take() else { return };
        let count = u32::try_from(pending.extent.end - first).unwrap_or(u32::MAX);
        let key = record_key(number, first, count);
        pending.extent.bytes += (key.len() + entry.len()) as u64;
        self.batch.insert(&self.shared.keyspaces.records, key, entry);
    }

    /// Writes and syncs; only then do the topics reach further. Answers with those.
    fn write(mut self) -> Result<Vec<Arc<TopicState>>, PortError> {
        let numbers: Vec<u32> = self.topics.keys().copied().collect();
        for number in numbers {
            self.close_entry(number);
        }
        for (number, pending) in &self.topics {
            self.batch.insert(&self.shared.keyspaces.topics, extent_key(*number), encode_extent(pending.extent));
        }
        self.batch.commit().map_err(|e| from_write("appending to the log", e))?;
        let topics = &self.shared.topics;
        let reach = |Pending { state, extent, .. }: Pending| {
            topics.set_extent(&state, extent);
            state
        };
        Ok(self.topics.into_values().map(reach).collect())
    }
}
