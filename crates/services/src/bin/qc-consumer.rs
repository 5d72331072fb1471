//! `qc-consumer`: quality control as a process of its own, over Kafka and Elasticsearch.

use std::process::ExitCode;

use iot_hub::service::{self, Services};

fn main() -> ExitCode {
    let about = "Quality control: follows the log, flags each value, labels each reading, and writes it to the store";
    service::main("qc-consumer", about, Services::QcConsumer)
}
