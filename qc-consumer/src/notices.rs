//! Documents for topics of notices: appended durably, however long that takes; the topic is made where it is gone.

use std::sync::Arc;

use domain::Topic;
use ports::{Batch, Document, ErrorKind, Log, TopicKind};

use crate::retry::{Failure, Retry};

/// Appends documents; `doing` is for messages: `appending dead letters`.
pub(crate) async fn append(
    log: &Arc<dyn Log>,
    retry: &Retry,
    (topic, doing): (&Topic, &str),
    documents: Vec<Document>,
) -> Result<(), Failure> {
    if documents.is_empty() {
        return Ok(());
    }
    let append = async || match log.append(topic, Batch::Documents(documents.clone())).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            log.create_topic(topic, TopicKind::Notices).await?;
            log.append(topic, Batch::Documents(documents.clone())).await
        }
        answer => answer,
    };
    retry.until_done(doing, append).await.map(drop)
}
