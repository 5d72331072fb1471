//! A replay at work: appends its parts, a few ahead of quality control, and adds up what it tells of them.

use std::{collections::HashMap, time::Duration};

use actix_web::web::Data;
use domain::{PartReport, Partition, Position, Topic, from_json};
use ports::{Batch, Content, Document, ErrorKind, PortError, Reader, SensorQuery, TopicKind};
use tokio::time::{Instant, sleep};

use super::{
    or_none,
    parts::{self, Part},
    record::{Replay, State, cancel_key, save},
};
use crate::App;

/// About how many readings may be on their way to be judged again: what readings that come meanwhile wait for.
const AHEAD_READINGS: u64 = 32_768;
/// The most parts on their way.
const AHEAD_PARTS: usize = 256;
/// Sensors looked up at once.
const SENSORS_AT_ONCE: usize = 10_000;
/// Reports read at once.
const READ_MAX: usize = 1_000;
/// How long is waited for reports.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How often it is saved how far the replay is.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Pause after a failure of the log or the store.
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out a replay to its end; while the log or the store is away, it waits for them.
pub(crate) async fn run(app: Data<App>, replay: Replay) {
    let mut run =
        Run { app, replay, parts: Vec::new(), next: 0, on_their_way: HashMap::new(), saved_at: Instant::now() };
    let mut reader = None;
    while run.replay.state == State::Running {
        if let Err(error) = run.step(&mut reader).await {
            tracing::warn!(replay = run.replay.id, %error, "a replay can't go on; it is tried again");
            reader = None;
            sleep(PAUSE).await;
        }
    }
    while let Err(error) = run.save().await {
        tracing::warn!(replay = run.replay.id, %error, "the end of a replay can't be saved; it is tried again");
        sleep(PAUSE).await;
    }
}

struct Run {
    app: Data<App>,
    replay: Replay,
    parts: Vec<Part>,
    /// The part to be appended next.
    next: usize,
    /// Parts that were appended and not told of yet, with about how many readings they have.
    on_their_way: HashMap<u64, u64>,
    saved_at: Instant,
}

/// Reads the reports.
struct Reports {
    reader: Box<dyn Reader>,
}

impl Run {
    /// Appends what there is room for, takes the reports that are there.
    async fn step(&mut self, reports: &mut Option<Reports>) -> Result<(), PortError> {
        if self.replay.parts == 0 && !self.begin().await? {
            return Ok(());
        }
        let open = match reports {
            Some(open) => open,
            None => reports.insert(self.open_reports().await?),
        };
        self.append().await?;
        for document in open.next().await? {
            self.take(&document);
        }
        if self.replay.state == State::Running && self.replay.parts_done == self.replay.parts {
            self.replay.state = State::Done;
        }
        if self.replay.state == State::Running && self.saved_at.elapsed() >= SAVE_EVERY {
            self.save().await?;
        }
        Ok(())
    }

    /// Cuts the replay into parts; says whether there are any.
    async fn begin(&mut self) -> Result<bool, PortError> {
        let scope = &self.replay.scope;
        let mut query = SensorQuery { sensor_ids: scope.sensor_ids.clone(), after: None, count_max: SENSORS_AT_ONCE };
        self.parts = Vec::new();
        while let Some(page) = or_none(self.app.ports.store.summaries(&scope.sensor_type, &query).await)? {
            self.parts.extend(parts::cut(&self.replay, &page));
            query.after = page.last().map(|summary| summary.sensor_id.clone());
            if page.len() < SENSORS_AT_ONCE {
                break;
            }
        }
        self.replay.parts = self.parts.len() as u64;
        if self.parts.is_empty() {
            self.replay.state = State::Done;
        }
        Ok(!self.parts.is_empty())
    }

    /// Opens the reports: from their end before the first part is appended, later on from where they begin, so that none is missed.
    async fn open_reports(&self) -> Result<Reports, PortError> {
        let (log, topic) = (&self.app.ports.log, Topic::replay_parts());
        log.create_topic(&topic, TopicKind::Notices).await?;
        let extents = log.extents(&topic).await?;
        let extent = extents.first().map(|extent| if self.next == 0 { extent.end } else { extent.start });
        let reader = log.reader(&topic, Partition(0), extent.unwrap_or(Position(0))).await?;
        Ok(Reports { reader })
    }

    async fn append(&mut self) -> Result<(), PortError> {
        let mut ahead: u64 = self.on_their_way.values().sum();
        let mut end = self.next;
        while let Some(part) = self.parts.get(end) {
            if end - self.next + self.on_their_way.len() >= AHEAD_PARTS
                || (ahead > 0 && ahead + part.readings > AHEAD_READINGS)
            {
                break;
            }
            ahead += part.readings;
            end += 1;
        }
        if end == self.next {
            return Ok(());
        }
        // Nothing is appended for a type that goes.
        let _in_use = self.app.types_in_use.read().await;
        let sensor_type = &self.replay.scope.sensor_type;
        let batch = (self.next..end).map(|part| self.parts[part].rejudgement(&self.replay, part as u64)).collect();
        if self.app.ports.registry.sensor_type(sensor_type.as_str()).is_none() {
            self.replay.state = State::Failed;
            return Ok(());
        }
        match self.app.ports.log.append(&Topic::readings(sensor_type), Batch::Rejudgements(batch)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.replay.state = State::Failed,
            appended => {
                appended?;
                self.on_their_way.extend((self.next..end).map(|part| (part as u64, self.parts[part].readings)));
                self.next = end;
            }
        }
        Ok(())
    }

    fn take(&mut self, document: &Document) {
        if document.key == cancel_key(&self.replay.id) {
            self.replay.state = State::Cancelled;
        }
        if document.key != self.replay.id {
            return;
        }
        let report = from_json::<PartReport>(document.body.as_deref().unwrap_or_default());
        // A part that is told of again counts once.
        if let Some(report) = report.ok().filter(|report| self.on_their_way.remove(&report.part).is_some()) {
            self.replay.parts_done += 1;
            self.replay.parts_unreadable += u64::from(report.unreadable_from.is_some());
            self.replay.changes.add(report.changes);
        }
    }

    async fn save(&mut self) -> Result<(), PortError> {
        self.replay.updated_at = self.app.ports.clock.now();
        save(&*self.app.ports.log, &self.replay).await?;
        self.saved_at = Instant::now();
        Ok(())
    }
}

impl Reports {
    async fn next(&mut self) -> Result<Vec<Document>, PortError> {
        let deliveries = self.reader.next(READ_MAX, READ_WAIT).await?;
        let documents = |content| match content {
            Content::Documents(documents) => documents,
            _ => Vec::new(),
        };
        Ok(deliveries.into_iter().flat_map(|delivery| documents(delivery.content)).collect())
    }
}
