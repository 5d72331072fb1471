//! Elasticsearch as one node, in its core distribution.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;

use crate::{Own, Security, Server, cache, folder::copy_folder, java, maven, version_of};

/// The oldest Java it runs on.
const JAVA_MIN: u32 = 21;
/// What its settings are but for ports and folders.
const SETTINGS: &str = include_str!("elasticsearch.yml");
/// Options of its Java.
const JAVA_OPTIONS: &str = include_str!("elasticsearch.jvm.options");
/// What a user may do: the rights of our services.
const ROLES: &str = include_str!("../../../compose/elasticsearch/roles.yml");
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A request for the state of the server.
const HEALTH_REQUEST: &[u8] = b"GET /_cluster/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Whom it runs as where the tests run as root, as whom it refuses to run.
const USER: &str = "nobody";

/// A running Elasticsearch.
#[derive(Debug, Clone)]
pub struct Elasticsearch {
    ports: [u16; 2],
    security: Option<Security>,
}

impl Elasticsearch {
    /// Its address. It asks for no password unless it was started secured.
    pub fn url(&self) -> String {
        let scheme = if self.security.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    /// Starts an Elasticsearch of the test's own.
    ///
    /// # Panics
    /// With what is missing, where it can't be had or does not start.
    pub fn start_own() -> Own<Self> {
        Own::launch(Self::at).unwrap_or_else(|error| panic!("a server that this test needs can't be had: {error:#}"))
    }

    /// Starts an Elasticsearch of the test's own that takes TLS alone, and asks for a user and a password; the user has the rights that
    /// `compose/` gives to our services.
    ///
    /// # Panics
    /// With what is missing, where it can't be had or does not start.
    pub fn start_secured() -> (Own<Self>, Security) {
        let security = Security::new().expect("keys and certificates");
        let secured = |ports| Self { ports, security: Some(security.clone()) };
        let elasticsearch = Own::launch(secured);
        (
            elasticsearch.unwrap_or_else(|error| panic!("a server that this test needs can't be had: {error:#}")),
            security,
        )
    }
}

/// The folder of the program.
fn program() -> Result<PathBuf> {
    let version = Elasticsearch::version();
    let name = format!("elasticsearch-{version}");
    let kept = cache::once(&name, |folder| {
        maven::unpack(&format!("org.elasticsearch.distribution.integ-test-zip:elasticsearch:{version}:zip"), folder)
    })?;
    Ok(kept.join(name))
}

impl Server for Elasticsearch {
    const NAME: &'static str = "elasticsearch";

    fn version() -> &'static str {
        version_of("docker.elastic.co/elasticsearch/elasticsearch")
    }

    fn settings() -> &'static str {
        SETTINGS
    }

    fn at(ports: [u16; 2]) -> Self {
        Self { ports, security: None }
    }

    fn prepare(&self, folder: &Path) -> Result<Command> {
        let (program, java) = (program()?, java::home(JAVA_MIN)?);
        let (settings, data, logs, scratch) =
            (folder.join("config"), folder.join("data"), folder.join("logs"), folder.join("tmp"));
        for folder in [&data, &logs, &scratch] {
            fs::create_dir_all(folder)?;
        }
        if !settings.exists() {
            copy_folder(&program.join("config"), &settings)?;
        }
        let [http, transport] = self.ports;
        let mut own = format!(
            "http.port: {http}\ntransport.port: {transport}\npath.data: {}\npath.logs: {}\n",
            data.display(),
            logs.display()
        );
        if let Some(security) = &self.security {
            own += &secured(security, &settings)?;
        } else {
            own += "xpack.security.enabled: false\n";
        }
        fs::write(settings.join("elasticsearch.yml"), format!("{SETTINGS}{own}"))?;
        fs::write(settings.join("jvm.options"), JAVA_OPTIONS)?;
        if self.security.is_some() {
            add_user(&program, (&java, &settings))?;
        }
        let mut command = as_a_user(folder)?;
        command.arg(program.join("bin/elasticsearch")).env("ES_JAVA_HOME", java).env("ES_JAVA_OPTS", "");
        command.env("ES_PATH_CONF", settings).env("ES_TMPDIR", scratch);
        Ok(command)
    }

    fn probe(&self) -> Result<(), String> {
        if self.security.is_some() {
            // Behind TLS nothing is asked: whoever uses it waits until it is well.
            return TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0]))
                .map(drop)
                .map_err(|error| error.to_string());
        }
        let answer = health(self.ports[0]).map_err(|error| format!("{error:#}"))?;
        let is_well = answer.starts_with("HTTP/1.1 200") && !answer.contains("\"status\":\"red\"");
        if is_well { Ok(()) } else { Err(answer) }
    }
}

/// Writes the files of a secured node; gives its settings beyond the others.
fn secured(security: &Security, settings: &Path) -> Result<String> {
    let files = [("http.pem", &*security.server.certificate), ("http.key", &security.server.key), ("roles.yml", ROLES)];
    for (name, content) in files {
        fs::write(settings.join(name), content)?;
    }
    Ok("xpack.security.enabled: true\nxpack.security.http.ssl.enabled: true\n\
        xpack.security.http.ssl.certificate: http.pem\nxpack.security.http.ssl.key: http.key\n"
        .to_owned())
}

/// Makes the users of a secured node.
fn add_user(program: &Path, (java, settings): (&Path, &Path)) -> Result<()> {
    let users = fs::read_to_string(settings.join("users")).unwrap_or_default();
    if users.contains(Security::DETECTION_USER) {
        return Ok(());
    }
    for (user, roles) in [(Security::USER, "ingest_api,qc_consumer"), (Security::DETECTION_USER, "ad_jobs")] {
        let mut add = Command::new(program.join("bin/elasticsearch-users"));
        add.args(["useradd", user, "-p", Security::PASSWORD, "-r", roles]);
        add.env("ES_JAVA_HOME", java).env("ES_PATH_CONF", settings).stdin(Stdio::null());
        let output = add.output().context("can't run `elasticsearch-users`")?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "no user can be made: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// The start of a command line: root's becomes another user's, who owns the folder from then on.
fn as_a_user(folder: &Path) -> Result<Command> {
    if !geteuid().is_root() {
        return Ok(Command::new("env"));
    }
    let users = fs::read_to_string("/etc/passwd").context("can't read the users of this machine")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == USER);
    let fields =
        fields.with_context(|| format!("Elasticsearch refuses to run as root, and there is no user `{USER}`"))?;
    ensure!(fields.len() > 3, "a user has an id and a group");
    give_to(folder, fields[2].parse()?, fields[3].parse()?)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", fields[2], "--regid", fields[3], "--clear-groups"]);
    Ok(command)
}

fn give_to(path: &Path, user: u32, group: u32) -> Result<()> {
    chown(path, Some(user), Some(group)).with_context(|| format!("can't give away `{}`", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

fn health(port: u16) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    connection.write_all(HEALTH_REQUEST)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
