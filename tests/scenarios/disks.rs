//! Disks that are full, or that can't be written to.

use std::{fs, time::Duration};

use harness::{Model, SmallDisk, can_mount, run_to_end, wait_for};

use crate::{
    IOT_HUB, folder, launch,
    samples::{PROPERTIES, Sample, json_array},
};

/// Size of a disk that fills up soon.
const SMALL: u64 = 160 << 20;
/// What else lies on it, to be removed later.
const BALLAST: usize = 48 << 20;

#[tokio::test]
async fn full_disk_is_told_and_nothing_accepted_is_lost() {
    if !can_mount("full_disk") {
        return;
    }
    let disk = SmallDisk::mount(SMALL);
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; BALLAST]).expect("room for the ballast");
    let mut hub = launch(&disk.path().join("data")).key("DATA__DISK_RESERVE", "48MiB").start().await;
    let mut model = Model::default();
    let mut refused = false;
    for batch in 0.. {
        let sensor = format!("emb{batch}");
        let samples: Vec<Sample> = (0..20_000).map(|hour| Sample::plain(&sensor, hour, hour)).collect();
        let answer = hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await;
        if answer.status == 507 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
            refused = true;
            break;
        }
        answer.expect(202);
        samples.iter().for_each(|sample| model.accepted(&sample.sensor_id, &sample.time, &sample.row));
        if model.certain() > 10_000_000 {
            break;
        }
    }
    assert!(refused, "the disk was never full");
    let ready = hub.get("/health/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());

    fs::remove_file(&ballast).expect("the ballast is there");
    let one = [Sample::plain("one", 1, 1)];
    wait_for("accepting again", Duration::from_secs(30), async || {
        let answer = hub.post("/v1/readings/emb", "application/json", json_array(&one)).await;
        if answer.status == 202 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
    })
    .await;
    model.accepted("one", &one[0].time, &one[0].row);
    hub.processed("emb", model.certain() as u64).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    model.assert_holds(&csv, PROPERTIES.len());
    hub.kill();
    hub.restart().await;
    hub.processed("emb", model.certain() as u64).await;
    assert_eq!(hub.export("emb", "csv").await, csv.into_bytes());
}

#[tokio::test]
async fn read_only_folder_is_refused_by_name() {
    if !can_mount("read_only_folder") {
        return;
    }
    let disk = SmallDisk::mount(SMALL);
    let data = disk.path().join("data");
    let mut hub = launch(&data).key("DATA__DISK_RESERVE", "16MiB").start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    hub.stop().await;
    disk.set_read_only(true);
    let (status, said) = run_to_end(IOT_HUB, &["serve".as_ref(), "--data".as_ref(), data.as_ref()]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(data.to_str().expect("a text")) && !said.contains("panicked"), "{said}");
    disk.set_read_only(false);
    hub.restart().await;
    hub.processed("emb", 1).await;
}

#[tokio::test]
async fn hub_starts_below_the_reserve_and_answers_queries_but_takes_no_reading() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    hub.processed("emb", 1).await;
    hub.kill();
    let hub = launch(data.path()).key("DATA__DISK_RESERVE", "1TiB").start().await;
    let answer = hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 2, 1).json()).await;
    assert_eq!(answer.expect(507).json()["status"], 507);
    assert_eq!(hub.processed("emb", 1).await.appended("emb"), 1);
    assert_eq!(hub.export("emb", "csv").await.iter().filter(|byte| **byte == b'\n').count(), 2);
}
