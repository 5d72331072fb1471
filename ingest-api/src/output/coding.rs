//! Content codings of text answers: gzip and Zstandard, written piece by piece.

use std::io::{self, Write};

use actix_web::http::header::{ACCEPT_ENCODING, HeaderMap};
use domain::{RowRef, SensorId, Timestamp};
use flate2::write::GzEncoder;

use super::{
    encoder::{EncodeError, Encoder},
    format::Format,
};

/// Bytes of text at which they are compressed.
const TEXT_SIZE: usize = 64 * 1024;

/// How the bytes of an answer are coded for their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// Chooses what the client takes: Zstandard before gzip. Parquet and Arrow go as they are: they are files of their own.
    pub fn accepted(headers: &HeaderMap, format: Format) -> Self {
        if !Format::TEXT.contains(&format) {
            return Self::Identity;
        }
        let accepts = |name: &str| {
            let values = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|element| {
                let (coding, weight) = element.split_once(';').unwrap_or((element, ""));
                let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
                coding.trim().eq_ignore_ascii_case(name) && weight.is_none_or(|weight| weight > 0.0)
            })
        };
        match () {
            () if accepts("zstd") => Self::Zstd,
            () if accepts("gzip") => Self::Gzip,
            () => Self::Identity,
        }
    }

    /// The name in `Content-Encoding`; `None` for bytes as they are.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Wraps an encoder so that its bytes come coded.
    ///
    /// # Errors
    /// [`EncodeError::Coding`].
    pub fn wrap(self, inner: Box<dyn Encoder>) -> Result<Box<dyn Encoder>, EncodeError> {
        Ok(match self {
            Self::Identity => inner,
            Self::Gzip => {
                let writer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                Box::new(CodedEncoder { inner, writer })
            }
            Self::Zstd => {
                let writer = zstd::stream::write::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
                Box::new(CodedEncoder { inner, writer })
            }
        })
    }
}

/// A compressor that writes into memory.
trait Compressor: Write + Send {
    /// Writes what ends the data.
    fn end(&mut self) -> io::Result<()>;
    /// What was written so far.
    fn written(&mut self) -> &mut Vec<u8>;
    /// How much was written so far.
    fn size(&self) -> usize;
}

impl Compressor for GzEncoder<Vec<u8>> {
    fn end(&mut self) -> io::Result<()> {
        self.try_finish()
    }

    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn size(&self) -> usize {
        self.get_ref().len()
    }
}

impl Compressor for zstd::stream::write::Encoder<'static, Vec<u8>> {
    fn end(&mut self) -> io::Result<()> {
        self.do_finish()
    }

    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn size(&self) -> usize {
        self.get_ref().len()
    }
}

/// Compresses what another encoder writes.
struct CodedEncoder<C> {
    inner: Box<dyn Encoder>,
    writer: C,
}

impl<C: Compressor> Encoder for CodedEncoder<C> {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        self.inner.row(sensor_id, row)?;
        if self.inner.ready() >= TEXT_SIZE {
            self.writer.write_all(&self.inner.take())?;
        }
        Ok(())
    }

    fn finish(&mut self, next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        self.inner.finish(next)?;
        self.writer.write_all(&self.inner.take())?;
        Ok(self.writer.end()?)
    }

    fn ready(&self) -> usize {
        self.writer.size()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.written())
    }

    fn is_heavy(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accepted: &str, expected: Coding) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(accepted).expect("a header"));
        assert_eq!(Coding::accepted(&headers, Format::Csv), expected, "{accepted}");
        assert_eq!(Coding::accepted(&headers, Format::Parquet), Coding::Identity);
    }

    #[test]
    fn a_coding_is_used_only_where_the_client_takes_it() {
        assert_eq!(Coding::accepted(&HeaderMap::new(), Format::Csv), Coding::Identity);
        check("identity", Coding::Identity);
        check("br, deflate", Coding::Identity);
        check("deflate, GZIP", Coding::Gzip);
        check("gzip;q=0.5, zstd;q=0", Coding::Gzip);
        check("gzip, deflate, br, zstd", Coding::Zstd);
    }
}
