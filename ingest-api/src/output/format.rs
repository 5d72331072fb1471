//! The forms in which readings leave: their names, media types and files, and how a request chooses one.

use actix_web::http::header::{ACCEPT, HeaderMap};

use crate::{Code, Problem};

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page of items in one object.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// A header line, then one line per row.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow, the streaming form of its IPC.
    Arrow,
}

impl Format {
    /// Every form; the first is the default.
    pub const ALL: &'static [Self] = &[Self::Json, Self::Ndjson, Self::Csv, Self::Parquet, Self::Arrow];
    /// The forms that are text.
    pub const TEXT: &'static [Self] = &[Self::Json, Self::Ndjson, Self::Csv];
    /// The forms of a small table.
    pub const TABLE: &'static [Self] = &[Self::Json, Self::Csv];

    /// The name in `format=`, which is also the ending of a file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The media type without parameters, as an `Accept` header names it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The `Content-Type` of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            _ => self.media_type(),
        }
    }

    /// Takes a name for one of the `offered` forms.
    ///
    /// # Errors
    /// The rule, naming what is offered.
    pub fn parse(name: &str, offered: &[Self]) -> Result<Self, String> {
        let found = offered.iter().copied().find(|format| format.name() == name);
        found.ok_or_else(|| format!("must be one of {}", listed(offered, Self::name)))
    }

    /// Chooses by the `Accept` headers: the highest quality, then the more exact range, then the one named first.
    /// Without any, the first offered.
    ///
    /// # Errors
    /// `NotAcceptable` where every offered form is excluded.
    pub fn accepted(headers: &HeaderMap, offered: &[Self]) -> Result<Self, Problem> {
        let accept: Vec<&str> = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).collect();
        let accept = accept.join(",");
        let ranges: Vec<Range<'_>> = accept.split(',').enumerate().filter_map(Range::parse).collect();
        if ranges.is_empty() {
            return Ok(offered[0]);
        }
        let mut best: Option<(Rank, Self)> = None;
        for format in offered {
            let matching = ranges.iter().filter_map(|range| range.rank(format.media_type()));
            let Some(rank) = matching.max_by_key(|rank| (rank.exactness, rank.earliness)) else { continue };
            if rank.quality > 0 && best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, *format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let detail = format!(
                "header `accept` = `{}`: none of it can be answered; send one of {}, or `format=`",
                crate::problem::printable(&accept),
                listed(offered, Self::media_type)
            );
            Problem::new(Code::NotAcceptable, detail)
        })
    }
}

/// The names of formats for a message: `json`, `csv`.
fn listed(formats: &[Format], name: fn(Format) -> &'static str) -> String {
    formats.iter().map(|format| format!("`{}`", name(*format))).collect::<Vec<_>>().join(", ")
}

/// How well a media range fits a format; compared field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The client's wish, in thousandths.
    quality: u16,
    /// 2 for a media type, 1 for `text/*`, 0 for `*/*`.
    exactness: u8,
    /// Greater for what is named earlier.
    earliness: usize,
}

/// One media range of an `Accept` header.
struct Range<'a> {
    media: &'a str,
    quality: u16,
    place: usize,
}

impl<'a> Range<'a> {
    /// `None` for an empty element; an unreadable quality is taken as 1.
    fn parse((place, text): (usize, &'a str)) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality: f32 = quality.and_then(|quality| quality.parse().ok()).unwrap_or(1.0);
        Some(Self { media, quality: (quality.clamp(0.0, 1.0) * 1000.0) as u16, place })
    }

    fn rank(&self, media_type: &str) -> Option<Rank> {
        let exactness = match self.media.split_once('/') {
            _ if self.media.eq_ignore_ascii_case(media_type) => 2,
            Some(("*", "*")) => 0,
            Some((kind, "*")) if media_type.split('/').next().is_some_and(|k| k.eq_ignore_ascii_case(kind)) => 1,
            _ => return None,
        };
        Some(Rank { quality: self.quality, exactness, earliness: usize::MAX - self.place })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Option<Format>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(Format::accepted(&headers, Format::ALL).ok(), expected, "{accept}");
    }

    #[test]
    fn accept_chooses_quality_then_exactness_then_order() {
        assert_eq!(Format::accepted(&HeaderMap::new(), Format::ALL), Ok(Format::Json));
        check("", Some(Format::Json));
        check("*/*", Some(Format::Json));
        check("text/html,application/xhtml+xml,*/*;q=0.8", Some(Format::Json));
        check("text/csv", Some(Format::Csv));
        check("Text/CSV; header=present", Some(Format::Csv));
        check("text/*", Some(Format::Csv));
        check("text/csv, */*", Some(Format::Csv));
        check("application/x-ndjson;q=0.5, application/vnd.apache.parquet", Some(Format::Parquet));
        check("application/vnd.apache.arrow.stream, application/json", Some(Format::Arrow));
        check("*/*, application/json;q=0", Some(Format::Ndjson));
        check("text/html", None);
        check("application/json;q=0", None);
        check(";;,/,*", None);
    }

    #[test]
    fn a_wrong_name_is_told_what_is_offered() {
        let rule = Format::parse("xml", Format::TABLE).expect_err("no such format");
        assert_eq!(rule, "must be one of `json`, `csv`");
    }
}
