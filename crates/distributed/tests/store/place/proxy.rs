//! A proxy between the store and a real Elasticsearch that does to some requests what networks and busy servers do.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Passes,
    /// The server is said to be busy and never hears of it.
    Answered(u16),
    /// Each item of a bulk request is said to have been rejected; the server never hears of it.
    ItemsRejected,
    /// The connection is reset before the server hears of it.
    Reset,
    /// The server does it, but the connection is reset before the answer comes.
    AnswerLost,
}

type Rule = Box<dyn FnMut(&str) -> Fate + Send>;

/// A proxy; it ends with the test's runtime.
pub struct Proxy {
    pub url: String,
    rule: Arc<Mutex<Rule>>,
}

impl Proxy {
    /// A proxy before the server at `url` that lets everything pass.
    pub async fn start(url: &str) -> Self {
        let server = url.strip_prefix("http://").expect("an address without TLS").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Fate::Passes)));
        let of_server = Arc::clone(&rule);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server.clone(), Arc::clone(&of_server)));
            }
        });
        Self { url, rule }
    }

    /// From now on, `rule` says what becomes of a request; it is given method and path.
    pub fn set(&self, rule: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.rule.lock().expect("no panic") = Box::new(rule);
    }
}

/// Serves one request of a connection, then closes it.
async fn serve(mut client: TcpStream, server: String, rule: Arc<Mutex<Rule>>) {
    let Some((head, body)) = read_request(&mut client).await else { return };
    let line = head.lines().next().unwrap_or_default().to_owned();
    let fate = (rule.lock().expect("no panic"))(&line);
    let items = body.iter().filter(|byte| **byte == b'\n').count() / 2;
    match fate {
        Fate::Reset => reset(client),
        Fate::Answered(status) => {
            let reason = r#"{"error":{"type":"injected","reason":"by the test"},"status":0}"#;
            answer(&mut client, status, reason).await;
        }
        Fate::ItemsRejected => {
            let item = r#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"by the test"}}}"#;
            answer(&mut client, 200, &format!(r#"{{"items":[{}]}}"#, vec![item; items].join(","))).await;
        }
        Fate::Passes | Fate::AnswerLost => {
            let mut upstream = TcpStream::connect(&server).await.expect("the server");
            let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            upstream.write_all(head.as_bytes()).await.expect("a request is sent");
            upstream.write_all(&body).await.expect("a request is sent");
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer).await.expect("an answer");
            match fate {
                Fate::AnswerLost => reset(client),
                _ => drop(client.write_all(&answer).await),
            }
        }
    }
}

/// Head, with its empty line, and body of a request.
async fn read_request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).ok()?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = bytes.split_off(head_len);
    while body.len() < length.unwrap_or(0) {
        client.read_buf(&mut body).await.ok()?;
    }
    Some((head, body))
}

async fn answer(client: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} Injected\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    drop(client.write_all(text.as_bytes()).await);
}

/// Closes a connection so that the other side sees a reset, not an end.
fn reset(client: TcpStream) {
    drop(client.set_zero_linger());
    drop(client);
}
