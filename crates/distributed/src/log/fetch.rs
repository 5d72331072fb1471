//! Fetches the records of one partition from a position on, without a group.

use std::{sync::Arc, time::Duration};

use ports::PortError;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    message::BorrowedMessage,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    client::{self, Told},
    error::blocking,
    settings::Settings,
};

/// A partition that is being fetched.
pub(super) struct Fetch {
    /// There until it is dropped.
    client: Option<BaseConsumer<Told>>,
    wake: Arc<Notify>,
}

impl Fetch {
    /// Starts to fetch. Where `from` is gone, it starts at the oldest record; at the end it is told with `PartitionEOF`.
    pub async fn open(settings: &Settings, topic: &str, partition: u32, from: u64) -> Result<Self, PortError> {
        let wake = Arc::new(Notify::new());
        // The group is never joined: the library wants a name for what is fetched by hand as well.
        let mut config = settings.consumer(&format!("{}reader", settings.prefix));
        config.set("enable.partition.eof", "true");
        let (topic, waking) = (topic.to_owned(), Arc::clone(&wake));
        let client = blocking("opening a reader", move || {
            let client = client::consumer(&config, Told::default(), &waking)?;
            let mut place = TopicPartitionList::new();
            let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
            place.add_partition_offset(&topic, partition as i32, offset)?;
            client.assign(&place)?;
            Ok(client)
        });
        Ok(Self { client: Some(client.await?), wake })
    }

    /// The next message or event, if it is there.
    pub fn next(&self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        client::next(self.client.as_ref()?)
    }

    /// What is notified when there may be a next message.
    pub fn wake(&self) -> &Notify {
        &self.wake
    }

    /// Waits until there may be a next message, at most until `deadline`; says whether there may.
    pub async fn wait(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.wake.notified()).await.is_ok()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client::drop_aside(client);
        }
    }
}

/// The longest that anything waits in one go, so that a deadline can be told and a client is polled now and then.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
