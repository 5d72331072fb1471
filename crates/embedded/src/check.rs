//! Verifies a data folder that is not in use: everything in it can be read and fits together.

use std::path::Path;

use crate::folder::{OpenError, OpenKeyspaces, open_database};

/// Between two reports of progress.
const PROGRESS_BYTES: u64 = 8 << 20;

/// What a folder holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Topics of the log.
    pub topics: u64,
    /// Records in the log.
    pub records: u64,
    /// Rows in blocks.
    pub rows: u64,
    /// Blocks of rows.
    pub blocks: u64,
    /// Rows that are not in blocks yet; the newer ones of an identity that is in a block too are among them.
    pub staged_rows: u64,
    /// Anomalies that detectors found.
    pub anomalies: u64,
    /// Runs of detectors.
    pub runs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Every fault found, in words.
    pub faults: Vec<String>,
}

/// Collects what a check finds.
pub(crate) struct Findings<'a> {
    pub report: CheckReport,
    reported: u64,
    on_progress: &'a mut dyn FnMut(u64),
}

impl Findings<'_> {
    pub fn fault(&mut self, fault: String) {
        self.report.faults.push(fault);
    }

    pub fn progress(&mut self, bytes: usize) {
        self.report.bytes += bytes as u64;
        if self.report.bytes - self.reported >= PROGRESS_BYTES {
            self.reported = self.report.bytes;
            (self.on_progress)(self.reported);
        }
    }
}

/// Reads the whole folder and checks it; `progress` is told the bytes read so far. Changes nothing but what opening after a crash
/// changes: the journal is worked off.
///
/// # Errors
/// [`OpenError`] where the folder can't be opened; what can't be read later on is a fault in the report.
pub fn check(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<CheckReport, OpenError> {
    if !path.is_dir() {
        return Err(OpenError::NoFolder(path.to_owned()));
    }
    let database = open_database(path)?;
    let keyspaces = OpenKeyspaces::open(&database).map_err(OpenError::Storage)?;
    let mut findings = Findings { report: CheckReport::default(), reported: 0, on_progress: progress };
    for result in
        [crate::log::verify(&keyspaces.log, &mut findings), crate::store::verify(&keyspaces.store, &mut findings)]
    {
        if let Err(error) = result {
            findings.fault(error.to_string());
        }
    }
    match crate::findings::verify(&keyspaces.findings) {
        Ok((anomalies, runs)) => (findings.report.anomalies, findings.report.runs) = (anomalies, runs),
        Err(error) => findings.fault(error.to_string()),
    }
    Ok(findings.report)
}
