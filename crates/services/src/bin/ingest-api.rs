//! `ingest-api`: the REST API as a process of its own, over Kafka and Elasticsearch.

use std::process::ExitCode;

use iot_hub::service::{self, Services};

fn main() -> ExitCode {
    let about = "The REST API of the hub: readings, sensor types and sensors in; queries, exports and OpenAPI out";
    service::main("ingest-api", about, Services::IngestApi)
}
