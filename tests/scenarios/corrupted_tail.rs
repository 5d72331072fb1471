//! A disk that lies: what was written last is cut short or garbled after a kill. The hub recovers or refuses, and invents nothing.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use harness::{Hub, Model, run_to_end, seeded};
use rand::{RngExt, rngs::StdRng};

use crate::{
    IOT_HUB, folder, launch,
    samples::{PROPERTIES, Sample, json_array},
};

/// Rounds of damage, each on a copy of its own.
const ROUNDS: usize = 12;
/// The most bytes of a file's end that are damaged.
const DAMAGE_BYTES_MAX: u64 = 4096;
/// Posts before the kill.
const POSTS: u32 = 40;
/// Readings of one post.
const BATCH: u32 = 50;
/// The most posts that so few bytes can hold: a packed reading of five random values takes more than 8 bytes.
const POSTS_LOST_MAX: usize = 10;

/// All files under a folder that are larger than nothing.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder").flatten();
    let found = entries.flat_map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => files(&entry.path()),
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => vec![entry.path()],
        _ => Vec::new(),
    });
    found.collect()
}

/// The file of a data folder that was written to last, where a hub appends.
fn newest_file(data: &Path) -> PathBuf {
    let written = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a time");
    let ours = |path: &PathBuf| !path.ends_with("address") && !path.ends_with("control.sock");
    files(data).into_iter().filter(ours).max_by_key(written).expect("a data folder has files")
}

/// Cuts the end of what was written to a file off, or writes other bytes over it; zeros behind it were set aside for more.
fn damage(path: &Path, rng: &mut StdRng) {
    let content = fs::read(path).expect("a readable file");
    let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    let bytes = rng.random_range(1..=DAMAGE_BYTES_MAX.min(end));
    let mut file = OpenOptions::new().write(true).open(path).expect("a writable file");
    if rng.random_bool(0.5) {
        file.set_len(end - bytes).expect("a file can be cut");
        return;
    }
    file.seek(SeekFrom::Start(end - bytes)).expect("a file has places");
    let garbage: Vec<u8> = (0..bytes).map(|_| rng.random()).collect();
    file.write_all(&garbage).expect("a file can be written");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder").flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy(&entry.path(), &to.join(entry.file_name())),
            kind if kind.is_file() => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy")),
            _ => (),
        }
    }
}

/// Posts readings until killed in mid-load, and answers with what may be in the folder.
async fn load_and_kill(hub: &mut Hub, rng: &mut StdRng) -> Model {
    let mut possible = Model::default();
    for post in 0..POSTS {
        let samples: Vec<Sample> = (0..BATCH).map(|n| Sample::random("emb3", post * BATCH + n, rng)).collect();
        hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await.expect(202);
        samples.iter().for_each(|sample| possible.unanswered(&sample.sensor_id, &sample.time, &sample.row));
    }
    hub.kill();
    possible
}

#[tokio::test]
async fn damaged_end_of_the_newest_file_is_recovered_or_refused() {
    let mut rng = seeded("corrupted_tail");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let possible = load_and_kill(&mut hub, &mut rng).await;
    let mut recovered = 0;
    for round in 0..ROUNDS {
        let damaged = folder();
        copy(data.path(), damaged.path());
        let victim = damaged.path().join(newest_file(data.path()).strip_prefix(data.path()).expect("inside"));
        damage(&victim, &mut rng);
        println!("round {round}: damaged {}", victim.display());
        let check = [OsStr::new("check"), OsStr::new("--data"), damaged.path().as_os_str()];
        let (status, said) = run_to_end(IOT_HUB, &check);
        assert!(!said.contains("panicked"), "check panicked: {said}");
        println!("check: {status:?}");
        let Some(hub) = launch(damaged.path()).try_start().await else { continue };
        recovered += 1;
        hub.processed("emb", 0).await;
        let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
        possible.assert_holds(&csv, PROPERTIES.len());
        let posts = (csv.lines().count() - 1) / BATCH as usize;
        assert_eq!(csv.lines().count() - 1, posts * BATCH as usize, "half a post is there");
        assert!(posts + POSTS_LOST_MAX >= POSTS as usize, "only {posts} posts are there");
        println!("recovered {posts} posts of {POSTS}");
        hub.post("/v1/readings/emb", "application/json", Sample::plain("emb9", 1, 1).json()).await.expect(202);
        hub.processed("emb", 1).await;
    }
    println!("{recovered} of {ROUNDS} recovered, the others were refused");
}
