//! The store in the data folder: rows in memory until there are enough of a sensor, then in blocks.
//!
//! Cost: a write is O(1) per row that is newer than all of its sensor's, else a look-up of one block; a scan reads the blocks it answers
//! from; `latest` and `summaries` never touch the disk.

mod blocks;
mod buckets;
mod fold;
mod memtable;
mod remove;
mod scan;
mod sensors;
mod space;
mod verify;
mod write;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{Receiver, Sender},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use domain::{Deletion, Judged, Position, PropertyId, SensorType, SensorTypeId, Timestamp};
use ports::{
    Bucket, BucketQuery, ErrorKind, Judge, Outcome, PortError, ReadingQuery, Revisions, Scan, SensorSummary, Store,
};

use crate::{
    codec::{Decoder, Malformed, put_bytes, put_varint},
    disk::Need,
    error::{blocking, blocking_here, from_database, from_malformed, from_write},
};
use space::Space;
pub(crate) use space::{Keyspaces, Shared};
pub(crate) use verify::verify;

/// Key of the newest number a sensor type got; no type id begins so.
const NUMBER_LAST: &[u8] = b"#last";

/// A sensor type as the folder knows it.
struct TypeRecord {
    number: u32,
    properties: Vec<PropertyId>,
}

impl TypeRecord {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.number));
        put_varint(&mut out, self.properties.len() as u64);
        self.properties.iter().for_each(|id| put_bytes(&mut out, id.as_str().as_bytes()));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let number = u32::try_from(decoder.varint()?).map_err(|_| Malformed("its number is out of range"))?;
        let count = decoder.count(2)?;
        let id = |decoder: &mut Decoder<'_>| {
            PropertyId::parse(decoder.text()?).map_err(|_| Malformed("a property id is not allowed"))
        };
        let properties = (0..count).map(|_| id(&mut decoder)).collect::<Result<_, _>>()?;
        decoder.finish()?;
        Ok(Self { number, properties })
    }
}

/// A type's rows and the names of its columns.
struct Open {
    space: Arc<Space>,
    properties: Vec<PropertyId>,
}

/// [`Store`] in the data folder.
pub(crate) struct EmbeddedStore {
    shared: Arc<Shared>,
    open: RwLock<HashMap<SensorTypeId, Open>>,
    /// Held while types are made or removed.
    changing: Mutex<()>,
    folds: Mutex<Option<Sender<Arc<Space>>>>,
    folder: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    pub fn open(shared: Shared) -> Result<Self, PortError> {
        let shared = Arc::new(shared);
        let mut open = HashMap::new();
        for (id, record) in load_types(&shared.keyspaces)? {
            let space = Space::load(Arc::clone(&shared), id.clone(), record.number, record.properties.len())?;
            open.insert(id, Open { space: Arc::new(space), properties: record.properties });
        }
        let (folds, queue) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("store-fold".into()).spawn(move || run_folds(&queue));
        let thread =
            thread.map_err(|e| PortError::new(ErrorKind::Unavailable, "no thread for the store").with_source(e))?;
        Ok(Self {
            shared,
            open: RwLock::new(open),
            changing: Mutex::default(),
            folds: Mutex::new(Some(folds)),
            folder: Mutex::new(Some(thread)),
        })
    }

    /// Lets the fold under way end; what is in memory stays staged.
    pub fn close(&self) {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }

    fn space(&self, id: &SensorTypeId) -> Result<Arc<Space>, PortError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let found = open.get(id).map(|open| Arc::clone(&open.space));
        found.ok_or_else(|| PortError::new(ErrorKind::NotFound, format!("the store has no sensor type `{id}`")))
    }

    fn ask_to_fold(&self, space: Arc<Space>) {
        if let Some(folds) = &*self.folds.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only when the thread has ended by an error, which the next write reports.
            let _ = folds.send(space);
        }
    }

    fn prepare_blocking(&self, id: &SensorTypeId, properties: &[PropertyId]) -> Result<(), PortError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .map(|open| (open.space.number, open.properties.len()));
        if known.is_some_and(|(_, width)| width >= properties.len()) {
            return Ok(());
        }
        self.shared.check_usable()?;
        self.shared.disk.check(Need::Finish)?;
        let types = &self.shared.keyspaces.types;
        let mut batch = self.shared.database.batch();
        let number = match known {
            Some((number, _)) => number,
            None => {
                let saved = types.get(NUMBER_LAST).map_err(|e| from_database("reading the sensor types", e))?;
                let last = saved.and_then(|bytes| bytes[..].try_into().ok()).map_or(0, u32::from_be_bytes);
                batch.insert(types, NUMBER_LAST, (last + 1).to_be_bytes());
                last + 1
            }
        };
        let record = TypeRecord { number, properties: properties.to_vec() };
        batch.insert(types, id.as_str(), record.encode());
        batch.commit().map_err(|e| from_write("saving a sensor type", e))?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(id) {
            Some(open) => {
                open.space.widen(properties.len());
                open.properties = record.properties;
            }
            None => {
                let space = Arc::new(Space::load(Arc::clone(&self.shared), id.clone(), number, properties.len())?);
                open.insert(id.clone(), Open { space, properties: record.properties });
            }
        }
        Ok(())
    }

    fn remove_blocking(&self, id: &SensorTypeId) -> Result<(), PortError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(id) else { return Ok(()) };
        let _writer = open.space.writer();
        open.space.wait_for_fold()?;
        let keyspaces = &self.shared.keyspaces;
        keyspaces.types.remove(id.as_str()).map_err(|e| from_write("removing a sensor type", e))?;
        for keyspace in [&keyspaces.sensors, &keyspaces.staged, &keyspaces.blocks, &keyspaces.arrivals] {
            crate::folder::remove_prefix(&self.shared.database, keyspace, &open.space.number.to_be_bytes())?;
        }
        Ok(())
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

fn load_types(keyspaces: &Keyspaces) -> Result<Vec<(SensorTypeId, TypeRecord)>, PortError> {
    let mut types = Vec::new();
    for item in keyspaces.types.iter() {
        let (key, value) = item.into_inner().map_err(|e| from_database("reading the sensor types", e))?;
        if &key[..] == NUMBER_LAST {
            continue;
        }
        let id = std::str::from_utf8(&key).ok().and_then(|id| SensorTypeId::parse(id).ok());
        let id = id.ok_or_else(|| from_malformed("a sensor type", Malformed("its id is not allowed")))?;
        let record = TypeRecord::decode(&value).map_err(|e| from_malformed(&format!("sensor type `{id}`"), e))?;
        types.push((id, record));
    }
    Ok(types)
}

/// Reads any bytes as each thing that the store holds.
pub(crate) fn decode_anything(bytes: &[u8]) {
    let _ = crate::rows_codec::decode(bytes);
    let _ = sensors::Folded::decode(bytes);
    let _ = sensors::decode_staged(bytes);
    let _ = sensors::Arrivals::decode(bytes);
    let _ = TypeRecord::decode(bytes);
}

fn run_folds(queue: &Receiver<Arc<Space>>) {
    while let Ok(space) = queue.recv() {
        if let Err(error) = fold::fold(&space) {
            tracing::error!(sensor_type = %space.id, %error, "folding rows into blocks failed; the store takes no more writes");
            space.shared.fail(error);
            space.wake_waiters();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        // Cheap and rare: a key or two.
        self.prepare_blocking(&sensor_type.id, &sensor_type.property_ids)
    }

    async fn write(
        &self,
        sensor_type: &SensorTypeId,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError> {
        let space = self.space(sensor_type)?;
        let (outcomes, fold_now) = blocking_here(|| write::write(&space, judged, judge))?;
        if fold_now {
            self.ask_to_fold(space);
        }
        Ok(outcomes)
    }

    async fn revise(&self, sensor_type: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError> {
        let space = self.space(sensor_type)?;
        let (changed, fold_now) = blocking_here(|| write::revise(&space, revisions))?;
        if fold_now {
            self.ask_to_fold(space);
        }
        Ok(changed)
    }

    async fn delete(
        &self,
        sensor_type: &SensorTypeId,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError> {
        let (space, deletion) = (self.space(sensor_type)?, deletion.clone());
        blocking(move || remove::delete(&space, &deletion, position)).await
    }

    async fn scan(&self, sensor_type: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        let (space, mut query) = (self.space(sensor_type)?, query.clone());
        if let Some(ids) = &mut query.sensor_ids {
            ids.sort_unstable();
            ids.dedup();
        }
        let scan = blocking(move || scan::EmbeddedScan::open(space, query)).await?;
        Ok(Box::new(scan))
    }

    async fn latest(&self, sensor_type: &SensorTypeId) -> Result<Judged, PortError> {
        let space = self.space(sensor_type)?;
        blocking(move || scan::latest(&space)).await
    }

    async fn summaries(&self, sensor_type: &SensorTypeId) -> Result<Vec<SensorSummary>, PortError> {
        let space = self.space(sensor_type)?;
        blocking(move || {
            let order = space.order();
            let state = space.read();
            let summary = |slot: &u32| {
                let (count, first, last) = state.extent(*slot)?;
                Some(SensorSummary { sensor_id: state.sensor(*slot).id.clone(), count, first, last })
            };
            Ok(order.iter().filter_map(summary).collect())
        })
        .await
    }

    async fn buckets(&self, sensor_type: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        let property = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.get(sensor_type).and_then(|open| open.properties.iter().position(|id| *id == query.property))
        };
        let (space, query) = (self.space(sensor_type)?, query.clone());
        let Some(property) = property else {
            let message = format!("sensor type `{sensor_type}` has no property `{}`", query.property);
            return Err(PortError::new(ErrorKind::NotFound, message));
        };
        blocking(move || buckets::buckets(&space, &query, property)).await
    }

    async fn expire(&self, sensor_type: &SensorTypeId, before: Timestamp) -> Result<u64, PortError> {
        let space = self.space(sensor_type)?;
        blocking(move || remove::expire(&space, before)).await
    }

    async fn remove(&self, sensor_type: &SensorTypeId) -> Result<(), PortError> {
        self.remove_blocking(sensor_type)
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.shared.check_usable()?;
        self.shared.disk.check(Need::Finish)
    }
}
