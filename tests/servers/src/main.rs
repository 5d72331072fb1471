//! Keeps Kafka and Elasticsearch running for a developer's session, and prints where they are.

use std::io::{Read, stdin};

fn main() {
    println!("kafka          {}", servers::kafka().bootstrap());
    println!("elasticsearch  {}", servers::elasticsearch().url());
    println!("They run until the end of input (Ctrl-D, Ctrl-C), and half a minute longer.");
    let mut input = Vec::new();
    let _ = stdin().read_to_end(&mut input);
}
