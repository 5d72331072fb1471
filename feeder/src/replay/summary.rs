//! How a replay went.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::hub::Retries;

/// The refused lines that are listed; the others are counted.
pub const REFUSED_LINES_MAX: usize = 1000;
/// The characters of a refused value that are shown.
pub const VALUE_CHARS_MAX: usize = 100;

/// A line that the hub, or the feeder itself, refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLine {
    /// The file as it was given.
    pub file: PathBuf,
    /// Its number in the file, from 1.
    pub line: u64,
    /// The field at fault, none when it is the line as a whole.
    pub field: Option<String>,
    /// The value at fault, cut to 100 characters.
    pub value: String,
    /// The rule that it breaks.
    pub reason: String,
}

impl fmt::Display for RefusedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: `{}`: ", self.value)?;
        }
        write!(f, "{}", self.reason)
    }
}

/// What a run of a replay did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Whether every file is replayed to its end.
    pub complete: bool,
    /// Lines that the hub accepted in this run.
    pub accepted: u64,
    /// Lines that were refused in this run.
    pub refused: u64,
    /// Lines, headers and empty ones included, that earlier runs had done.
    pub resumed_lines: u64,
    /// Lines that earlier runs saw refused; they listed them.
    pub refused_before: u64,
    /// The first [`REFUSED_LINES_MAX`] of the refused lines of this run.
    pub refused_lines: Vec<RefusedLine>,
    /// How often a post was sent again.
    pub retries: Retries,
    /// How long this run took.
    pub elapsed: Duration,
}

impl Summary {
    /// Takes note of a refused line.
    pub fn refuse(&mut self, line: RefusedLine) {
        self.refused += 1;
        if self.refused_lines.len() < REFUSED_LINES_MAX {
            self.refused_lines.push(line);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.refused_lines {
            writeln!(f, "refused: {line}")?;
        }
        let unlisted = self.refused - self.refused_lines.len() as u64;
        if unlisted > 0 {
            writeln!(f, "refused: {unlisted} more lines")?;
        }
        let end = if self.complete { "complete" } else { "stopped, the same command continues" };
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "{end}: {} accepted, {} refused, ", self.accepted, self.refused)?;
        write!(f, "{} retries in {seconds:.1} s", self.retries.total())?;
        if self.resumed_lines > 0 {
            write!(f, "; resumed after {} lines", self.resumed_lines)?;
        }
        if self.refused_before > 0 {
            write!(f, ", {} of them refused", self.refused_before)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_lines_are_listed_up_to_a_bound() {
        let mut summary = Summary { accepted: 3, complete: true, ..Summary::default() };
        for line in 1..=REFUSED_LINES_MAX as u64 + 5 {
            let (field, value) = (Some("ph".to_owned()), "abc".to_owned());
            summary.refuse(RefusedLine {
                file: "a.csv".into(),
                line,
                field,
                value,
                reason: "is not a number".to_owned(),
            });
        }
        let text = summary.to_string();
        assert!(text.starts_with("refused: a.csv:1: ph: `abc`: is not a number\n"), "{text}");
        assert!(text.contains("\nrefused: 5 more lines\ncomplete: 3 accepted, 1005 refused, 0 retries"), "{text}");
    }
}
