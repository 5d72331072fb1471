//! A block that can't be read any more, as after a bad sector: what concerns it is named and put aside, the hub and all else go on.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{Hub, run_to_end, seeded, wait_for};
use rand::{Rng, RngExt};

use crate::{
    IOT_HUB, folder, launch,
    samples::{Sample, hour_of, json_array},
};

/// Sensors, and hourly readings of each: some megabytes of blocks, so that the database writes files of them.
const SENSORS: u32 = 25;
const HOURS: u32 = 6_000;
/// Bytes that are changed.
const FLIPPED_BYTES: usize = 64;
/// How long a run may take that fails.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

fn sensor(number: u32) -> String {
    format!("emb{number}")
}

/// The largest file of blocks under a folder.
fn largest_block_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder").flatten().map(|entry| entry.path());
    let found = entries.filter_map(|path| match path.is_dir() {
        true => largest_block_file(&path),
        false => path.parent().is_some_and(|parent| parent.ends_with("blobs")).then_some(path),
    });
    found.max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
}

/// A reading whose values no codec makes small.
fn noise(sensor_id: &str, hour: u32, rng: &mut impl Rng) -> Sample {
    let row = [300.0, 7.0, 20.0, 10.0, 900.0].map(|base| Some((base + rng.random::<f64>()).to_string()));
    Sample { sensor_id: sensor_id.to_owned(), time: hour_of(hour), row: row.to_vec() }
}

fn flip_bytes_in_the_middle(path: &Path) {
    let content = fs::read(path).expect("a readable file");
    let middle = content.len() / 2;
    let flipped: Vec<u8> = content[middle..middle + FLIPPED_BYTES].iter().map(|byte| !byte).collect();
    let mut file = OpenOptions::new().write(true).open(path).expect("a writable file");
    file.seek(SeekFrom::Start(middle as u64)).expect("a place in it");
    file.write_all(&flipped).expect("a written file");
}

/// A hub whose readings are in blocks, of which one is damaged; and the sensor whose block that is.
async fn with_damaged_block(data: &Path) -> (Hub, String) {
    let mut rng = seeded("damaged_block");
    let mut hub = launch(data).start().await;
    for number in 0..SENSORS {
        let samples: Vec<Sample> = (0..HOURS).map(|hour| noise(&sensor(number), hour, &mut rng)).collect();
        hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await.expect(202);
    }
    // A deletion has all that is in memory folded into blocks.
    let range = format!("from={}&to={}", hour_of(0), hour_of(1));
    hub.delete(&format!("/v1/readings/emb?sensor_id=emb0&{range}")).await.expect(202);
    hub.processed("emb", u64::from(SENSORS * HOURS) + 1).await;
    let is_written = async || largest_block_file(data).ok_or_else(|| "no file of blocks yet".to_owned());
    let victim = wait_for("a file of blocks", RUN_TIMEOUT, is_written).await;
    hub.kill();
    flip_bytes_in_the_middle(&victim);
    hub.restart().await;
    let mut hit = Vec::new();
    for number in 0..SENSORS {
        let answer = hub.get(&format!("/v1/readings/emb?sensor_id={}&limit=10000", sensor(number))).await;
        if answer.status == 500 {
            hit.push(sensor(number));
        }
    }
    assert_eq!(hit.len(), 1, "one block is damaged");
    (hub, hit.remove(0))
}

#[tokio::test]
async fn damaged_block_ends_nothing_and_can_be_given_up() {
    let data = folder();
    let (mut hub, hit) = with_damaged_block(data.path()).await;
    hub.get("/health/ready").await.expect(200);

    // A late reading between any two of the sensor: those that fall into the block become dead letters with the reason.
    let before = hub.processed("emb", 0).await.appended("emb");
    let late: Vec<Sample> = (0..HOURS).map(|hour| Sample::plain(&hit, hour, hour)).collect();
    let late: Vec<Sample> =
        late.into_iter().map(|sample| Sample { time: sample.time.replace(":00:00Z", ":30:00Z"), ..sample }).collect();
    hub.post("/v1/readings/emb", "application/json", json_array(&late)).await.expect(202);
    let metrics = hub.processed("emb", before + u64::from(HOURS)).await;
    let dead = metrics.outcome("emb", "dead_lettered");
    assert!((1..=512).contains(&dead), "{dead} dead letters");
    let letters = hub.get("/v1/dead-letters").await.expect(200).json();
    let reason = letters["items"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&format!("a block of sensor `{hit}`")), "{letters}");

    // Everything else goes on.
    hub.get("/health/ready").await.expect(200);
    hub.post(
        "/v1/readings/power",
        "application/json",
        r#"{"sensor_id":"p1","phenomenon_time":"2020-01-01T00:00:00Z","power":1}"#,
    )
    .await
    .expect(202);
    hub.processed("power", 1).await;

    // What the check says lets the hub go on without the block; what came late is taken up again.
    hub.stop().await;
    let check = [OsStr::new("check"), OsStr::new("--data"), data.path().as_os_str()];
    let (status, said) = run_to_end(IOT_HUB, &check);
    assert_eq!(status, Some(1), "{said}");
    let way = said.split("`DELETE ").nth(1).and_then(|rest| rest.split('`').next()).expect("a way to go on");
    hub.restart().await;
    hub.delete(way).await.expect(202);
    let appended = hub.processed("emb", before + u64::from(HOURS) + 1).await.appended("emb");
    hub.get(&format!("/v1/readings/emb?sensor_id={hit}&limit=10000")).await.expect(200);
    let letter = &letters["items"][0]["id"];
    hub.post(&format!("/v1/dead-letters/{letter}/replay"), "application/json", "").await.expect(202);
    let metrics = hub.processed("emb", appended + 1).await;
    assert_eq!(metrics.outcome("emb", "dead_lettered"), dead);
    hub.stop().await;
    let (status, said) = run_to_end(IOT_HUB, &check);
    assert_eq!(status, Some(0), "{said}");
}
