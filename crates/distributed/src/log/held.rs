//! A partition that a member of a group has: what is fetched of it, and how far it is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{Partition, Position, Topic};
use ports::{Committed, Delivery, ErrorKind, PortError};
use rdkafka::{
    Message,
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    message::OwnedMessage,
};
use tokio::{sync::Notify, time::Instant};

use super::{assignment::Changes, catalogue::Live, error::pass_over, wire::Decoder};

/// A partition of a topic.
pub(super) type Place = (Topic, Partition);

/// A partition that this member has.
pub(super) struct Held {
    pub generation: u32,
    /// Tells it from the same partition held before or after.
    pub assignment: u64,
    pub committed: Committed,
    pub next: u64,
    /// Until when nothing of it is delivered.
    held_back: Option<Instant>,
    /// Whether the client is still to be told to go back to what is committed.
    pub goes_back: bool,
    queue: PartitionQueue<Changes>,
    /// What came before it had a queue of its own.
    early: VecDeque<OwnedMessage>,
    decoder: Decoder,
}

impl Held {
    /// Takes the partition's records out of the client's common queue; `None` where the client does not know it.
    pub fn new(
        client: &Arc<BaseConsumer<Changes>>,
        (name, place, live): (&str, &Place, Live),
        (assignment, committed): (u64, Committed),
        wake: &Arc<Notify>,
    ) -> Option<Self> {
        let mut queue = client.split_partition_queue(name, place.1.0 as i32)?;
        let wake = Arc::clone(wake);
        queue.set_nonempty_callback(move || wake.notify_one());
        let decoder = Decoder::new(place.0.clone(), place.1, live.kind);
        let (generation, next) = (live.generation, committed.position.0);
        let (held_back, early) = (None, VecDeque::new());
        let goes_back = false;
        Some(Self { generation, assignment, committed, next, held_back, goes_back, queue, early, decoder })
    }

    /// Takes a record that came by the common queue.
    pub fn came_early(&mut self, message: OwnedMessage) {
        self.early.push_back(message);
    }

    /// Delivers nothing for a while, and then again what was not committed: the client is to be told so.
    pub fn hold_back(&mut self, pause: Duration) {
        self.held_back = Some(Instant::now() + pause);
        self.goes_back = self.next != self.committed.position.0;
    }

    /// Goes back to a committed position, now that the client has done so.
    pub fn go_back(&mut self, committed: Position) {
        self.early.clear();
        (self.next, self.goes_back) = (committed.0, false);
    }

    /// Until when nothing is delivered, where that is not over.
    pub fn is_held_back(&self) -> Option<Instant> {
        self.held_back.filter(|until| Instant::now() < *until)
    }

    /// What is there, up to about `records_max` records; nothing while it is held back.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`: what was taken out of the queue is to be fetched again.
    pub fn take(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        let mut deliveries = Vec::new();
        if self.goes_back || self.is_held_back().is_some() {
            return Ok(deliveries);
        }
        for _ in 0..records_max.max(1) {
            if let Some(message) = self.early.pop_front() {
                check(message.offset(), self.next)?;
                self.next = message.offset() as u64 + 1;
                self.decoder.take(&message, &mut deliveries);
                continue;
            }
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    check(message.offset(), self.next)?;
                    self.next = message.offset() as u64 + 1;
                    self.decoder.take(&message, &mut deliveries);
                }
                Some(Err(error)) => pass_over("reading from Kafka", error)?,
            }
        }
        Ok(deliveries)
    }
}

/// Records come in order, none before the committed position: else the topic is another one than it was.
fn check(offset: i64, next: u64) -> Result<(), PortError> {
    if offset as u64 >= next {
        return Ok(());
    }
    let message = format!(
        "a record at position {} comes where {} was next: the topic was made anew or cut short outside of the hub",
        offset,
        Position(next)
    );
    Err(PortError::new(ErrorKind::Corrupt, message))
}
