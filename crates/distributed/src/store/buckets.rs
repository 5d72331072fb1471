//! Statistics of a datastream by interval: by an aggregation where that is exact enough, else from the rows.
//!
//! Elasticsearch computes a variance from the sums of the numbers and of their squares. Both sums are compensated, so that their error is
//! a few times 2^-53 of the sums; of numbers up to `m` in size the variance is then off by less than 1e-15 m², and a deviation of at
//! least 1e-5 m by less than 1e-10 m. Smaller ones, but for 0, are computed from the rows, by Welford's method.

use std::sync::Arc;

use domain::{SensorId, Timestamp};
use ports::{Bucket, BucketQuery, ErrorKind, PortError, ReadingQuery, Scan, TimeRange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{client::Client, scan::ElasticScan, search, settings::Settings, types::Known};

/// Buckets answered by one search.
const BUCKETS_AT_ONCE: usize = 10_000;
/// A deviation below this part of the greatest number is lost in the rounding of squares.
const DEVIATION_MIN: f64 = 1e-5;
/// Intervals and times up to this many microseconds are exact in the floats that Elasticsearch computes buckets with.
const EXACT_MAX: i64 = 1 << 52;
/// Rows read at a time.
const ROWS_AT_ONCE: usize = 8_192;

#[derive(Deserialize)]
struct BucketsAnswer {
    #[serde(default)]
    aggregations: Option<ByTime>,
}

#[derive(Deserialize)]
struct ByTime {
    times: Times,
}

#[derive(Deserialize)]
struct Times {
    #[serde(default)]
    after_key: Option<Value>,
    #[serde(default)]
    buckets: Vec<AtTime>,
}

#[derive(Deserialize)]
struct AtTime {
    key: Key,
    numbers: Numbers,
}

#[derive(Deserialize)]
struct Key {
    start: f64,
}

/// What does not fit a float comes as a text.
#[derive(Deserialize)]
struct Numbers {
    count: u64,
    min: Value,
    max: Value,
    avg: Value,
    std_deviation: Value,
}

/// The buckets of a query; `property` is the index of its property. What was written before has been refreshed.
pub(crate) async fn buckets(
    client: &Client,
    known: &Arc<Known>,
    settings: &Settings,
    query: &BucketQuery,
    property: usize,
) -> Result<Vec<Bucket>, PortError> {
    let micros = query.interval.as_micros();
    if micros == 0 {
        let message = format!("a bucket of `{:?}`: at least a microsecond", query.interval);
        return Err(PortError::new(ErrorKind::Rejected, message));
    }
    let interval = i64::try_from(micros).unwrap_or(i64::MAX);
    let rows = Numbered { client, known, settings, query, property, interval };
    if query.times.from >= query.times.to {
        return Ok(Vec::new());
    }
    if interval > EXACT_MAX {
        return rows.buckets(query.times).await;
    }
    let mut buckets = Vec::new();
    let mut after = None;
    loop {
        let (some, next) = aggregated(client, known, query, interval, after).await?;
        let is_last = some.len() < BUCKETS_AT_ONCE || next.is_none();
        buckets.extend(some);
        if buckets.len() > query.buckets_max {
            return Err(too_many(query));
        }
        if is_last {
            break;
        }
        after = next;
    }
    rows.mend(&mut buckets).await?;
    Ok(buckets)
}

fn too_many(query: &BucketQuery) -> PortError {
    PortError::new(ErrorKind::Rejected, format!("there are more than `{}` buckets", query.buckets_max))
}

/// One page of buckets, and behind which key the next one begins.
async fn aggregated(
    client: &Client,
    known: &Known,
    query: &BucketQuery,
    interval: i64,
    after: Option<Value>,
) -> Result<(Vec<Bucket>, Option<Value>), PortError> {
    let doing = "computing buckets";
    let mut filters =
        vec![json!({"term": {"sensor_id": query.sensor_id}}), json!({"exists": {"field": query.property}})];
    filters.extend(search::range("phenomenon_time", query.times));
    filters.extend(query.label.map(search::label));
    let start = json!({"start": {"histogram": {"field": "phenomenon_time", "interval": interval}}});
    let size = BUCKETS_AT_ONCE.min(query.buckets_max.saturating_add(1));
    let mut times = json!({"size": size, "sources": [start]});
    if let Some(after) = after {
        times["after"] = after;
    }
    let numbers = json!({"numbers": {"extended_stats": {"field": query.property}}});
    let body = json!({
        "size": 0,
        "track_total_hits": false,
        "query": {"bool": {"filter": filters}},
        "aggs": {"times": {"composite": times, "aggs": numbers}},
    });
    let wanted =
        ["count", "min", "max", "avg", "std_deviation"].map(|its| format!("aggregations.times.buckets.numbers.{its}"));
    let filter =
        format!("&filter_path=aggregations.times.after_key,aggregations.times.buckets.key,{}", wanted.join(","));
    let answer = search::search(client, &known.pattern(), &filter, &body).await;
    let answer = answer.map_err(|fault| fault.while_doing(doing))?;
    let answer: BucketsAnswer = answer.json(doing)?;
    let Some(ByTime { times }) = answer.aggregations else { return Ok((Vec::new(), None)) };
    Ok((times.buckets.iter().map(bucket).collect(), times.after_key))
}

/// A number of an answer; NaN where it does not fit a float, so that the rows are asked.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn bucket(at: &AtTime) -> Bucket {
    let (min, max) = (number(&at.numbers.min), number(&at.numbers.max));
    let start = search::time_of(at.key.start);
    let (mean, stddev) = match min == max {
        true => (min, 0.0),
        false => (number(&at.numbers.avg), number(&at.numbers.std_deviation)),
    };
    Bucket { start, count: at.numbers.count, mean, min, max, stddev }
}

/// Says whether a bucket that was aggregated is within the precision that is promised.
fn is_exact(bucket: &Bucket) -> bool {
    let size = bucket.min.abs().max(bucket.max.abs());
    bucket.min == bucket.max
        || (bucket.mean.is_finite() && bucket.stddev.is_finite() && bucket.stddev >= DEVIATION_MIN * size)
}

/// The numbers of a query, row by row.
struct Numbered<'a> {
    client: &'a Client,
    known: &'a Arc<Known>,
    settings: &'a Settings,
    query: &'a BucketQuery,
    property: usize,
    interval: i64,
}

impl Numbered<'_> {
    /// Computes the buckets anew that are not exact, neighbours together.
    async fn mend(&self, buckets: &mut [Bucket]) -> Result<(), PortError> {
        let mut index = 0;
        while index < buckets.len() {
            let len = buckets[index..].iter().take_while(|bucket| !is_exact(bucket)).count();
            if let (Some(first), Some(last)) = (buckets.get(index), buckets.get((index + len).wrapping_sub(1)))
                && len > 0
            {
                let to = Timestamp::from_micros(last.start.as_micros().saturating_add(self.interval));
                let wanted = self.query.times;
                let times = TimeRange { from: first.start.max(wanted.from), to: to.min(wanted.to) };
                // Rows may have come or gone meanwhile: only buckets that still are there are mended.
                for mended in self.buckets(times).await? {
                    let same = buckets.binary_search_by_key(&mended.start, |bucket| bucket.start);
                    same.into_iter().for_each(|index| buckets[index] = mended);
                }
            }
            index += len.max(1);
        }
        Ok(())
    }

    /// Buckets of a range of time, computed here.
    async fn buckets(&self, times: TimeRange) -> Result<Vec<Bucket>, PortError> {
        let sensor_ids: Option<Vec<SensorId>> = Some(vec![self.query.sensor_id.clone()]);
        let query = ReadingQuery { sensor_ids, times, label: self.query.label, ..ReadingQuery::default() };
        let mut scan = ElasticScan::open(self.client, Arc::clone(self.known), &query, self.settings);
        let mut buckets = Vec::new();
        let mut running: Option<Running> = None;
        while let Some(chunk) = scan.next(ROWS_AT_ONCE).await? {
            for row in chunk.rows.iter() {
                let Some(number) = row.values.get(self.property).and_then(|value| value.as_number()) else { continue };
                let time = row.row.phenomenon_time.as_micros();
                let start = time.saturating_sub(time.rem_euclid(self.interval));
                if running.as_ref().is_some_and(|running| running.start != start) {
                    buckets.extend(running.take().map(Running::finish));
                    if buckets.len() >= self.query.buckets_max {
                        return Err(too_many(self.query));
                    }
                }
                running.get_or_insert_with(|| Running::new(start)).add(number);
            }
        }
        buckets.extend(running.map(Running::finish));
        if buckets.len() > self.query.buckets_max {
            return Err(too_many(self.query));
        }
        Ok(buckets)
    }
}

/// Running statistics of one interval (Welford 1962, "Note on a method for calculating corrected sums of squares").
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

    fn finish(self) -> Bucket {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_lost_in_rounding_are_known() {
        let bucket = |min: f64, max: f64, stddev: f64| Bucket {
            start: Timestamp::from_micros(0),
            count: 2,
            mean: min.midpoint(max),
            min,
            max,
            stddev,
        };
        assert!(is_exact(&bucket(0.0, 10.0, 3.0)));
        assert!(is_exact(&bucket(1e9, 1e9, 0.0)), "all numbers are one");
        assert!(!is_exact(&bucket(1e9, 1e9 + 1.0, 0.5)), "below 1e-5 of the numbers");
        assert!(!is_exact(&bucket(1e9, 1e9 + 1.0, f64::NAN)));
    }
}
