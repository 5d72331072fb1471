//! Reads the body of a request within its bounds and unpacks it.

use std::io::Read;

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::in_flight::Permit;
use crate::{App, Code, Problem, problem::printable};

/// Room made at first for a body whose length is told, until its bytes come.
const ROOM_FIRST_BYTES: usize = 256 * 1024;
/// Bytes unpacked at once.
const UNPACKED_CHUNK_BYTES: usize = 64 * 1024;
/// Base-2 logarithm of the largest window of zstd that is unpacked: 16 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// A body as it was sent.
#[derive(Debug)]
pub struct Body {
    bytes: Bytes,
    coding: Coding,
    size_max: usize,
    permit: Permit,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The coding that a request names in `Content-Encoding`.
    ///
    /// # Errors
    /// 415 for any other than identity, gzip and zstd, or several.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let mut named = request.headers().get_all(CONTENT_ENCODING);
        let (Some(name), None) = (named.next(), named.next()) else {
            return match request.headers().contains_key(CONTENT_ENCODING) {
                true => Err(Self::unsupported("several")),
                false => Ok(Self::Identity),
            };
        };
        let name = String::from_utf8_lossy(name.as_bytes());
        match name.trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Self::unsupported(&name)),
        }
    }

    fn unsupported(name: &str) -> Problem {
        let detail = format!("content encoding `{}` is not one of identity, gzip and zstd", printable(name));
        Problem::new(Code::UnsupportedMediaType, detail)
    }
}

/// The media type that a request names in `Content-Type`, in lower case without its parameters.
pub fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

impl Body {
    /// Receives a body of up to `size_max` bytes, as sent and as unpacked.
    ///
    /// # Errors
    /// 413 beyond `size_max`, 415 for an unknown coding, 408 for a client that is too slow, 503 where too much is in flight.
    pub async fn receive(
        app: &App,
        request: &HttpRequest,
        payload: web::Payload,
        size_max: usize,
    ) -> Result<Self, Problem> {
        let coding = Coding::of(request)?;
        let told = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|told| told > size_max) {
            return Err(too_large("the body", size_max));
        }
        let mut permit = app.in_flight.permit();
        let receiving = receive(payload, told.unwrap_or(0), size_max, &mut permit);
        let timeout = app.config.body_timeout;
        let bytes = tokio::time::timeout(timeout, receiving).await.map_err(|_| {
            Problem::new(Code::Timeout, format!("the body did not come within {} s", timeout.as_secs()))
        })??;
        Ok(Self { bytes, coding, size_max, permit })
    }

    /// How many bytes were sent.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Says whether the body is packed, so that it may be much larger than what was sent.
    pub fn is_packed(&self) -> bool {
        self.coding != Coding::Identity
    }

    /// The bytes, and the share of the bound to hold on to as long as they, or what is made of them, are in use.
    ///
    /// # Errors
    /// 413 beyond the bound, 400 where they are not what the coding says, 503 where too much is in flight.
    pub fn unpack(mut self) -> Result<(Bytes, Permit), Problem> {
        let unpacked = match self.coding {
            Coding::Identity => return Ok((self.bytes, self.permit)),
            Coding::Gzip => {
                let decoder = flate2::bufread::MultiGzDecoder::new(&self.bytes[..]);
                unpack(decoder, "gzip", self.size_max, &mut self.permit)?
            }
            Coding::Zstd => {
                let broken = |_| corrupt("zstd");
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&self.bytes[..]).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                unpack(decoder, "zstd", self.size_max, &mut self.permit)?
            }
        };
        Ok((unpacked.into(), self.permit))
    }
}

async fn receive(
    mut payload: web::Payload,
    told: usize,
    size_max: usize,
    permit: &mut Permit,
) -> Result<Bytes, Problem> {
    let mut all = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Problem::new(Code::BadRequest, "the body broke off before its end")
        })?;
        if all.len() + chunk.len() > size_max {
            return Err(too_large("the body", size_max));
        }
        permit.grow(chunk.len())?;
        if all.is_empty() {
            if chunk.len() == told {
                return Ok(chunk);
            }
            all.reserve(told.min(ROOM_FIRST_BYTES));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn unpack(mut decoder: impl Read, coding: &str, size_max: usize, permit: &mut Permit) -> Result<Vec<u8>, Problem> {
    let mut all = Vec::new();
    let mut chunk = vec![0; UNPACKED_CHUNK_BYTES];
    loop {
        let size = decoder.read(&mut chunk).map_err(|_| corrupt(coding))?;
        if size == 0 {
            return Ok(all);
        }
        if all.len() + size > size_max {
            return Err(too_large("the unpacked body", size_max));
        }
        permit.grow(size)?;
        all.extend_from_slice(&chunk[..size]);
    }
}

fn too_large(what: &str, size_max: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("{what} has more than `{size_max}` bytes")).with("size_max", size_max)
}

fn corrupt(coding: &str) -> Problem {
    Problem::new(Code::Syntax, format!("the body is no {coding}, or is cut short"))
}
