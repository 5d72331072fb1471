//! The servers start, answer, and go through what tests do to them.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use servers::{Elasticsearch, Kafka};

/// Asks Elasticsearch, and gives its whole answer.
fn ask(server: &Elasticsearch, method: &str, path: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(server.url().trim_start_matches("http://")).expect("it listens");
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    write!(connection, "{head}Content-Type: application/json\r\n\r\n{body}").expect("a request goes out");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer comes back");
    answer
}

/// Runs one of Kafka's tools to its end, and gives what it printed.
fn topics(server: &Kafka, arguments: &[&str]) -> String {
    let mut tool = server.tool("org.apache.kafka.tools.TopicCommand");
    let output = tool.args(["--bootstrap-server", &server.bootstrap()]).args(arguments).output().expect("java runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn shared_servers_answer_and_are_the_same_for_all() {
    assert_eq!(servers::kafka().bootstrap(), servers::kafka().bootstrap());
    topics(&servers::kafka(), &["--list"]);
    let health = ask(&servers::elasticsearch(), "GET", "/_cluster/health", "");
    assert!(health.contains("\"status\":\"green\"") || health.contains("\"status\":\"yellow\""), "{health}");
}

#[test]
fn own_kafka_keeps_topics_through_a_kill_and_a_stop() {
    let kafka = Kafka::start_own();
    topics(&kafka, &["--create", "--topic", "kept"]);
    kafka.kill();
    assert!(TcpStream::connect(kafka.bootstrap()).is_err());
    kafka.start();
    assert!(topics(&kafka, &["--list"]).contains("kept"));
    kafka.stop();
    kafka.start();
    kafka.suspend();
    kafka.resume();
    assert!(topics(&kafka, &["--list"]).contains("kept"));
}

#[test]
fn own_elasticsearch_keeps_documents_through_a_kill() {
    let elasticsearch = Elasticsearch::start_own();
    assert!(ask(&elasticsearch, "PUT", "/kept", "").starts_with("HTTP/1.1 200"));
    let written = ask(&elasticsearch, "PUT", "/kept/_doc/1?refresh=true", r#"{"value": 7}"#);
    assert!(written.starts_with("HTTP/1.1 201"), "{written}");
    elasticsearch.kill();
    elasticsearch.start();
    let health = ask(&elasticsearch, "GET", "/_cluster/health?wait_for_status=yellow&timeout=30s", "");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let document = ask(&elasticsearch, "GET", "/kept/_doc/1", "");
    assert!(document.contains(r#""value": 7"#), "{document}");
}
