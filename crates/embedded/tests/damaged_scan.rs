//! A block that is damaged: what is stored besides can be read all the same.

use std::{path::Path, sync::Arc};

use domain::{
    Flag, Judged, Label, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType, SensorTypeId, Timestamp,
    TypeVersion, Value,
};
use embedded::{Folder, Settings};
use ports::{ErrorKind, Judge, ReadingQuery, Store, SystemClock, TimeRange};

const SENSORS: [&str; 4] = ["a", "b", "c", "d"];
const ROWS: i64 = 2_000;

struct Good;

impl Judge for Good {
    fn judge(&self, _: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        (vec![Flag::Good; values.len()], Label::Normal)
    }
}

fn sensor(id: &str) -> SensorId {
    SensorId::parse(id).expect("an id")
}

fn emb() -> SensorTypeId {
    SensorTypeId::parse("emb").expect("an id")
}

fn open(path: &Path) -> Folder {
    // Small enough that nearly everything goes into blocks.
    let settings = Settings { memtable_size_max: 16 << 10, ..Settings::default() };
    Folder::open(path, settings, Arc::new(SystemClock)).expect("it opens")
}

async fn fill(store: &dyn Store) {
    let text = r#"{"sampling_interval": "1s", "properties": [{"id": "sec", "unit": "1"}]}"#;
    let sensor_type = SensorType::first(emb(), 1, serde_json::from_str(text).expect("a definition")).expect("valid");
    assert_eq!(sensor_type.property_ids[0], PropertyId::parse("sec").expect("an id"));
    store.prepare(&sensor_type).await.expect("room");
    let mut position = 0;
    for first in (0..ROWS).step_by(100) {
        let mut judged = Judged { sensor_ids: Vec::new(), rows: Rows::new(1) };
        for id in SENSORS {
            for second in first..first + 100 {
                let row = Row {
                    phenomenon_time: Timestamp::from_micros(second * 1_000_000),
                    accepted_at: Timestamp::from_micros(second * 1_000_000),
                    position: Position(position),
                    first_position: Position(position),
                    type_version: 1,
                    label: Label::Normal,
                };
                position += 1;
                judged.sensor_ids.push(sensor(id));
                judged.rows.push(RowRef { row, values: &[Value::MISSING], flags: &[Flag::Good] });
            }
        }
        while let Err(error) = store.write(&emb(), &judged, &Good).await {
            assert!(error.is_transient(), "{error}");
        }
    }
}

/// Puts nonsense in the place of one block of a sensor.
fn damage(path: &Path, id: &str) {
    let database = fjall::Database::builder(path.join("db")).open().expect("no folder has it open");
    let blocks = database.keyspace("store-blocks", fjall::KeyspaceCreateOptions::default).expect("it is there");
    let begin = [&1_u32.to_be_bytes()[..], id.as_bytes(), &[0]].concat();
    let block = blocks.prefix(begin).nth(1).expect("a second block").key().expect("a key");
    blocks.insert(block, [0xff; 200]).expect("written");
    database.persist(fjall::PersistMode::SyncAll).expect("synced");
}

/// The sensors that a scan answers with how many rows each, and the messages of its errors.
async fn scanned(store: &dyn Store, query: &ReadingQuery) -> (Vec<(String, usize)>, Vec<String>) {
    let mut scan = store.scan(&emb(), query).await.expect("a scan");
    let (mut found, mut errors): (Vec<(String, usize)>, _) = (Vec::new(), Vec::new());
    loop {
        match scan.next(10_000).await {
            Ok(None) => return (found, errors),
            Ok(Some(part)) => match found.last_mut().filter(|(id, _)| id == part.sensor_id.as_str()) {
                Some((_, rows)) => *rows += part.rows.len(),
                None => found.push((part.sensor_id.to_string(), part.rows.len())),
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                errors.push(error.message().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn a_scan_goes_on_behind_a_block_that_is_damaged() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(place.path());
    fill(&*folder.store()).await;
    folder.close().expect("closed");
    damage(place.path(), "b");
    let folder = open(place.path());
    let whole = TimeRange { from: Timestamp::from_micros(0), to: Timestamp::from_micros(ROWS * 1_000_000) };
    for query in [ReadingQuery::default(), ReadingQuery { accepted: whole, keys_only: true, ..ReadingQuery::default() }]
    {
        let (found, errors) = scanned(&*folder.store(), &query).await;
        let of = |id: &str| found.iter().find(|(its, _)| its == id).map_or(0, |(_, rows)| *rows);
        assert_eq!(["a", "c", "d"].map(of), [ROWS as usize; 3], "{query:?}");
        assert!(of("b") < ROWS as usize);
        assert_eq!(errors, ["readings of sensor `b` can't be read"], "{query:?}");
    }
    folder.close().expect("closed");
}
