//! The embedded stack: one program over a data folder.

use std::{ffi::OsStr, path::Path, sync::Arc};

use domain::Topic;
use embedded::{Folder, Settings};
use harness::{Hub, Launch, run_to_end};
use ports::{Batch, Findings, Log, SystemClock};

/// The program under test.
pub const IOT_HUB: &str = env!("CARGO_BIN_EXE_iot-hub");

/// Whether a hub that is asked to stop first processes what it has accepted.
pub const STOPS_DRAINED: bool = true;

/// How to start a hub over a data folder.
pub fn launch(data: &Path) -> Launch {
    Launch::new(IOT_HUB, data)
}

/// How to start a hub that looks for anomalies.
pub fn launch_detecting(data: &Path) -> Launch {
    launch(data)
}

/// Kills what looks for anomalies, and starts it again.
pub async fn kill_detection(hub: &mut Hub) {
    hub.kill();
    hub.restart().await;
}

/// Kills it in the same way, and looks at what it has left before it is started again.
pub async fn kill_detection_and_look<T>(hub: &mut Hub, look: impl AsyncFnOnce(&dyn Log, &dyn Findings) -> T) -> T {
    hub.kill();
    let seen = look_into(hub.data(), look).await;
    hub.restart().await;
    seen
}

/// Looks at what a hub has, which is stopped for it.
pub async fn look<T>(hub: &mut Hub, look: impl AsyncFnOnce(&dyn Log, &dyn Findings) -> T) -> T {
    assert!(hub.stop().await.status.success(), "{}", hub.said());
    let seen = look_into(hub.data(), look).await;
    hub.restart().await;
    seen
}

async fn look_into<T>(data: &Path, look: impl AsyncFnOnce(&dyn Log, &dyn Findings) -> T) -> T {
    let folder = Folder::open(data, Settings::default(), Arc::new(SystemClock)).expect("no hub uses it");
    let seen = look(&*folder.log(), &*folder.findings()).await;
    folder.close().expect("all is synced");
    seen
}

/// Appends records to the log of a hub that is stopped, behind the back of its REST API.
pub async fn append(data: &Path, topic: &Topic, batch: Batch) {
    let folder = Folder::open(data, Settings::default(), Arc::new(SystemClock)).expect("no hub uses it");
    folder.log().append(topic, batch).await.expect("the log takes it");
    folder.close().expect("all is synced");
}

/// Looks for faults in what a hub that is stopped has left.
pub fn verify(data: &Path) {
    let check = [OsStr::new("check"), OsStr::new("--data"), data.as_os_str()];
    let (status, said) = run_to_end(IOT_HUB, &check);
    assert_eq!(status, Some(0), "{said}");
}
