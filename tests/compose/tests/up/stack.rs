//! The stack of the compose file: built, brought up, killed in parts, and taken down with its data.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, id},
    time::Duration,
};

use compose::Elasticsearch;
use harness::wait_for;
use reqwest::Client;
use serde_json::Value;

use crate::programs;

/// How long `up --wait` may take, in seconds.
const UP_TIMEOUT_S: &str = "300";
/// How long a killed container may take to be healthy again.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(180);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The variables of the published ports.
const PORTS: [&str; 5] = ["IOT_HUB_PORT", "KAFKA_PORT", "ELASTICSEARCH_PORT", "PROMETHEUS_PORT", "KIBANA_PORT"];

/// A client that gives up on an answer some time.
pub fn client() -> Client {
    Client::builder().timeout(ANSWER_TIMEOUT).build().expect("a client")
}

/// The stack; taken down with this value.
pub struct Stack {
    project: String,
    ports: Vec<(&'static str, u16)>,
    prebuilt: PathBuf,
}

impl Stack {
    /// Builds the image out of the programs that the tests have built.
    pub fn build() -> Self {
        let prebuilt = compose::folder().join("prebuilt");
        programs::lay_into(&prebuilt);
        // Bound together, so that no two are the same.
        let listeners = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let port = |listener: &TcpListener| listener.local_addr().expect("a bound port").port();
        let ports = PORTS.into_iter().zip(listeners.iter().map(port)).collect();
        let stack = Self { project: format!("iot-hub-test-{}", id()), ports, prebuilt };
        stack.compose(&["build", "--quiet"]);
        stack
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut compose = Command::new("docker");
        compose.args(["compose", "--file"]).arg(compose::folder().join("compose.yaml"));
        compose.args(["--project-name", &self.project]).args(arguments);
        compose.env("IOT_HUB_BINARIES", "prebuilt").env("IOT_HUB_IMAGE", format!("iot-hub:{}", self.project));
        compose.envs(self.ports.iter().map(|(name, port)| (name, port.to_string())));
        compose
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("`docker compose` runs");
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "docker compose {arguments:?}: {status}\n{said}");
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Holds the file, as compose reads it, to its promises.
    pub fn check_rules(&self) {
        let config = self.compose(&["--profile", "*", "config", "--format", "json"]);
        let config: Value = serde_json::from_str(&config).expect("a configuration");
        let services = config["services"].as_object().expect("services");
        for (name, service) in services {
            for port in service["ports"].as_array().into_iter().flatten() {
                assert_eq!(port["host_ip"], "127.0.0.1", "{name} publishes {port}");
            }
            assert!(service["mem_limit"].is_string(), "{name} has no memory limit");
            assert!(service["restart"].is_string(), "{name} has no restart policy");
            let ends = service["restart"] == "on-failure";
            assert!(ends || service["healthcheck"]["test"].is_array(), "{name} has no health check");
            let is_ours = service["image"].as_str().is_some_and(|image| image.starts_with("iot-hub:"));
            assert!(!is_ours || service["read_only"] == true, "{name} writes to its root file system");
            for (variable, value) in service["environment"].as_object().into_iter().flatten() {
                let is_secret = variable.ends_with("PASSWORD") || variable.ends_with("KEY");
                assert!(!is_secret || value.as_str().is_none_or(str::is_empty), "{name} has {variable} in the file");
            }
        }
    }

    /// Brings services up and waits until they are healthy.
    pub fn up(&self, services: &[&str]) {
        let mut arguments = vec!["up", "--detach", "--wait", "--wait-timeout", UP_TIMEOUT_S, "--no-build"];
        arguments.extend(services);
        self.compose(&arguments);
    }

    /// Kills the process of a service behind the engine's back, so that its restart policy has to bring it back.
    pub fn kill(&self, service: &str) {
        let pid = self.inspect(service, "{{.State.Pid}}").expect("it runs");
        let killed = Command::new("kill").args(["-s", "KILL", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()), "can't kill {service}, process {pid}");
    }

    /// Waits until a service that was killed is healthy again.
    pub async fn wait_until_healthy(&self, service: &str) {
        wait_for(&format!("the health of {service}"), HEALTHY_TIMEOUT, async || {
            let restarts = self.inspect(service, "{{.RestartCount}}")?;
            let health = self.inspect(service, "{{.State.Status}} {{.State.Health.Status}}")?;
            let is_back = restarts != "0" && health == "running healthy";
            if is_back { Ok(()) } else { Err(format!("{health}, restarted {restarts} times")) }
        })
        .await;
    }

    fn inspect(&self, service: &str, format: &str) -> Result<String, String> {
        let container = self.compose(&["ps", "--all", "--quiet", service]);
        let output = Command::new("docker").args(["inspect", "--format", format, container.trim()]).output();
        let output = output.expect("`docker` runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn at(&self, variable: &str) -> String {
        let port = self.ports.iter().find(|(name, _)| *name == variable).map(|(_, port)| *port);
        format!("http://127.0.0.1:{}", port.expect("a published port"))
    }

    /// Where the REST API is.
    pub fn hub(&self) -> String {
        self.at("IOT_HUB_PORT")
    }

    /// Where Prometheus is.
    pub fn prometheus(&self) -> String {
        self.at("PROMETHEUS_PORT")
    }

    /// Where Elasticsearch is.
    pub fn elasticsearch_url(&self) -> String {
        self.at("ELASTICSEARCH_PORT")
    }

    /// Elasticsearch as one of the users of people.
    pub fn elasticsearch(&self, user: &str) -> Elasticsearch {
        let file = Path::new("/run/secrets-of-elasticsearch").join(user);
        let password = self.compose(&["exec", "-T", "elasticsearch", "cat", &file.to_string_lossy()]);
        Elasticsearch::open(self.elasticsearch_url()).user(user, password.trim())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.command(&["ps", "--all"]).status();
            let _ = self.command(&["logs", "--tail", "60", "--no-color"]).status();
        }
        let down = self.command(&["--profile", "*", "down", "--volumes", "--timeout", "5", "--rmi", "local"]).output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("the stack `{}` is not down", self.project);
        }
        let _ = std::fs::remove_dir_all(&self.prebuilt);
    }
}
