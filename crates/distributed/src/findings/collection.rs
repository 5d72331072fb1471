//! One index of documents, each read and replaced as a whole under its id.
//!
//! **Invariant:** a document is created where there is none and replaced only in the state that it was read in.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::{Objects, Timestamp};
use elasticsearch::http::Method;
use ports::{ErrorKind, PortError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::store::{
    Settings,
    bulk::{Action, Bulk, Seen},
    client::{Cause, Client, Fault, FaultKind, Request},
    search::{Refresher, search},
};

/// About how many bytes one document takes, with the line before it.
const DOCUMENT_SIZE: usize = 768;
/// About how many bytes one deletion takes.
const DELETION_SIZE: usize = 256;
/// Elasticsearch's name for an index that is not there: nor are its documents.
const NO_INDEX: &str = "index_not_found_exception";

/// An index and who asks it.
#[derive(Debug)]
pub(super) struct Collection {
    client: Client,
    index: String,
    /// How the index is made.
    body: String,
    /// Its fields; an index that an older version of this program has made gains those that are new.
    mappings: &'static str,
    /// Whether it is there, as far as this process knows.
    is_there: AtomicBool,
    refresher: Refresher,
    pub(super) bulk_rows_max: usize,
    pub(super) page_rows_max: usize,
}

/// A document and the state it was read in.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) seen: Seen,
    pub(super) document: Value,
}

impl Found {
    /// How it is replaced, if it is still the same; how it is made, where there was none.
    pub(super) fn action(found: Option<&Self>) -> Action {
        found.map_or(Action::Create, |found| Action::Replace(found.seen))
    }
}

impl Collection {
    /// The index `name` behind the prefix of the settings; `mappings` is JSON. Asks the servers nothing yet.
    pub(super) fn new(client: Client, settings: &Settings, name: &str, mappings: &'static str) -> Self {
        let (shards, replicas) = (settings.shards, settings.replicas);
        let indexing = format!(r#"{{"number_of_shards":{shards},"number_of_replicas":{replicas}}}"#);
        Self {
            client,
            index: format!("{}{name}", settings.index_prefix),
            body: format!(r#"{{"settings":{indexing},"mappings":{mappings}}}"#),
            mappings,
            is_there: AtomicBool::new(false),
            refresher: Refresher::default(),
            bulk_rows_max: settings.bulk_rows_max.max(1),
            page_rows_max: settings.page_rows_max.max(1),
        }
    }

    /// Documents by id, in order, as they are now.
    pub(super) async fn get(&self, ids: &[String]) -> Result<Vec<Option<Found>>, PortError> {
        #[derive(Deserialize)]
        struct Documents {
            docs: Vec<Document>,
        }
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "_source")]
            document: Option<Value>,
            #[serde(rename = "_seq_no", default)]
            seq_no: i64,
            #[serde(rename = "_primary_term", default)]
            primary_term: i64,
            error: Option<Cause>,
        }
        let doing = self.doing("getting");
        let request = Request::new(Method::Post, format!("/{}/_mget", self.index)).json(&json!({"ids": ids}));
        let answer = match self.client.send(&request).await {
            Err(fault) if fault.name == NO_INDEX => return Ok(ids.iter().map(|_| None).collect()),
            answer => answer.map_err(|fault| fault.while_doing(&doing))?,
        };
        let found = answer.json::<Documents>(&doing)?.docs;
        if found.len() != ids.len() {
            return Err(PortError::new(ErrorKind::Unavailable, format!("{doing}: other documents than asked for")));
        }
        let read = |found: Document| match (found.document, found.error.map(|cause| Fault::of(503, Some(cause)))) {
            (Some(document), _) => {
                let seen = Seen { seq_no: found.seq_no, primary_term: found.primary_term };
                Ok(Some(Found { seen, document }))
            }
            (None, Some(fault)) if fault.name != NO_INDEX => Err(fault.while_doing(&doing)),
            (None, _) => Ok(None),
        };
        found.into_iter().map(read).collect()
    }

    /// Sends documents in one request; answers what became of each: what has changed is to be read again, what is away sent again.
    pub(super) async fn write(&self, items: &[(Action, &str, Value)]) -> Result<Vec<Result<(), Fault>>, PortError> {
        self.make_index().await?;
        let mut bulk = Bulk::new(&self.index, items.len() * DOCUMENT_SIZE);
        for (action, id, document) in items {
            let quoted = Value::from(*id).to_string();
            bulk.begin(*action, &self.index, |out| out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]));
            bulk.document(|out| out.extend_from_slice(document.to_string().as_bytes()));
        }
        let doing = self.doing("writing");
        let mut outcomes = bulk.send(self.client.clone()).await.map_err(|fault| fault.while_doing(&doing))?;
        for fault in outcomes.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
            match fault.kind {
                // Somebody has deleted the index: it is made again.
                FaultKind::Missing => {
                    self.is_there.store(false, Ordering::Relaxed);
                    fault.kind = FaultKind::Away;
                }
                FaultKind::Away | FaultKind::Changed => {}
                _ => return Err(fault.while_doing(&doing)),
            }
        }
        Ok(outcomes)
    }

    /// Has `change` say what a document becomes, and writes that where it is still as it was read, over and over until nobody was faster.
    /// Where nothing is to be written, `change` answers no document.
    pub(super) async fn change<T>(
        &self,
        id: &str,
        mut change: impl FnMut(Option<&Value>) -> Result<(Option<Value>, T), PortError>,
    ) -> Result<T, PortError> {
        let (mut pauses, until) = self.client.patience();
        loop {
            let found = self.get(&[id.to_owned()]).await?.pop().flatten();
            let (becomes, answer) = change(found.as_ref().map(|found| &found.document))?;
            let Some(document) = becomes else { return Ok(answer) };
            let written = self.write(&[(Found::action(found.as_ref()), id, document)]).await?;
            let Some(fault) = written.into_iter().find_map(Result::err) else { return Ok(answer) };
            if Instant::now() >= until {
                return Err(fault.while_doing(&self.doing("writing")));
            }
            pauses.pause().await;
        }
    }

    /// Documents that a search finds, with all that was written before the call; at most `size` of its body.
    pub(super) async fn search<T: DeserializeOwned>(
        &self,
        body: &Value,
        read: impl Fn(Value) -> Result<T, PortError>,
    ) -> Result<Vec<T>, PortError> {
        #[derive(Deserialize)]
        struct Hit {
            #[serde(rename = "_source")]
            document: Value,
        }
        let hits: Vec<Hit> = self.hits(body).await?;
        hits.into_iter().map(|hit| read(hit.document)).collect()
    }

    async fn hits<H: DeserializeOwned>(&self, body: &Value) -> Result<Vec<H>, PortError> {
        #[derive(Deserialize)]
        struct Answer<H> {
            hits: Hits<H>,
        }
        #[derive(Deserialize)]
        struct Hits<H> {
            hits: Vec<H>,
        }
        match self.refresher.refresh(&self.client, &self.index).await {
            // Nothing was ever written.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            refreshed => refreshed?,
        }
        let doing = self.doing("searching");
        let answer = search(&self.client, &self.index, "", body).await.map_err(|fault| fault.while_doing(&doing))?;
        Ok(answer.json::<Answer<H>>(&doing)?.hits.hits)
    }

    /// Pauses between tries, and when to give up.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What is being done, for messages.
    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} index `{}`", self.index)
    }

    async fn make_index(&self) -> Result<(), PortError> {
        if self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = Request::new(Method::Put, format!("/{}", self.index)).body(self.body.clone().into_bytes());
        match self.client.send(&request).await {
            Err(fault) if fault.name == "resource_already_exists_exception" => self.widen_index().await?,
            answer => drop(answer.map_err(|fault| fault.while_doing(&self.doing("making")))?),
        }
        self.is_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Gives an index that was there the fields that are new.
    async fn widen_index(&self) -> Result<(), PortError> {
        let request = Request::new(Method::Put, format!("/{}/_mapping", self.index)).body(self.mappings.into());
        match self.client.send(&request).await {
            // Where this version made it there is nothing to gain; elsewhere the first write says what is missing.
            Err(fault) if fault.kind == FaultKind::Forbidden => {
                tracing::debug!(index = self.index, reason = fault.reason, "an index may not be widened");
                Ok(())
            }
            answer => answer.map(drop).map_err(|fault| fault.while_doing(&self.doing("widening"))),
        }
    }

    /// Documents that a filter finds, up to `count_max` of them: their ids and the states that they are in.
    pub(super) async fn find(&self, filter: &Value, count_max: usize) -> Result<Vec<(String, Seen)>, PortError> {
        #[derive(Deserialize)]
        struct Hit {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_seq_no")]
            seq_no: i64,
            #[serde(rename = "_primary_term")]
            primary_term: i64,
        }
        let body = json!({
            "size": count_max.min(self.page_rows_max),
            "track_total_hits": false,
            "_source": false,
            "seq_no_primary_term": true,
            "sort": ["_doc"],
            "query": {"bool": {"filter": filter}},
        });
        let found: Vec<Hit> = self.hits(&body).await?;
        let seen = |hit: Hit| (hit.id, Seen { seq_no: hit.seq_no, primary_term: hit.primary_term });
        Ok(found.into_iter().map(seen).collect())
    }

    /// Deletes documents that are still as they were found.
    pub(super) async fn delete(&self, found: &[(String, Seen)]) -> Result<(), PortError> {
        if found.is_empty() {
            return Ok(());
        }
        let mut bulk = Bulk::new(&self.index, found.len() * DELETION_SIZE);
        for (id, seen) in found {
            let quoted = Value::from(id.as_str()).to_string();
            let id = &quoted.as_bytes()[1..quoted.len() - 1];
            bulk.begin(Action::Delete(*seen), &self.index, |out| out.extend_from_slice(id));
        }
        let doing = self.doing("deleting from");
        let outcomes = bulk.send(self.client.clone()).await.map_err(|fault| fault.while_doing(&doing))?;
        // What has changed or gone meanwhile is found again, or not.
        let is_fault = |fault: &Fault| !matches!(fault.kind, FaultKind::Changed | FaultKind::Missing);
        let fault = outcomes.into_iter().filter_map(Result::err).find(is_fault);
        fault.map_or(Ok(()), |fault| Err(fault.while_doing(&doing)))
    }

    /// Finds and deletes; answers how many were found.
    pub(super) async fn delete_found(&self, filter: &Value, count_max: usize) -> Result<usize, PortError> {
        let found = self.find(filter, count_max).await?;
        self.delete(&found).await?;
        Ok(found.len())
    }
}

/// A thing as a document: its times, which are texts, as whole numbers of microseconds.
pub(super) fn to_document(thing: &impl Serialize, times: &[&str]) -> Result<Value, PortError> {
    let mut document = serde_json::to_value(thing)
        .map_err(|error| PortError::new(ErrorKind::Rejected, "a finding can't be stored").with_source(error))?;
    for field in times {
        let Some(text) = document.get(*field).and_then(Value::as_str) else { continue };
        let time = Timestamp::parse(text)
            .map_err(|error| PortError::new(ErrorKind::Rejected, format!("`{field}` can't be stored: {error}")))?;
        document[*field] = time.as_micros().into();
    }
    Ok(document)
}

/// The thing that a document was made of.
pub(super) fn from_document<T: DeserializeOwned>(mut document: Value, times: &[&str]) -> Result<T, PortError> {
    for field in times {
        let Some(micros) = document.get(*field).and_then(Value::as_i64) else { continue };
        document[*field] = Timestamp::from_micros(micros).to_string().into();
    }
    T::deserialize(Objects(document))
        .map_err(|error| PortError::new(ErrorKind::Corrupt, "a stored finding can't be read").with_source(error))
}
