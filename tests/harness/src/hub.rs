//! A hub under test: the real program over a data folder, on a free port.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder};
use tempfile::TempDir;

use crate::{
    Answer, Metrics,
    answer::{client, request, send},
    wait_for,
};

/// How long a hub may take to start or to stop.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long quality control may take for what is pending.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(120);

/// How to start a hub.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    data: PathBuf,
    flags: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// The program over a data folder, on a free port of loopback.
    pub fn new(binary: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), data: data.into(), flags: Vec::new(), environment: Vec::new() }
    }

    /// The same with a further flag of `serve`.
    #[must_use]
    pub fn flag(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.flags.push(flag.as_ref().to_owned());
        self
    }

    /// The same with a configuration key, as `IOT_HUB_SECTION__KEY`.
    #[must_use]
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.environment.push((format!("IOT_HUB_{name}"), value.to_owned()));
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// With what it said, where it ends instead.
    pub async fn start(self) -> Hub {
        let said = tempfile::tempdir().expect("a temporary folder");
        let process = self.spawn(&said.path().join("0"));
        let mut hub = Hub { launch: self, process, address: String::new(), said, starts: 1, client: client() };
        hub.wait_until_it_listens().await;
        hub
    }

    /// Starts it and waits until it listens; `None` where it refuses the data folder and says so.
    ///
    /// # Panics
    /// Where it panics or says nothing.
    pub async fn try_start(self) -> Option<Hub> {
        let said = tempfile::tempdir().expect("a temporary folder");
        let said_file = said.path().join("0");
        let process = self.spawn(&said_file);
        let mut hub = Hub { launch: self, process, address: String::new(), said, starts: 1, client: client() };
        let Err(ended) = hub.wait_for_address().await else { return Some(hub) };
        let said = hub.said();
        assert!(ended.code() == Some(1) && said.contains("iot-hub:") && !said.contains("panicked"), "{ended}:\n{said}");
        println!("refused: {}", said.lines().last().unwrap_or_default());
        None
    }

    fn spawn(&self, said: &Path) -> Child {
        let _ = fs::remove_file(self.data.join("address"));
        let said = File::create(said).expect("a file for what the hub says");
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.data);
        if !self.flags.iter().any(|flag| flag == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(&self.flags).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().expect("the program starts")
    }
}

/// How a hub ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// How long that took.
    pub took: Duration,
}

/// A running (or killed) hub; killed with this value.
#[derive(Debug)]
pub struct Hub {
    launch: Launch,
    process: Child,
    address: String,
    said: TempDir,
    starts: usize,
    client: Client,
}

impl Hub {
    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.launch.data
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The address and port it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has said on standard error since its last start.
    pub fn said(&self) -> String {
        fs::read_to_string(self.said_file()).unwrap_or_default()
    }

    /// The most memory it has used since its last start, in bytes.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak is in it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
    }

    /// A request to build on.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        request(&self.client, method, self.url(path))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where no whole answer came back.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        send(request).await
    }

    /// Gets a path.
    ///
    /// # Panics
    /// Where no whole answer came back.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(self.request("GET", path)).await
    }

    /// Puts a JSON document.
    ///
    /// # Panics
    /// Where no whole answer came back.
    pub async fn put(&self, path: &str, document: &serde_json::Value) -> Answer {
        self.answer(self.request("PUT", path).json(document)).await
    }

    /// Posts a body of a media type.
    ///
    /// # Panics
    /// Where no whole answer came back.
    pub async fn post(&self, path: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.answer(self.request("POST", path).header("content-type", media_type).body(body.into())).await
    }

    /// Deletes a path.
    ///
    /// # Panics
    /// Where no whole answer came back.
    pub async fn delete(&self, path: &str) -> Answer {
        self.answer(self.request("DELETE", path)).await
    }

    /// Sends a request that must be answered.
    ///
    /// # Panics
    /// Where no whole answer came back.
    pub async fn answer(&self, request: RequestBuilder) -> Answer {
        send(request).await.unwrap_or_else(|error| panic!("{error:?}; the hub said:\n{}", self.said()))
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await.expect(200).text())
    }

    /// Waits until quality control has read all that was accepted of a sensor type, at least `appended` readings.
    pub async fn processed(&self, sensor_type: &str, appended: u64) -> Metrics {
        wait_for("processing what was accepted", PROCESS_TIMEOUT, async || {
            let metrics = self.metrics().await;
            metrics.add_up(sensor_type)?;
            let [done, pending] = [metrics.appended(sensor_type), metrics.pending(sensor_type)];
            if done >= appended && pending == 0 {
                Ok(metrics)
            } else {
                Err(format!("{done} appended, {pending} pending"))
            }
        })
        .await
    }

    /// Waits until quality control has read at least so many readings of a sensor type, more may be on their way.
    pub async fn processed_some(&self, sensor_type: &str, count: u64) {
        wait_for("processing some readings", PROCESS_TIMEOUT, async || {
            let done = self.metrics().await.processed(sensor_type);
            if done >= count { Ok(()) } else { Err(format!("{done} processed")) }
        })
        .await;
    }

    /// The whole export of a sensor type in a format.
    pub async fn export(&self, sensor_type: &str, format: &str) -> Vec<u8> {
        self.get(&format!("/v1/readings/{sensor_type}?format={format}")).await.expect(200).body
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs, or has been waited for");
        self.process.wait().expect("it was started here");
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "can't send SIG{name}");
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> Ended {
        let asked = Instant::now();
        self.signal("TERM");
        let status = self.wait_until_it_ends().await;
        Ended { status, took: asked.elapsed() }
    }

    /// Waits until it has ended by itself.
    pub async fn wait_until_it_ends(&mut self) -> ExitStatus {
        wait_for("the end of the hub", START_TIMEOUT, async || {
            self.process.try_wait().expect("it was started here").ok_or_else(|| "running".to_owned())
        })
        .await
    }

    /// Starts it again over the same data folder.
    pub async fn restart(&mut self) {
        self.starts += 1;
        self.process = self.launch.spawn(&self.said_file());
        self.wait_until_it_listens().await;
    }

    fn said_file(&self) -> PathBuf {
        self.said.path().join((self.starts - 1).to_string())
    }

    async fn wait_until_it_listens(&mut self) {
        if let Err(status) = self.wait_for_address().await {
            panic!("the hub ended with {status}:\n{}", self.said());
        }
    }

    /// Waits for the address; an error where the hub ends instead.
    async fn wait_for_address(&mut self) -> Result<(), ExitStatus> {
        let (file, said) = (self.launch.data.join("address"), self.said_file());
        let process = &mut self.process;
        let address = wait_for("the address of the hub", START_TIMEOUT, async || {
            if let Some(status) = process.try_wait().expect("it was started here") {
                return Ok(Err(status));
            }
            let address = fs::read_to_string(&file).map(|text| Ok(text.trim().to_owned()));
            address.map_err(|error| format!("{error}\n{}", fs::read_to_string(&said).unwrap_or_default()))
        });
        self.address = address.await?;
        Ok(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the hub said:\n{}", self.said());
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
