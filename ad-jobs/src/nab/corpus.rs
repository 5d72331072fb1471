//! Reads the corpus: series by category, and the windows in which anomalies are labelled.
//!
//! **Invariant:** files come by their names, so that results do not depend on the order of a folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use domain::Timestamp;

use crate::csv_series::{self, SeriesError};

/// Where the labelled windows are, in the corpus' folder or in `labels` beside it.
const WINDOWS: &str = "combined_windows.json";

/// A corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// Its files, by category and name.
    pub files: Vec<DataFile>,
}

/// One series with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Folder it is in.
    pub category: String,
    /// Its name with `.csv`.
    pub name: String,
    /// The times of its rows, as they are written.
    pub times: Vec<Timestamp>,
    /// Its values; `NaN` is missing.
    pub values: Vec<f64>,
    /// Where anomalies are labelled, by row.
    pub windows: Vec<Window>,
}

/// Rows of a labelled window, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first row.
    pub first: usize,
    /// Its last row.
    pub last: usize,
}

/// Why a corpus can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder can't be read.
    #[error("can't read `{path}`")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The labels are not what they should be.
    #[error("`{path}`: {fault}")]
    Labels {
        /// Their path.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// A series can't be read.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// A series has a row without a time.
    #[error("`{0}`: a row has no time")]
    Untimed(String),
}

/// Reads the files of a folder that have labels (none is a label, too).
///
/// # Errors
/// [`CorpusError`].
pub fn load(folder: &Path) -> Result<Corpus, CorpusError> {
    let path = [folder.join(WINDOWS), folder.join("../labels").join(WINDOWS)];
    let path = path.iter().find(|path| path.exists()).unwrap_or(&path[0]);
    let labels = |fault: String| CorpusError::Labels { path: path.display().to_string(), fault };
    let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let windows: BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_str(&text).map_err(|error| labels(error.to_string()))?;
    let mut files = Vec::new();
    for (relative, windows) in windows {
        let path: PathBuf = folder.join(&relative);
        let Some((category, name)) = relative.split_once('/') else {
            return Err(labels(format!("`{relative}` is not `category/file.csv`")));
        };
        if !path.exists() {
            continue;
        }
        let series = csv_series::read(&path, Some("value"))?;
        let times = series.times.ok_or_else(|| CorpusError::Untimed(relative.clone()))?;
        let windows = windows.iter().map(|ends| window(ends, &times)).collect::<Result<Vec<_>, String>>();
        let windows = windows.map_err(|fault| labels(format!("`{relative}`: {fault}")))?;
        files.push(DataFile {
            category: category.to_owned(),
            name: name.to_owned(),
            times,
            values: series.values,
            windows,
        });
    }
    Ok(Corpus { files })
}

fn unreadable(path: &Path, source: io::Error) -> CorpusError {
    CorpusError::Read { path: path.display().to_string(), source }
}

fn window(ends: &[String; 2], times: &[Timestamp]) -> Result<Window, String> {
    let time = |text: &String| {
        Timestamp::parse(&format!("{}Z", text.replacen(' ', "T", 1))).map_err(|error| error.to_string())
    };
    let (from, to) = (time(&ends[0])?, time(&ends[1])?);
    let first = times.partition_point(|time| *time < from);
    let behind = times.partition_point(|time| *time <= to);
    if first >= behind {
        return Err(format!("no row is from `{}` to `{}`", ends[0], ends[1]));
    }
    Ok(Window { first, last: behind - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_with_their_windows_by_row_and_absent_ones_are_left_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("real")).expect("a folder");
        let rows: String = (0..9).map(|hour| format!("2014-04-10 {hour:02}:00:00,{hour}\n")).collect();
        fs::write(folder.path().join("real/a.csv"), format!("timestamp,value\n{rows}")).expect("a file");
        let labels =
            r#"{"real/a.csv": [["2014-04-10 02:00:00.000000", "2014-04-10 04:30:00.000000"]], "real/b.csv": []}"#;
        fs::write(folder.path().join(WINDOWS), labels).expect("a file");
        let corpus = load(folder.path()).expect("a corpus");
        assert_eq!(corpus.files.len(), 1);
        assert_eq!(corpus.files[0].windows, [Window { first: 2, last: 4 }]);
        assert_eq!((corpus.files[0].category.as_str(), corpus.files[0].values[8]), ("real", 8.0));
    }

    #[test]
    fn labels_outside_the_rows_are_a_fault() {
        let times = [Timestamp::from_micros(0)];
        let ends = ["2014-04-10 02:00:00".to_owned(), "2014-04-10 03:00:00".to_owned()];
        assert!(window(&ends, &times).expect_err("outside").contains("no row"));
    }
}
