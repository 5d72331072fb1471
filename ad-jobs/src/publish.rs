//! Anomalies as documents of topic `anomalies`, each under its id.
//!
//! **Invariant:** an anomaly is published at least once as it was found, and once more as it ended: a run that begins again publishes what
//! it finds whether or not that was recorded before. Readers take the newest of each id.

use std::sync::Arc;

use domain::{Anomaly, Topic};
use ports::{Batch, Document, ErrorKind, Log, PortError, TopicKind};
use serde::Serialize;

/// The version of what is published.
const FORMAT: u32 = 1;
/// The most documents in one append.
const DOCUMENTS_MAX: usize = 1_000;

/// What a document says.
#[derive(Serialize)]
struct Published<'a> {
    format: u32,
    id: &'a str,
    #[serde(flatten)]
    anomaly: &'a Anomaly,
}

/// Appends anomalies durably; the topic is made where it is gone.
///
/// # Errors
/// Those of the log: any part of them may be published.
pub(crate) async fn publish(
    log: &Arc<dyn Log>,
    anomalies: impl Iterator<Item = &Anomaly> + Send,
) -> Result<(), PortError> {
    let documents = anomalies.map(document).collect::<Result<Vec<_>, _>>()?;
    for some in documents.chunks(DOCUMENTS_MAX) {
        let topic = Topic::anomalies();
        match log.append(&topic, Batch::Documents(some.to_vec())).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                log.create_topic(&topic, TopicKind::Notices).await?;
                log.append(&topic, Batch::Documents(some.to_vec())).await?;
            }
            appended => drop(appended?),
        }
    }
    Ok(())
}

fn document(anomaly: &Anomaly) -> Result<Document, PortError> {
    let id = anomaly.id();
    let body = serde_json::to_vec(&Published { format: FORMAT, id: id.as_str(), anomaly });
    let body =
        body.map_err(|error| PortError::new(ErrorKind::Rejected, "an anomaly can't be published").with_source(error))?;
    Ok(Document { key: id.as_str().to_owned(), body: Some(body.into()) })
}
