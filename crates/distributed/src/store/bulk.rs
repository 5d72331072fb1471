//! Bulk requests and what became of each of their items.

use elasticsearch::http::Method;
use serde::Deserialize;

use super::client::{Cause, Client, Fault, Request};

/// A bulk request that is being filled; actions on another index than the first one's name it.
#[derive(Debug)]
pub(crate) struct Bulk {
    index: String,
    body: Vec<u8>,
    pub(crate) len: usize,
}

/// What is to be done to a document.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// It is not there yet.
    Create,
    /// Whatever is there.
    Put,
    /// It is there, as it was read.
    Replace(Seen),
    /// It is to go, if it is as it was read.
    Delete(Seen),
}

/// Which state of a document was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) seq_no: i64,
    pub(crate) primary_term: i64,
}

#[derive(Deserialize)]
struct BulkAnswer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "create", alias = "index", alias = "delete")]
    done: Done,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

impl Bulk {
    /// An empty one; `size` is about how large it becomes.
    pub(crate) fn new(index: &str, size: usize) -> Self {
        Self { index: index.to_owned(), body: Vec::with_capacity(size), len: 0 }
    }

    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    /// Begins an item; `id` appends the document's id. Behind it comes what [`document`](Self::document) is given, but for a deletion.
    pub(crate) fn begin(&mut self, action: Action, index: &str, id: impl FnOnce(&mut Vec<u8>)) {
        self.len += 1;
        let (name, seen) = match action {
            Action::Create => ("create", None),
            Action::Put => ("index", None),
            Action::Replace(seen) => ("index", Some(seen)),
            Action::Delete(seen) => ("delete", Some(seen)),
        };
        let out = &mut self.body;
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":{\"_id\":\"");
        id(out);
        out.push(b'"');
        if index != self.index {
            out.extend_from_slice(b",\"_index\":\"");
            out.extend_from_slice(index.as_bytes());
            out.push(b'"');
        }
        if let Some(Seen { seq_no, primary_term }) = seen {
            out.extend_from_slice(format!(",\"if_seq_no\":{seq_no},\"if_primary_term\":{primary_term}").as_bytes());
        }
        out.extend_from_slice(b"}}\n");
    }

    /// Appends the document of the item that was begun.
    pub(crate) fn document(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.body);
        self.body.push(b'\n');
    }

    /// Sends it; answers with what became of each item, in order.
    pub(crate) async fn send(self, client: Client) -> Result<Vec<Result<(), Fault>>, Fault> {
        let path = format!(
            "/{}/_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason",
            self.index
        );
        let (len, request) = (self.len, Request::new(Method::Post, path).body(self.body));
        let answer = client.send(&request).await?;
        let parsed: Result<BulkAnswer, _> = serde_json::from_slice(&answer.body);
        let items = parsed.map(|answer| answer.items).unwrap_or_default();
        if items.len() != len {
            return Err(Fault::of(500, None));
        }
        let outcome = |item: Item| match item.done.status {
            200..300 => Ok(()),
            status => Err(Fault::of(status, item.done.error)),
        };
        Ok(items.into_iter().map(outcome).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_name_what_differs_from_the_first() {
        let mut bulk = Bulk::new("a", 0);
        bulk.begin(Action::Create, "a", |out| out.extend_from_slice(b"1"));
        bulk.document(|out| out.extend_from_slice(b"{}"));
        bulk.begin(Action::Replace(Seen { seq_no: 3, primary_term: 2 }), "b", |out| out.extend_from_slice(b"2"));
        bulk.document(|out| out.extend_from_slice(b"{}"));
        bulk.begin(Action::Delete(Seen { seq_no: 4, primary_term: 2 }), "a", |out| out.extend_from_slice(b"3"));
        assert_eq!(bulk.len, 3);
        assert_eq!(
            String::from_utf8_lossy(&bulk.body),
            "{\"create\":{\"_id\":\"1\"}}\n{}\n{\"index\":{\"_id\":\"2\",\"_index\":\"b\",\"if_seq_no\":3,\"if_primary_term\":2}}\n{}\n{\"delete\":{\"_id\":\"3\",\"if_seq_no\":4,\"if_primary_term\":2}}\n"
        );
    }
}
