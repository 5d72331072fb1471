//! Writes scores in the layout of the benchmark: `results/<detector>/<category>/<detector>_<file>.csv`.
//!
//! **Invariant:** rows are those of the series, in their order.

use std::{fs, io, path::Path};

use super::{corpus::DataFile, detectors::Detector};

/// Writes one file's scores under `out`.
///
/// # Errors
/// Those of the disk.
pub fn write_results(out: &Path, file: &DataFile, detector: Detector, scores: &[f64]) -> io::Result<()> {
    let folder = out.join("results").join(detector.name()).join(&file.category);
    fs::create_dir_all(&folder)?;
    let mut writer = csv::Writer::from_path(folder.join(format!("{}_{}", detector.name(), file.name)))?;
    writer.write_record(["timestamp", "value", "anomaly_score", "label"])?;
    for (row, score) in scores.iter().enumerate() {
        let is_labelled = file.windows.iter().any(|window| (window.first..=window.last).contains(&row));
        let time = file.times[row].to_string().replacen('T', " ", 1);
        writer.write_record([
            time.trim_end_matches('Z'),
            &file.values[row].to_string(),
            &score.to_string(),
            if is_labelled { "1" } else { "0" },
        ])?;
    }
    writer.flush()
}
