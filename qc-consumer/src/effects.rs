//! What a plan does to the world: writes, deletions and dead letters, in log order, each until it is done.

use checks::Test;
use domain::{Deletion, Judged, PartReport, Partition, Position, Topic};
use judge::Kind;
use ports::{Document, ErrorKind, Outcome, PortError, Totals};
use registry::Removal;
use tokio::time::Instant;

use crate::{
    Ports,
    dead_letters::{self, Record, reading_json},
    first_readings::port_error,
    flag_metrics::FlagCounts,
    metrics::Metrics,
    notices,
    plan::{Plan, Rows, Step},
    retry::{Failure, Retry},
    tails::Tails,
    windowed::Pending,
};

/// What carries out plans.
pub(crate) struct Effects<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) metrics: &'a Metrics,
    pub(crate) retry: Retry,
    /// What is remembered of sensors whose types have tests that look beyond the value.
    pub(crate) tails: Tails,
    /// What of their judgements is not carried out yet.
    pub(crate) pending: Pending,
}

impl Effects<'_> {
    /// Does what is planned, in order; answers what became of the records.
    pub(crate) async fn carry_out(
        &mut self,
        topic: &Topic,
        partition: Partition,
        kind: &Kind,
        plan: Plan,
    ) -> Result<Totals, Failure> {
        let mut totals = Totals { skipped: plan.skipped, dead_lettered: plan.dead_lettered, ..Totals::default() };
        let mut dead_letters = plan.dead_letters;
        let mut reports = Vec::new();
        for step in plan.steps {
            match step {
                Step::Write(rows) if rows.rows.is_empty() => {}
                Step::Write(rows) => {
                    let (judged, outcomes) = if kind.is_plain() {
                        self.write_plain(topic, kind, rows).await?
                    } else {
                        self.write_and_judge(topic, kind, rows).await?
                    };
                    for (index, outcome) in outcomes.into_iter().enumerate() {
                        match outcome {
                            Outcome::Stored => totals.stored += 1,
                            Outcome::Duplicate => totals.duplicate += 1,
                            Outcome::Revised => totals.revised += 1,
                            Outcome::Rejected(reason) => {
                                totals.dead_lettered += 1;
                                let row = judged.rows.get(index);
                                let sensor_id = &judged.sensor_ids[index];
                                let properties = &kind.newest.property_ids;
                                let time = row.row.phenomenon_time;
                                let payload = reading_json(sensor_id, time, properties, row.values);
                                let (position, accepted_at) = (row.row.position, row.row.accepted_at);
                                let record = Record { topic, partition, position, accepted_at };
                                dead_letters.push(record.reading(sensor_id, reason, payload));
                            }
                        }
                    }
                }
                Step::Delete(deletion, position, accepted_at) => {
                    match self.delete_and_judge(topic, kind, (&deletion, position)).await {
                        Err(Failure::Port(error)) if error.kind() == ErrorKind::Corrupt => {
                            totals.dead_lettered += 1;
                            let record = Record { topic, partition, position, accepted_at };
                            dead_letters.push(record.deletion(deletion, error.to_string()));
                        }
                        deleted => {
                            deleted?;
                            totals.deletion += 1;
                        }
                    }
                }
                Step::Rejudge(part) => {
                    reports.push(report(&part.replay, &self.rejudge(topic, kind, &part).await?));
                    totals.rejudgement += 1;
                }
            }
        }
        dead_letters::append(&self.ports.log, &self.retry, &dead_letters).await?;
        if !dead_letters.is_empty() {
            self.metrics.dead_letters(topic, dead_letters.len());
        }
        let parts = Topic::replay_parts();
        notices::append(&self.ports.log, &self.retry, (&parts, "telling of replays"), reports).await?;
        Ok(totals)
    }

    /// Writes readings of a type whose only test is gross range, and counts its flags.
    async fn write_plain(&self, topic: &Topic, kind: &Kind, rows: Rows) -> Result<(Judged, Vec<Outcome>), Failure> {
        let written = self.write(topic, kind, rows).await?;
        let mut counts = FlagCounts::new(kind.newest.width());
        counts.count_rows(Test::GrossRange, &written.0.sensor_ids, written.0.rows.flags());
        self.metrics.flags.add(&kind.newest, counts);
        Ok(written)
    }

    pub(crate) async fn write(
        &self,
        topic: &Topic,
        kind: &Kind,
        rows: Rows,
    ) -> Result<(Judged, Vec<Outcome>), Failure> {
        let Rows { sensor_ids, rows, values, flags } = rows;
        let rows = domain::Rows::from_columns(kind.newest.width(), rows.into_iter(), values, flags);
        let judged = Judged { sensor_ids, rows };
        let started = Instant::now();
        let write = || self.ports.store.write(&kind.newest.id, &judged, kind);
        let outcomes = self.retry.until_done("writing to the store", write).await?;
        if outcomes.len() != judged.rows.len() {
            let message =
                format!("the store answered `{}` outcomes for `{}` readings", outcomes.len(), judged.rows.len());
            return Err(Failure::Port(PortError::new(ErrorKind::Corrupt, message)));
        }
        let accepted = judged.rows.iter().map(|row| row.row.accepted_at);
        self.metrics.written(topic, started.elapsed(), self.ports.clock.now(), accepted);
        Ok((judged, outcomes))
    }

    pub(crate) async fn delete(&self, kind: &Kind, deletion: &Deletion, position: Position) -> Result<(), Failure> {
        let delete = || self.ports.store.delete(&kind.newest.id, deletion, position);
        let readings = self.retry.until_done("deleting from the store", delete).await?;
        tracing::info!(sensor_id = %deletion.sensor_id, %position, readings, "deleted readings");
        if deletion.is_of_all() {
            let (registry, type_id, id) = (&self.ports.registry, &kind.newest.id, &deletion.sensor_id);
            let remove = || async { registry.end_removal(type_id, id).await.map_err(port_error) };
            if self.retry.until_done("removing a sensor", remove).await? == Removal::Removed {
                tracing::info!(sensor_id = %id, "removed a sensor with its readings");
            }
        }
        Ok(())
    }
}

/// What became of a part of a replay, under the replay's id.
fn report(replay: &str, report: &PartReport) -> Document {
    let body = serde_json::to_vec(report).expect("texts and numbers are always JSON");
    Document { key: replay.to_owned(), body: Some(body.into()) }
}
