//! The HTTP answer of an export: headers, then its pieces as the client takes them.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        Method,
        header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY},
    },
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, try_unfold},
};

use super::{
    coding::Coding,
    export::{Export, ExportError},
    format::Format,
};
use crate::Problem;

/// What an answer is like besides its bytes.
pub struct Shape {
    /// Its format.
    pub format: Format,
    /// Its coding.
    pub coding: Coding,
    /// The name of the file it may become, without an ending.
    pub name: String,
}

impl Shape {
    /// Answers with an export. What fails before the first piece is a problem; what fails behind it breaks the transfer off,
    /// so that no client takes a part for the whole.
    ///
    /// # Errors
    /// A problem where no piece can be made.
    pub async fn answer(&self, mut export: Export) -> Result<HttpResponse, Problem> {
        let first = export.next().await?.unwrap_or_default();
        let mut response = self.headers();
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

    /// Answers with the headers of an export alone.
    pub fn head(&self) -> HttpResponse {
        self.headers().streaming(stream::empty::<Result<Bytes, ExportError>>())
    }

    /// The headers; what a browser should not show is a download.
    pub fn headers(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        response.insert_header((CONTENT_TYPE, self.format.content_type()));
        response.insert_header((VARY, "accept, accept-encoding"));
        if let Some(coding) = self.coding.name() {
            response.insert_header((CONTENT_ENCODING, coding));
        }
        if self.format != Format::Json {
            // A colon is not allowed in file names everywhere; the other characters of ids are.
            let file = format!("attachment; filename=\"{}.{}\"", self.name.replace(':', "_"), self.format.name());
            response.insert_header((CONTENT_DISPOSITION, file));
        }
        response
    }
}

/// Says whether only the headers of the answer are wanted.
pub fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}
