//! The routes of the service, and the answers for requests that no route takes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{self, Data, ServiceConfig},
};
use serde_json::Value;
use utoipa_swagger_ui::SwaggerUi;

use crate::{App, Code, Principal, Problem, Surface, api, openapi, output, problem::printable};

/// Where the description is.
const DESCRIPTION: &str = "/openapi.json";
/// The methods that a path of the description may have.
const METHODS: [&str; 5] = ["get", "head", "put", "post", "delete"];

/// The path that the health of a process is below, and that of its metrics.
const HEALTH: [&str; 2] = ["/health/", "/metrics"];

/// Adds the routes of a surface.
pub fn configure(cfg: &mut ServiceConfig, surface: Surface) {
    let document = openapi::document();
    let paths = Paths::of(&document);
    cfg.app_data(
        web::PathConfig::default()
            .error_handler(|error, _| Problem::new(Code::BadRequest, crate::problem::message(&error)).into()),
    );
    match surface {
        Surface::Everything => {
            cfg.app_data(Data::new(paths));
            cfg.route("/docs", web::get().to(docs));
            cfg.service(SwaggerUi::new("/docs/{_:.*}").url(DESCRIPTION, document));
            output::configure(cfg);
            api::configure(cfg);
        }
        Surface::Health => {
            cfg.app_data(Data::new(paths.below(&HEALTH)));
            api::configure_health(cfg);
        }
    }
    cfg.default_service(web::to(no_route));
}

async fn docs(_principal: Principal) -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

/// Answers what no route takes: 405 where the path takes other methods, else 404.
async fn no_route(request: HttpRequest, paths: Data<Paths>, app: Data<App>) -> Result<HttpResponse, Problem> {
    let exists = |id: &str| app.ports.registry.sensor_type(id).is_some();
    Err(match paths.methods(request.path(), exists) {
        Some(methods) => {
            let detail = format!(
                "`{}` takes {methods}, not `{}`",
                printable(request.path()),
                printable(request.method().as_str())
            );
            Problem::new(Code::MethodNotAllowed, detail).allow(methods)
        }
        None => {
            let (path, known) = (printable(request.path()), paths.where_to_look());
            Problem::new(Code::NotFound, format!("there is no `{path}`; see {known}"))
        }
    })
}

/// The paths of the description with their methods.
struct Paths(Vec<(String, String)>);

impl Paths {
    fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        let paths = document.get("paths").and_then(Value::as_object);
        let mut all: Vec<(String, String)> = paths
            .into_iter()
            .flatten()
            .map(|(path, item)| {
                let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
                (path.clone(), methods.map(|method| method.to_ascii_uppercase()).collect::<Vec<_>>().join(", "))
            })
            .collect();
        all.extend([DESCRIPTION, "/docs", "/docs/"].map(|path| (path.to_owned(), "GET".to_owned())));
        // Paths without parameters first.
        all.sort_by_key(|(path, _)| path.matches('{').count());
        Self(all)
    }

    /// Those that begin with one of the prefixes.
    fn below(self, prefixes: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|(path, _)| prefixes.iter().any(|prefix| path.starts_with(prefix))).collect())
    }

    /// What tells a lost client which paths there are.
    fn where_to_look(&self) -> String {
        if self.methods(DESCRIPTION, |_| false).is_some() {
            return format!("`{DESCRIPTION}` or `/docs/`");
        }
        let paths: Vec<String> = self.0.iter().map(|(path, _)| format!("`{path}`")).collect();
        paths.join(", ")
    }

    /// The methods of a path; a path that is one sensor type's alone has some only where the type `exists`.
    fn methods(&self, path: &str, exists: impl Fn(&str) -> bool) -> Option<&str> {
        let (template, methods) = self.0.iter().find(|(template, _)| is_of(path, template))?;
        if template == "/{sensor_type}" && !exists(&path[1..]) {
            return None;
        }
        Some(methods)
    }
}

/// Says whether a path is of a template such as `/v1/sensors/{id}`.
fn is_of(path: &str, template: &str) -> bool {
    let (mut segments, mut wanted) = (path.split('/'), template.split('/'));
    loop {
        match (segments.next(), wanted.next()) {
            (None, None) => return true,
            (Some(segment), Some(wanted)) if wanted.starts_with('{') && !segment.is_empty() => {}
            (Some(segment), Some(wanted)) if segment == wanted => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_template() {
        let paths = Paths::of(&openapi::document());
        let methods = |path: &str| paths.methods(path, |id| id == "emb").map(str::to_owned);
        for (path, expected) in [
            ("/v1/readings/emb", Some("GET, HEAD, POST, DELETE")),
            ("/v1/readings/emb/latest", Some("GET, HEAD")),
            ("/v1/sensors", Some("GET, HEAD")),
            ("/v1/sensors/emb3", Some("GET, HEAD, PUT, DELETE")),
            ("/v1/sensors/", None),
            ("/v1", None),
            ("/", Some("GET, HEAD")),
            ("/metrics", Some("GET, HEAD")),
            ("/emb", Some("POST")),
            ("/favicon.ico", None),
            ("/openapi.json", Some("GET")),
        ] {
            assert_eq!(methods(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn every_route_is_described() {
        let document = serde_json::to_value(openapi::document()).expect("JSON");
        let sources = [include_str!("api/mod.rs"), include_str!("output/mod.rs")];
        let mut routes = 0;
        for path in
            sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2)).filter(|text| text.starts_with('/'))
        {
            routes += 1;
            assert!(document["paths"].get(path).is_some(), "`{path}` is not described");
        }
        assert!(routes >= 20, "the sources name their routes as literals");
    }

    #[test]
    fn the_description_is_whole() {
        let document = serde_json::to_value(openapi::document()).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
        let mut operation_ids = std::collections::HashSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                if let Some(id) = operation["operationId"].as_str() {
                    assert!(operation_ids.insert(id.to_owned()), "`{id}` is there twice: {method} {path}");
                }
                assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{method} {path}");
                check_parameters(path, operation);
            }
        }
        check_references(&document, &document);
    }

    fn check_parameters(path: &str, operation: &Value) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let names: Vec<_> = in_path.filter_map(|parameter| parameter["name"].as_str()).collect();
        let wanted: Vec<_> = path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(names, wanted, "{path}");
    }

    fn check_references(document: &Value, value: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "`{reference}` leads nowhere");
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| check_references(document, member)),
            Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
            _ => {}
        }
    }
}
