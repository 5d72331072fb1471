//! Small disks of their own, for what happens when one is full or read-only.

use std::{path::Path, process::Command};

use tempfile::TempDir;

/// Says whether this process may mount; prints why a scenario that needs it does nothing where it may not.
pub fn can_mount(scenario: &str) -> bool {
    let mounted = SmallDisk::try_mount(1 << 20).is_some();
    if !mounted {
        println!("{scenario}: NOT RUN: mounting a disk needs root");
    }
    mounted
}

/// A disk in memory, gone with this value.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a disk of that size.
    ///
    /// # Panics
    /// Where this process may not mount.
    pub fn mount(size_bytes: u64) -> Self {
        Self::try_mount(size_bytes).expect("the scenario has asked `can_mount`")
    }

    fn try_mount(size_bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = format!("size={size_bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets nobody write to it, or everybody again.
    ///
    /// # Panics
    /// Where the system refuses, as it does while a file is open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", option]).arg(self.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "can't remount {}", self.path().display());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("can't unmount {}", self.path().display());
        }
    }
}
