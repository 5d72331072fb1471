//! `ad-jobs`: scheduled detection as a process of its own, over Kafka and Elasticsearch; and the detectors on plain files.

use std::process::ExitCode;

fn main() -> ExitCode {
    iot_hub::service::ad_jobs()
}
