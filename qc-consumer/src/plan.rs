//! Turns deliveries of one partition into what is to be done for them: writes as large as possible, deletions, dead letters.
//!
//! **Invariant:** pure. Steps are in log order; every position from the committed one to the end is in exactly one of the steps, the
//! dead letters or the skipped ones.

use checks::gross_range;
use domain::{
    DeadLetter, Deletion, Flag, Label, LabelRule, Partition, Position, PropertyId, Readings, Rejudgement, Row,
    SensorId, SensorType, Timestamp, Topic, TypeVersion, Value,
};
use judge::Kind;
use ports::{Content, Delivery};

use crate::dead_letters::{Record, reading_json};

/// What is to be done for deliveries of one partition.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In log order.
    pub(crate) steps: Vec<Step>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Positions the dead letters stand for.
    pub(crate) dead_lettered: u64,
    /// Positions that were gone before they were read.
    pub(crate) skipped: u64,
    /// The position behind the last.
    pub(crate) next: Position,
}

/// One call of the store.
#[derive(Debug)]
pub(crate) enum Step {
    /// Judged readings to be written.
    Write(Rows),
    /// A deletion at its position, and when the log took it.
    Delete(Deletion, Position, Timestamp),
    /// Readings to be judged again.
    Rejudge(Rejudgement),
}

/// Judged readings by column, each row as wide as the newest version of the type.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) sensor_ids: Vec<SensorId>,
    pub(crate) rows: Vec<Row>,
    pub(crate) values: Vec<Value>,
    pub(crate) flags: Vec<Flag>,
}

impl Rows {
    /// Labels a row of `width` properties by the flags it has.
    pub(crate) fn label(&mut self, row: usize, width: usize, rule: LabelRule) {
        self.rows[row].label = rule.label(&self.flags[row * width..(row + 1) * width]);
    }
}

/// What a plan is made by.
pub(crate) struct Planner<'a, F> {
    pub(crate) topic: &'a Topic,
    pub(crate) partition: Partition,
    pub(crate) kind: &'a Kind,
    /// Why a sensor has no readings of this type, where that is so.
    pub(crate) refused: F,
    /// The most rows in one write, as far as deliveries allow.
    pub(crate) records_max: usize,
}

impl<F: Fn(&SensorId) -> Option<String>> Planner<'_, F> {
    /// Plans deliveries of the partition in order; what is before `from` is done already.
    pub(crate) fn plan(&self, from: Position, deliveries: Vec<Delivery>) -> Plan {
        let mut plan = Plan { next: from, ..Plan::default() };
        for delivery in deliveries {
            let (first, next) = (delivery.first_position, delivery.next_position());
            if next <= plan.next {
                continue;
            }
            let done = plan.next.0.saturating_sub(first.0);
            plan.skipped += first.0.saturating_sub(plan.next.0);
            plan.next = next;
            match delivery.content {
                Content::Readings { type_version, readings } => {
                    let batch = Stamped { first, done: done as usize, accepted_at: delivery.accepted_at, type_version };
                    self.plan_readings(&mut plan, batch, readings);
                }
                Content::Deletions(deletions) => {
                    let placed = deletions.into_iter().zip(0..).skip(done as usize);
                    let step = |(deletion, index)| Step::Delete(deletion, first.after(index), delivery.accepted_at);
                    plan.steps.extend(placed.map(step));
                }
                Content::Rejudgements(rejudgements) => {
                    plan.steps.extend(rejudgements.into_iter().skip(done as usize).map(Step::Rejudge));
                }
                Content::Documents(documents) => {
                    for (document, index) in documents.iter().zip(0..).skip(done as usize) {
                        let bytes = document.body.as_deref().unwrap_or_default().to_vec();
                        let reason = "a document in a topic of readings".to_owned();
                        let undecodable = ports::Undecodable { count: 1, bytes, reason };
                        let record = self.record(first.after(index), delivery.accepted_at);
                        plan.dead(record.undecodable(&undecodable));
                    }
                }
                Content::Undecodable(mut undecodable) => {
                    undecodable.count -= done as u32;
                    let record = self.record(first.after(done), delivery.accepted_at);
                    plan.dead(record.undecodable(&undecodable));
                }
            }
        }
        plan
    }

    fn record(&self, position: Position, accepted_at: Timestamp) -> Record<'_> {
        Record { topic: self.topic, partition: self.partition, position, accepted_at }
    }

    fn plan_readings(&self, plan: &mut Plan, batch: Stamped, readings: Readings) {
        let Some(judging) = self.kind.judging(batch.type_version) else {
            let version = batch.type_version.unwrap_or(0);
            let reason = format!("sensor type `{}` has no version `{version}`", self.kind.newest.id);
            for index in batch.done..readings.len() {
                self.refuse(plan, &batch, (&readings, index), reason.clone());
            }
            return;
        };
        let width = self.kind.newest.width();
        let columns = Columns::map(readings.properties(), judging, width);
        let rows = plan.rows_to_fill(readings.len(), self.records_max);
        let first_row = rows.rows.len();
        let mut refused = Vec::new();
        for index in batch.done..readings.len() {
            let reading = readings.get(index);
            if let Some(reason) = self.refusal(&columns, &readings, index) {
                refused.push((index, reason));
                continue;
            }
            let position = batch.first.after(index as u64);
            rows.sensor_ids.push(reading.sensor_id.clone());
            rows.rows.push(Row {
                phenomenon_time: reading.phenomenon_time,
                accepted_at: batch.accepted_at,
                position,
                first_position: position,
                type_version: judging.version,
                label: Label::Normal,
            });
            columns.push(reading.values, width, &mut rows.values);
        }
        rows.flags.resize(rows.values.len(), Flag::NotEvaluated);
        let cells = first_row * width..;
        let properties = &judging.definition.properties;
        gross_range::flag_rows(properties, width, &rows.values[cells.clone()], &mut rows.flags[cells]);
        for row in first_row..rows.rows.len() {
            rows.label(row, width, judging.definition.anomaly_flags);
        }
        for (index, reason) in refused {
            self.refuse(plan, &batch, (&readings, index), reason);
        }
    }

    /// Why a reading can't be stored, if it can't.
    fn refusal(&self, columns: &Columns<'_>, readings: &Readings, index: usize) -> Option<String> {
        let reading = readings.get(index);
        if let Some(reason) = (self.refused)(reading.sensor_id) {
            return Some(format!("`sensor_id` = `{}`: {reason}", reading.sensor_id));
        }
        let (_, property) = columns.unknown.iter().find(|(column, _)| !reading.values[*column].is_absent())?;
        let version = columns.version;
        Some(format!("`{property}`: version `{version}` of sensor type `{}` has no such property", self.kind.newest.id))
    }

    fn refuse(&self, plan: &mut Plan, batch: &Stamped, (readings, index): (&Readings, usize), reason: String) {
        let reading = readings.get(index);
        let payload = reading_json(reading.sensor_id, reading.phenomenon_time, readings.properties(), reading.values);
        let record = self.record(batch.first.after(index as u64), batch.accepted_at);
        plan.dead(record.reading(reading.sensor_id, reason, payload));
    }
}

impl Plan {
    /// Takes note of a dead letter.
    pub(crate) fn dead(&mut self, letter: DeadLetter) {
        self.dead_lettered += u64::from(letter.count);
        self.dead_letters.push(letter);
    }

    /// The write that the next `count` readings go to: the last step, while it has room.
    fn rows_to_fill(&mut self, count: usize, records_max: usize) -> &mut Rows {
        let has_room = matches!(self.steps.last(), Some(Step::Write(rows)) if rows.rows.is_empty() || rows.rows.len() + count <= records_max);
        if !has_room {
            self.steps.push(Step::Write(Rows::default()));
        }
        match self.steps.last_mut() {
            Some(Step::Write(rows)) => rows,
            _ => unreachable!("the last step was just made sure to be a write"),
        }
    }
}

/// What the readings of one delivery have in common.
struct Stamped {
    first: Position,
    /// How many of them are done already.
    done: usize,
    accepted_at: Timestamp,
    type_version: Option<TypeVersion>,
}

/// Where the columns of a batch go.
struct Columns<'a> {
    version: TypeVersion,
    /// Whether they are the type's properties in its order, all of them.
    identical: bool,
    /// Index in the row of each column; `None` where the type has no such property.
    targets: Vec<Option<usize>>,
    /// The columns that go nowhere.
    unknown: Vec<(usize, &'a PropertyId)>,
}

impl<'a> Columns<'a> {
    fn map(properties: &'a [PropertyId], judging: &SensorType, width: usize) -> Self {
        let version = judging.version;
        if *properties == *judging.property_ids && width == judging.width() {
            return Self { version, identical: true, targets: Vec::new(), unknown: Vec::new() };
        }
        let targets: Vec<_> = properties.iter().map(|id| judging.property_index(id.as_str())).collect();
        let unknown = properties.iter().enumerate().filter(|(column, _)| targets[*column].is_none()).collect();
        Self { version, identical: false, targets, unknown }
    }

    /// Appends a reading's values as a row of `width`.
    fn push(&self, values: &[Value], width: usize, out: &mut Vec<Value>) {
        if self.identical {
            out.extend_from_slice(values);
            return;
        }
        let start = out.len();
        out.resize(start + width, Value::ABSENT);
        for (value, target) in values.iter().zip(&self.targets) {
            if let Some(index) = target {
                out[start + index] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ports::{
        Log, SystemClock, Undecodable,
        memory::{LogSettings, MemoryLog},
    };
    use registry::{Registry, Settings, built_in_types};

    use super::*;

    async fn kind() -> Kind {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::new(SystemClock), LogSettings::default()));
        let registry = Registry::open(log, Settings::default()).await.expect("opens");
        registry.seed(built_in_types()).await.expect("seeded");
        Kind::find(&registry, "power").expect("built in")
    }

    fn delivery(kind: &Kind, first: u64, content: Content) -> Delivery {
        let topic = Topic::readings(&kind.newest.id);
        let accepted_at = Timestamp::from_micros(first as i64);
        Delivery { topic, partition: Partition(0), first_position: Position(first), accepted_at, content }
    }

    fn readings(kind: &Kind, first: u64, count: u64) -> Delivery {
        let mut readings = Readings::new(Arc::clone(&kind.newest.property_ids));
        for position in first..first + count {
            let sensor_id = SensorId::parse("s").expect("an id");
            let value = Value::number(position as f64).expect("finite");
            readings.push(sensor_id, Timestamp::from_micros(position as i64), &[value]);
        }
        delivery(kind, first, Content::Readings { type_version: Some(1), readings })
    }

    /// The plan in short: `w` and the positions of a write, `d` and the position of a deletion.
    #[track_caller]
    fn check(kind: &Kind, (from, records_max): (u64, usize), deliveries: Vec<Delivery>, expected: &str) {
        let topic = Topic::readings(&kind.newest.id);
        let planner = Planner { topic: &topic, partition: Partition(0), kind, refused: |_: &_| None, records_max };
        let plan = planner.plan(Position(from), deliveries);
        let mut positions = plan.skipped + plan.dead_lettered;
        let steps = plan.steps.iter().map(|step| match step {
            Step::Write(rows) => {
                positions += rows.rows.len() as u64;
                assert_eq!((rows.values.len(), rows.flags.len()), (rows.rows.len(), rows.rows.len()));
                rows.rows.iter().fold("w".to_owned(), |text, row| format!("{text} {}", row.position))
            }
            Step::Delete(_, position, _) => {
                positions += 1;
                format!("d {position}")
            }
            Step::Rejudge(rejudgement) => {
                positions += 1;
                format!("r {}", rejudgement.part)
            }
        });
        assert_eq!(steps.collect::<Vec<_>>().join(", "), expected);
        assert_eq!(plan.next.0, from + positions, "every position is in one place");
    }

    #[tokio::test]
    async fn deliveries_share_writes_up_to_the_bound_and_around_deletions() {
        let kind = kind().await;
        let sensor_id = SensorId::parse("s").expect("an id");
        let deletion = Deletion { sensor_id, from: Timestamp::MIN, to: Timestamp::MAX };
        let deletions = delivery(&kind, 6, Content::Deletions(vec![deletion.clone(), deletion]));
        let all =
            vec![readings(&kind, 0, 2), readings(&kind, 2, 2), readings(&kind, 4, 2), deletions, readings(&kind, 8, 1)];
        check(&kind, (0, 100), all.clone(), "w 0 1 2 3 4 5, d 6, d 7, w 8");
        check(&kind, (0, 4), all.clone(), "w 0 1 2 3, w 4 5, d 6, d 7, w 8");
        check(&kind, (0, 1), all, "w 0 1, w 2 3, w 4 5, d 6, d 7, w 8");
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        let part = |part| Rejudgement {
            sensor_id: SensorId::parse("s").expect("an id"),
            from,
            to,
            type_version: 1,
            replay: "r".to_owned(),
            part,
            is_dry: false,
        };
        let rejudgements = delivery(&kind, 1, Content::Rejudgements(vec![part(0), part(1)]));
        check(
            &kind,
            (0, 100),
            vec![readings(&kind, 0, 1), rejudgements.clone(), readings(&kind, 3, 1)],
            "w 0, r 0, r 1, w 3",
        );
        check(&kind, (2, 100), vec![rejudgements], "r 1");
    }

    #[tokio::test]
    async fn what_is_done_already_is_left_out_and_what_is_gone_is_skipped() {
        let kind = kind().await;
        check(&kind, (3, 100), vec![readings(&kind, 0, 3), readings(&kind, 3, 1)], "w 3");
        check(&kind, (3, 100), vec![readings(&kind, 2, 3)], "w 3 4");
        check(&kind, (3, 100), vec![readings(&kind, 5, 1), readings(&kind, 8, 1)], "w 5 8");
        let undecodable = Undecodable { count: 4, bytes: Vec::new(), reason: "noise".to_owned() };
        check(&kind, (3, 100), vec![delivery(&kind, 2, Content::Undecodable(undecodable))], "");
        check(&kind, (3, 100), Vec::new(), "");
    }
}
