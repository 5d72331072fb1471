//! All rows of one sensor type: what is in memory, and what the folder holds of it.
//!
//! Rows come into the active memtable and, as one staged entry per write, into the journal. A full memtable is folded into
//! blocks behind the writer's back. **Invariant:** active over folding over blocks: of an identity found in several of them, the
//! first is the truth; the staged entries hold exactly what the memtables hold.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{Rows, SensorId, SensorTypeId, Timestamp};
use fjall::{Database, Keyspace};
use ports::{ErrorKind, PortError};

use super::{
    memtable::{Memtable, Slot},
    sensors::{Folded, SensorState, decode_staged},
};
use crate::{
    codec::Malformed,
    disk::Disk,
    error::{from_database, from_malformed},
};

/// How long a write waits for the fold before it, before its caller is told to try again.
const FOLD_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where the store keeps what.
pub(crate) struct Keyspaces {
    /// Sensor types by id: number and width.
    pub types: Keyspace,
    /// (type number, sensor id) to what is known of its blocks.
    pub sensors: Keyspace,
    /// (type number, sequence) to rows that are not in blocks yet.
    pub staged: Keyspace,
    /// (type number, sensor id, first time) to rows.
    pub blocks: Keyspace,
    /// (type number, last acceptance time, sequence, part) to what came in one fold.
    pub arrivals: Keyspace,
}

/// What all sensor types share.
pub(crate) struct Shared {
    pub database: Database,
    pub keyspaces: Keyspaces,
    pub disk: Arc<Disk>,
    /// The size of all active memtables together at which they are folded.
    pub memtable_size_max: usize,
    /// How many sensor types have rows in an active memtable, and so share that size.
    busy: AtomicUsize,
    /// Set when memory and disk may differ: nothing is written any more.
    failed: AtomicBool,
}

impl Shared {
    pub fn new(database: Database, keyspaces: Keyspaces, disk: Arc<Disk>, memtable_size_max: usize) -> Self {
        Self { database, keyspaces, disk, memtable_size_max, busy: AtomicUsize::new(0), failed: AtomicBool::new(false) }
    }

    pub fn check_usable(&self) -> Result<(), PortError> {
        if self.failed.load(Ordering::Acquire) {
            let message = "an earlier write failed; start again to return to what the disk holds";
            return Err(PortError::new(ErrorKind::Failed, message));
        }
        Ok(())
    }

    pub fn fail(&self, error: PortError) -> PortError {
        self.failed.store(true, Ordering::Release);
        error
    }
}

/// One sensor type.
pub(crate) struct Space {
    pub shared: Arc<Shared>,
    pub id: SensorTypeId,
    pub number: u32,
    /// Number of the next staged entry; held by whoever changes rows.
    writer: Mutex<u64>,
    state: RwLock<State>,
    fold_ended: (Mutex<()>, Condvar),
}

/// What is in memory.
pub(crate) struct State {
    pub width: usize,
    pub sensors: Vec<SensorState>,
    by_id: HashMap<SensorId, Slot>,
    /// Slots by sensor id; made when asked for.
    order: Option<Arc<[Slot]>>,
    pub active: Memtable,
    /// Whether the active memtable is counted as busy.
    is_busy: bool,
    pub folding: Option<Arc<Memtable>>,
}

impl State {
    /// The place of a sensor; a new one for a new sensor.
    pub fn slot_of(&mut self, id: &SensorId) -> Slot {
        if let Some(slot) = self.by_id.get(id) {
            return *slot;
        }
        let slot = self.sensors.len() as Slot;
        self.sensors.push(SensorState { id: id.clone(), newest: Timestamp::MIN, folded: None });
        self.by_id.insert(id.clone(), slot);
        self.order = None;
        slot
    }

    pub fn find(&self, id: &str) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    pub fn sensor(&self, slot: Slot) -> &SensorState {
        &self.sensors[slot as usize]
    }

    fn make_order(&self) -> Arc<[Slot]> {
        let mut slots: Vec<Slot> = (0..self.sensors.len() as Slot).collect();
        slots.sort_unstable_by(|a, b| self.sensor(*a).id.cmp(&self.sensor(*b).id));
        slots.into()
    }

    /// Adds the newest row of a sensor to `rows`; says whether there is one.
    ///
    /// # Errors
    /// `Corrupt` where the row can't be read.
    pub fn push_latest(&self, slot: Slot, rows: &mut Rows) -> Result<bool, PortError> {
        let newest_in = |table: &Memtable| table.places(slot).last().copied();
        let active = newest_in(&self.active).map(|place| self.active.rows().get(place as usize));
        let folding = self.folding.as_ref();
        let folding = folding.and_then(|table| newest_in(table).map(|place| table.rows().get(place as usize)));
        // Of equal times the active one is the truth, and `max_by_key` answers the last.
        let in_memory = [folding, active].into_iter().flatten().max_by_key(|row| row.row.phenomenon_time);
        let sensor = self.sensor(slot);
        match (in_memory, &sensor.folded) {
            (Some(row), folded) if folded.as_ref().is_none_or(|folded| folded.last <= row.row.phenomenon_time) => {
                rows.push(row);
            }
            (_, Some(folded)) => {
                let latest = folded.latest().map_err(|e| from_malformed(&format!("sensor `{}`", sensor.id), e))?;
                rows.push(latest.get(0));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Rows, first and last time of a sensor; `None` without rows.
    pub fn extent(&self, slot: Slot) -> Option<(u64, Timestamp, Timestamp)> {
        let sensor = self.sensor(slot);
        let mut count = self.active.fresh_count(slot);
        let mut first = Timestamp::MAX;
        let mut note = |table: &Memtable| {
            if let Some(place) = table.places(slot).first() {
                first = first.min(table.rows().times()[*place as usize]);
            }
        };
        note(&self.active);
        if let Some(folding) = &self.folding {
            note(folding);
            count += folding.fresh_count(slot);
        }
        if let Some(folded) = &sensor.folded {
            first = first.min(folded.first);
            count += folded.count;
        }
        (count > 0).then_some((count, first, sensor.newest))
    }
}

impl Space {
    /// Reads a type back from the folder.
    pub fn load(shared: Arc<Shared>, id: SensorTypeId, number: u32, width: usize) -> Result<Self, PortError> {
        let mut state = State {
            width,
            sensors: Vec::new(),
            by_id: HashMap::new(),
            order: None,
            active: Memtable::with_size(width, shared.memtable_size_max),
            is_busy: false,
            folding: None,
        };
        for item in shared.keyspaces.sensors.prefix(number.to_be_bytes()) {
            let (key, value) = item.into_inner().map_err(|e| from_database("reading the sensors", e))?;
            let sensor_id = parse_sensor_key(&key)?;
            let folded = Folded::decode(&value).map_err(|e| from_malformed(&format!("sensor `{sensor_id}`"), e))?;
            let slot = state.slot_of(&sensor_id) as usize;
            state.sensors[slot].newest = folded.last;
            state.sensors[slot].folded = Some(folded);
        }
        let mut next = 1;
        for item in shared.keyspaces.staged.prefix(number.to_be_bytes()) {
            let (key, value) = item.into_inner().map_err(|e| from_database("reading staged rows", e))?;
            let sequence = parse_staged_key(&key)?;
            let (rows, owners) = decode_staged(&value).map_err(|e| from_malformed("staged rows", e))?;
            for (row, (sensor_id, fresh)) in rows.iter().zip(owners) {
                let slot = state.slot_of(&sensor_id);
                let sensor = &mut state.sensors[slot as usize];
                if sensor.folded.as_ref().is_some_and(|folded| folded.sequence >= sequence) {
                    continue;
                }
                sensor.newest = sensor.newest.max(row.row.phenomenon_time);
                state.active.insert(slot, row, fresh);
            }
            state.active.sequence_last = sequence;
            next = sequence + 1;
        }
        let last_folded =
            state.sensors.iter().filter_map(|sensor| sensor.folded.as_ref()).map(|folded| folded.sequence).max();
        let next = next.max(last_folded.unwrap_or(0) + 1);
        let fold_ended = (Mutex::new(()), Condvar::new());
        let space = Self { shared, id, number, writer: Mutex::new(next), state: RwLock::new(state), fold_ended };
        space.count_as_busy();
        Ok(space)
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes the one that changes rows.
    pub fn writer(&self) -> MutexGuard<'_, u64> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots by sensor id.
    pub fn order(&self) -> Arc<[Slot]> {
        if let Some(order) = &self.read().order {
            return Arc::clone(order);
        }
        let mut state = self.write();
        let order = state.make_order();
        state.order = Some(Arc::clone(&order));
        order
    }

    /// Makes room for properties the type has gained.
    pub fn widen(&self, width: usize) {
        let mut state = self.write();
        if width > state.width {
            state.width = width;
            state.active.widen(width, self.shared.memtable_size_max);
        }
    }

    /// Hands the active memtable to the fold, if none is being folded; says whether there is one to fold now.
    pub fn rotate(&self) -> bool {
        let mut state = self.write();
        if state.folding.is_some() || state.active.is_empty() {
            return false;
        }
        let next = Memtable::with_size(state.width, self.shared.memtable_size_max);
        state.folding = Some(Arc::new(std::mem::replace(&mut state.active, next)));
        if std::mem::take(&mut state.is_busy) {
            self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Counts the active memtable among those that share the room, once it has rows.
    pub fn count_as_busy(&self) {
        let mut state = self.write();
        if !state.is_busy && !state.active.is_empty() {
            state.is_busy = true;
            self.shared.busy.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says whether the active memtable is to be folded.
    pub fn is_full(&self) -> bool {
        let sharing = self.shared.busy.load(Ordering::Relaxed).max(1);
        self.read().active.size_bytes() >= self.shared.memtable_size_max / sharing
    }

    /// Waits until no fold is under way.
    ///
    /// # Errors
    /// `Unavailable` where it takes longer than [`FOLD_WAIT_MAX`], `Failed` where it failed.
    pub fn wait_for_fold(&self) -> Result<(), PortError> {
        let deadline = Instant::now() + FOLD_WAIT_MAX;
        let mut guard = self.fold_ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        while self.read().folding.is_some() {
            self.shared.check_usable()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PortError::new(
                    ErrorKind::Unavailable,
                    "the store is behind with folding rows into blocks",
                ));
            }
            guard = self.fold_ended.1.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Ends a fold: what it brought into blocks counts from there now.
    pub fn end_fold(&self, folded: Vec<(Slot, Folded)>) {
        let mut state = self.write();
        for (slot, folded) in folded {
            state.sensors[slot as usize].folded = Some(folded);
        }
        state.folding = None;
        drop(state);
        self.wake_waiters();
    }

    /// Wakes those who wait for a fold, when it has ended or failed.
    pub fn wake_waiters(&self) {
        let _guard = self.fold_ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.fold_ended.1.notify_all();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.write().is_busy {
            self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn staged_key(number: u32, sequence: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(crate) fn parse_staged_key(key: &[u8]) -> Result<u64, PortError> {
    let bytes =
        key.last_chunk::<8>().ok_or_else(|| from_malformed("the key of staged rows", Malformed("it is too short")))?;
    Ok(u64::from_be_bytes(*bytes))
}

/// The sensor of a key in the sensors keyspace: type number, id, 0.
pub(crate) fn parse_sensor_key(key: &[u8]) -> Result<SensorId, PortError> {
    let text = key.get(4..key.len().saturating_sub(1)).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let id = text.and_then(|text| SensorId::parse(text).ok());
    id.ok_or_else(|| from_malformed("the key of a sensor", Malformed("it holds no sensor id")))
}
