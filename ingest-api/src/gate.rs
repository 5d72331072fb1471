//! What every request passes: the check of its host and its origin, the catch for panics, the clock, the headers of every answer.

use std::{panic::AssertUnwindSafe, time::Instant};

use actix_web::{
    Error, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    web::Data,
};
use futures_util::FutureExt;

use crate::{App, Code, Problem};

/// What answers may load: nothing.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// What the pages under `/docs/` may load: what the hub itself serves, so that they work without a network.
const POLICY_DOCS: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// The route that requests for no route are counted under.
const NO_ROUTE: &str = "none";

/// Lets a request through and observes it.
pub async fn pass<B: MessageBody>(
    app: Data<App>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let start = Instant::now();
    let route = request.match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned());
    let method = method_label(request.method());
    let policy = if request.path().starts_with("/docs") { POLICY_DOCS } else { POLICY };
    let outcome = match check(&app, &request) {
        Ok(()) => call(request, next).await,
        Err(problem) => Ok(request.into_response(problem.error_response()).map_into_right_body()),
    };
    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let duration = app.requests.with_label_values(&[method, route.as_str(), status.as_str()]);
    duration.observe(start.elapsed().as_secs_f64());
    outcome.map(|mut response| {
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        response
    })
}

/// Says whether a request is for this service, and not sent by a page that must not change anything here.
///
/// Health and metrics are checked as everything else: they name sensor types and what is wrong with the hub.
fn check(app: &App, request: &ServiceRequest) -> Result<(), Problem> {
    let authority = app.hosts.authority(request.head())?;
    if changes_state(request.method()) && has_foreign_origin(request.headers(), &authority) {
        return Err(Problem::new(Code::ForeignOrigin, "a page of another origin may not change anything here"));
    }
    Ok(())
}

async fn call<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(outcome) => outcome.map(ServiceResponse::map_into_left_body),
        Err(_) => {
            // The panic hook has told what and where.
            tracing::error!("a handler panicked");
            Err(Problem::new(Code::Internal, "the hub failed on this request; its log says why").into())
        }
    }
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The method as a label: one of a few.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Says whether a browser sends this for a page that the hub did not serve.
fn has_foreign_origin(headers: &HeaderMap, host: &str) -> bool {
    headers.get_all(ORIGIN).any(|origin| origin.to_str().map_or(true, |origin| is_foreign(origin, host)))
}

fn is_foreign(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return true };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    authority.is_empty() || bare(authority) != bare(host)
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, middleware::from_fn, test as served, web};

    use super::*;

    #[actix_web::test]
    async fn a_panic_costs_its_request_alone() {
        async fn panics() -> HttpResponse {
            panic!("on purpose")
        }
        let routes = App::new()
            .wrap(from_fn(|request: ServiceRequest, next: Next<_>| call(request, next)))
            .route("/bad", web::get().to(panics))
            .route("/good", web::get().to(HttpResponse::Ok));
        let service = served::init_service(routes).await;
        let bad = served::try_call_service(&service, served::TestRequest::get().uri("/bad").to_request()).await;
        let problem = bad.expect_err("an error").as_response_error().error_response();
        assert_eq!(problem.status(), 500);
        let good = served::call_service(&service, served::TestRequest::get().uri("/good").to_request()).await;
        assert_eq!(good.status(), 200);
    }

    #[test]
    fn an_origin_is_foreign_unless_it_is_the_host() {
        for (origin, host, foreign) in [
            ("http://hub:8080", "hub:8080", false),
            ("http://HUB", "hub:80", false),
            ("https://hub", "hub", false),
            ("http://evil", "hub", true),
            ("http://hub:8081", "hub:8080", true),
            ("http://hub.evil", "hub", true),
            ("null", "hub", true),
            ("", "", true),
            ("http://", "", true),
        ] {
            assert_eq!(is_foreign(origin, host), foreign, "{origin} {host}");
        }
    }
}
