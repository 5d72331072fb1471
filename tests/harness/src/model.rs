//! What a hub may hold after all that was sent to it, answered or not: the other opinion in a comparison.

use std::collections::{BTreeMap, BTreeSet};

/// The values of a row, by property; `None` is missing. As shortest decimals, so that they compare exactly.
pub type Row = Vec<Option<String>>;

/// Sensor id and phenomenon time as exported.
type Identity = (String, String);

/// All rows with each state that they may be in; `None` among the states says that the row may not be there at all.
#[derive(Debug, Clone, Default)]
pub struct Model {
    rows: BTreeMap<Identity, BTreeSet<Option<Row>>>,
}

impl Model {
    /// Brings together what several clients know, each of sensors of its own.
    pub fn all(models: Vec<Self>) -> Self {
        Self { rows: models.into_iter().flat_map(|model| model.rows).collect() }
    }

    /// Takes a reading that the hub has accepted.
    pub fn accepted(&mut self, sensor_id: &str, time: &str, row: &Row) {
        let states = self.states(sensor_id, time);
        *states = states.iter().map(|state| Some(merge(state.as_ref(), row))).collect();
    }

    /// Takes a reading that was sent and never answered: it may have been kept or not.
    pub fn unanswered(&mut self, sensor_id: &str, time: &str, row: &Row) {
        let states = self.states(sensor_id, time);
        let kept: Vec<_> = states.iter().map(|state| Some(merge(state.as_ref(), row))).collect();
        states.extend(kept);
    }

    /// How many rows must be there.
    pub fn certain(&self) -> usize {
        self.rows.values().filter(|states| !states.contains(&None)).count()
    }

    /// Compares an export in CSV (`sensor_id,phenomenon_time,` then the properties) with the model, each row once and in order.
    ///
    /// # Panics
    /// With the first rows that are missing, wrong, doubled or invented.
    pub fn assert_holds(&self, csv: &str, properties: usize) {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        let mut last: Option<Identity> = None;
        for line in csv.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let identity = (fields[0].to_owned(), fields[1].to_owned());
            let row: Row = fields[2..2 + properties].iter().map(|f| (!f.is_empty()).then(|| (*f).to_owned())).collect();
            match self.rows.get(&identity) {
                None => faults.push(format!("invented: {line}")),
                Some(states) if !states.contains(&Some(row.clone())) => {
                    faults.push(format!("wrong: {line}; expected one of {states:?}"));
                }
                Some(_) => (),
            }
            if last.as_ref().is_some_and(|last| *last >= identity) {
                faults.push(format!("doubled or out of order: {line}"));
            }
            seen.insert(identity.clone());
            last = Some(identity);
        }
        let must_be_there = self.rows.iter().filter(|(_, states)| !states.contains(&None));
        faults.extend(must_be_there.filter(|(id, _)| !seen.contains(*id)).map(|(id, _)| format!("lost: {id:?}")));
        let some: Vec<_> = faults.iter().take(10).collect();
        assert!(faults.is_empty(), "{} fault(s) in {} rows, the first: {some:#?}", faults.len(), seen.len());
    }

    fn states(&mut self, sensor_id: &str, time: &str) -> &mut BTreeSet<Option<Row>> {
        let absent = || BTreeSet::from([None]);
        self.rows.entry((sensor_id.to_owned(), time.to_owned())).or_insert_with(absent)
    }
}

/// Merges by the rule of promise 2: a value beats missing, and of two values the later one wins.
fn merge(earlier: Option<&Row>, later: &Row) -> Row {
    let Some(earlier) = earlier else { return later.clone() };
    earlier.iter().zip(later).map(|(earlier, later)| later.clone().or_else(|| earlier.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &str) -> Row {
        vec![Some(value.to_owned()), None]
    }

    #[test]
    fn accepted_must_be_there_and_unanswered_may() {
        let mut model = Model::default();
        model.accepted("a", "1", &row("5"));
        model.unanswered("a", "1", &row("6"));
        model.unanswered("a", "2", &row("7"));
        assert_eq!(model.certain(), 1);
        for good in ["h\na,1,5,", "h\na,1,6,", "h\na,1,5,\na,2,7,"] {
            model.assert_holds(good, 2);
        }
        for bad in ["h", "h\na,1,7,", "h\na,1,5,\na,1,5,", "h\na,1,5,\na,3,5,", "h\na,2,7,\na,1,5,"] {
            assert!(std::panic::catch_unwind(|| model.assert_holds(bad, 2)).is_err(), "{bad}");
        }
    }
}
