//! Streams the lines of one CSV file, and knows how far it has come.
//!
//! **Invariant:** a line's bytes are passed on as they are in the file, its line end included; never more than one line of
//! at most [`LINE_BYTES_MAX`] is held.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// The longest line that is sent.
pub const LINE_BYTES_MAX: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How far a file has been read, and what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes from the beginning.
    pub offset: u64,
    /// Complete lines from the beginning.
    pub line: u64,
    /// FNV-1a hash of all bytes before `offset`, so that a file that changed there is noticed.
    pub fingerprint: u64,
}

impl Position {
    /// The beginning of any file.
    pub const START: Self = Self { offset: 0, line: 0, fingerprint: 0xcbf2_9ce4_8422_2325 };

    /// Moves past bytes.
    fn pass(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        for byte in bytes {
            self.fingerprint = (self.fingerprint ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What a line is to the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A reading, to be sent as it is.
    Reading,
    /// A header or an empty line, to be passed over.
    Skipped,
    /// A line longer than [`LINE_BYTES_MAX`], to be refused.
    TooLong,
}

/// One file, open at a position between two lines.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    reader: BufReader<File>,
    header: Header,
    position: Position,
}

/// The line of column names, which every post of a dialect with a header begins with; empty for one without.
#[derive(Debug, Default)]
struct Header {
    line: Vec<u8>,
    /// Lines that begin before this offset are no readings.
    end: u64,
}

impl Source {
    /// Opens a file and goes to where it was left.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is shorter than `position`, or holds other bytes before it than were read then.
    pub fn open(path: &Path, header: bool, position: Position) -> anyhow::Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("file `{name}`: cannot be opened"))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let header = if header { Header::read(&mut reader, path)? } else { Header::default() };
        let mut passed = Position::START;
        while passed.offset < position.offset {
            let chunk = reader.fill_buf().with_context(|| format!("file `{name}`: cannot be read"))?;
            if chunk.is_empty() {
                let (length, offset) = (passed.offset, position.offset);
                bail!(
                    "file `{name}`: has `{length}` bytes but `{offset}` were already sent: it became shorter since; \
                     --restart begins again"
                );
            }
            let length = chunk.len().min(usize::try_from(position.offset - passed.offset).unwrap_or(usize::MAX));
            passed.pass(&chunk[..length]);
            reader.consume(length);
        }
        if passed.fingerprint != position.fingerprint {
            bail!(
                "file `{name}`: changed before line `{}`, up to which it was sent; --restart begins again",
                position.line + 1
            );
        }
        Ok(Self { path: path.to_owned(), reader, header, position })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the line of column names, line end included; empty when the dialect has none.
    pub fn header(&self) -> &[u8] {
        &self.header.line
    }

    /// Returns the position after the line read last.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Reads the next line, line end included, into `line`; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn next_line(&mut self, line: &mut Vec<u8>) -> anyhow::Result<Option<Line>> {
        line.clear();
        let unreadable =
            || format!("file `{}`: cannot be read after line `{}`", self.path.display(), self.position.line);
        let limit = LINE_BYTES_MAX as u64 + 1;
        self.reader.by_ref().take(limit).read_until(b'\n', line).with_context(unreadable)?;
        if line.is_empty() {
            return Ok(None);
        }
        let began_at = self.position.offset;
        self.position.pass(line);
        let too_long = line.len() > LINE_BYTES_MAX;
        if too_long && !line.ends_with(b"\n") {
            self.skip_rest_of_line()?;
        }
        self.position.line += 1;
        if began_at == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let skipped = began_at < self.header.end || is_empty(line);
        Ok(Some(match (skipped, too_long) {
            (true, _) => Line::Skipped,
            (false, true) => Line::TooLong,
            (false, false) => Line::Reading,
        }))
    }

    fn skip_rest_of_line(&mut self) -> anyhow::Result<()> {
        loop {
            let chunk = self.reader.fill_buf().with_context(|| format!("file `{}`", self.path.display()))?;
            if chunk.is_empty() {
                return Ok(());
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(chunk.len(), |end| end + 1);
            self.position.pass(&chunk[..length]);
            self.reader.consume(length);
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Checks that a path can be read from any position, so that a pipe is refused before anything is sent.
    ///
    /// # Errors
    ///
    /// When it is no regular file or cannot be opened.
    pub fn check(path: &Path) -> anyhow::Result<u64> {
        let name = path.display();
        let mut file = File::open(path).with_context(|| format!("file `{name}`: cannot be opened"))?;
        if !file.metadata().with_context(|| format!("file `{name}`: cannot be read"))?.is_file() {
            bail!("file `{name}`: is not a regular file");
        }
        file.seek(SeekFrom::End(0)).with_context(|| format!("file `{name}`: cannot be read"))
    }
}

impl Header {
    /// Reads the first line that is not empty, then goes back to the beginning.
    fn read(reader: &mut BufReader<File>, path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let unreadable = || format!("file `{name}`: cannot be read");
        let mut header = Self::default();
        loop {
            header.line.clear();
            reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut header.line).with_context(unreadable)?;
            if header.line.len() == LINE_BYTES_MAX {
                bail!("file `{name}`: its header line is longer than {LINE_BYTES_MAX} bytes");
            }
            if header.end == 0 && header.line.starts_with(BYTE_ORDER_MARK) {
                header.line.drain(..BYTE_ORDER_MARK.len());
            }
            header.end = reader.stream_position().with_context(unreadable)?;
            if !header.line.ends_with(b"\n") || !is_empty(&header.line) {
                break;
            }
        }
        reader.rewind().with_context(unreadable)?;
        Ok(header)
    }
}

fn is_empty(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    fn lines(path: &Path, header: bool) -> Vec<(Line, Vec<u8>)> {
        let mut source = Source::open(path, header, Position::START).expect("opened");
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while let Some(kind) = source.next_line(&mut line).expect("read") {
            lines.push((kind, line.clone()));
        }
        lines
    }

    #[test]
    fn lines_keep_their_bytes_and_ends() {
        let file = file(b"\xef\xbb\xbfa,1\r\nb,\xff\n\n  \r\nc,3");
        let expected: [(Line, &[u8]); 5] = [
            (Line::Reading, b"a,1\r\n"),
            (Line::Reading, b"b,\xff\n"),
            (Line::Skipped, b"\n"),
            (Line::Skipped, b"  \r\n"),
            (Line::Reading, b"c,3"),
        ];
        assert_eq!(lines(file.path(), false), expected.map(|(kind, line)| (kind, line.to_vec())));
        assert_eq!(lines(file.path(), true)[0].0, Line::Skipped);
    }

    #[test]
    fn header_is_the_first_line_that_is_not_empty_wherever_the_file_is_opened() {
        let file = file(b"\xef\xbb\xbf\r\ndate,ph\r\n2017,7\r\n");
        let kinds: Vec<_> = lines(file.path(), true).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Line::Skipped, Line::Skipped, Line::Reading]);
        let mut source = Source::open(file.path(), true, Position::START).expect("opened");
        let mut line = Vec::new();
        while source.next_line(&mut line).expect("read").is_some() {}
        let source = Source::open(file.path(), true, source.position()).expect("opened again");
        assert_eq!(source.header(), b"date,ph\r\n");
    }

    #[test]
    fn line_beyond_the_limit_is_not_held() {
        let mut bytes = vec![b'x'; 3 * LINE_BYTES_MAX];
        bytes.extend_from_slice(b"\nlast\n");
        let file = file(&bytes);
        let lines = lines(file.path(), false);
        assert_eq!(lines[0].0, Line::TooLong);
        assert!(lines[0].1.len() <= LINE_BYTES_MAX + 1);
        assert_eq!(lines[1], (Line::Reading, b"last\n".to_vec()));
    }

    #[test]
    fn file_that_changed_or_shrank_is_refused() {
        let file = file(b"a,1\nb,2\nc,3\n");
        let mut source = Source::open(file.path(), false, Position::START).expect("opened");
        let mut line = Vec::new();
        source.next_line(&mut line).expect("read");
        source.next_line(&mut line).expect("read");
        let position = source.position();
        std::fs::write(file.path(), b"a,1\nb,2\nc,4\nd,5\n").expect("written");
        assert!(Source::open(file.path(), false, position).is_ok(), "what was not read yet may change");
        std::fs::write(file.path(), b"a,1\nb,9\nc,3\n").expect("written");
        let error = Source::open(file.path(), false, position).expect_err("changed").to_string();
        assert!(error.contains("changed before line `3`"), "{error}");
        std::fs::write(file.path(), b"a,1\n").expect("written");
        let error = Source::open(file.path(), false, position).expect_err("shorter").to_string();
        assert!(error.contains("has `4` bytes but `8`"), "{error}");
    }

    proptest! {
        #[test]
        fn reopening_anywhere_loses_and_doubles_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300), stop in 0_usize..20) {
            let file = file(&bytes);
            let all = lines(file.path(), false);
            let mut source = Source::open(file.path(), false, Position::START).expect("opened");
            let (mut seen, mut line) = (Vec::new(), Vec::new());
            for _ in 0..stop {
                if let Some(kind) = source.next_line(&mut line).expect("read") {
                    seen.push((kind, line.clone()));
                }
            }
            let mut source = Source::open(file.path(), false, source.position()).expect("opened again");
            while let Some(kind) = source.next_line(&mut line).expect("read") {
                seen.push((kind, line.clone()));
            }
            prop_assert_eq!(seen, all);
            prop_assert_eq!(source.position().offset, bytes.len() as u64);
        }
    }
}
