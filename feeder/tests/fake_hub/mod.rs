//! A small HTTP server in the test's process that plays a hub on its good and bad days.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// How the hub treats a post; posts beyond the script are accepted.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Keeps the readings and says so.
    Accept,
    /// Keeps nothing and answers a status with a `Retry-After` and a body.
    Answer(u16, &'static str, &'static str),
    /// Closes the connection before it looks at the readings.
    Reset,
    /// Keeps the readings and closes the connection without an answer.
    LoseAnswer,
    /// Keeps the readings, says so and closes the connection, as a server does with idle ones.
    AcceptAndClose,
    /// Refuses the items that contain `bad`, with 422 when none is left.
    RefuseBad,
    /// Tells of the post and never answers.
    Hold,
}

/// A request that was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its body.
    pub body: String,
}

#[derive(Debug, Default)]
struct Inner {
    script: VecDeque<Turn>,
    sensor: Option<&'static str>,
    dialect: &'static str,
    requests: Vec<Seen>,
    kept: Vec<Seen>,
    /// Readings kept at the last look at the metrics: what the next one is told.
    stored: usize,
}

/// A running fake hub; it ends with the test's process.
pub struct FakeHub {
    /// Its URL.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    posted: Receiver<()>,
}

impl FakeHub {
    /// Starts a hub that treats posts by a script.
    pub fn start(script: impl IntoIterator<Item = Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let dialect = r#"{"columns":["date","time","sec","ph"],"header":false,"time_zone":"UTC"}"#;
        let inner = Inner { script: script.into_iter().collect(), dialect, ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let (posted_sender, posted) = channel();
        let shared = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, posted) = (shared.clone(), posted_sender.clone());
                std::thread::spawn(move || serve(stream.expect("connection"), &shared, &posted));
            }
        });
        Self { url, inner, posted }
    }

    /// Makes the hub know every sensor by a type.
    pub fn with_sensor_type(self, sensor_type: &'static str) -> Self {
        self.inner.lock().expect("lock").sensor = Some(sensor_type);
        self
    }

    /// Gives the type's CSV dialect a header line.
    pub fn with_header(self) -> Self {
        self.inner.lock().expect("lock").dialect = r#"{"columns":["date","time","sec","ph"],"header":true}"#;
        self
    }

    /// Waits until a post was treated; for [`Turn::Hold`], until it was read.
    pub fn wait_for_post(&self) {
        self.posted.recv_timeout(std::time::Duration::from_secs(10)).expect("a post within 10 s");
    }

    /// Returns the posts whose readings it keeps, in order.
    pub fn kept(&self) -> Vec<Seen> {
        self.inner.lock().expect("lock").kept.clone()
    }

    /// Returns the lines it keeps, in order, without their ends.
    pub fn kept_lines(&self) -> Vec<String> {
        self.kept().iter().flat_map(|post| post.body.lines()).map(str::to_owned).collect()
    }

    /// Returns all requests.
    pub fn requests(&self) -> Vec<Seen> {
        self.inner.lock().expect("lock").requests.clone()
    }
}

fn serve(stream: TcpStream, inner: &Mutex<Inner>, posted: &Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        inner.lock().expect("lock").requests.push(request.clone());
        let keep_open = if request.line.starts_with("POST ") {
            let keep_open = treat_post(&request, inner, &mut writer, posted);
            // The receiver is gone when the test is over.
            let _ = posted.send(());
            keep_open
        } else {
            answer_other(&request, inner, &mut writer)
        };
        if !keep_open {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut length, mut content_type) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "content-type" => content_type = value.to_owned(),
            _ => (),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { line, content_type, body: String::from_utf8(body).expect("UTF-8") })
}

/// Treats a post by the script; returns whether the connection stays open.
fn treat_post(request: &Seen, inner: &Mutex<Inner>, writer: &mut TcpStream, posted: &Sender<()>) -> bool {
    let turn = inner.lock().expect("lock").script.pop_front().unwrap_or(Turn::Accept);
    let keep = || inner.lock().expect("lock").kept.push(request.clone());
    let items = items(request, inner);
    let accepted = format!("{{\"accepted\":{},\"rejected\":[]}}", items.len());
    match turn {
        Turn::Accept => {
            keep();
            answer(writer, 202, "", &accepted)
        }
        Turn::AcceptAndClose => {
            keep();
            answer(writer, 202, "", &accepted);
            false
        }
        Turn::Answer(status, retry_after, body) => answer(writer, status, retry_after, body),
        Turn::Reset => false,
        Turn::LoseAnswer => {
            keep();
            false
        }
        Turn::RefuseBad => {
            keep();
            refuse_bad(&items, writer)
        }
        Turn::Hold => {
            posted.send(()).expect("the test waits");
            // Ends when the other side does.
            let _ = writer.read(&mut [0]);
            false
        }
    }
}

fn items(request: &Seen, inner: &Mutex<Inner>) -> Vec<String> {
    if request.content_type == "application/json" {
        let value: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
        let readings = value.as_array().cloned().unwrap_or_else(|| vec![value]);
        return readings.iter().map(ToString::to_string).collect();
    }
    let header = inner.lock().expect("lock").dialect.contains("true");
    request.body.lines().skip(usize::from(header)).map(str::to_owned).collect()
}

fn refuse_bad(items: &[String], writer: &mut TcpStream) -> bool {
    let bad: Vec<_> = items.iter().enumerate().filter(|(_, item)| item.contains("bad")).collect();
    let rejected: Vec<_> = bad
        .iter()
        .map(|(index, _)| serde_json::json!({"index": index, "field": "ph", "value": "bad", "reason": "is not a number"}))
        .collect();
    let accepted = items.len() - bad.len();
    let status = if accepted == 0 { 422 } else { 202 };
    answer(writer, status, "", &serde_json::json!({"accepted": accepted, "rejected": rejected}).to_string())
}

fn answer_other(request: &Seen, inner: &Mutex<Inner>, writer: &mut TcpStream) -> bool {
    let (sensor, dialect) = {
        let inner = inner.lock().expect("lock");
        (inner.sensor, inner.dialect)
    };
    let path = request.line.split(' ').nth(1).expect("a path");
    if let Some(id) = path.strip_prefix("/v1/sensor-types/").filter(|id| ["emb", "power"].contains(id)) {
        let sensor_type = format!(
            r#"{{"id":"{id}","name":"Simulated","number":1,"version":1,"sampling_interval":"1h","properties":[
            {{"id":"sec","unit":"uS/cm","gross_range":{{"fail":[5,100000],"suspect":[100,2000]}},"resolution":1}},
            {{"id":"ph","unit":"[pH]","gross_range":{{"fail":[1,13]}},"resolution":0.01}}],"csv":{dialect}}}"#
        );
        return answer(writer, 200, "", &sensor_type);
    }
    if request.line.starts_with("PUT /v1/sensors/") {
        return answer(writer, 201, "", &request.body);
    }
    if let Some(sensor_type) = sensor.filter(|_| path.starts_with("/v1/sensors/")) {
        return answer(writer, 200, "", &format!(r#"{{"id":"x","sensor_type":"{sensor_type}"}}"#));
    }
    if path == "/metrics" {
        let stored = {
            let mut inner = inner.lock().expect("lock");
            let kept = inner.kept.iter().map(|post| post.body.matches("sensor_id").count()).sum();
            std::mem::replace(&mut inner.stored, kept)
        };
        let topic = "topic=\"readings.power\"";
        let text = format!(
            "iot_hub_readings_pending{{{topic}}} 0\niot_hub_readings_processed_total{{{topic},outcome=\"stored\"}} {stored}\n"
        );
        return answer(writer, 200, "", &text);
    }
    answer(writer, 404, "", r#"{"title":"not found","status":404}"#)
}

/// Answers; returns whether the other side was still there.
fn answer(writer: &mut TcpStream, status: u16, retry_after: &str, body: &str) -> bool {
    let retry_after = if retry_after.is_empty() { String::new() } else { format!("Retry-After: {retry_after}\r\n") };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{retry_after}\r\n");
    writer.write_all(format!("{head}{body}").as_bytes()).is_ok()
}
