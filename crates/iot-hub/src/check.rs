//! `iot-hub check`: verifies a data folder and names each fault.

use std::{path::Path, process::ExitCode};

use bytesize::ByteSize;
use embedded::CheckReport;

use crate::backup::bar;

/// Checks the folder; the exit status says whether all is well.
///
/// # Errors
/// When the folder can't be opened at all: it is not there, in use, or of another format.
pub fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let bar = bar(None);
    let report = embedded::check(data, &mut |so_far| bar.set_position(so_far))?;
    bar.finish_and_clear();
    let CheckReport { topics, records, rows, blocks, staged_rows, bytes, .. } = report;
    println!("log: {records} records in {topics} topics");
    println!("store: {rows} rows in {blocks} blocks, {staged_rows} rows not in blocks yet");
    println!("read: {}", ByteSize(bytes));
    for fault in &report.faults {
        println!("fault: {fault}");
    }
    if report.faults.is_empty() {
        println!("`{}` is sound", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("`{}` has {} fault(s)", data.display(), report.faults.len());
    Ok(ExitCode::FAILURE)
}
