//! Parts of replays: stretches of a sensor's stored readings are judged again, by the version that the replay names.
//!
//! **Invariant:** a part is carried out at its place among the records of its sensor, so that nothing is written or judged meanwhile that it
//! would undo. Done again after a crash, it changes nothing more.

use std::time::Duration;

use domain::{Changes, Flag, Label, PartReport, PropertyId, Rejudgement, Timestamp, Topic};
use judge::{Kind, Neighbours, Slice, Span};
use ports::Revisions;

use crate::{effects::Effects, judgement::Judgement, retry::Failure};

/// What a slice that is judged again comes to.
struct Rejudged {
    /// Readings with other flags or another label.
    judgements: Vec<Judgement>,
    /// Those, and readings that only get another version.
    revisions: Revisions,
}

impl Effects<'_> {
    /// Judges the readings of a part again; says what changes, or of a dry one what would.
    pub(crate) async fn rejudge(
        &mut self,
        topic: &Topic,
        kind: &Kind,
        part: &Rejudgement,
    ) -> Result<PartReport, Failure> {
        if !part.is_dry {
            // It remembers flags of the version before.
            self.tails.of(topic).take(&part.sensor_id);
        }
        let mut report = PartReport { format: PartReport::FORMAT, part: part.part, ..PartReport::default() };
        let to = part.to.saturating_sub(Duration::from_micros(1));
        let mut rest = (part.from < part.to).then_some(Span { from: part.from, to });
        while let Some(span) = rest {
            let Some((slice, neighbours)) = self.read(kind, &part.sensor_id, &[span]).await? else {
                report.unreadable_from = Some(span.from);
                break;
            };
            // Rows behind the part are in a slice for those before them.
            rest = slice.rest.filter(|rest| rest.from < part.to);
            let rejudged = rejudge_slice(kind, (part, span.from), (slice, &neighbours), &mut report.changes);
            if part.is_dry {
                continue;
            }
            if !kind.is_plain() {
                self.tell(kind, &rejudged.judgements).await?;
            }
            self.revise(kind, &rejudged.revisions).await?;
        }
        Ok(report)
    }
}

/// Judges the rows of a slice that lie in the part, from a time on, by the version of the part or the newer one that they have.
fn rejudge_slice(
    kind: &Kind,
    (part, from): (&Rejudgement, Timestamp),
    (mut slice, neighbours): (Slice, &Neighbours),
    changes: &mut Changes,
) -> Rejudged {
    let is_in_part = |time: Timestamp| from <= time && time < part.to;
    let versions: Vec<_> = slice.rows.iter().map(|stored| stored.row.type_version).collect();
    for stored in slice.rows.iter_mut().filter(|stored| is_in_part(stored.time())) {
        stored.row.type_version = stored.row.type_version.max(part.type_version);
    }
    let (flags, _) = slice.judge(kind, &part.sensor_id, neighbours);
    let width = kind.newest.width();
    let mut rejudged = Rejudged { judgements: Vec::new(), revisions: Revisions { width, ..Revisions::default() } };
    for (index, tests) in (slice.first..slice.end).zip(flags) {
        let stored = &slice.rows[index];
        if !is_in_part(stored.time()) {
            continue;
        }
        let judgement = Judgement {
            sensor_id: part.sensor_id.clone(),
            time: stored.time(),
            type_version: stored.row.type_version,
            values: stored.values.clone(),
            tests,
            is_revision: true,
            is_stored: false,
        };
        let after = judgement.flags(width);
        let (version, label) = (stored.row.type_version, kind.label_rule(stored.row.type_version).label(&after));
        let labels = (stored.row.label, label);
        let differs = changes_of(&kind.newest.property_ids, (&stored.flags, &after), labels, changes);
        if differs || versions[index] != version {
            rejudged.revisions.push((part.sensor_id.clone(), stored.time()), (version, label), &after);
        }
        if differs {
            rejudged.judgements.push(judgement);
        }
    }
    rejudged
}

/// Counts what becomes of the flags and the label of a reading; says whether one of them is another.
fn changes_of(
    properties: &[PropertyId],
    (before, after): (&[Flag], &[Flag]),
    labels: (Label, Label),
    changes: &mut Changes,
) -> bool {
    changes.readings += 1;
    let flag_before = |index: usize| before.get(index).copied().unwrap_or(Flag::NotEvaluated);
    let mut differs = labels.0 != labels.1;
    for (index, (property, after)) in properties.iter().zip(after).enumerate() {
        let before = flag_before(index);
        if before != *after {
            differs = true;
            let of_property = changes.flags.entry(property.to_string()).or_default();
            let of_flag = of_property.entry(before.code().to_string()).or_default();
            *of_flag.entry(after.code().to_string()).or_default() += 1;
        }
    }
    changes.readings_changed += u64::from(differs);
    match labels {
        (Label::Normal, Label::Anomaly) => changes.to_anomaly += 1,
        (Label::Anomaly, Label::Normal) => changes.to_normal += 1,
        _ => {}
    }
    differs
}
