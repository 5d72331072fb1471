//! A hub under test: the real programs over a data folder or real servers, on free ports.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder};

use crate::{
    Answer, Metrics,
    answer::{client, request, send},
    process::{Process, Program},
    wait_for,
};

/// How long quality control may take for what is pending.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(120);
/// What each program is told where nobody says otherwise: any free port of loopback.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// How to start a hub.
#[derive(Debug, Clone)]
pub struct Launch {
    stack: Stack,
    data: PathBuf,
    flags: Vec<OsString>,
    environment: Vec<(String, String)>,
}

/// Which programs a hub is.
#[derive(Debug, Clone)]
enum Stack {
    /// One program over a data folder.
    Embedded(PathBuf),
    /// A program for each service, the one with the REST API first, over servers that the configuration names.
    Distributed(Vec<PathBuf>),
}

impl Launch {
    /// The program with every service over a data folder, on a free port of loopback.
    pub fn new(binary: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self::of(Stack::Embedded(binary.into()), data.into())
    }

    /// The programs of the distributed stack, the one with the REST API first; their addresses stand in a folder.
    pub fn distributed(binaries: &[&str], folder: impl Into<PathBuf>) -> Self {
        Self::of(Stack::Distributed(binaries.iter().map(PathBuf::from).collect()), folder.into())
    }

    fn of(stack: Stack, data: PathBuf) -> Self {
        Self { stack, data, flags: Vec::new(), environment: Vec::new() }
    }

    /// The same with a further flag of the program with the REST API.
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
        let mut hub = self.spawn();
        hub.wait_until_it_listens().await;
        hub
    }

    /// Starts it and waits until it listens; `None` where it refuses the data folder and says so.
    ///
    /// # Panics
    /// Where it panics or says nothing.
    pub async fn try_start(self) -> Option<Hub> {
        let mut hub = self.spawn();
        let Err(ended) = hub.wait_for_addresses().await else { return Some(hub) };
        let said = hub.said();
        assert!(ended.code() == Some(1) && said.contains("iot-hub:") && !said.contains("panicked"), "{ended}:\n{said}");
        println!("refused: {}", said.lines().last().unwrap_or_default());
        None
    }

    fn spawn(self) -> Hub {
        let processes = self.programs().into_iter().map(Process::start).collect();
        Hub { data: self.data, processes, addresses: Vec::new(), client: client() }
    }

    fn programs(&self) -> Vec<Program> {
        let listens = self.flags.iter().any(|flag| flag == "--listen");
        let with_listen = |mut arguments: Vec<OsString>, listens: bool| {
            if !listens {
                arguments.extend(LISTEN.map(OsString::from));
            }
            arguments
        };
        let environment = self.environment.clone();
        match &self.stack {
            Stack::Embedded(binary) => {
                let mut arguments: Vec<OsString> = ["serve", "--data"].map(OsString::from).to_vec();
                arguments.push(self.data.clone().into());
                let arguments = [with_listen(arguments, listens), self.flags.clone()].concat();
                let address_file = self.data.join("address");
                vec![Program { binary: binary.clone(), arguments, environment, address_file }]
            }
            Stack::Distributed(binaries) => {
                let program = |(index, binary): (usize, &PathBuf)| {
                    let address_file = self.data.join(format!("address-{index}"));
                    let mut environment = environment.clone();
                    environment
                        .push(("IOT_HUB_HTTP__ADDRESS_FILE".to_owned(), address_file.to_string_lossy().into_owned()));
                    let arguments = match index {
                        0 => with_listen(self.flags.clone(), listens),
                        _ => with_listen(Vec::new(), false),
                    };
                    Program { binary: binary.clone(), arguments, environment, address_file }
                };
                binaries.iter().enumerate().map(program).collect()
            }
        }
    }
}

/// How a hub ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; of several programs, that of the first that failed.
    pub status: ExitStatus,
    /// How long that took.
    pub took: Duration,
}

/// A running (or killed) hub; killed with this value.
#[derive(Debug)]
pub struct Hub {
    data: PathBuf,
    processes: Vec<Process>,
    /// Of each program, the one with the REST API first.
    addresses: Vec<String>,
    client: Client,
}

impl Hub {
    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The address and port it listens on.
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// What it has said on standard error since its last start.
    pub fn said(&self) -> String {
        self.processes.iter().map(Process::said).collect()
    }

    /// The most memory that a program of it has used since its last start, in bytes.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.processes.iter().map(Process::memory_peak_bytes).max().unwrap_or_default()
    }

    /// The processor time that its programs have used since their last start.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn cpu_time(&self) -> Duration {
        self.processes.iter().map(Process::cpu_time).sum()
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

    /// What every program of it says of itself to Prometheus.
    pub async fn metrics_of_all(&self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for address in &self.addresses {
            let request = request(&self.client, "GET", format!("http://{address}/metrics"));
            answers.push(self.answer(request).await.expect(200));
        }
        answers
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
            let metrics = self.metrics().await;
            let (done, appended) = (metrics.processed(sensor_type), metrics.appended(sensor_type));
            if done >= count { Ok(()) } else { Err(format!("{done} processed, {appended} appended")) }
        })
        .await;
    }

    /// The whole export of a sensor type in a format.
    pub async fn export(&self, sensor_type: &str, format: &str) -> Vec<u8> {
        self.get(&format!("/v1/readings/{sensor_type}?format={format}")).await.expect(200).body
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.processes.iter_mut().for_each(Process::kill);
    }

    /// Kills one of its programs without warning.
    ///
    /// # Panics
    /// Where it has none of that name.
    pub fn kill_program(&mut self, name: &str) {
        self.program(name).kill();
    }

    /// Starts a program again that was killed.
    ///
    /// # Panics
    /// Where it has none of that name, or that does not listen.
    pub async fn restart_program(&mut self, name: &str) {
        self.program(name).start_again();
        self.wait_until_it_listens().await;
    }

    fn program(&mut self, name: &str) -> &mut Process {
        self.processes.iter_mut().find(|process| process.name() == name).expect("a program of the hub")
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.processes.iter().for_each(|process| process.signal(name));
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
        let mut statuses = Vec::new();
        for process in &mut self.processes {
            statuses.push(process.end().await);
        }
        let failed = statuses.iter().find(|status| !status.success());
        *failed.unwrap_or(&statuses[0])
    }

    /// Starts it again over the same data folder.
    pub async fn restart(&mut self) {
        self.processes.iter_mut().for_each(Process::start_again);
        self.wait_until_it_listens().await;
    }

    async fn wait_until_it_listens(&mut self) {
        if let Err(status) = self.wait_for_addresses().await {
            panic!("the hub ended with {status}:\n{}", self.said());
        }
    }

    /// Waits until every program listens; an error where one ends instead.
    async fn wait_for_addresses(&mut self) -> Result<(), ExitStatus> {
        self.addresses.clear();
        for process in &mut self.processes {
            self.addresses.push(process.address().await?);
        }
        Ok(())
    }
}
