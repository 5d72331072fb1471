//! Statistics of a datastream by interval, in one pass over its rows.

use domain::{Timestamp, Value};
use ports::{Bucket, BucketQuery, ErrorKind, Order, PortError, TimeRange};

use super::{scan::read_chunk, space::Space};

/// Rows read at a time.
const ROWS_AT_ONCE: usize = 8_192;

/// Running statistics of one interval (Welford 1962: no cancellation where the values are far from 0).
struct Running {
    start: i64,
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Running {
    fn new(start: i64) -> Self {
        Self { start, count: 0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    fn add(&mut self, number: f64) {
        self.count += 1;
        let before = number - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (number - self.mean);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn finish(&self) -> Bucket {
        Bucket {
            start: Timestamp::from_micros(self.start),
            count: self.count,
            mean: self.mean,
            min: self.min,
            max: self.max,
            stddev: (self.squares / self.count as f64).max(0.0).sqrt(),
        }
    }
}

/// The buckets of a query; `property` is the index of its property.
pub(crate) fn buckets(space: &Space, query: &BucketQuery, property: usize) -> Result<Vec<Bucket>, PortError> {
    let Some(slot) = space.read().find(query.sensor_id.as_str()) else { return Ok(Vec::new()) };
    let interval = i64::try_from(query.interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let mut buckets = Vec::new();
    let mut running: Option<Running> = None;
    let mut times = query.times;
    while times.from < times.to {
        let chunk = read_chunk(space, slot, times, Order::Ascending, ROWS_AT_ONCE)?;
        times = TimeRange { from: chunk.rest.from, to: times.to };
        for row in chunk.rows.iter().filter(|row| query.label.is_none_or(|label| row.row.label == label)) {
            let Some(number) = row.values.get(property).copied().and_then(Value::as_number) else { continue };
            let time = row.row.phenomenon_time.as_micros();
            let start = time.saturating_sub(time.rem_euclid(interval));
            if running.as_ref().is_some_and(|running| running.start != start) {
                buckets.extend(running.take().map(|running| running.finish()));
                if buckets.len() >= query.buckets_max {
                    let message = format!("there are more than {} buckets", query.buckets_max);
                    return Err(PortError::new(ErrorKind::Rejected, message));
                }
            }
            running.get_or_insert_with(|| Running::new(start)).add(number);
        }
    }
    buckets.extend(running.map(|running| running.finish()));
    Ok(buckets)
}
