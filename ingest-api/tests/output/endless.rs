//! A store whose scans give rows without end, or until they fail.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use domain::{Deletion, Flag, Judged, Position, Rows, SensorId, SensorType, SensorTypeId, Timestamp};
use ports::{
    Bucket, BucketQuery, ErrorKind, Judge, Outcome, PortError, ReadingQuery, Revisions, Scan, SensorQuery, SensorRows,
    SensorSummary, Store,
};

use crate::hub::{START, number, push};

/// Gives rows of sensor `m1` of the type `power`, one a second, until `fails_after` rows were given.
#[derive(Clone)]
pub struct Endless {
    /// How many rows come before the failure.
    pub fails_after: u64,
    /// How many rows were given.
    pub given: Arc<AtomicU64>,
}

#[async_trait]
impl Scan for Endless {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        let given = self.given.load(Ordering::SeqCst);
        if given >= self.fails_after {
            return Err(PortError::new(ErrorKind::Unavailable, "the disk went away"));
        }
        let mut rows = Rows::new(1);
        for n in given..given + rows_max as u64 {
            push(&mut rows, START + n as i64 * 1_000_000, &[number(n as f64)], &[Flag::Good]);
        }
        self.given.fetch_add(rows_max as u64, Ordering::SeqCst);
        Ok(Some(SensorRows { sensor_id: SensorId::parse("m1").expect("an id"), rows }))
    }
}

#[async_trait]
impl Store for Endless {
    async fn prepare(&self, _: &SensorType) -> Result<(), PortError> {
        Ok(())
    }

    async fn write(&self, _: &SensorTypeId, _: &Judged, _: &dyn Judge) -> Result<Vec<Outcome>, PortError> {
        unreachable!("these tests only read")
    }

    async fn revise(&self, _: &SensorTypeId, _: &Revisions) -> Result<u64, PortError> {
        unreachable!("these tests only read")
    }

    async fn delete(&self, _: &SensorTypeId, _: &Deletion, _: Position) -> Result<u64, PortError> {
        unreachable!("these tests only read")
    }

    async fn scan(&self, _: &SensorTypeId, _: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        Ok(Box::new(self.clone()))
    }

    async fn latest(&self, _: &SensorTypeId, _: &SensorQuery) -> Result<Judged, PortError> {
        Err(PortError::new(ErrorKind::Unavailable, "the disk went away"))
    }

    async fn summaries(&self, _: &SensorTypeId, _: &SensorQuery) -> Result<Vec<SensorSummary>, PortError> {
        unreachable!("these tests ask for no summaries")
    }

    async fn buckets(&self, _: &SensorTypeId, _: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        Err(PortError::new(ErrorKind::Corrupt, "the disk lies"))
    }

    async fn expire(&self, _: &SensorTypeId, _: Timestamp) -> Result<u64, PortError> {
        unreachable!("these tests only read")
    }

    async fn remove(&self, _: &SensorTypeId) -> Result<(), PortError> {
        unreachable!("these tests only read")
    }

    async fn ready(&self) -> Result<(), PortError> {
        Ok(())
    }
}
