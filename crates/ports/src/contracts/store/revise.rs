//! Revisions: other flags for rows that are there.

use domain::{Deletion, Flag, Label, LabelRule, Position};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{Record, at, sensor, sensor_type, unique_type},
    },
    rows,
};
use crate::{ErrorKind, Outcome, ReadingQuery, Revisions, SensorQuery};

/// Revisions of rows of sensors and seconds, all with the same flags and version.
fn revisions(identities: &[(u64, i64)], type_version: u32, flags: &[Flag]) -> Revisions {
    let mut revisions = Revisions { width: flags.len(), ..Revisions::default() };
    for (sensor_number, second) in identities {
        let label = LabelRule::default().label(flags);
        revisions.push((sensor(*sensor_number), at(*second)), (type_version, label), flags);
    }
    revisions
}

/// Flags, version and label of a row become what is given, wherever the row is; all else stays. Done again, it changes nothing.
pub async fn a_revision_changes_flags_and_version_alone<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let id = rows::prepare(&*backend.store(), 2).await;
    let records: Vec<Record> =
        (0..2_000).map(|index| Record::of(index % 2, index as i64 / 2, index, &[1.0, 2.0])).collect();
    let mut expected = rows::expected(&records, &ReadingQuery::default());
    // Rows in memory and on disk alike.
    rows::write(&*backend.store(), &id, &records[..1_000]).await;
    backend.reopen(Ending::Closed).await;
    let store = backend.store();
    store.prepare(&sensor_type(&id, 1, 2)).await.expect("the type again");
    rows::write(&*store, &id, &records[1_000..]).await;

    let revised = [(0, 3), (1, 999), (0, 4), (1, 0)];
    let flags = [Flag::Suspect, Flag::Fail];
    for stored in &mut expected {
        if revised
            .iter()
            .any(|(number, second)| (&stored.sensor_id, stored.row.phenomenon_time) == (&sensor(*number), at(*second)))
        {
            (stored.row.type_version, stored.row.label, stored.flags) = (7, Label::Anomaly, flags.to_vec());
        }
    }
    let given = revisions(&revised, 7, &flags);
    assert_eq!(store.revise(&id, &given).await.expect("revised"), 4);
    assert_eq!(store.revise(&id, &given).await.expect("revised"), 0, "the same again");
    assert_eq!(rows::everything(&*store, &id).await, expected);
    let anomalies = ReadingQuery { label: Some(Label::Anomaly), ..ReadingQuery::default() };
    assert_eq!(rows::all(&*store, &id, &anomalies).await.len(), 4);
    let latest = rows::each(&store.latest(&id, &SensorQuery::first(usize::MAX)).await.expect("the newest"));
    assert_eq!(latest[1].flags, flags, "the newest row of sensor 1 was revised");

    // The version alone is a change as well, and of two revisions of one row the later counts.
    let mut twice = revisions(&[(0, 3), (0, 3)], 8, &flags);
    twice.flags[..2].fill(Flag::Good);
    assert_eq!(store.revise(&id, &twice).await.expect("revised"), 1);
    // An older version does not take a row back.
    let late = revisions(&[(0, 3)], 7, &[Flag::Good, Flag::Good]);
    assert_eq!(store.revise(&id, &late).await.expect("nothing"), 0);
    let row = rows::everything(&*store, &id).await.into_iter().find(|stored| stored.row.phenomenon_time == at(3));
    assert_eq!(row.map(|row| (row.row.type_version, row.flags)), Some((8, flags.to_vec())));
    drop(store);
    backend.reopen(Ending::Closed).await;
    assert_eq!(rows::all(&*backend.store(), &id, &anomalies).await.len(), 4, "after it was opened again");
}

/// A row that was never written, or is gone, is left out, the others are revised; a type must be prepared.
pub async fn rows_that_are_not_there_are_not_revised<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    rows::write(&*store, &id, &[Record::of(1, 1, 0, &[1.0]), Record::of(1, 2, 1, &[1.0])]).await;
    let deletion = Deletion { sensor_id: sensor(1), from: at(1), to: at(2) };
    assert_eq!(store.delete(&id, &deletion, Position(2)).await.expect("deleted"), 1);
    let given = revisions(&[(1, 1), (1, 2), (1, 3), (2, 1)], 1, &[Flag::Suspect]);
    assert_eq!(store.revise(&id, &given).await.expect("revised"), 1);
    let stored = rows::everything(&*store, &id).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].flags, [Flag::Suspect]);
    assert_eq!(store.revise(&id, &Revisions::default()).await.expect("nothing"), 0);
    let error = store.revise(&unique_type(), &given).await.expect_err("not prepared");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// The record that made a row, written again after a crash, leaves the flags that the row got since.
pub async fn a_record_written_again_does_not_undo_a_revision<B: Backend>() {
    for ending in Ending::ALL {
        let mut backend = B::start(Settings::default()).await;
        let id = rows::prepare(&*backend.store(), 1).await;
        let records = [Record::of(1, 1, 0, &[1.0]), Record::of(1, 2, 1, &[1.0]), Record::of(1, 1, 2, &[3.0])];
        rows::write(&*backend.store(), &id, &records).await;
        let given = revisions(&[(1, 1), (1, 2)], 1, &[Flag::Suspect]);
        assert_eq!(backend.store().revise(&id, &given).await.expect("revised"), 2);
        backend.reopen(ending).await;
        let store = backend.store();
        store.prepare(&sensor_type(&id, 1, 1)).await.expect("the type again");
        // Whatever of it a crash has kept.
        let revised = rows::everything(&*store, &id).await;
        rows::write(&*store, &id, &records).await;
        store.revise(&id, &given).await.expect("revised");
        let again = rows::write(&*store, &id, &records).await;
        assert_eq!(again, [Outcome::Stored, Outcome::Stored, Outcome::Revised], "{ending:?}");
        let stored = rows::everything(&*store, &id).await;
        assert!(stored.iter().all(|stored| stored.flags == [Flag::Suspect]), "{ending:?}, {revised:?}");
        assert_eq!(stored.len(), 2);
    }
}
