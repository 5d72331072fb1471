//! Blocks that can't be read any more: each concerns the rows whose place it is, and nothing else.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::{
    Deletion, Flag, Judged, Label, LabelRule, ObservedProperty, Position, PropertyId, Row, RowRef, Rows, SensorId,
    SensorType, SensorTypeDraft, SensorTypeId, Timestamp, Value,
};
use embedded::{Folder, Settings};
use ports::{ErrorKind, Judge, ManualClock, Outcome, ReadingQuery, Store};

/// Sensors and rows of each: some megabytes of blocks, so that the database writes files of them.
const SENSORS: usize = 60;
const ROWS: i64 = 8_000;
/// Bytes that are changed, as by a bad sector.
const FLIPPED_BYTES: usize = 64;

struct Good;

impl Judge for Good {
    fn judge(&self, _type_version: u32, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

fn sensor(number: usize) -> SensorId {
    SensorId::parse(&format!("s{number:02}")).expect("an id")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_486_566_000_000_000 + second * 1_000_000)
}

fn sensor_type() -> SensorType {
    let property = ObservedProperty {
        id: PropertyId::parse("p").expect("an id"),
        name: String::new(),
        unit: "1".to_owned(),
        gross_range: None,
        required: false,
        qc: Default::default(),
        detection: Default::default(),
        resolution: None,
    };
    let definition = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: vec![property],
        csv: None,
        detection: Default::default(),
    };
    SensorType::assemble(SensorTypeId::parse("t").expect("an id"), 1, 1, definition)
}

/// Rows of a sensor whose values no codec makes small.
fn rows(sensor_id: &SensorId, seconds: impl Iterator<Item = i64>, position: u64) -> Judged {
    let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::new(1) };
    for (second, position) in seconds.zip(position..) {
        let row = Row {
            phenomenon_time: at(second),
            accepted_at: at(0),
            position: Position(position),
            first_position: Position(position),
            type_version: 1,
            label: Label::Normal,
        };
        let value = Value::number((second as f64 + position as f64).sin()).expect("finite");
        judged.sensor_ids.push(sensor_id.clone());
        judged.rows.push(RowRef { row, values: &[value], flags: &[Flag::Good] });
    }
    judged
}

fn open(path: &Path) -> Folder {
    let settings = Settings { memtable_size_max: 256 << 10, ..Settings::default() };
    Folder::open(path, settings, Arc::new(ManualClock::default())).expect("the folder opens")
}

/// All files in the folders of that name under a folder, the largest first.
fn files_in(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_in(&path, name));
        } else if path.parent().is_some_and(|parent| parent.ends_with(name)) {
            found.push(path);
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).expect("a file").len()));
    found
}

fn flip(path: &Path) {
    let middle = fs::metadata(path).expect("a file").len() / 2;
    let bytes = fs::read(path).expect("a readable file");
    let flipped: Vec<u8> = bytes[middle as usize..].iter().take(FLIPPED_BYTES).map(|byte| !byte).collect();
    let mut file = OpenOptions::new().write(true).open(path).expect("a writable file");
    file.seek(SeekFrom::Start(middle)).expect("a place in it");
    file.write_all(&flipped).expect("a written file");
}

/// The times of a sensor's rows; an error where one of its blocks can't be read.
async fn times(store: &dyn Store, id: &SensorTypeId, sensor_id: &SensorId) -> Result<Vec<Timestamp>, ErrorKind> {
    let query = ReadingQuery { sensor_ids: Some(vec![sensor_id.clone()]), ..ReadingQuery::default() };
    let mut scan = store.scan(id, &query).await.map_err(|error| error.kind())?;
    let mut times = Vec::new();
    while let Some(part) = scan.next(1_000).await.map_err(|error| error.kind())? {
        times.extend_from_slice(part.rows.times());
    }
    Ok(times)
}

/// A folder with one block that can't be read, and whose it is.
async fn damaged() -> (tempfile::TempDir, SensorId) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let (folder, sensor_type) = (open(place.path()), sensor_type());
    let store = folder.store();
    store.prepare(&sensor_type).await.expect("prepared");
    for number in 0..SENSORS {
        // Every other second: there is room between the rows.
        let judged = rows(&sensor(number), (0..ROWS).map(|n| 2 * n), number as u64 * ROWS as u64);
        store.write(&sensor_type.id, &judged, &Good).await.expect("written");
    }
    drop(store);
    folder.close().expect("it closes");
    flip(files_in(place.path(), "blobs").first().expect("some megabytes make a file of blocks"));
    let folder = open(place.path());
    let store = folder.store();
    let mut hit = Vec::new();
    for number in 0..SENSORS {
        match times(&*store, &sensor_type.id, &sensor(number)).await {
            Ok(times) => assert_eq!(times.len(), ROWS as usize),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Corrupt);
                hit.push(sensor(number));
            }
        }
    }
    assert_eq!(hit.len(), 1, "one block is damaged");
    drop(store);
    folder.close().expect("it closes");
    (place, hit.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn block_that_can_not_be_read_concerns_its_own_rows_alone_and_can_be_deleted() {
    let (place, hit) = damaged().await;
    let report = embedded::check(place.path(), &mut |_| {}).expect("the folder can be checked");
    let named = report.faults.iter().filter(|fault| fault.contains(hit.as_str()) && fault.contains("the block at"));
    let named: Vec<&String> = named.collect();
    assert_eq!(named.len(), 1, "{:?}", report.faults);
    let id = sensor_type().id;
    let folder = open(place.path());
    let store = folder.store();

    // A late row between any two of the sensor: those that fall into the block can't be stored, the others can.
    let late = rows(&hit, (0..ROWS).map(|n| 2 * n + 1), 1_000_000);
    let outcomes = store.write(&id, &late, &Good).await.expect("the write goes on");
    let rejected: Vec<usize> = (0..outcomes.len()).filter(|n| outcomes[*n] != Outcome::Stored).collect();
    assert!(!rejected.is_empty() && rejected.len() <= 512, "{} rows were rejected", rejected.len());
    let Outcome::Rejected(reason) = &outcomes[rejected[0]] else { panic!("{:?}", outcomes[rejected[0]]) };
    assert!(reason.contains(&format!("block of sensor `{hit}`")), "{reason}");
    let newer = rows(&hit, 2 * ROWS..2 * ROWS + 100, 2_000_000);
    assert!(store.write(&id, &newer, &Good).await.expect("written").iter().all(|one| *one == Outcome::Stored));

    // A deletion that takes a part of the block takes all else that it names, and says what it could not.
    let (from, to) = (at(2 * rejected[0] as i64), at(2 * rejected[rejected.len() - 1] as i64 + 2));
    let middle = at(rejected[0] as i64 + rejected[rejected.len() - 1] as i64);
    let part = Deletion { sensor_id: hit.clone(), from: Timestamp::MIN, to: middle };
    let error = store.delete(&id, &part, Position(3_000_000)).await.expect_err("a block can't be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(times(&*store, &id, &hit).await, Err(ErrorKind::Corrupt));
    store.ready().await.expect("the store takes writes");

    // The one that the check names takes all of it, unread.
    let time = |name: &str| named[0].split(name).nth(1).and_then(|rest| rest.split(['&', '`']).next());
    let time =
        |name: &str| time(name).and_then(|text| Timestamp::parse(text).ok()).expect("the check says what to delete");
    let whole = Deletion { sensor_id: hit.clone(), from: time("&from="), to: time("&to=") };
    assert_eq!((whole.from, whole.to), (from, to));
    store.delete(&id, &whole, Position(3_000_001)).await.expect("all of the block goes");
    let left = times(&*store, &id, &hit).await.expect("what is left can be read");
    assert!(left.iter().all(|time| *time >= to), "the rest was deleted before");
    assert!(left.contains(&at(2 * ROWS + 99)));
    let summaries = store.summaries(&id).await.expect("summaries");
    let summary = summaries.iter().find(|summary| summary.sensor_id == hit).expect("it has rows");
    assert_eq!((summary.count, summary.first), (left.len() as u64, left[0]));
    drop(store);
    folder.close().expect("it closes");
    let report = embedded::check(place.path(), &mut |_| {}).expect("the folder can be checked");
    assert_eq!(report.faults, Vec::<String>::new());
}
