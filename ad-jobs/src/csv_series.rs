//! Reads one column of a plain CSV file as a series, with the times of its rows where it has them.
//!
//! **Invariant:** a cell is a number or a missing value by name; anything else is an error with its line, never a guess.

use std::path::Path;

use domain::Timestamp;

/// Texts that stand for a missing value.
const MISSING: [&str; 6] = ["", "NA", "(na)", "NaN", "nan", "null"];
/// The most rows of a file.
const ROWS_MAX: usize = 10_000_000;

/// One column of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The values, `NaN` where one is missing.
    pub values: Vec<f64>,
    /// The time of each row, where all have one.
    pub times: Option<Vec<Timestamp>>,
}

/// Why a file has no such series.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The file can't be read.
    #[error("can't read `{path}`")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: csv::Error,
    },
    /// There is no such column.
    #[error("`{path}` has no column `{column}`: {columns}")]
    Column {
        /// The file's path.
        path: String,
        /// What was asked for.
        column: String,
        /// What there is.
        columns: String,
    },
    /// A cell is no number.
    #[error("line {line} of `{path}`: `{cell}` is neither a number nor a missing value (empty, NA, (na), NaN, null)")]
    Number {
        /// The file's path.
        path: String,
        /// The line, from 1.
        line: u64,
        /// What is there.
        cell: String,
    },
    /// The file is too long.
    #[error("`{path}` has more than 10,000,000 rows")]
    TooLong {
        /// The file's path.
        path: String,
    },
}

/// Reads a column by its name, or by its number from 1; the last one if none is named. A first line without a number in that column
/// is a header.
///
/// # Errors
/// [`SeriesError`].
pub fn read(path: &Path, column: Option<&str>) -> Result<Series, SeriesError> {
    let name = path.display().to_string();
    let unreadable = |source| SeriesError::Read { path: name.clone(), source };
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_path(path).map_err(unreadable)?;
    let mut records = reader.records();
    let Some(first) = records.next().transpose().map_err(unreadable)? else {
        return Ok(Series { values: Vec::new(), times: None });
    };
    let place = place(&first, column).ok_or_else(|| SeriesError::Column {
        path: name.clone(),
        column: column.unwrap_or_default().to_owned(),
        columns: first.iter().collect::<Vec<_>>().join(", "),
    })?;
    let is_header = first.get(place).is_some_and(|cell| number(cell).is_none());
    let first = Some(Ok(first)).filter(|_| !is_header);
    let (mut values, mut times) = (Vec::new(), Vec::new());
    for record in first.into_iter().chain(records) {
        let record = record.map_err(unreadable)?;
        let cell = record.get(place).unwrap_or_default();
        let line = record.position().map_or(0, csv::Position::line);
        let value =
            number(cell).ok_or_else(|| SeriesError::Number { path: name.clone(), line, cell: cell.to_owned() })?;
        if values.len() == ROWS_MAX {
            return Err(SeriesError::TooLong { path: name });
        }
        values.push(value);
        times.extend(time(&record));
    }
    let times = Some(times).filter(|times| times.len() == values.len());
    Ok(Series { values, times })
}

/// Index of the column that is meant.
fn place(first: &csv::StringRecord, column: Option<&str>) -> Option<usize> {
    let Some(column) = column else { return first.len().checked_sub(1) };
    let named = first.iter().position(|cell| cell == column);
    let numbered = || column.parse().ok().and_then(|number: usize| number.checked_sub(1));
    named.or_else(numbered).filter(|place| *place < first.len())
}

/// A cell's number, `NaN` for a missing one.
fn number(cell: &str) -> Option<f64> {
    if MISSING.contains(&cell) {
        return Some(f64::NAN);
    }
    cell.parse().ok()
}

/// A row's time: its first cell that is one, or a date with the time of day behind it; UTC where it does not say.
fn time(record: &csv::StringRecord) -> Option<Timestamp> {
    let cells: Vec<&str> = record.iter().collect();
    for (index, cell) in cells.iter().enumerate() {
        let with_time = cells.get(index + 1).map_or_else(String::new, |next| format!("{cell}T{next}Z"));
        let zoned = cell.replacen(' ', "T", 1);
        let texts = [zoned.clone(), format!("{zoned}Z"), with_time];
        if let Some(time) = texts.iter().find_map(|text| Timestamp::parse(text).ok()) {
            return Some(time);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    }

    fn check(text: &str, column: Option<&str>, values: &[f64], first: Option<&str>) {
        let series = read(file(text).path(), column).expect("a series");
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&series.values), bits(values), "{text}");
        let time = series.times.map(|times| times[0].to_string());
        assert_eq!(time.as_deref(), first, "{text}");
    }

    #[test]
    fn columns_are_found_by_name_by_number_and_as_the_last() {
        let text = "timestamp,a,b\n2017-02-08 15:00:00,1,4\n2017-02-08 16:00:00,2,5\n";
        check(text, Some("a"), &[1.0, 2.0], Some("2017-02-08T15:00:00Z"));
        check(text, Some("2"), &[1.0, 2.0], Some("2017-02-08T15:00:00Z"));
        check(text, None, &[4.0, 5.0], Some("2017-02-08T15:00:00Z"));
        check("index,value\n1,7.5\n", None, &[7.5], None);
        check("", None, &[], None);
    }

    #[test]
    fn a_file_without_header_has_dates_and_times_of_day_in_two_columns() {
        let text = "2017-02-08,15:00:00,904,7.3\r\n2017-02-08,16:00:00,(na),7.3\r\n";
        check(text, Some("3"), &[904.0, f64::NAN], Some("2017-02-08T15:00:00Z"));
        check("2017-02-08T15:00:00+01:00,1\n", None, &[1.0], Some("2017-02-08T14:00:00Z"));
    }

    #[test]
    fn what_is_no_series_is_an_error_that_names_it() {
        let error =
            |text: &str, column: Option<&str>| read(file(text).path(), column).expect_err("no series").to_string();
        assert!(error("a,b\n1,2\n", Some("c")).ends_with("has no column `c`: a, b"));
        assert!(error("a,b\n1,2\n3,x\n", None).starts_with("line 3 of "), "{}", error("a,b\n1,2\n3,x\n", None));
        assert!(
            read(Path::new("nowhere.csv"), None).expect_err("none").to_string().starts_with("can't read `nowhere.csv`")
        );
    }
}
