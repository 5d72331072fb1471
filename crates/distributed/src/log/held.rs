//! A partition that a member of a group has: what is fetched of it, and how far it is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{Partition, Position, Topic};
use ports::{Committed, Delivery, ErrorKind, PortError};
use rdkafka::{
    Message,
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    message::OwnedMessage,
};
use tokio::sync::Notify;

use super::{assignment::Changes, catalogue::Live, error::pass_over, wire::Decoder};

/// A partition of a topic.
pub(super) type Place = (Topic, Partition);

/// The partitions whose queues have got records since they were empty, and what is notified of that.
#[derive(Default)]
pub(super) struct Ready {
    places: Mutex<Vec<Place>>,
    pub wake: Arc<Notify>,
}

impl Ready {
    fn tell(&self, place: Place) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        self.wake.notify_one();
    }

    pub fn take(&self) -> Vec<Place> {
        std::mem::take(&mut *self.places.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A partition that this member has.
pub(super) struct Held {
    pub generation: u32,
    /// Tells it from the same partition held before or after.
    pub assignment: u64,
    pub committed: Committed,
    pub next: u64,
    /// Whether its turn is to come.
    pub has_turn: bool,
    /// Whether nothing of it is delivered for a while.
    pub is_held_back: bool,
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
        ready: &Arc<Ready>,
    ) -> Option<Self> {
        let mut queue = client.split_partition_queue(name, place.1.0 as i32)?;
        let (telling, its) = (Arc::clone(ready), place.clone());
        queue.set_nonempty_callback(move || telling.tell(its.clone()));
        // What came before that is not told.
        ready.tell(place.clone());
        let decoder = Decoder::new(place.0.clone(), place.1, live.kind);
        let (generation, next) = (live.generation, committed.position.0);
        Some(Self {
            generation,
            assignment,
            committed,
            next,
            has_turn: false,
            is_held_back: false,
            goes_back: false,
            queue,
            early: VecDeque::new(),
            decoder,
        })
    }

    /// Takes a record that came by the common queue.
    pub fn came_early(&mut self, message: OwnedMessage) {
        self.early.push_back(message);
    }

    /// Goes back to a committed position, now that the client has done so.
    pub fn go_back(&mut self, committed: Position) {
        self.early.clear();
        (self.next, self.goes_back) = (committed.0, false);
    }

    /// What is there, up to about `records_max` records; fewer only where there are no more, or nothing while it is held back.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`: what was taken out of the queue is to be fetched again.
    pub fn take(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        let mut deliveries = Vec::new();
        if self.goes_back || self.is_held_back {
            return Ok(deliveries);
        }
        let mut taken = 0;
        while taken < records_max {
            let message = match self.early.pop_front() {
                Some(message) => message,
                None => match self.queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        check(message.offset(), self.next)?;
                        self.next = message.offset() as u64 + 1;
                        self.decoder.take(&message, &mut deliveries);
                        taken += 1;
                        continue;
                    }
                    Some(Err(error)) => {
                        pass_over("reading from Kafka", error)?;
                        continue;
                    }
                },
            };
            check(message.offset(), self.next)?;
            self.next = message.offset() as u64 + 1;
            self.decoder.take(&message, &mut deliveries);
            taken += 1;
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
