//! Judged readings held by column, and the rule that merges two of one identity.

use crate::{Flag, Label, Position, SensorId, Timestamp, TypeVersion, Value};

/// Judged readings of one sensor type, by column; whose they are is said beside them.
///
/// `values` and `flags` are row-major with `width` entries a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    width: usize,
    times: Vec<Timestamp>,
    accepted_at: Vec<Timestamp>,
    positions: Vec<Position>,
    first_positions: Vec<Position>,
    type_versions: Vec<TypeVersion>,
    labels: Vec<Label>,
    values: Vec<Value>,
    flags: Vec<Flag>,
}

/// What a judged reading has besides its values and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The time it speaks of.
    pub phenomenon_time: Timestamp,
    /// When the log took the record that last changed it.
    pub accepted_at: Timestamp,
    /// Position of the record that last changed it.
    pub position: Position,
    /// Position of the first record of its identity.
    pub first_position: Position,
    /// Version of the sensor type that judged it.
    pub type_version: TypeVersion,
    /// Its label, by the rule of that version.
    pub label: Label,
}

/// A judged reading, borrowed from [`Rows`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowRef<'a> {
    /// Time, acceptance, positions, version, label.
    pub row: Row,
    /// A value per property.
    pub values: &'a [Value],
    /// A flag per property.
    pub flags: &'a [Flag],
}

impl RowRef<'_> {
    /// The row without values and flags.
    #[must_use]
    pub fn key(self) -> Self {
        Self { values: &[], flags: &[], ..self }
    }
}

impl Rows {
    /// No rows of `width` properties each.
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// The same with room for `rows` rows.
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        Self {
            width,
            times: Vec::with_capacity(rows),
            accepted_at: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
            first_positions: Vec::with_capacity(rows),
            type_versions: Vec::with_capacity(rows),
            labels: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows * width),
            flags: Vec::with_capacity(rows * width),
        }
    }

    /// How many properties a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The phenomenon times.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// All values, row-major.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All flags, row-major.
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    /// Appends a row. A row narrower than this is filled with absent values, flagged 2: they were not known when it was judged.
    ///
    /// # Panics
    /// Where the row is wider, or has not as many flags as values.
    pub fn push(&mut self, row: RowRef<'_>) {
        assert!(row.values.len() <= self.width && row.values.len() == row.flags.len(), "a row no wider than the rows");
        self.push_row(row.row);
        self.values.extend_from_slice(row.values);
        self.flags.extend_from_slice(row.flags);
        self.values.resize(self.len() * self.width, Value::ABSENT);
        self.flags.resize(self.len() * self.width, Flag::NotEvaluated);
    }

    fn push_row(&mut self, row: Row) {
        self.times.push(row.phenomenon_time);
        self.accepted_at.push(row.accepted_at);
        self.positions.push(row.position);
        self.first_positions.push(row.first_position);
        self.type_versions.push(row.type_version);
        self.labels.push(row.label);
    }

    /// Makes rows of whole columns: `values` and `flags` row-major.
    ///
    /// # Panics
    /// Where the columns do not hold `rows.len()` times `width` entries.
    pub fn from_columns(
        width: usize,
        rows: impl ExactSizeIterator<Item = Row>,
        values: Vec<Value>,
        flags: Vec<Flag>,
    ) -> Self {
        assert!(
            values.len() == rows.len() * width && flags.len() == values.len(),
            "one value and one flag per property"
        );
        let mut all = Self { width, values, flags, ..Self::default() };
        for row in rows {
            all.push_row(row);
        }
        all
    }

    /// Drops the rows from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.accepted_at.truncate(len);
        self.positions.truncate(len);
        self.first_positions.truncate(len);
        self.type_versions.truncate(len);
        self.labels.truncate(len);
        self.values.truncate(len * self.width);
        self.flags.truncate(len * self.width);
    }

    /// The row at `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> RowRef<'_> {
        let cells = index * self.width..(index + 1) * self.width;
        RowRef {
            row: Row {
                phenomenon_time: self.times[index],
                accepted_at: self.accepted_at[index],
                position: self.positions[index],
                first_position: self.first_positions[index],
                type_version: self.type_versions[index],
                label: self.labels[index],
            },
            values: &self.values[cells.clone()],
            flags: &self.flags[cells],
        }
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Judged readings with the sensor of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// The sensor of each row.
    pub sensor_ids: Vec<SensorId>,
    /// The rows.
    pub rows: Rows,
}

/// What a record does to the row that its identity already has.
#[derive(Debug, Clone, PartialEq)]
pub enum Merge {
    /// It is the record that made the row: processed again after a crash.
    AlreadyStored,
    /// It is the record that last changed the row: processed again after a crash.
    AlreadyRevised,
    /// It says nothing new.
    Duplicate,
    /// These are the row's values now; they are to be judged again.
    Revised(Vec<Value>),
}

impl Merge {
    /// Merges a record behind `stored`: per property a number beats a missing one, and of two the later in the log wins.
    ///
    /// A record that is not behind the row's last change was applied before and changes nothing: a partition is read in
    /// order, so that only a crash brings it again.
    pub fn of(stored: RowRef<'_>, position: Position, values: &[Value]) -> Self {
        if position <= stored.row.position {
            return match position {
                _ if position == stored.row.first_position => Self::AlreadyStored,
                _ if position == stored.row.position => Self::AlreadyRevised,
                _ => Self::Duplicate,
            };
        }
        let width = stored.values.len().max(values.len());
        let at = |values: &[Value], index: usize| values.get(index).copied().unwrap_or(Value::ABSENT);
        let merged: Vec<Value> = (0..width).map(|i| at(stored.values, i).merged_with(at(values, i))).collect();
        let same = (0..width).all(|index| merged[index] == at(stored.values, index));
        if same { Self::Duplicate } else { Self::Revised(merged) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn row(position: u64) -> Row {
        Row {
            phenomenon_time: Timestamp::from_micros(0),
            accepted_at: Timestamp::from_micros(0),
            position: Position(position),
            first_position: Position(position),
            type_version: 1,
            label: Label::Normal,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::MISSING),
            Just(Value::ABSENT),
            (0..4i32).prop_map(|n| Value::number(f64::from(n)).expect("finite"))
        ]
    }

    /// Applies the records from `start` on, in order, to the row as it is.
    fn apply(rows: &mut Rows, records: &[(Value, Value)], start: usize) {
        for (position, record) in records.iter().enumerate().skip(start) {
            let values = [record.0, record.1];
            let flags = [Flag::Good; 2];
            if rows.is_empty() {
                rows.push(RowRef { row: row(position as u64), values: &values, flags: &flags });
                continue;
            }
            if let Merge::Revised(merged) = Merge::of(rows.get(0), Position(position as u64), &values) {
                let revised = Row { position: Position(position as u64), ..rows.get(0).row };
                *rows = Rows::from_columns(2, [revised].into_iter(), merged, flags.to_vec());
            }
        }
    }

    proptest! {
        #[test]
        fn records_processed_again_after_a_crash_change_nothing(
            records in proptest::collection::vec((value(), value()), 1..8), again_from in any::<proptest::sample::Index>()) {
            let mut once = Rows::new(2);
            apply(&mut once, &records, 0);
            let mut twice = once.clone();
            apply(&mut twice, &records, again_from.index(records.len()));
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn narrower_rows_are_filled_with_values_nobody_evaluated() {
        let mut rows = Rows::new(2);
        rows.push(RowRef { row: row(0), values: &[Value::MISSING], flags: &[Flag::Missing] });
        assert_eq!(rows.get(0).values[1], Value::ABSENT);
        assert_eq!(rows.get(0).flags[1], Flag::NotEvaluated);
    }
}
