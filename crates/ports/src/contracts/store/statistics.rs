//! Latest rows, summaries and buckets.

use std::{collections::BTreeMap, time::Duration};

use domain::{Label, Timestamp, Value};

use super::{
    super::{
        Backend, Settings,
        fixtures::{Chance, Record, at, number, property, sensor},
    },
    rows::{self, Stored},
};
use crate::{Bucket, BucketQuery, ErrorKind, SensorQuery, SensorSummary, TimeRange};

/// The newest row of each sensor, and count, first and last time, follow late rows, revisions and widening.
pub async fn latest_and_summaries_follow_the_rows<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    assert!(store.latest(&id, &SensorQuery::first(usize::MAX)).await.expect("latest").sensor_ids.is_empty());
    assert!(store.summaries(&id, &SensorQuery::first(usize::MAX)).await.expect("summaries").is_empty());
    let mut chance = Chance(11);
    for position in 0..400 {
        let second = chance.below(2_000) as i64 - 1_000;
        rows::write(&*store, &id, &[Record::of(chance.below(15), second, position, &[chance.below(3) as f64])]).await;
        if position % 20 == 0 {
            let everything = rows::everything(&*store, &id).await;
            assert_eq!(
                rows::each(&store.latest(&id, &SensorQuery::first(usize::MAX)).await.expect("latest")),
                latest_of(&everything)
            );
            assert_eq!(
                store.summaries(&id, &SensorQuery::first(usize::MAX)).await.expect("summaries"),
                summaries_of(&everything)
            );
        }
    }
}

/// Sensors are answered in pages, or those that are named; each answer is a part of the one of all.
pub async fn sensors_are_answered_by_id_and_in_pages<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let records: Vec<Record> = (0..60).map(|n| Record::of(n % 20, n as i64, n, &[n as f64])).collect();
    rows::write(&*store, &id, &records).await;
    let deletion = domain::Deletion { sensor_id: sensor(7), from: Timestamp::MIN, to: Timestamp::MAX };
    store.delete(&id, &deletion, domain::Position(60)).await.expect("deleted");
    let everything = rows::everything(&*store, &id).await;
    let (latest, summaries) = (latest_of(&everything), summaries_of(&everything));
    assert_eq!(summaries.len(), 19);
    for count_max in [1, 7, 19, 20] {
        let (mut paged, mut rows_paged) = (Vec::new(), Vec::new());
        let mut query = SensorQuery::first(count_max);
        loop {
            let page = store.summaries(&id, &query).await.expect("summaries");
            rows_paged.extend(rows::each(&store.latest(&id, &query).await.expect("latest")));
            let last = page.last().map(|summary| summary.sensor_id.clone());
            let is_last = page.len() < count_max;
            paged.extend(page);
            match last {
                Some(last) if !is_last => query = query.after(last),
                _ => break,
            }
        }
        assert_eq!((&paged, &rows_paged), (&summaries, &latest), "in pages of {count_max}");
    }
    let named = SensorQuery::of([5, 3, 7, 99, 5, 12].map(sensor).to_vec());
    let wanted = |id: &domain::SensorId| [3, 5, 12].map(sensor).contains(id);
    let expected: Vec<_> = summaries.iter().filter(|summary| wanted(&summary.sensor_id)).cloned().collect();
    assert_eq!(store.summaries(&id, &named).await.expect("summaries"), expected);
    let expected: Vec<_> = latest.iter().filter(|stored| wanted(&stored.sensor_id)).cloned().collect();
    assert_eq!(rows::each(&store.latest(&id, &named).await.expect("latest")), expected);
    let behind = SensorQuery { count_max: 1, ..named.clone() }.after(expected[0].sensor_id.clone());
    let expected: Vec<_> = expected.into_iter().skip(1).take(1).collect();
    assert_eq!(rows::each(&store.latest(&id, &behind).await.expect("latest")), expected);
}

/// The last row of each sensor of a scan.
pub(super) fn latest_of(rows: &[Stored]) -> Vec<Stored> {
    rows.chunk_by(|a, b| a.sensor_id == b.sensor_id).map(|of_sensor| of_sensor[of_sensor.len() - 1].clone()).collect()
}

/// The extent of each sensor of a scan.
pub(super) fn summaries_of(rows: &[Stored]) -> Vec<SensorSummary> {
    let of = |of_sensor: &[Stored]| SensorSummary {
        sensor_id: of_sensor[0].sensor_id.clone(),
        count: of_sensor.len() as u64,
        first: of_sensor[0].row.phenomenon_time,
        last: of_sensor[of_sensor.len() - 1].row.phenomenon_time,
    };
    rows.chunk_by(|a, b| a.sensor_id == b.sensor_id).map(of).collect()
}

/// The buckets of rows of one sensor, by one pass (Welford 1962, "Note on a method for calculating corrected sums of squares").
pub(super) fn buckets_of(rows: &[Stored], index: usize, interval: Duration) -> Vec<Bucket> {
    let mut buckets: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
    let width = interval.as_micros() as i64;
    for stored in rows {
        let Some(number) = stored.values.get(index).and_then(|value| value.as_number()) else { continue };
        let start = Timestamp::from_micros(stored.row.phenomenon_time.as_micros().div_euclid(width) * width);
        let empty = Bucket { start, count: 0, mean: 0.0, min: number, max: number, stddev: 0.0 };
        let bucket = buckets.entry(start).or_insert(empty);
        bucket.count += 1;
        let off = number - bucket.mean;
        bucket.mean += off / bucket.count as f64;
        bucket.stddev += off * (number - bucket.mean);
        bucket.min = bucket.min.min(number);
        bucket.max = bucket.max.max(number);
    }
    let of = |bucket: Bucket| Bucket { stddev: (bucket.stddev / bucket.count as f64).sqrt(), ..bucket };
    buckets.into_values().map(of).collect()
}

/// Counts, starts and extremes are the same; mean and deviation within 1e-9 of the numbers' size.
#[track_caller]
pub(super) fn assert_alike(found: &[Bucket], expected: &[Bucket], what: &impl std::fmt::Debug) {
    let exact = |bucket: &Bucket| (bucket.start, bucket.count, bucket.min.to_bits(), bucket.max.to_bits());
    let (left, right): (Vec<_>, Vec<_>) = (found.iter().map(exact).collect(), expected.iter().map(exact).collect());
    assert_eq!(left, right, "{what:?}");
    for (found, expected) in found.iter().zip(expected) {
        let near = 1e-9 * expected.min.abs().max(expected.max.abs());
        let (mean, stddev) = (found.mean - expected.mean, found.stddev - expected.stddev);
        assert!(mean.abs() <= near && stddev.abs() <= near, "{found:?} is not {expected:?} for {what:?}");
    }
}

/// Buckets are aligned to the epoch, before it too, leave out what is missing and what has no number, and keep to range and label.
pub async fn buckets_agree_with_statistics_of_the_scan<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 2).await;
    let mut chance = Chance(13);
    let mut records = Vec::new();
    for position in 0..3_000u64 {
        let micros = (chance.below(20_000_000_000) as i64) - 10_000_000_000;
        let value = |chance: &mut Chance| match chance.below(8) {
            0 => Value::MISSING,
            1 => Value::ABSENT,
            _ => number(chance.below(1_000_000) as f64 / 7_000.0 + 1_000.0 * chance.below(2) as f64),
        };
        let values = vec![value(&mut chance), value(&mut chance)];
        let time = Timestamp::from_micros(micros);
        records.push(Record { sensor_id: sensor(chance.below(2)), time, position, type_version: 1, values });
    }
    for batch in records.chunks(500) {
        rows::write(&*store, &id, batch).await;
    }
    let micros = Timestamp::from_micros;
    let ranges = [TimeRange::ALL, TimeRange { from: micros(-3_000_000_001), to: micros(4_500_000_000) }];
    for times in ranges {
        for label in [None, Some(Label::Normal), Some(Label::Anomaly)] {
            for interval in [1, 1_000_003, 60_000_000, 3_600_000_000, 86_400_000_000].map(Duration::from_micros) {
                for (index, sensor_number) in [(0, 0), (1, 1)] {
                    let query = BucketQuery {
                        sensor_id: sensor(sensor_number),
                        property: property(index),
                        times,
                        interval,
                        label,
                        buckets_max: 10_000,
                    };
                    let readings = crate::ReadingQuery {
                        sensor_ids: Some(vec![sensor(sensor_number)]),
                        times,
                        label,
                        ..crate::ReadingQuery::default()
                    };
                    let rows = rows::all(&*store, &id, &readings).await;
                    let found = store.buckets(&id, &query).await.expect("buckets");
                    assert_alike(&found, &buckets_of(&rows, index, interval), &query);
                }
            }
        }
    }
}

/// More buckets than asked for are refused, as many are not; a sensor without rows has none.
pub async fn too_many_buckets_are_rejected<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let records: Vec<Record> = (0..100).map(|index| Record::of(1, index as i64, index, &[2.5])).collect();
    rows::write(&*store, &id, &records).await;
    let query = |sensor_number, buckets_max| BucketQuery {
        sensor_id: sensor(sensor_number),
        property: property(0),
        times: TimeRange { from: at(10), to: at(60) },
        interval: Duration::from_secs(1),
        label: None,
        buckets_max,
    };
    let buckets = store.buckets(&id, &query(1, 50)).await.expect("as many as allowed");
    assert_eq!(buckets.len(), 50);
    assert_eq!(buckets[0], Bucket { start: at(10), count: 1, mean: 2.5, min: 2.5, max: 2.5, stddev: 0.0 });
    let error = store.buckets(&id, &query(1, 49)).await.expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(store.buckets(&id, &query(2, 0)).await.expect("none").is_empty());
}
