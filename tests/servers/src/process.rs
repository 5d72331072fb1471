//! The processes of servers: signals, and what a keeper that was killed has left behind.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::wait_for;

/// How long the system may take to end a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a signal to a server and the processes that it has started.
pub(crate) fn signal(group: i32, signal: Signal) -> Result<()> {
    let group = Pid::from_raw(group).context("a process id")?;
    kill_process_group(group, signal).with_context(|| format!("can't send {signal:?} to the server"))
}

/// Kills every Java that works in a folder, and waits until it is gone: a server whose keeper was killed goes on without one.
pub(crate) fn kill_leftovers(folder: &Path) -> Result<()> {
    for pid in javas_in(folder) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    wait_for("the end of a server left over", KILL_TIMEOUT, || {
        let left = javas_in(folder);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} run")) }
    })
}

/// The running Javas whose command line names the folder.
fn javas_in(folder: &Path) -> Vec<i32> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_java = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.ends_with("java"));
    let names_it = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(folder.len()).any(|window| window == folder)
    };
    pids.filter(|pid| is_java(*pid) && names_it(*pid)).collect()
}
