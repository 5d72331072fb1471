//! Clients of librdkafka: what they tell goes to the log of the program, and whoever waits for them is woken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};
use tokio::sync::Notify;

/// Counts what a client told, so that whoever polls it can tell an empty queue from one that had something else than a message.
#[derive(Debug, Default)]
pub(super) struct Told(AtomicU64);

impl Told {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count();
        log(level, facility, message);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A context that counts.
pub(super) trait Telling: ConsumerContext {
    fn told(&self) -> &Told;
}

/// A line of librdkafka. It reconnects by itself: what it tells on the way is no lost data.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "kafka: {message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka: {message}"),
        _ => tracing::debug!(facility, "kafka: {message}"),
    }
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Self::log(self, level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Told {}

impl Telling for Told {
    fn told(&self) -> &Told {
        self
    }
}

/// A consumer that notifies `wake` when there is something to poll.
pub(super) fn consumer<C: Telling>(
    config: &ClientConfig,
    context: C,
    wake: &Arc<Notify>,
) -> KafkaResult<BaseConsumer<C>> {
    let mut consumer = BaseConsumer::from_config_and_context(config, context)?;
    let wake = Arc::clone(wake);
    consumer.set_nonempty_callback(move || wake.notify_one());
    Ok(consumer)
}

/// The next message of a consumer; `None` once its queue is empty.
pub(super) fn next<C: Telling>(consumer: &BaseConsumer<C>) -> Option<KafkaResult<BorrowedMessage<'_>>> {
    loop {
        let told = consumer.context().told().so_far();
        let polled = consumer.poll(Duration::ZERO);
        if polled.is_some() || consumer.context().told().so_far() == told {
            return polled;
        }
    }
}

/// Drops a client where it may take its time to say goodbye.
pub(super) fn drop_aside<T: Send + 'static>(client: T) {
    // Where there is no thread to be had, the closure is dropped, and the client with it.
    let _ = std::thread::Builder::new().name("kafka-goodbye".to_owned()).spawn(move || drop(client));
}
