//! Readings as they are sent, many at a time and by column, and the deletion of a range of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{PropertyId, SensorId, Timestamp, Value};

/// Readings of one sensor type in the order they were sent, held by column.
///
/// `values` is row-major: the value of property `p` of reading `i` is `values[i * properties.len() + p]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    properties: Arc<[PropertyId]>,
    sensor_ids: Vec<SensorId>,
    times: Vec<Timestamp>,
    values: Vec<Value>,
}

/// One reading of a batch, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// The device that sent it.
    pub sensor_id: &'a SensorId,
    /// The time it speaks of.
    pub phenomenon_time: Timestamp,
    /// A value per property of the batch.
    pub values: &'a [Value],
}

impl Readings {
    /// An empty batch whose readings have these properties.
    pub fn new(properties: Arc<[PropertyId]>) -> Self {
        Self { properties, sensor_ids: Vec::new(), times: Vec::new(), values: Vec::new() }
    }

    /// The same with room for `readings` readings.
    pub fn with_capacity(properties: Arc<[PropertyId]>, readings: usize) -> Self {
        let values = Vec::with_capacity(readings * properties.len());
        Self { properties, sensor_ids: Vec::with_capacity(readings), times: Vec::with_capacity(readings), values }
    }

    /// Appends a reading.
    ///
    /// # Panics
    /// Where `values` does not hold one value per property.
    pub fn push(&mut self, sensor_id: SensorId, phenomenon_time: Timestamp, values: &[Value]) {
        assert_eq!(values.len(), self.properties.len(), "one value per property");
        self.sensor_ids.push(sensor_id);
        self.times.push(phenomenon_time);
        self.values.extend_from_slice(values);
    }

    /// The properties, in the order of each reading's values.
    pub fn properties(&self) -> &Arc<[PropertyId]> {
        &self.properties
    }

    /// The sensor of each reading.
    pub fn sensor_ids(&self) -> &[SensorId] {
        &self.sensor_ids
    }

    /// The phenomenon time of each reading.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// All values, row-major.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// How many readings there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The reading at `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> Reading<'_> {
        let width = self.properties.len();
        Reading {
            sensor_id: &self.sensor_ids[index],
            phenomenon_time: self.times[index],
            values: &self.values[index * width..(index + 1) * width],
        }
    }

    /// The readings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reading<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The columns: properties, sensor ids, times and row-major values.
    pub fn into_columns(self) -> (Arc<[PropertyId]>, Vec<SensorId>, Vec<Timestamp>, Vec<Value>) {
        (self.properties, self.sensor_ids, self.times, self.values)
    }
}

/// Takes a sensor's readings of a time range out of the store; a record in the log, so that a replay keeps them out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// The sensor whose readings go.
    pub sensor_id: SensorId,
    /// The first phenomenon time that goes.
    pub from: Timestamp,
    /// The first phenomenon time that stays again.
    pub to: Timestamp,
}

impl Deletion {
    /// Takes out all readings of a sensor, and the sensor with them where it is leaving.
    pub fn of_all(sensor_id: SensorId) -> Self {
        let (from, to) = Self::ALL;
        Self { sensor_id, from, to }
    }

    /// Says whether it is of all times.
    pub fn is_of_all(&self) -> bool {
        (self.from, self.to) == Self::ALL
    }

    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what every backend can write.
    const ALL: (Timestamp, Timestamp) =
        (Timestamp::from_micros(-62_135_596_800_000_000), Timestamp::from_micros(253_402_300_799_999_999));
}
