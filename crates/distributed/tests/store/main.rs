//! The store on a real Elasticsearch, which all tests share, each in indices of its own.

mod contracts;
mod faults;
mod findings;
mod indices;
mod place;
