//! The query strings of this module's routes.

use actix_web::{HttpRequest, web::Query};
use serde::de::DeserializeOwned;

use crate::{Code, Problem, problem::message};

/// Items of a page where the request does not say.
const LIMIT_DEFAULT: usize = 100;
/// The most items of a page.
const LIMIT_MAX: usize = 1_000;

/// Reads the query string of a request.
///
/// # Errors
/// 400 for an unknown, repeated or missing parameter.
pub fn read<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = Query::<T>::from_query(request.query_string());
    query.map(Query::into_inner).map_err(|error| {
        let text = match &error {
            actix_web::error::QueryPayloadError::Deserialize(error) => error.to_string(),
            _ => "is not made of `name=value` pairs".to_owned(),
        };
        Problem::new(Code::BadRequest, format!("query string: {}", message(&text)))
    })
}

/// Reads the size of a page.
///
/// # Errors
/// 400 for what is not from 1 to 1,000.
pub fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    match text.parse() {
        Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::parameter("limit", text, "must be a whole number from 1 to 1,000")),
    }
}
