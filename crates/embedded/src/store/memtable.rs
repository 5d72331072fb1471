//! Rows that are not in blocks yet: an arena in the order of arrival, and per sensor the places of its rows by time.

use domain::{RowRef, Rows, Timestamp};
use ports::TimeRange;

/// About what a row takes in memory besides its values and flags: five columns and three indexes.
const ROW_BYTES: usize = 53;

fn row_bytes(width: usize) -> usize {
    ROW_BYTES + 9 * width
}

/// Place of a sensor in its type's list.
pub(crate) type Slot = u32;

/// Rows by sensor and time, in memory. A row replaced by a later one of its identity stays in the arena, unreachable.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    rows: Rows,
    slots: Vec<Slot>,
    /// Whether the row's identity was new when it came, neither in blocks nor in an older memtable.
    fresh: Vec<bool>,
    /// Places in the arena of each sensor's rows, by time.
    by_slot: Vec<Vec<u32>>,
    /// Number of the newest staged entry whose rows are here.
    pub sequence_last: u64,
}

impl Memtable {
    /// An empty one that is to grow to about `size` bytes. Room is made at once: what is not written yet takes no memory, and growing
    /// would copy all of it again and again.
    pub fn with_size(width: usize, size: usize) -> Self {
        let rows = size / row_bytes(width);
        let (slots, fresh) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { rows: Rows::with_capacity(width, rows), slots, fresh, ..Self::default() }
    }

    pub fn widen(&mut self, width: usize, size: usize) {
        let mut rows = Rows::with_capacity(width, size / row_bytes(width));
        self.rows.iter().for_each(|row| rows.push(row));
        self.rows = rows;
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows came, replaced ones included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        self.rows.len() * row_bytes(self.rows.width()) + self.by_slot.len() * size_of::<Vec<u32>>()
    }

    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn slot_at(&self, index: usize) -> Slot {
        self.slots[index]
    }

    pub fn is_fresh(&self, index: usize) -> bool {
        self.fresh[index]
    }

    /// The row of an identity.
    pub fn find(&self, slot: Slot, time: Timestamp) -> Option<RowRef<'_>> {
        let places = self.places(slot);
        let found = places.binary_search_by_key(&time, |place| self.rows.times()[*place as usize]).ok()?;
        Some(self.rows.get(places[found] as usize))
    }

    /// Puts a row in, in place of one of its identity.
    pub fn insert(&mut self, slot: Slot, row: RowRef<'_>, fresh: bool) {
        let place = self.rows.len() as u32;
        let time = row.row.phenomenon_time;
        self.rows.push(row);
        self.slots.push(slot);
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize_with(slot as usize + 1, Vec::new);
        }
        let times = self.rows.times();
        let places = &mut self.by_slot[slot as usize];
        let is_newest = places.last().is_none_or(|last| times[*last as usize] < time);
        if is_newest {
            places.push(place);
            self.fresh.push(fresh);
            return;
        }
        match places.binary_search_by_key(&time, |place| times[*place as usize]) {
            Ok(found) => {
                let fresh = self.fresh[places[found] as usize];
                places[found] = place;
                self.fresh.push(fresh);
            }
            Err(at) => {
                places.insert(at, place);
                self.fresh.push(fresh);
            }
        }
    }

    /// Places in the arena of a sensor's rows, by time.
    pub fn places(&self, slot: Slot) -> &[u32] {
        self.by_slot.get(slot as usize).map_or(&[], Vec::as_slice)
    }

    /// The same within a range of times.
    pub fn places_in(&self, slot: Slot, times: TimeRange) -> &[u32] {
        let places = self.places(slot);
        let time = |place: &u32| self.rows.times()[*place as usize];
        let start = places.partition_point(|place| time(place) < times.from);
        let end = places.partition_point(|place| time(place) < times.to);
        &places[start..end.max(start)]
    }

    /// How many of a sensor's rows have a new identity.
    pub fn fresh_count(&self, slot: Slot) -> u64 {
        self.places(slot).iter().filter(|place| self.fresh[**place as usize]).count() as u64
    }

    /// Sensors that have rows here.
    pub fn slots_with_rows(&self) -> impl Iterator<Item = Slot> {
        self.by_slot.iter().enumerate().filter(|(_, places)| !places.is_empty()).map(|(slot, _)| slot as Slot)
    }
}

#[cfg(test)]
mod tests {
    use domain::{Flag, Label, Position, Row, Value};

    use super::*;

    fn insert(table: &mut Memtable, slot: Slot, time: i64, position: u64, fresh: bool) {
        let row = Row {
            phenomenon_time: Timestamp::from_micros(time),
            accepted_at: Timestamp::from_micros(0),
            position: Position(position),
            first_position: Position(position),
            type_version: 1,
            label: Label::Anomaly,
        };
        table.insert(slot, RowRef { row, values: &[Value::MISSING], flags: &[Flag::Missing] }, fresh);
    }

    #[test]
    fn late_and_replaced_rows_are_found_by_time() {
        let mut table = Memtable::with_size(1, 1_000);
        for (position, time) in [5, 1, 9, 5, 3].into_iter().enumerate() {
            insert(&mut table, 7, time, position as u64, position != 3);
        }
        let times: Vec<i64> = table.places(7).iter().map(|p| table.rows().times()[*p as usize].as_micros()).collect();
        assert_eq!(times, [1, 3, 5, 9]);
        let five = table.find(7, Timestamp::from_micros(5)).expect("a row");
        assert_eq!(five.row.position, Position(3));
        assert_eq!(table.fresh_count(7), 4);
        let range = TimeRange { from: Timestamp::from_micros(3), to: Timestamp::from_micros(9) };
        assert_eq!(table.places_in(7, range).len(), 2);
        assert!(table.find(6, Timestamp::from_micros(5)).is_none());
    }
}
