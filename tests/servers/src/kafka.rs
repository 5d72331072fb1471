//! Apache Kafka as one node, controller and broker in one process (KRaft).

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{Own, Server, cache, folder::property, java, maven, version_of};

/// The oldest Java it runs on.
const JAVA_MIN: u32 = 17;
/// What its settings are but for ports and folders.
const SETTINGS: &str = include_str!("kafka.properties");
/// What it says: what a person should know.
const LOGGING: &str = include_str!("kafka.log4j2.properties");
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A request for the metadata of no topic (key 3, version 1, correlation 1, no client id, no topics), behind its length.
const METADATA_REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];

/// A running Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    ports: [u16; 2],
}

impl Kafka {
    /// Its address, as `bootstrap.servers` takes it. It asks for no password.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Starts a Kafka of the test's own.
    ///
    /// # Panics
    /// With what is missing, where it can't be had or does not start.
    pub fn start_own() -> Own<Self> {
        Own::launch(Self::at).unwrap_or_else(|error| panic!("a server that this test needs can't be had: {error:#}"))
    }

    /// A command of Kafka's own tools, such as `org.apache.kafka.tools.ProducerPerformance`; arguments are to be added.
    ///
    /// # Panics
    /// Where Kafka can't be had.
    pub fn tool(&self, class: &str) -> Command {
        let (java, libraries) = java_and_libraries().unwrap_or_else(|error| panic!("{error:#}"));
        let mut tool = Command::new(java);
        tool.arg("-Xmx512m").arg("-cp").arg(libraries.join("*")).arg(class);
        tool
    }
}

/// The program `java`, and the folder of Kafka's libraries.
fn java_and_libraries() -> Result<(PathBuf, PathBuf)> {
    let version = Kafka::version();
    let kept = cache::once(&format!("kafka-{version}"), |folder| {
        maven::copy_dependencies("kafka.pom.xml", version, &folder.join("libs"))
    })?;
    Ok((java::home(JAVA_MIN)?.join("bin/java"), kept.join("libs")))
}

impl Server for Kafka {
    const NAME: &'static str = "kafka";

    fn version() -> &'static str {
        version_of("apache/kafka")
    }

    fn settings() -> &'static str {
        SETTINGS
    }

    fn at(ports: [u16; 2]) -> Self {
        Self { ports }
    }

    fn prepare(&self, folder: &Path) -> Result<Command> {
        let (java, libraries) = java_and_libraries()?;
        let [broker, controller] = self.ports;
        let (settings, logging, data) =
            (folder.join("server.properties"), folder.join("log4j2.properties"), folder.join("data"));
        let own = format!(
            "listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\n",
            data.display()
        );
        fs::write(&settings, format!("{SETTINGS}{own}"))?;
        fs::write(&logging, LOGGING)?;
        let mut command = Command::new(java);
        command.args(["-Xms512m", "-Xmx512m"]).arg(property("log4j2.configurationFile", logging));
        command.arg("-cp").arg(libraries.join("*"));
        if !data.join("meta.properties").exists() {
            format_storage(&command, &settings)?;
        }
        command.arg("kafka.Kafka").arg(settings);
        Ok(command)
    }

    fn probe(&self) -> Result<(), String> {
        let brokers = brokers(self.ports[0]).map_err(|error| format!("{error:#}"))?;
        if brokers == 0 { Err("no broker is ready".to_owned()) } else { Ok(()) }
    }
}

/// Makes the empty data folder, with the command line of the server up to its main class.
fn format_storage(server: &Command, settings: &Path) -> Result<()> {
    let mut format = Command::new(server.get_program());
    format.args(server.get_args()).args([
        "kafka.tools.StorageTool",
        "format",
        "--cluster-id",
        "aW90LWh1Yi10ZXN0cy0wMQ",
    ]);
    let output = format.arg("--config").arg(settings).stdin(Stdio::null()).output().context("can't run `java`")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("Kafka can't make its data folder:\n{}", String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// How many brokers take requests, by the answer of one.
fn brokers(port: u16) -> Result<u32> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    connection.write_all(&METADATA_REQUEST)?;
    // Length, correlation, and how many brokers follow.
    let mut answer = [0; 12];
    connection.read_exact(&mut answer)?;
    Ok(u32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]))
}
