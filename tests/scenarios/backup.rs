//! Copies of a data folder, made while the hub is at work.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use harness::{Model, run_to_end};

use crate::{
    IOT_HUB, folder, launch,
    samples::{PROPERTIES, Sample, json_array},
};

fn backup(data: &Path, to: &Path) -> (Option<i32>, String) {
    let arguments = ["backup".as_ref(), "--data".as_ref(), data.as_os_str(), "--to".as_ref(), to.as_os_str()];
    run_to_end(IOT_HUB, &arguments)
}

fn check(data: &Path) -> (Option<i32>, String) {
    run_to_end(IOT_HUB, &[OsStr::new("check"), OsStr::new("--data"), data.as_os_str()])
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_made_under_load_holds_all_that_was_accepted_before() {
    let (data, targets) = (folder(), folder());
    let to = targets.path().join("new/copy");
    let hub = launch(data.path()).start().await;
    let mut model = Model::default();
    for batch in 0..20 {
        let samples: Vec<Sample> = (0..500).map(|n| Sample::plain("emb3", batch * 500 + n, n)).collect();
        hub.post("/v1/readings/emb", "application/json", json_array(&samples)).await.expect(202);
        samples.iter().for_each(|sample| model.accepted(&sample.sensor_id, &sample.time, &sample.row));
    }
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (url, done) = (hub.url("/v1/readings/emb"), Arc::clone(&done));
        tokio::spawn(async move {
            let http = reqwest::Client::builder().no_proxy().build().expect("a client needs nothing");
            let mut model = Model::default();
            for batch in 0.. {
                let samples: Vec<Sample> = (0..100).map(|n| Sample::plain("emb4", batch * 100 + n, n)).collect();
                samples.iter().for_each(|sample| model.unanswered(&sample.sensor_id, &sample.time, &sample.row));
                let request = http.post(&url).header("content-type", "application/json").body(json_array(&samples));
                assert_eq!(request.send().await.expect("an answer").status(), 202);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            model
        })
    };
    let (status, said) = tokio::task::block_in_place(|| backup(data.path(), &to));
    done.store(true, Ordering::Relaxed);
    assert_eq!(status, Some(0), "{said}");
    let model = Model::all(vec![model, load.await.expect("the hub took readings throughout")]);
    drop(hub);

    let (status, said) = check(&to);
    assert_eq!(status, Some(0), "{said}");
    let copy = launch(&to).start().await;
    copy.processed("emb", 0).await;
    let csv = String::from_utf8(copy.export("emb", "csv").await).expect("CSV is text");
    model.assert_holds(&csv, PROPERTIES.len());
}

#[tokio::test]
async fn folder_that_no_hub_uses_is_copied_as_well() {
    let (data, targets) = (folder(), folder());
    let mut hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    hub.kill();
    let to = targets.path().join("copy of a folder");
    let (status, said) = backup(data.path(), &to);
    assert_eq!(status, Some(0), "{said}");
    let copy = launch(&to).start().await;
    copy.processed("emb", 1).await;
}

#[tokio::test]
async fn odd_targets_are_refused_and_left_alone() {
    let (data, targets) = (folder(), folder());
    let full = targets.path().join("full");
    fs::create_dir(&full).expect("a folder");
    fs::write(full.join("file"), "mine").expect("a file");
    let mut hub = launch(data.path()).start().await;
    for running in [true, false] {
        if !running {
            hub.stop().await;
        }
        for bad in
            [&full, &full.join("file"), &data.path().join("copy"), Path::new("/dev/null"), Path::new("/proc/copy")]
        {
            let (status, said) = backup(data.path(), bad);
            assert_eq!(status, Some(1), "{}: {said}", bad.display());
            assert!(!said.contains("panicked"), "{said}");
        }
    }
    assert_eq!(fs::read_to_string(full.join("file")).expect("it is there"), "mine");
    let (status, said) = backup(Path::new("/nonexistent"), &targets.path().join("copy"));
    assert!(status == Some(1) && said.contains("/nonexistent"), "{said}");
}
