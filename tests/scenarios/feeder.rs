//! The feeder's program against a hub, and the feeder of the paper that this hub descends from.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use harness::{feeder_binary, wait_for};

use crate::{folder, launch};

/// Lines of the file to replay.
const LINES: usize = 600;

/// Some weeks of a borehole, in its CSV dialect.
fn lines() -> String {
    let mut text = String::new();
    for line in 0..LINES {
        let (day, hour) = (line / 24, line % 24);
        let (month, day) = (day / 28 + 1, day % 28 + 1);
        writeln!(text, "2017-{month:02}-{day:02},{hour:02}:00:00,{},7.34,27.24,11.3,885", 800 + line % 100)
            .expect("a string takes all");
    }
    text
}

fn replay(feeder: &Path, hub: &str, folder: &Path) -> Child {
    let mut command = Command::new(feeder);
    command.args(["replay", "--sensor", "emb3", "--hub", hub, "--speed", "300000x"]).arg(folder.join("emb3.csv"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the feeder starts")
}

#[tokio::test]
async fn feeder_killed_in_the_middle_resumes_without_losing_or_doubling_a_line() {
    let feeder = feeder_binary();
    let (data, files) = (folder(), folder());
    fs::write(files.path().join("emb3.csv"), lines()).expect("a file");
    let hub = launch(data.path()).start().await;
    let url = hub.url("");
    let mut process = replay(&feeder, &url, files.path());
    hub.processed_some("emb", 50).await;
    process.kill().expect("it was started here");
    process.wait().expect("it was started here");
    let before = hub.metrics().await.appended("emb");
    assert!(before < LINES as u64, "it was done before it was killed");

    let mut process = replay(&feeder, &url, files.path());
    let status = wait_for("the end of the replay", Duration::from_secs(60), async || {
        process.try_wait().expect("it was started here").ok_or_else(|| "running".to_owned())
    })
    .await;
    assert!(status.success());
    let metrics = hub.processed("emb", LINES as u64).await;
    assert_eq!(metrics.outcome("emb", "stored"), LINES as u64);
    assert!(metrics.appended("emb") < LINES as u64 + before, "it began again instead of resuming");
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    assert_eq!(csv.lines().count(), LINES + 1);
}

#[tokio::test]
async fn feeder_of_the_paper_works_unmodified() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let bodies = [
        ("application/x-www-form-urlencoded", "emb3,2017-02-08,15:00:00,904,7.34,27.24,11.3,885"),
        ("text/plain", "emb3,2017-02-08,16:00:00,868,7.34,27.24,11.3,(na)\r\n"),
        ("application/json", "emb2,2017-02-08,15:00:00,904,7.34,27.24,11.3,885\n"),
    ];
    for (media_type, body) in bodies {
        hub.post("/emb", media_type, body).await.expect(202);
    }
    hub.processed("emb", 3).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[1].starts_with("emb3,2017-02-08T15:00:00Z,904,7.34,27.24,11.3,885,normal"), "{csv}");
    assert!(rows[2].starts_with("emb3,2017-02-08T16:00:00Z,868,7.34,27.24,11.3,,anomaly"), "{csv}");
}
