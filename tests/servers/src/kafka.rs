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

use crate::{Own, Security, Server, cache, folder::property, java, maven, version_of};

/// The oldest Java it runs on.
const JAVA_MIN: u32 = 17;
/// What its settings are but for ports and folders.
const SETTINGS: &str = include_str!("kafka.properties");
/// What it says: what a person should know.
const LOGGING: &str = include_str!("kafka.log4j2.properties");
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How a secured broker has passwords proven.
const MECHANISM: &str = "SCRAM-SHA-512";
/// A request for the metadata of no topic (key 3, version 1, correlation 1, no client id, no topics), behind its length.
const METADATA_REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];

/// A running Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    ports: [u16; 2],
    security: Option<Security>,
}

impl Kafka {
    /// Its address, as `bootstrap.servers` takes it. It asks for no password unless it was started secured.
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

    /// Starts a Kafka of the test's own that takes TLS alone, and asks for a certificate, a user and a password (SCRAM-SHA-512).
    ///
    /// # Panics
    /// With what is missing, where it can't be had or does not start.
    pub fn start_secured() -> (Own<Self>, Security) {
        let security = Security::new().expect("keys and certificates");
        let secured = |ports| Self { ports, security: Some(security.clone()) };
        let kafka = Own::launch(secured);
        (kafka.unwrap_or_else(|error| panic!("a server that this test needs can't be had: {error:#}")), security)
    }

    /// The protocol of the listener for clients.
    fn protocol(&self) -> &'static str {
        if self.security.is_some() { "SASL_SSL" } else { "PLAINTEXT" }
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
        Self { ports, security: None }
    }

    fn prepare(&self, folder: &Path) -> Result<Command> {
        let (java, libraries) = java_and_libraries()?;
        let [broker, controller] = self.ports;
        let (settings, logging, data) =
            (folder.join("server.properties"), folder.join("log4j2.properties"), folder.join("data"));
        let protocol = self.protocol();
        let mut own = format!(
            "listeners={protocol}://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={protocol}://127.0.0.1:{broker}\n\
             inter.broker.listener.name={protocol}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\n",
            data.display()
        );
        if let Some(security) = &self.security {
            own += &secured(security, folder)?;
        }
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
        if self.security.is_some() {
            // Behind TLS nothing is asked: whoever uses it waits until a broker is ready.
            return TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0]))
                .map(drop)
                .map_err(|error| error.to_string());
        }
        let brokers = brokers(self.ports[0]).map_err(|error| format!("{error:#}"))?;
        if brokers == 0 { Err("no broker is ready".to_owned()) } else { Ok(()) }
    }
}

/// Writes the files of a secured broker; gives its settings beyond the others.
fn secured(security: &Security, folder: &Path) -> Result<String> {
    let (keys, authority) = (folder.join("broker.pem"), folder.join("ca.pem"));
    fs::write(&keys, format!("{}{}", security.server.key, security.server.certificate))?;
    fs::write(&authority, &security.authority)?;
    Ok(format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.sasl_ssl.ssl.client.auth=required\n\
         sasl.enabled.mechanisms={MECHANISM}\nsasl.mechanism.inter.broker.protocol={MECHANISM}\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
         required username=\"{}\" password=\"{}\";\n",
        keys.display(),
        authority.display(),
        Security::USER,
        Security::PASSWORD
    ))
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
    format.arg("--add-scram");
    format.arg(format!("{MECHANISM}=[name={},password={}]", Security::USER, Security::PASSWORD));
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
