//! A member of a consumer group.
//!
//! **Invariant:** partitions change hands only while the member is polled, subscribed, or waits for a partition to commit on. A commit is sent only for a partition that is held, because Kafka would take
//! it from any member of the group.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

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
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Shared,
    assignment::{self, Change, Changes},
    client, committed,
    error::{blocking, from_kafka, pass_over},
    fetch::WAIT_MAX,
    held::{Held, Place, Ready},
};

/// How long is waited between two tries to commit while the group shares out its partitions.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a partition that can't be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// The most partitions in one poll: what is done with them is done before the next.
const PARTITIONS_MAX: usize = 256;

pub(super) struct Member {
    shared: Arc<Shared>,
    group: String,
    /// There until it is dropped.
    client: Option<Arc<BaseConsumer<Changes>>>,
    ready: Arc<Ready>,
    changes: watch::Receiver<u64>,
    /// Whether the catalogue has changed since it was followed.
    is_behind: bool,
    subscribed: HashSet<Topic>,
    /// The topics that the client is subscribed to: those of `subscribed` that are there.
    joined: HashSet<Topic>,
    /// Whether the group has shared out its partitions since the client was subscribed.
    is_settled: bool,
    assignments: u64,
    held: BTreeMap<Place, Held>,
    /// The partitions that may have records, each once.
    turns: VecDeque<Place>,
    /// The partitions that are held back, and until when.
    resting: Vec<(Instant, Place)>,
    /// The partitions of which the client is still to go back.
    back: BTreeSet<Place>,
}

impl Member {
    /// A new member, working on nothing yet.
    pub async fn open(shared: Arc<Shared>, group: &str) -> Result<Self, PortError> {
        let ready = Arc::new(Ready::default());
        let (config, waking) = (shared.settings.member(&shared.group_name(group)), Arc::clone(&ready.wake));
        let client = blocking("joining a group", move || client::consumer(&config, Changes::default(), &waking));
        let client = Some(Arc::new(client.await?));
        let changes = shared.catalogue.changes();
        Ok(Self {
            shared,
            group: group.to_owned(),
            client,
            ready,
            changes,
            is_behind: false,
            subscribed: HashSet::new(),
            joined: HashSet::new(),
            is_settled: false,
            assignments: 0,
            held: BTreeMap::new(),
            turns: VecDeque::new(),
            resting: Vec::new(),
            back: BTreeSet::new(),
        })
    }

    fn client(&self) -> &Arc<BaseConsumer<Changes>> {
        self.client.as_ref().expect("it is there until the member is dropped")
    }

    /// Subscribes the client to those of its topics that are there, and starts over on those that were made anew.
    fn follow_catalogue(&mut self) -> Result<(), PortError> {
        self.changes.mark_unchanged();
        self.is_behind = true;
        let there = |topic: &&Topic| self.shared.catalogue.live(topic).is_some();
        let wanted: HashSet<Topic> = self.subscribed.iter().filter(there).cloned().collect();
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
        self.start_over_where_made_anew()?;
        self.is_behind = false;
        Ok(())
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

    async fn follow_and_serve(&mut self) -> Result<(), PortError> {
        self.follow_catalogue()?;
        self.serve().await
    }

    fn came_early(&mut self, message: OwnedMessage) {
        let place = (self.shared.topic(message.topic()), Partition(message.partition() as u32));
        if let Some(held) = self.held.get_mut(&place) {
            held.came_early(message);
            self.give_turn(place);
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
            // One that is dropped takes the notice of the partition's queue with it: before the new one gives its own.
            self.held.remove(&place);
            if let Some(held) = Held::new(&client, (&name, &place, live), stand, &self.ready) {
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
        let rested = self.resting.iter().map(|(until, _)| *until).min();
        let until = deadline.min(Instant::now() + WAIT_MAX).min(rested.unwrap_or(deadline));
        let woken = async {
            tokio::select! {
                () = self.ready.wake.notified() => {}
                _ = self.changes.changed() => self.is_behind = true,
            }
        };
        timeout_at(until, woken).await.is_ok() || Instant::now() < deadline
    }

    /// What is there of the partitions whose turns are next, up to about `records_max` records.
    fn take_turns(&mut self, records_max: usize) -> Result<Vec<Delivery>, PortError> {
        for place in self.ready.take() {
            self.give_turn(place);
        }
        let (mut deliveries, mut left, mut partitions) = (Vec::new(), records_max.max(1), 0);
        while left > 0
            && partitions < PARTITIONS_MAX
            && let Some(place) = self.turns.pop_front()
        {
            let Some(held) = self.held.get_mut(&place) else { continue };
            held.has_turn = false;
            let taken = match held.take(left) {
                Err(error) => {
                    // What was taken out of its queue is fetched again; the error comes again where it lasts.
                    self.rest(&place, UNREADABLE_PAUSE);
                    match deliveries.is_empty() {
                        true => return Err(error),
                        false => {
                            tracing::warn!(topic = %place.0, partition = %place.1, %error, "a partition can't be read now");
                            continue;
                        }
                    }
                }
                Ok(taken) => taken,
            };
            let records: usize = taken.iter().map(|delivery: &Delivery| delivery.content.len()).sum();
            if records >= left {
                self.give_turn(place);
            }
            left = left.saturating_sub(records);
            partitions += usize::from(records > 0);
            deliveries.extend(taken);
        }
        Ok(deliveries)
    }

    /// Delivers nothing of a partition for a while, and then again what was not committed.
    fn rest(&mut self, place: &Place, pause: Duration) {
        let Some(held) = self.held.get_mut(place) else { return };
        held.is_held_back = true;
        held.goes_back = held.next != held.committed.position.0;
        if held.goes_back {
            self.back.insert(place.clone());
        }
        self.resting.retain(|(_, other)| other != place);
        self.resting.push((Instant::now() + pause, place.clone()));
    }

    /// Gives the partitions a turn again that have been held back long enough.
    fn end_rests(&mut self) {
        let now = Instant::now();
        for (_, place) in self.resting.extract_if(.., |(until, _)| *until <= now).collect::<Vec<_>>() {
            if let Some(held) = self.held.get_mut(&place) {
                held.is_held_back = false;
            }
            self.give_turn(place);
        }
    }

    /// Has the client go back where partitions are to; one that can't be told now is told at the next poll.
    async fn go_back(&mut self) {
        for (topic, partition) in std::mem::take(&mut self.back) {
            let place = (topic, partition);
            let Some(committed) = self.held.get(&place).filter(|held| held.goes_back).map(|held| held.committed) else {
                continue;
            };
            let (name, offset) = (self.shared.name(&place.0), Offset::Offset(committed.position.0 as i64));
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
                    if let Some(held) = self.held.get_mut(&place) {
                        held.go_back(committed.position);
                    }
                    self.give_turn(place);
                }
                Err(error) => {
                    let (topic, partition) = &place;
                    tracing::warn!(%topic, %partition, %error, "going back to what is committed does not work");
                    self.back.insert(place);
                }
            }
        }
    }

    fn give_turn(&mut self, place: Place) {
        let Some(held) = self.held.get_mut(&place) else { return };
        if !std::mem::replace(&mut held.has_turn, true) {
            self.turns.push_back(place);
        }
    }

    /// Commits on partitions that are held: in one request, or one by one where that tells which can't be committed.
    async fn commit_held(&mut self, commits: &[(Place, Committed)]) -> Vec<Result<(), PortError>> {
        let saved = self.save(commits).await;
        let mut answers = Vec::with_capacity(commits.len());
        for (place, committed) in commits {
            let answer = match &saved {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict || commits.len() == 1 => {
                    Err(PortError::new(error.kind(), error.to_string()))
                }
                Err(_) => self.save(&[(place.clone(), *committed)]).await,
            };
            if let (Ok(()), Some(held)) = (&answer, self.held.get_mut(place)) {
                held.committed = *committed;
            }
            answers.push(answer);
        }
        answers
    }

    async fn save(&self, commits: &[(Place, Committed)]) -> Result<(), PortError> {
        let held = |(place, committed)| Some((place, committed, self.held.get(place)?.generation));
        let held: Vec<_> = commits.iter().filter_map(|(place, committed)| held((place, committed))).collect();
        if held.is_empty() {
            return Ok(());
        }
        let topics: Vec<_> = held.iter().map(|((topic, _), _, generation)| (topic, *generation)).collect();
        self.shared.register_group(&self.group, &topics).await?;
        let mut list = TopicPartitionList::new();
        for ((topic, _), committed, generation) in held {
            let added = committed::add_to(&mut list, &self.shared.name(topic), committed, generation);
            added.map_err(|error| from_kafka("committing", error))?;
        }
        let client = Arc::clone(self.client());
        blocking("committing", move || client.commit(&list, CommitMode::Sync)).await
    }

    /// What can be done about a commit now, for which the partition was to be held by an assignment.
    fn stand(&self, place: &Place, assignment: &mut Option<u64>) -> Stand {
        match self.held.get(place).map(|held| held.assignment) {
            Some(current) if *assignment.get_or_insert(current) == current => Stand::Held,
            None if assignment.is_none() && !self.is_settled && self.subscribed.contains(&place.0) => Stand::Waits,
            _ => Stand::Lost,
        }
    }
}

/// How a partition stands that is to be committed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Held,
    /// The group is still sharing out its partitions.
    Waits,
    Lost,
}

#[async_trait]
impl Consumer for Member {
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), PortError> {
        self.subscribed = topics.iter().cloned().collect();
        if topics.iter().any(|topic| self.shared.catalogue.live(topic).is_none()) {
            self.shared.read_catalogue().await?;
        }
        self.follow_and_serve().await
    }

    async fn poll(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deadline = Instant::now() + wait.min(WAIT_MAX * 60 * 24);
        loop {
            if self.is_behind || self.changes.has_changed().unwrap_or(true) {
                self.follow_catalogue()?;
            }
            self.serve().await?;
            self.go_back().await;
            self.end_rests();
            let deliveries = self.take_turns(records_max)?;
            if !deliveries.is_empty() || !self.wait(deadline).await {
                return Ok(deliveries);
            }
        }
    }

    fn committed(&self, topic: &Topic, partition: Partition) -> Committed {
        let held = self.held.get(&(topic.clone(), partition));
        held.map_or(Committed { partition, ..Committed::default() }, |held| held.committed)
    }

    async fn commit_all(&mut self, commits: &[(Topic, Committed)]) -> Vec<Result<(), PortError>> {
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        let place = |(topic, committed): &(Topic, Committed)| ((topic.clone(), committed.partition), *committed);
        let commits: Vec<(Place, Committed)> = commits.iter().map(place).collect();
        let assignment = |(place, _): &(Place, Committed)| self.held.get(place).map(|held| held.assignment);
        let mut assignments: Vec<Option<u64>> = commits.iter().map(assignment).collect();
        let mut answers: Vec<Option<Result<(), PortError>>> = commits.iter().map(|_| None).collect();
        loop {
            let left = (0..commits.len()).filter(|index| answers[*index].is_none());
            let stands: Vec<_> =
                left.map(|index| (index, self.stand(&commits[index].0, &mut assignments[index]))).collect();
            let held: Vec<usize> =
                stands.iter().filter(|(_, stand)| *stand == Stand::Held).map(|(index, _)| *index).collect();
            for (index, _) in stands.iter().filter(|(_, stand)| *stand == Stand::Lost) {
                answers[*index] = Some(Err(lost(&commits[*index].0)));
            }
            let to_commit: Vec<_> = held.iter().map(|index| commits[*index].clone()).collect();
            for (index, answer) in held.iter().zip(self.commit_held(&to_commit).await) {
                let again = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict);
                // The group is sharing out: then it is seen whether the partition stays.
                answers[*index] = (!again || Instant::now() >= deadline).then_some(answer);
            }
            if answers.iter().all(Option::is_some) {
                return answers.into_iter().flatten().collect();
            }
            if held.is_empty() && !self.wait(deadline).await {
                let answer =
                    |(answer, (place, _)): (Option<_>, &(Place, _))| answer.unwrap_or_else(|| Err(lost(place)));
                return answers.into_iter().zip(&commits).map(answer).collect();
            }
            if !held.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            if let Err(error) = self.follow_and_serve().await {
                let failed = || PortError::new(error.kind(), error.to_string());
                return answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(failed()))).collect();
            }
        }
    }

    async fn hold_back(&mut self, topic: &Topic, partition: Partition, pause: Duration) -> Result<(), PortError> {
        self.serve().await?;
        self.rest(&(topic.clone(), partition), pause);
        self.go_back().await;
        Ok(())
    }
}

fn lost((topic, partition): &Place) -> PortError {
    let message = format!("partition `{partition}` of topic `{topic}` is not this member's");
    PortError::new(ErrorKind::Conflict, message)
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
