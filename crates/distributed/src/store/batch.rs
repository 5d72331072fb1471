//! The rows of one write, grouped by identity, and what is to become of each.
//!
//! **Invariant:** rows of one identity are folded in log order, over the document that is there, whenever that document is read anew; an
//! outcome is the one of the last folding.

use std::collections::HashMap;

use domain::{Judged, Merge, Row, RowRef, Rows, SensorId, Timestamp};
use ports::{Judge, Outcome};

use super::{
    bulk::{Action, Bulk, Seen},
    document::{Document, push_id},
    period::Span,
    types::Known,
};

/// Marks the last row of an identity.
const NONE: u32 = u32::MAX;

/// The rows of one write.
pub(crate) struct Batch<'a> {
    known: &'a Known,
    judged: &'a Judged,
    judge: &'a dyn Judge,
    /// By row: the next one of the same identity.
    next: Vec<u32>,
    places: Vec<Place>,
    outcomes: Vec<Outcome>,
}

/// A period that rows of the batch lie in.
struct Place {
    span: Span,
    index: String,
}

/// An index that the servers refuse to make.
pub(crate) struct Refused {
    pub(crate) index: String,
    pub(crate) reason: String,
}

/// An identity that is not done yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its first row.
    head: u32,
    place: u32,
    /// The state that was read, where the document is there.
    seen: Option<Seen>,
    /// What its rows make together; `None` where that is the one row as it stands.
    folded: Option<Box<Document>>,
}

impl<'a> Batch<'a> {
    /// Groups the rows; answers also every identity, as new.
    pub(crate) fn new(known: &'a Known, judged: &'a Judged, judge: &'a dyn Judge) -> (Self, Vec<Pending>) {
        let len = judged.rows.len();
        let (next, outcomes) = (vec![NONE; len], vec![Outcome::Stored; len]);
        let mut batch = Self { known, judged, judge, next, places: Vec::new(), outcomes };
        let mut newest: HashMap<(&SensorId, Timestamp), u32> = HashMap::with_capacity(len);
        let mut pending: Vec<Pending> = Vec::with_capacity(len);
        let mut merging = false;
        for ((sensor_id, time), row) in judged.sensor_ids.iter().zip(judged.rows.times()).zip(0..) {
            match newest.insert((sensor_id, *time), row) {
                Some(before) => {
                    batch.next[before as usize] = row;
                    merging = true;
                }
                None => {
                    let place = batch.place(*time, pending.last().map_or(0, |last| last.place));
                    pending.push(Pending { head: row, place, seen: None, folded: None });
                }
            }
        }
        if merging {
            for item in &mut pending {
                if batch.next[item.head as usize] != NONE {
                    item.folded = batch.fold(item.head, None).map(Box::new);
                }
            }
        }
        (batch, pending)
    }

    /// The place of a time; most likely the one named.
    fn place(&mut self, time: Timestamp, likely: u32) -> u32 {
        let holds = |place: &Place| place.span.from <= time && time < place.span.to;
        if self.places.get(likely as usize).is_some_and(holds) {
            return likely;
        }
        let found = self.places.iter().position(holds);
        let place = found.unwrap_or_else(|| {
            let span = self.known.periods.span(time);
            self.places.push(Place { index: self.known.index(&span.name), span });
            self.places.len() - 1
        });
        u32::try_from(place).unwrap_or(NONE)
    }

    /// The indices of the identities.
    pub(crate) fn indices(&self, pending: &[Pending]) -> Vec<&str> {
        let mut wanted = vec![false; self.places.len()];
        pending.iter().for_each(|item| wanted[item.place as usize] = true);
        self.places.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(place, _)| place.index.as_str()).collect()
    }

    pub(crate) fn index(&self, item: &Pending) -> &str {
        &self.places[item.place as usize].index
    }

    fn row(&self, row: u32) -> RowRef<'a> {
        self.judged.rows.get(row as usize)
    }

    /// Appends the id of the identity's document.
    pub(crate) fn push_id(&self, item: &Pending, out: &mut Vec<u8>) {
        push_id(&self.judged.sensor_ids[item.head as usize], self.row(item.head).row.phenomenon_time, out);
    }

    /// Appends what is to be written for an identity.
    pub(crate) fn push(&self, item: &Pending, bulk: &mut Bulk) {
        let action = item.seen.map_or(Action::Create, Action::Replace);
        bulk.begin(action, self.index(item), |out| self.push_id(item, out));
        let sensor_id = &self.judged.sensor_ids[item.head as usize];
        bulk.document(|out| match &item.folded {
            Some(folded) => self.known.documents.write(sensor_id, folded.as_ref().as_ref(), out),
            None => {
                let row = self.row(item.head);
                let first_position = row.row.position;
                self.known.documents.write(sensor_id, RowRef { row: Row { first_position, ..row.row }, ..row }, out);
            }
        });
    }

    /// Folds the rows of an identity anew, over the document that is there; answers it where there is something to write.
    pub(crate) fn renew(&mut self, item: Pending, there: Option<(Document, Seen)>) -> Option<Pending> {
        let (document, seen) = there.unzip();
        let folded = self.fold(item.head, document)?;
        Some(Pending { seen, folded: Some(Box::new(folded)), ..item })
    }

    /// None of the identity's rows can be stored.
    pub(crate) fn reject(&mut self, item: &Pending, reason: &str) {
        let mut row = item.head;
        while row != NONE {
            self.outcomes[row as usize] = Outcome::Rejected(reason.to_owned());
            row = self.next[row as usize];
        }
    }

    /// Leaves out the identities whose index the servers refuse. A reading of another period than the one it was accepted in is rejected with
    /// the reason; answers what is left, and whether readings of the period they were accepted in, and so all that follow, have to wait.
    pub(crate) fn without(&mut self, pending: Vec<Pending>, refused: &[Refused]) -> (Vec<Pending>, bool) {
        let (mut left, mut have_to_wait) = (Vec::with_capacity(pending.len()), false);
        for item in pending {
            let Some(refused) = refused.iter().find(|refused| refused.index == self.index(&item)) else {
                left.push(item);
                continue;
            };
            let (span, accepted_at) = (&self.places[item.place as usize].span, self.row(item.head).row.accepted_at);
            if span.from <= accepted_at && accepted_at < span.to {
                have_to_wait = true;
            } else {
                self.reject(&item, &refused.reason);
            }
        }
        (left, have_to_wait)
    }

    /// The identity can't be stored as its rows would have it: the one row there is is rejected, of several each is to be tried alone.
    pub(crate) fn refuse(&mut self, item: &Pending, reason: &str) -> Vec<u32> {
        let mut rows = Vec::new();
        let mut row = item.head;
        while row != NONE {
            rows.push(row);
            row = self.next[row as usize];
        }
        if let [alone] = rows[..] {
            self.outcomes[alone as usize] = Outcome::Rejected(format!("Elasticsearch can't hold it: {reason}"));
            rows.clear();
        }
        rows
    }

    /// One row as a batch of its own.
    pub(crate) fn alone(&self, row: u32) -> Judged {
        let mut rows = Rows::new(self.judged.rows.width());
        rows.push(self.row(row));
        Judged { sensor_ids: vec![self.judged.sensor_ids[row as usize].clone()], rows }
    }

    pub(crate) fn set_outcome(&mut self, row: u32, outcome: Outcome) {
        self.outcomes[row as usize] = outcome;
    }

    /// The outcome of each row, when nothing is pending.
    pub(crate) fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }

    /// Folds the rows of an identity over the document that is there; answers what they make of it, if anything.
    fn fold(&mut self, head: u32, mut document: Option<Document>) -> Option<Document> {
        let mut is_changed = false;
        let mut row = head;
        while row != NONE {
            let (outcome, changes) = self.fold_row(row, &mut document);
            is_changed |= changes;
            self.outcomes[row as usize] = outcome;
            row = self.next[row as usize];
        }
        document.filter(|_| is_changed)
    }

    /// Applies one row; says what becomes of it and whether that changes the document.
    fn fold_row(&self, row: u32, document: &mut Option<Document>) -> (Outcome, bool) {
        let new = self.row(row);
        let Some(stored) = document else {
            let sensor_id = self.judged.sensor_ids[row as usize].clone();
            let row = Row { first_position: new.row.position, ..new.row };
            *document = Some(Document { sensor_id, row, values: new.values.to_vec(), flags: new.flags.to_vec() });
            return (Outcome::Stored, true);
        };
        match Merge::of(stored.as_ref(), new.row.position, new.values) {
            Merge::AlreadyStored => (Outcome::Stored, false),
            Merge::AlreadyRevised => (Outcome::Revised, false),
            Merge::Duplicate => (Outcome::Duplicate, false),
            Merge::Revised(values) => {
                let type_version = stored.row.type_version.max(new.row.type_version);
                let (flags, label) = self.judge.judge(type_version, &values);
                (stored.values, stored.flags) = (values, flags);
                stored.row = Row { first_position: stored.row.first_position, type_version, label, ..new.row };
                (Outcome::Revised, true)
            }
        }
    }
}
