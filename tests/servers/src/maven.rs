//! What comes out of Maven's registry, through `mvn`.

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The plugin that fetches, pinned.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// Copies everything that a project depends on when it runs into a folder.
pub(crate) fn copy_dependencies(project: &str, version: &str, folder: &Path) -> Result<()> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join(project);
    let mut maven = Command::new("mvn");
    maven.arg("--file").arg(pom).arg(format!("{PLUGIN}:copy-dependencies")).arg("-DincludeScope=runtime");
    maven.arg(format!("-Dkafka.version={version}")).arg(output_to(folder));
    run(maven)
}

/// Unpacks an archive, `group:name:version:zip`, into a folder.
pub(crate) fn unpack(artifact: &str, folder: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven.arg(format!("{PLUGIN}:unpack")).arg(format!("-Dartifact={artifact}")).arg(output_to(folder));
    // Away from any project that the test may run in.
    maven.current_dir(folder);
    run(maven)
}

fn output_to(folder: &Path) -> String {
    format!("-DoutputDirectory={}", folder.display())
}

fn run(mut maven: Command) -> Result<()> {
    maven.args(["--quiet", "--batch-mode"]).stdin(Stdio::null());
    let output = match maven.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("Apache Maven (`mvn`) fetches the servers; install it, on Debian by `apt-get install maven`")
        }
        output => output.context("can't run `mvn`")?,
    };
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("`mvn` could not fetch a server, {}:\n{}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}
