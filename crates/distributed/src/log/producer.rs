//! Sends records and answers when all their delivery reports are there.
//!
//! **Invariant:** the records of a batch for one partition enter the producer's queue behind each other, under the lock of that
//! partition, and their acceptance time is never before that of the records in front of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use domain::{Position, Timestamp};
use ports::{Clock, ErrorKind, PortError, next_acceptance};
use rdkafka::{
    ClientContext, Message, Statistics,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, KafkaResult},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::Notify;

use super::{
    client,
    error::{from_code, from_kafka},
    settings::Settings,
    wire::{Encoded, headers},
};

/// About what the library keeps of a record beside its key and value until it is delivered: its message and three headers, each allocated.
const RECORD_KEPT_BYTES: usize = 512;

/// The producer and what waits in it.
pub(super) struct Producer {
    settings: Settings,
    /// Replaced where it has failed for good; `None` once it is closed.
    client: RwLock<Option<Arc<ThreadedProducer<Reports>>>>,
    waiting: Arc<Waiting>,
    lanes: Mutex<HashMap<(String, u32), Arc<Lane>>>,
}

/// A partition: whoever holds it puts records into its queue. The acceptance time of the newest record, once it is known.
pub(super) type Lane = tokio::sync::Mutex<Option<Timestamp>>;

/// What waits for delivery reports.
#[derive(Default)]
struct Waiting {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// What a batch still waits for; it goes with the last of its records.
pub(super) struct Ticket {
    left: AtomicUsize,
    first_partition: u32,
    first_offset: AtomicI64,
    failure: Mutex<Option<Code>>,
    done: Notify,
    reserved: Reserved,
}

/// A place in the queue, given back when it is dropped.
struct Reserved {
    waiting: Arc<Waiting>,
    records: usize,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.waiting.records.fetch_sub(self.records, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Ticket {
    fn done(&self, records: usize) {
        if self.left.fetch_sub(records, Ordering::AcqRel) == records {
            self.done.notify_one();
        }
    }

    fn fail(&self, code: Code) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
    }
}

/// Takes the delivery reports.
struct Reports;

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Ticket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Arc<Ticket>) {
        match report {
            Ok(message) if message.partition() == ticket.first_partition as i32 => {
                ticket.first_offset.fetch_min(message.offset(), Ordering::AcqRel);
            }
            Ok(_) => {}
            Err((error, _)) => ticket.fail(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        }
        ticket.done(1);
    }
}

fn connect(settings: &Settings) -> KafkaResult<Arc<ThreadedProducer<Reports>>> {
    ThreadedProducer::from_config_and_context(&settings.producer(), Reports).map(Arc::new)
}

impl Producer {
    pub fn new(settings: Settings) -> Result<Self, PortError> {
        let client = connect(&settings).map_err(|error| from_kafka("making a producer", error))?;
        Ok(Self { settings, client: RwLock::new(Some(client)), waiting: Arc::default(), lanes: Mutex::default() })
    }

    /// The lane of a partition.
    pub fn lane(&self, topic: &str, partition: u32) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry((topic.to_owned(), partition)).or_default())
    }

    /// Takes a place in the queue for a batch.
    ///
    /// # Errors
    /// `Full` where there is none, `Unavailable` where there is no producer.
    pub fn ticket(&self, encoded: &Encoded, records: usize) -> Result<Arc<Ticket>, PortError> {
        let bytes = encoded.size_bytes() + records * RECORD_KEPT_BYTES;
        let reserved = Reserved { waiting: Arc::clone(&self.waiting), records, bytes };
        let records_waiting = self.waiting.records.fetch_add(records, Ordering::Relaxed);
        let bytes_waiting = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let too_many = records_waiting > 0 && records_waiting + records > self.settings.queue_records_max;
        if too_many || bytes_waiting > 0 && bytes_waiting + bytes > self.settings.queue_size_max {
            let message = format!("{records_waiting} records wait for Kafka already");
            return Err(PortError::new(ErrorKind::Full, message));
        }
        Ok(Arc::new(Ticket {
            left: AtomicUsize::new(records),
            first_partition: encoded.first_partition(),
            first_offset: AtomicI64::new(i64::MAX),
            failure: Mutex::new(None),
            done: Notify::new(),
            reserved,
        }))
    }

    /// Puts the records for one partition into the queue, stamped with a time not before `last`; answers with that time.
    pub fn enqueue(
        &self,
        (topic, partition): (&str, u32),
        encoded: &Encoded,
        (clock, last): (&dyn Clock, Timestamp),
        ticket: &Arc<Ticket>,
    ) -> Result<Timestamp, PortError> {
        let client = self.usable()?;
        let accepted_at = next_acceptance(clock.believed()?, last);
        let (whole, with_absent) = headers(encoded, accepted_at);
        let timestamp = accepted_at.as_micros().div_euclid(1_000);
        for record in encoded.records(partition) {
            let mut outgoing = BaseRecord::with_opaque_to(topic, Arc::clone(ticket))
                .partition(partition as i32)
                .timestamp(timestamp)
                .headers(if record.has_absent { with_absent.clone() } else { whole.clone() })
                .key(record.key);
            if let Some(value) = record.value {
                outgoing = outgoing.payload(value);
            }
            if let Err((error, _)) = client.send(outgoing) {
                ticket.fail(error.rdkafka_error_code().unwrap_or(Code::Fail));
                ticket.done(1);
            }
        }
        Ok(accepted_at)
    }

    /// Waits for all delivery reports; answers with the position of the batch's first record.
    ///
    /// # Errors
    /// That of the first record that failed.
    pub async fn wait(&self, ticket: &Ticket) -> Result<Position, PortError> {
        ticket.done.notified().await;
        let failure = *ticket.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => Ok(Position(ticket.first_offset.load(Ordering::Acquire).unsigned_abs())),
            Some(code) => {
                let records = ticket.reserved.records;
                Err(from_code(format!("Kafka did not take all of {records} records"), code))
            }
        }
    }

    /// Sends what waits, and takes nothing more.
    pub fn close(&self) -> Result<(), KafkaError> {
        let client = self.client.write().unwrap_or_else(PoisonError::into_inner).take();
        client.map_or(Ok(()), |client| client.flush(self.settings.delivery_timeout))
    }

    /// The client, a new one where it can't go on: what was told to the caller is safe, what was not is tried again by it.
    fn usable(&self) -> Result<Arc<ThreadedProducer<Reports>>, PortError> {
        let closed = || PortError::new(ErrorKind::Unavailable, "the log is closed");
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let Some((code, reason)) = client.client().fatal_error() else { return Ok(client) };
        let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &client)) {
            tracing::warn!(%code, reason, "the Kafka producer can't go on and is made anew");
            *current = Some(connect(&self.settings).map_err(|error| from_kafka("making a producer", error))?);
        }
        let renewed = current.clone();
        drop(current);
        client::drop_aside(client);
        renewed.ok_or_else(closed)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(client) = self.client.write().unwrap_or_else(PoisonError::into_inner).take() {
            client::drop_aside(client);
        }
    }
}
