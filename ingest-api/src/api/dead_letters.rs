//! Dead letters: what could not be processed, to be read and replayed.

use std::{collections::HashSet, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use domain::{DeadLetter, Partition, Payload, Position, Topic, from_json};
use ports::{Batch, Content, Document, ErrorKind, PortError, Reader};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{query, readings::with_target};
use crate::{
    App, Code, Principal, Problem,
    accept::{Accepted, accept},
    input,
};

/// The dead letters before a page that are looked at for repetitions. A dead letter is repeated only by a crash before the
/// commit of its record, so that its repetition is never further than one poll of the consumer.
const REPETITION_DISTANCE_MAX: u64 = 65_536;
/// Bytes of dead letters behind which a page ends early.
const PAGE_SIZE_BYTES: usize = 4 * 1024 * 1024;
/// Dead letters read at once.
const READ_MAX: usize = 1_000;
/// How long the log may take to deliver what it says it holds.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// A dead letter with its id, or why it can't be read.
#[derive(Serialize)]
struct Item {
    id: u64,
    #[serde(flatten)]
    letter: Letter,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Letter {
    Readable(Box<DeadLetter>),
    Unreadable { reason: String },
}

impl Item {
    fn of(id: u64, document: &Document) -> Self {
        let letter = match from_json(document.body.as_deref().unwrap_or_default()) {
            Ok(letter) => Letter::Readable(letter),
            Err(error) => Letter::Unreadable { reason: format!("this dead letter can't be read: {error}") },
        };
        Self { id, letter }
    }
}

/// What could not be processed, each with its reason, oldest first.
#[utoipa::path(
    method(get, head),
    path = "/v1/dead-letters",
    operation_id = "list_dead_letters",
    tag = "Dead letters",
    params(
        ("limit" = Option<u64>, Query, description = "Items of a page, 1 to 1,000 (default 100); a page of large ones ends earlier", example = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of dead letters", body = crate::openapi::DeadLettersPage),
        (status = 400, description = "A parameter is unknown, repeated or wrong", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(request: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let query: ListQuery = query::read(&request)?;
    let limit = query::limit(query.limit.as_deref())?;
    let start = match query.cursor.as_deref() {
        None => 0,
        Some(cursor) => {
            cursor.parse().map_err(|_| Problem::parameter("cursor", cursor, "must be a `next_cursor` of this route"))?
        }
    };
    let (items, next) = page(&app, start, limit).await?;
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next_cursor})))
}

/// Up to `limit` dead letters from position `start` on, and where the next page starts.
async fn page(app: &App, start: u64, limit: usize) -> Result<(Vec<Item>, Option<u64>), PortError> {
    let (mut items, mut seen, mut size_bytes) = (Vec::new(), HashSet::new(), 0);
    let Some(mut letters) = Letters::open(app, start.saturating_sub(REPETITION_DISTANCE_MAX)).await? else {
        return Ok((items, None));
    };
    while let Some((position, document)) = letters.next().await? {
        if position >= start && (items.len() == limit || size_bytes >= PAGE_SIZE_BYTES) {
            return Ok((items, Some(position)));
        }
        if seen.insert(document.key.clone()) && position >= start {
            size_bytes += document.body.as_ref().map_or(0, |body| body.len());
            items.push(Item::of(position, &document));
        }
    }
    Ok((items, None))
}

/// Reads the topic of the dead letters from a position to where it ended when it was opened.
struct Letters {
    reader: Box<dyn Reader>,
    /// Position behind the last letter read.
    next: u64,
    end: u64,
    ready: std::vec::IntoIter<(u64, Document)>,
}

impl Letters {
    /// Opens the topic; `None` where there is none yet.
    async fn open(app: &App, from: u64) -> Result<Option<Self>, PortError> {
        let topic = Topic::dead_letters();
        let extents = match app.ports.log.extents(&topic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            extents => extents?,
        };
        let (start, end) = extents.first().map_or((0, 0), |extent| (extent.start.0, extent.end.0));
        let from = from.max(start);
        if from >= end {
            return Ok(None);
        }
        let reader = app.ports.log.reader(&topic, Partition(0), Position(from)).await?;
        Ok(Some(Self { reader, next: from, end, ready: Vec::new().into_iter() }))
    }

    async fn next(&mut self) -> Result<Option<(u64, Document)>, PortError> {
        loop {
            if let Some((position, document)) = self.ready.next() {
                return Ok((position < self.end).then_some((position, document)));
            }
            if self.next >= self.end {
                return Ok(None);
            }
            let deliveries = self.reader.next(READ_MAX, READ_WAIT_MAX).await?;
            let Some(last) = deliveries.last() else {
                let message = format!("the log has not delivered the dead letters from `{}` on in time", self.next);
                return Err(PortError::new(ErrorKind::Unavailable, message));
            };
            self.next = last.next_position().0;
            let mut ready = Vec::new();
            for delivery in deliveries {
                if let Content::Documents(documents) = delivery.content {
                    ready.extend((delivery.first_position.0..).zip(documents));
                }
            }
            self.ready = ready.into_iter();
        }
    }
}

/// A dead letter.
#[utoipa::path(
    method(get, head),
    path = "/v1/dead-letters/{id}",
    operation_id = "get_dead_letter",
    tag = "Dead letters",
    params(("id" = u64, Path, description = "Id of the dead letter", example = 0)),
    responses(
        (status = 200, description = "The dead letter", body = crate::openapi::DeadLetter),
        (status = 404, description = "There is no such dead letter (any more)", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn get(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(find(&app, &path).await?))
}

async fn find(app: &App, id: &str) -> Result<Item, Problem> {
    let not_found = || Problem::not_found("dead letter", id);
    let position: u64 = id.parse().map_err(|_| not_found())?;
    let mut letters = Letters::open(app, position).await?.ok_or_else(not_found)?;
    // The reader starts behind where retention took the position, before it where a batch is not cut.
    while let Some((found, document)) = letters.next().await? {
        if found == position {
            return Ok(Item::of(found, &document));
        }
        if found > position {
            break;
        }
    }
    Err(not_found())
}

/// Sends the reading, or the deletion, of a dead letter through the log once more.
///
/// For when the reason is gone: a sensor type was made, the store has room again. The dead letter stays.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/replay",
    operation_id = "replay_dead_letter",
    tag = "Dead letters",
    params(("id" = u64, Path, description = "Id of the dead letter", example = 0)),
    responses(
        (status = 202, description = "The reading is accepted again", body = crate::openapi::Accepted),
        (status = 404, description = "There is no such dead letter (any more)", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It still is no valid reading", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A bound is reached or the log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn replay(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let invalid = |detail: String| Problem::new(Code::Invalid, detail);
    let letter = match find(&app, &path).await?.letter {
        Letter::Readable(letter) => letter,
        Letter::Unreadable { reason } => return Err(invalid(reason)),
    };
    let sensor_type = Topic::from_name(&letter.topic)
        .sensor_type()
        .and_then(|id| app.ports.registry.sensor_type(id.as_str()))
        .ok_or_else(|| invalid(format!("there is no sensor type for topic `{}`", letter.topic)))?;
    let text = match letter.payload {
        Payload::Reading(text) => text,
        Payload::Deletion(deletion) => {
            let _in_use = app.types_in_use.read().await;
            app.ports.log.append(&Topic::readings(&sensor_type.id), Batch::Deletions(vec![deletion])).await?;
            return Ok(HttpResponse::Accepted().json(Accepted {
                accepted: 1,
                rejected: Vec::new(),
                rejected_count: None,
            }));
        }
        Payload::Bytes(_) => return Err(invalid("the dead letter holds bytes that are no reading".to_owned())),
    };
    let parsed = with_target(&app, &sensor_type, None, |target| input::json::parse(text.as_bytes(), target));
    let parsed = parsed.map_err(|fault| invalid(format!("the reading can't be read: {fault}")))?;
    Ok(HttpResponse::Accepted().json(accept(&app, &sensor_type, parsed).await?))
}
