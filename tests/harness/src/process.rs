//! One program under test: started, killed, started again, with all that it says on standard error.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::wait_for;

/// How long a program may take to start or to stop.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How to start a program that writes its address to a file.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) address_file: PathBuf,
}

impl Program {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        self.binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn spawn(&self, said: &Path) -> Child {
        let _ = fs::remove_file(&self.address_file);
        let said = File::create(said).expect("a file for what the program says");
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().expect("the program starts")
    }
}

/// A program that was started; killed with this value.
#[derive(Debug)]
pub(crate) struct Process {
    program: Program,
    child: Child,
    said: TempDir,
    starts: usize,
}

impl Process {
    pub(crate) fn start(program: Program) -> Self {
        let said = tempfile::tempdir().expect("a temporary folder");
        let child = program.spawn(&said.path().join("0"));
        Self { program, child, said, starts: 1 }
    }

    pub(crate) fn start_again(&mut self) {
        self.starts += 1;
        self.child = self.program.spawn(&self.said_file());
    }

    pub(crate) fn name(&self) -> String {
        self.program.name()
    }

    /// What it has said since its last start.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.said_file()).unwrap_or_default()
    }

    fn said_file(&self) -> PathBuf {
        self.said.path().join((self.starts - 1).to_string())
    }

    /// The most memory it has used since its last start, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak is in it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
    }

    /// The processor time it has used since its last start.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process has a status");
        // Behind the name, which may hold anything: user and system time are the 12th and 13th, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(10 * ticks)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs, or has been waited for");
        self.child.wait().expect("it was started here");
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "can't send SIG{name}");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        wait_for("the end of the program", START_TIMEOUT, async || {
            self.child.try_wait().expect("it was started here").ok_or_else(|| "running".to_owned())
        })
        .await
    }

    /// Waits until it listens, and answers with the address; an error where it ends instead.
    pub(crate) async fn address(&mut self) -> Result<String, ExitStatus> {
        let (file, said) = (self.program.address_file.clone(), self.said_file());
        wait_for("the address of the program", START_TIMEOUT, async || {
            if let Some(status) = self.child.try_wait().expect("it was started here") {
                return Ok(Err(status));
            }
            let address = fs::read_to_string(&file).map(|text| Ok(text.trim().to_owned()));
            address.map_err(|error| format!("{error}\n{}", fs::read_to_string(&said).unwrap_or_default()))
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.name(), self.said());
        }
    }
}

/// Runs a program to its end and answers with its status and what it said.
///
/// # Panics
/// Where it does not start.
pub fn run_to_end(binary: impl AsRef<OsStr>, arguments: &[&OsStr]) -> (Option<i32>, String) {
    let output: Output =
        Command::new(binary).args(arguments).stdin(Stdio::null()).output().expect("the program starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), said.concat())
}
