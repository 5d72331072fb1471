//! A member of a consumer group.
//!
//! **Invariant:** partitions change hands only while the member is polled, subscribed, or waits for a partition to commit on. A commit is sent only for a partition that is held, because Kafka would take
//! it from any member of the group.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Partition, Topic};
use ports::{Committed, Consumer, Delivery, ErrorKind, PortError};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    message::OwnedMessage,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use super::{
    Shared,
    assignment::{self, Change, Changes},
    client, committed,
    error::{blocking, from_kafka, pass_over},
    fetch::WAIT_MAX,
    held::{Held, Place},
};

/// How long is waited between two tries to commit while the group shares out its partitions.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a partition that can't be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Member {
    shared: Arc<Shared>,
    group: String,
    /// There until it is dropped.
    client: Option<Arc<BaseConsumer<Changes>>>,
    wake: Arc<Notify>,
    changes: watch::Receiver<u64>,
    subscribed: Vec<Topic>,
    /// The topics that the client is subscribed to: those of `subscribed` that are there.
    joined: Vec<Topic>,
    /// Whether the group has shared out its partitions since the client was subscribed.
    is_settled: bool,
    assignments: u64,
    held: BTreeMap<Place, Held>,
    /// The partition that was polled last.
    last: Option<Place>,
}

impl Member {
    /// A new member, working on nothing yet.
    pub async fn open(shared: Arc<Shared>, group: &str) -> Result<Self, PortError> {
        let wake = Arc::new(Notify::new());
        let (config, waking) = (shared.settings.member(&shared.group_name(group)), Arc::clone(&wake));
        let client = blocking("joining a group", move || client::consumer(&config, Changes::default(), &waking));
        let client = Some(Arc::new(client.await?));
        let changes = shared.catalogue.changes();
        Ok(Self {
            shared,
            group: group.to_owned(),
            client,
            wake,
            changes,
            subscribed: Vec::new(),
            joined: Vec::new(),
            is_settled: false,
            assignments: 0,
            held: BTreeMap::new(),
            last: None,
        })
    }

    fn client(&self) -> &Arc<BaseConsumer<Changes>> {
        self.client.as_ref().expect("it is there until the member is dropped")
    }

    /// Subscribes the client to those of its topics that are there, and starts over on those that were made anew.
    fn follow_catalogue(&mut self) -> Result<(), PortError> {
        self.changes.mark_unchanged();
        let there = |topic: &&Topic| self.shared.catalogue.live(topic).is_some();
        let mut wanted: Vec<Topic> = self.subscribed.iter().filter(there).cloned().collect();
        wanted.sort();
        wanted.dedup();
        if wanted != self.joined {
            self.held.retain(|(topic, _), _| wanted.contains(topic));
            self.is_settled = false;
            let names: Vec<String> = wanted.iter().map(|topic| self.shared.name(topic)).collect();
            if names.is_empty() {
                self.client().unsubscribe();
            } else {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.client().subscribe(&names).map_err(|error| from_kafka("subscribing", error))?;
            }
            self.joined = wanted;
        }
        self.start_over_where_made_anew()
    }

    fn start_over_where_made_anew(&mut self) -> Result<(), PortError> {
        let is_old = |place: &Place, held: &Held| {
            self.shared.catalogue.live(&place.0).is_some_and(|live| live.generation != held.generation)
        };
        let old: Vec<Place> =
            self.held.iter().filter(|(place, held)| is_old(place, held)).map(|(place, _)| place.clone()).collect();
        for place in old {
            self.held.remove(&place);
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.shared.name(&place.0), place.1.0 as i32);
            let unassigned = self.client().incremental_unassign(&list);
            unassigned.map_err(|error| from_kafka("letting go of a removed topic", error))?;
            let nothing = Committed { partition: place.1, ..Committed::default() };
            self.hold(vec![(place, nothing)])?;
        }
        Ok(())
    }

    /// Serves the client: takes up what it was given and lets go of what was taken from it.
    async fn serve(&mut self) -> Result<(), PortError> {
        loop {
            let client = Arc::clone(self.client());
            while let Some(polled) = client::next(&client) {
                match polled {
                    Ok(message) => self.came_early(message.detach()),
                    Err(error) => pass_over("working in a group", error)?,
                }
            }
            let Some(change) = client.context().next() else { return Ok(()) };
            let followed = match &change {
                Change::Assigned(partitions) => self.take_up(partitions).await,
                Change::Revoked(partitions) => {
                    self.let_go(partitions);
                    Ok(())
                }
            };
            if let Err(error) = followed {
                client.context().again(change);
                return Err(error);
            }
        }
    }

    fn came_early(&mut self, message: OwnedMessage) {
        let place = (self.shared.topic(message.topic()), Partition(message.partition() as u32));
        if let Some(held) = self.held.get_mut(&place) {
            held.came_early(message);
        }
    }

    async fn take_up(&mut self, partitions: &TopicPartitionList) -> Result<(), PortError> {
        let mut places = Vec::new();
        if partitions.count() > 0 {
            let (client, asked) = (Arc::clone(self.client()), partitions.clone());
            let timeout = self.shared.settings.request_timeout;
            let asking = blocking("asking for committed positions", move || client.committed_offsets(asked, timeout));
            for element in asking.await?.elements() {
                let place = (self.shared.topic(element.topic()), Partition(element.partition() as u32));
                let generation = self.shared.catalogue.live(&place.0).map_or(0, |live| live.generation);
                places.push((place, committed::of(&element, generation)?));
            }
        }
        self.hold(places)?;
        self.is_settled = true;
        Ok(())
    }

    /// Starts to fetch partitions from their committed positions. One that is not wanted any more is about to be taken back.
    fn hold(&mut self, places: Vec<(Place, Committed)>) -> Result<(), PortError> {
        let mut list = TopicPartitionList::new();
        let mut taken = Vec::new();
        for (place, committed) in places {
            let live = self.shared.catalogue.live(&place.0).filter(|_| self.joined.contains(&place.0));
            let from = live.map_or(Offset::End, |_| Offset::Offset(committed.position.0 as i64));
            let added = list.add_partition_offset(&self.shared.name(&place.0), place.1.0 as i32, from);
            added.map_err(|error| from_kafka("taking up a partition", error))?;
            taken.extend(live.map(|live| (place, live, committed)));
        }
        let client = Arc::clone(self.client());
        if let Err(error) = client.incremental_assign(&list) {
            // The group has moved on: what it gives next is told next.
            tracing::warn!(%error, "partitions could not be taken up");
            return Ok(());
        }
        for (place, live, committed) in taken {
            self.assignments += 1;
            let name = self.shared.name(&place.0);
            let stand = (self.assignments, committed);
            if let Some(held) = Held::new(&client, (&name, &place, live), stand, &self.wake) {
                self.held.insert(place, held);
            }
        }
        Ok(())
    }

    fn let_go(&mut self, partitions: &TopicPartitionList) {
        for element in partitions.elements() {
            let place = (self.shared.topic(element.topic()), Partition(element.partition() as u32));
            self.held.remove(&place);
        }
        if let Err(error) = self.client().incremental_unassign(partitions) {
            tracing::debug!(%error, "partitions were let go of before");
        }
    }

    /// Waits until there may be something to do, at most until `deadline`; says whether there is time left.
    async fn wait(&mut self, deadline: Instant) -> bool {
        let held_back = self.held.values().filter_map(Held::is_held_back).min();
        let until = deadline.min(Instant::now() + WAIT_MAX).min(held_back.unwrap_or(deadline));
        let woken = async {
            tokio::select! {
                () = self.wake.notified() => {}
                _ = self.changes.changed() => {}
            }
        };
        timeout_at(until, woken).await.is_ok() || Instant::now() < deadline
    }

    /// What is there of the partition whose turn it is.
    fn turn(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        let last = self.last.as_ref();
        let behind = self.held.keys().filter(|place| Some(*place) > last);
        let places: Vec<Place> = behind.chain(self.held.keys().filter(|place| Some(*place) <= last)).cloned().collect();
        for place in places {
            let Some(held) = self.held.get_mut(&place) else { continue };
            let deliveries = held.take(records_max).inspect_err(|_| held.hold_back(UNREADABLE_PAUSE))?;
            if !deliveries.is_empty() {
                self.last = Some(place);
                return Ok(deliveries);
            }
        }
        Ok(Vec::new())
    }

    /// Has the client go back where partitions are to; one that can't be told now is told at the next poll.
    async fn go_back(&mut self) {
        let back = self.held.iter().filter(|(_, held)| held.goes_back);
        let back: Vec<(Place, Committed)> = back.map(|(place, held)| (place.clone(), held.committed)).collect();
        for ((topic, partition), committed) in back {
            let (name, offset) = (self.shared.name(&topic), Offset::Offset(committed.position.0 as i64));
            let (client, timeout) = (Arc::clone(self.client()), self.shared.settings.request_timeout);
            let sought = blocking("going back", move || {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&name, partition.0 as i32, offset)?;
                let sought = client.seek_partitions(list, timeout)?;
                sought.elements().iter().try_for_each(|element| element.error())?;
                Ok::<_, KafkaError>(())
            });
            match sought.await {
                Ok(()) => {
                    if let Some(held) = self.held.get_mut(&(topic, partition)) {
                        held.go_back(committed.position);
                    }
                }
                Err(error) => {
                    tracing::warn!(%topic, %partition, %error, "going back to what is committed does not work")
                }
            }
        }
    }

    /// Commits on a partition that is held.
    async fn commit_held(&mut self, place: &Place, committed: Committed, generation: u32) -> Result<(), PortError> {
        self.shared.register_group(&place.0, &self.group, generation).await?;
        let client = Arc::clone(self.client());
        let list = committed::to_list(&self.shared.name(&place.0), &committed, generation);
        let list = list.map_err(|error| from_kafka("committing", error))?;
        blocking("committing", move || client.commit(&list, CommitMode::Sync)).await?;
        if let Some(held) = self.held.get_mut(place) {
            held.committed = committed;
        }
        Ok(())
    }
}

#[async_trait]
impl Consumer for Member {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.subscribed = topics.to_vec();
        if topics.iter().any(|topic| self.shared.catalogue.live(topic).is_none()) {
            self.shared.read_catalogue().await?;
        }
        self.follow_catalogue()?;
        self.serve().await
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait.min(WAIT_MAX * 60 * 24);
        loop {
            self.follow_catalogue()?;
            self.serve().await?;
            self.go_back().await;
            let deliveries = self.turn(records_max)?;
            if !deliveries.is_empty() || !self.wait(deadline).await {
                return Ok(deliveries);
            }
        }
    }

    fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        let held = self.held.get(&(topic.clone(), partition));
        held.map_or(Committed { partition, ..Committed::default() }, |held| held.committed)
    }

    async fn commit(&mut self, topic: &Topic, committed: Committed) -> Result<(), PortError> {
        let place = (topic.clone(), committed.partition);
        let lost = || {
            let message = format!("partition `{}` of topic `{topic}` is not this member's", committed.partition);
            PortError::new(ErrorKind::Conflict, message)
        };
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        let mut assignment = self.held.get(&place).map(|held| held.assignment);
        loop {
            let held = self.held.get(&place).map(|held| (held.assignment, held.generation));
            match held {
                Some((current, _)) if *assignment.get_or_insert(current) != current => return Err(lost()),
                Some((_, generation)) => match self.commit_held(&place, committed, generation).await {
                    // The group is sharing out: then it is seen whether the partition stays.
                    Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < deadline => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    done => return done,
                },
                None if assignment.is_some() || self.is_settled || !self.subscribed.contains(topic) => {
                    return Err(lost());
                }
                None if !self.wait(deadline).await => return Err(lost()),
                None => {}
            }
            self.follow_catalogue()?;
            self.serve().await?;
        }
    }

    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError> {
        self.serve().await?;
        if let Some(held) = self.held.get_mut(&(topic.clone(), partition)) {
            held.hold_back(pause);
        }
        self.go_back().await;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.held.clear();
        let Some(client) = self.client.take() else { return };
        let goodbye = self.shared.goodbyes.say(&self.group);
        let left = std::thread::Builder::new().name("kafka-goodbye".to_owned()).spawn(move || {
            assignment::leave(client);
            drop(goodbye);
        });
        if let Err(error) = left {
            tracing::warn!(%error, "no thread to leave a group in: its partitions go to the others after the session");
        }
    }
}
