//! Types with tests that look beyond the value: writes, deletions and late readings revise the flags of the rows whose windows they touch.
//!
//! **Invariant:** a write comes first; what is judged again is judged by what the store has then, so that a crash in between is mended when the
//! same records come again. A revision is told before the store has it, and so is told again, not lost, where a crash comes in between.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use checks::{Test, TestFlags};
use domain::{Deletion, Judged, Position, SensorId, Timestamp, Topic};
use futures_util::future::try_join_all;
use judge::{Kind, Neighbours, Slice, Source, Span, joined};
use ports::{ErrorKind, Outcome, Revisions};

use crate::{
    effects::Effects,
    flag_metrics::FlagCounts,
    follow::{Followed, Late, Settled},
    judgement::{Judgement, revisions},
    notices,
    plan::Rows,
    retry::Failure,
    tails::Remembered,
};

/// About the most judgements in one append.
const JUDGEMENTS_MAX: usize = 4_096;

/// Late sensors whose rows are read at once: a store that is far away answers all of them in the time of one.
const READ_AHEAD: usize = 16;

/// A slice with what the sensor's neighbours said near it.
pub(crate) type Read = (Slice, Neighbours);

/// What was read ahead, if it was: nothing where it can't be read.
type Ahead = Option<Option<Read>>;

/// Judgements that are not carried out yet: those of many sensors go together.
#[derive(Default)]
pub(crate) struct Pending {
    judgements: Vec<Judgement>,
    /// Whose they are: the store does not have their flags yet.
    sensors: HashSet<SensorId>,
}

impl Effects<'_> {
    /// Writes readings with the flags that are known of them, then judges again whatever they touch.
    pub(crate) async fn write_and_judge(
        &mut self,
        topic: &Topic,
        kind: &Kind,
        mut rows: Rows,
    ) -> Result<(Judged, Vec<Outcome>), Failure> {
        let followed = Followed::new(kind, self.tails.of(topic), &mut rows);
        let (judged, outcomes) = self.write(topic, kind, rows).await?;
        let Settled { judgements, completed, late, remembered } = followed.settle(kind, &judged, &outcomes);
        let mut counts = FlagCounts::new(kind.newest.width());
        for (sensor_id, tests) in &completed {
            counts.count_tests(sensor_id, tests, |test| test == Test::Spike);
        }
        self.metrics.flags.add(&kind.newest, counts);
        self.carry_out_judgements(kind, judgements).await?;
        for (sensor_id, remembered) in remembered {
            self.tails.of(topic).keep(sensor_id, remembered);
        }
        let late: Vec<_> = late.into_iter().map(|late| (late.spans(), late)).collect();
        for part in late.chunks(READ_AHEAD) {
            let ahead = self.read_ahead(kind, part).await?;
            for ((spans, Late { sensor_id, written }), ahead) in part.iter().zip(ahead) {
                self.judge_again(topic, kind, sensor_id, (spans, written, ahead)).await?;
                self.judge_neighbours(topic, kind, sensor_id, spans).await?;
            }
        }
        self.carry_out_pending(kind).await?;
        Ok((judged, outcomes))
    }

    /// Deletes readings, then judges again those around them where the type has tests that look there.
    pub(crate) async fn delete_and_judge(
        &mut self,
        topic: &Topic,
        kind: &Kind,
        (deletion, position): (&Deletion, Position),
    ) -> Result<(), Failure> {
        if kind.is_plain() {
            return self.delete(kind, deletion, position).await;
        }
        self.tails.of(topic).take(&deletion.sensor_id);
        self.delete(kind, deletion, position).await?;
        let span = Span { from: deletion.from, to: deletion.to.saturating_sub(Duration::from_micros(1)) };
        self.judge_again(topic, kind, &deletion.sensor_id, (&[span], &HashMap::new(), None)).await?;
        self.judge_neighbours(topic, kind, &deletion.sensor_id, &[span]).await?;
        self.carry_out_pending(kind).await
    }

    /// Judges again what a sensor's neighbours said near some spans.
    async fn judge_neighbours(
        &mut self,
        topic: &Topic,
        kind: &Kind,
        sensor_id: &SensorId,
        spans: &[Span],
    ) -> Result<(), Failure> {
        let Some(within) = kind.reach.neighbours else { return Ok(()) };
        let widened = |span: &Span| Span { from: span.from.saturating_sub(within), to: span.to.saturating_add(within) };
        let near = joined(spans.iter().map(widened).collect());
        for other in kind.neighbours_of(sensor_id) {
            self.judge_again(topic, kind, other, (&near, &HashMap::new(), None)).await?;
        }
        Ok(())
    }

    /// The first slices of late sensors, all at once; none where sensors judge each other's rows again, because one would change another's.
    async fn read_ahead(&self, kind: &Kind, late: &[(Vec<Span>, Late)]) -> Result<Vec<Ahead>, Failure> {
        if kind.reach.neighbours.is_some() {
            return Ok(late.iter().map(|_| None).collect());
        }
        let reads = late.iter().map(|(spans, late)| self.read(kind, &late.sensor_id, spans));
        Ok(try_join_all(reads).await?.into_iter().map(Some).collect())
    }

    /// Reads the slice that covers the first of some spans; `None`, which is counted, where what is stored there can't be read.
    pub(crate) async fn read(
        &self,
        kind: &Kind,
        sensor_id: &SensorId,
        spans: &[Span],
    ) -> Result<Option<Read>, Failure> {
        let source = Source { store: &*self.ports.store, sensor_type: &kind.newest.id, sensor_id };
        let read = async || {
            let slice = source.slice(spans, kind.reach).await?;
            let neighbours = Neighbours::read(source, kind, &slice).await?;
            Ok((slice, neighbours))
        };
        match self.retry.until_done("reading from the store", read).await {
            Err(Failure::Port(error)) if error.kind() == ErrorKind::Corrupt => {
                let from = spans.first().map(|span| span.from.to_string());
                tracing::error!(%sensor_id, from, %error, "readings can't be judged again; a replay does so once they can be read");
                self.metrics.unjudged(&kind.newest.id);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Judges the rows whose windows some spans of a sensor touch, slice by slice, of which the first may have been read already; remembers its
    /// newest row where that is among them.
    async fn judge_again(
        &mut self,
        topic: &Topic,
        kind: &Kind,
        sensor_id: &SensorId,
        (spans, written, mut ahead): (&[Span], &HashMap<Timestamp, bool>, Ahead),
    ) -> Result<(), Failure> {
        let mut spans = spans.to_vec();
        while !spans.is_empty() {
            // A slice is compared with what the store has.
            if self.pending.sensors.contains(sensor_id) || self.pending.judgements.len() >= JUDGEMENTS_MAX {
                self.carry_out_pending(kind).await?;
            }
            let read = match ahead.take() {
                Some(read) => read,
                None => self.read(kind, sensor_id, &spans).await?,
            };
            let Some((slice, neighbours)) = read else {
                self.tails.of(topic).take(sensor_id);
                spans.remove(0);
                continue;
            };
            spans.drain(..slice.covered);
            spans.splice(..0, slice.rest);
            let (flags, tail) = slice.judge(kind, sensor_id, &neighbours);
            self.pending.judgements.extend(judgements(kind, sensor_id, (&slice, flags), written));
            self.pending.sensors.insert(sensor_id.clone());
            if let (Some(tail), Some(last)) = (tail, slice.rows.last()) {
                self.tails.of(topic).keep(sensor_id.clone(), Remembered { version: last.row.type_version, tail });
            }
        }
        Ok(())
    }

    async fn carry_out_pending(&mut self, kind: &Kind) -> Result<(), Failure> {
        let Pending { judgements, .. } = std::mem::take(&mut self.pending);
        self.carry_out_judgements(kind, judgements).await
    }

    /// Tells judgements, then gives the store what it does not have of them.
    async fn carry_out_judgements(&self, kind: &Kind, judgements: Vec<Judgement>) -> Result<(), Failure> {
        self.tell(kind, &judgements).await?;
        self.revise(kind, &revisions(&judgements, kind.newest.width(), |v| kind.label_rule(v))).await
    }

    /// Tells judgements to whoever subscribes, and counts their flags.
    pub(crate) async fn tell(&self, kind: &Kind, judgements: &[Judgement]) -> Result<(), Failure> {
        let mut counts = FlagCounts::new(kind.newest.width());
        for judgement in judgements {
            counts.count_tests(&judgement.sensor_id, &judgement.tests, |_| true);
        }
        self.metrics.flags.add(&kind.newest, counts);
        let topic = Topic::judged(&kind.newest.id);
        for part in judgements.chunks(JUDGEMENTS_MAX) {
            let document = |judgement: &Judgement| {
                judgement.document(&kind.newest.property_ids, kind.label_rule(judgement.type_version))
            };
            let documents = part.iter().map(document).collect();
            notices::append(&self.ports.log, &self.retry, (&topic, "appending judgements"), documents).await?;
        }
        Ok(())
    }

    /// Gives rows of the store other flags.
    pub(crate) async fn revise(&self, kind: &Kind, revisions: &Revisions) -> Result<(), Failure> {
        if revisions.is_empty() {
            return Ok(());
        }
        let revise = || self.ports.store.revise(&kind.newest.id, revisions);
        self.retry.until_done("revising flags in the store", revise).await.map(drop)
    }
}

/// The judgements of a slice that are to be told: of what was written, and of what has other flags than the store.
fn judgements(
    kind: &Kind,
    sensor_id: &SensorId,
    (slice, flags): (&Slice, Vec<Vec<TestFlags>>),
    written: &HashMap<Timestamp, bool>,
) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for (stored, tests) in slice.rows[slice.first..slice.end].iter().zip(flags) {
        let time = stored.row.phenomenon_time;
        let mut judgement = Judgement {
            sensor_id: sensor_id.clone(),
            time,
            type_version: stored.row.type_version,
            values: stored.values.clone(),
            tests,
            is_revision: written.get(&time).copied().unwrap_or(true),
            is_stored: false,
        };
        judgement.is_stored = judgement.flags(stored.flags.len().max(kind.newest.width())) == stored.flags;
        if !judgement.is_stored || written.contains_key(&time) {
            judgements.push(judgement);
        }
    }
    judgements
}
