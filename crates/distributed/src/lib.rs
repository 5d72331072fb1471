//! The ports past one machine: the log on Kafka, the store and the findings on Elasticsearch.

pub mod findings;
pub mod log;
pub mod store;
