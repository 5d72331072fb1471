//! The demo: what it prints can be opened, Ctrl-C ends it, and nothing is left.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use harness::{run_to_end, wait_for};

use crate::{IOT_HUB, folder};

/// How long the history may take, and how long stopping.
const PATIENCE: Duration = Duration::from_secs(60);

/// A demo that is killed with this value.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All URLs in a text but that of the reader's own sensor; commands have them in quotes.
fn urls(text: &str) -> Vec<String> {
    let words = text.split_whitespace().map(|word| word.trim_matches('\''));
    words.filter(|word| word.starts_with("http://") && !word.ends_with("=mine")).map(str::to_owned).collect()
}

#[tokio::test]
async fn demo_prints_what_can_be_opened_and_leaves_nothing() {
    let (temporary, elsewhere) = (folder(), folder());
    let said = elsewhere.path().join("said");
    let mut command = Command::new(IOT_HUB);
    command.args(["demo", "--listen", "127.0.0.1:0"]).env("TMPDIR", temporary.path()).stdin(Stdio::null());
    let mut demo = Demo(command.stdout(File::create(&said).expect("a file")).spawn().expect("the demo starts"));
    let text = wait_for("what to open", PATIENCE, async || {
        let text = fs::read_to_string(&said).expect("a readable file");
        if text.contains("Ctrl-C ends") { Ok(text) } else { Err(text) }
    })
    .await;
    let urls = urls(&text);
    assert!(urls.len() > 5, "{text}");
    for url in &urls {
        let answer =
            reqwest::Client::builder().no_proxy().build().expect("a client needs nothing").get(url).send().await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.status() == 200), "{url}: {answer:?}");
    }
    let sent = Command::new("kill").args(["-s", "INT", &demo.0.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let status = wait_for("the end of the demo", PATIENCE, async || {
        demo.0.try_wait().expect("it was started here").ok_or_else(|| "running".to_owned())
    })
    .await;
    assert!(status.success(), "{status}");
    assert_eq!(fs::read_dir(temporary.path()).expect("it is there").count(), 0, "the demo has left something");
}

#[test]
fn demo_on_a_port_that_is_taken_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (status, said) = run_to_end(IOT_HUB, &["demo".as_ref(), "--listen".as_ref(), address.as_ref()]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use") && said.contains("--listen"), "{said}");
}
