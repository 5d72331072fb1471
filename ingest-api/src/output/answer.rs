//! The HTTP answer of an export: headers, then its pieces as the client takes them.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        Method,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE, VARY},
    },
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, try_unfold},
};

use super::{
    export::{Export, ExportError},
    format::Format,
};
use crate::Problem;

/// Answers with an export. What fails before the first piece is a problem; what fails behind it breaks the transfer off, so
/// that no client takes a part for the whole.
///
/// # Errors
/// A problem where no piece can be made.
pub async fn answer(format: Format, name: &str, mut export: Export) -> Result<HttpResponse, Problem> {
    let first = export.next().await?.unwrap_or_default();
    let mut response = headers(format, name);
    if export.is_done() {
        return Ok(response.body(first));
    }
    let rest = try_unfold(export, async |mut export: Export| match export.next().await {
        Ok(piece) => Ok(piece.map(|piece| (piece, export))),
        Err(error) => {
            tracing::warn!(%error, "an export is broken off");
            Err(error)
        }
    });
    Ok(response.streaming(stream::iter([Ok(first)]).chain(rest)))
}

/// Says whether only the headers of the answer are wanted.
pub fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}

/// Answers with the headers of an export alone.
pub fn head(format: Format, name: &str) -> HttpResponse {
    headers(format, name).streaming(stream::empty::<Result<Bytes, ExportError>>())
}

/// An answer of this format; what a browser should not show is a download, `name` with the format's ending.
pub fn headers(format: Format, name: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, format.content_type())).insert_header((VARY, "accept"));
    if format != Format::Json {
        // A colon is not allowed in file names everywhere; the other characters of ids are.
        let file = format!("attachment; filename=\"{}.{}\"", name.replace(':', "_"), format.name());
        response.insert_header((CONTENT_DISPOSITION, file));
    }
    response
}
