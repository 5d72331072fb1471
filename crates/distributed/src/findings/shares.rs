//! Shares as documents: who has each, by the rule that all backends have.

use ports::{
    Claim, Done, Lease, PortError,
    leases::{self, Share},
};
use serde_json::{Value, json};

use super::collection::{Collection, from_document, to_document};

/// The fields that are times.
const TIMES: [&str; 2] = ["until", "done"];

/// Takes a share, where nobody else has it.
pub(super) async fn claim(collection: &Collection, claim: &Claim) -> Result<Option<Lease>, PortError> {
    let change = |known: Option<&Value>| match leases::claim(read(known)?.as_ref(), claim) {
        Some((share, lease)) => Ok((Some(document(&claim.share, &share)?), Some(lease))),
        None => Ok((None, None)),
    };
    collection.change(&claim.share, change).await
}

/// Says up to which time a share is done.
pub(super) async fn complete(collection: &Collection, lease: &Lease, done: Done) -> Result<(), PortError> {
    let change = |known: Option<&Value>| {
        let share = leases::complete(read(known)?.as_ref(), lease, done)?;
        Ok((Some(document(&lease.share, &share)?), ()))
    };
    collection.change(&lease.share, change).await
}

/// Gives a share back.
pub(super) async fn release(collection: &Collection, lease: &Lease) -> Result<(), PortError> {
    let change = |known: Option<&Value>| match leases::release(read(known)?.as_ref(), lease) {
        Some(share) => Ok((Some(document(&lease.share, &share)?), ())),
        None => Ok((None, ())),
    };
    collection.change(&lease.share, change).await
}

/// Takes out shares whose names begin so, up to `count_max` of them; answers how many.
pub(super) async fn remove_beginning(
    collection: &Collection,
    prefix: &str,
    count_max: usize,
) -> Result<usize, PortError> {
    collection.delete_found(&json!([{"prefix": {"share": prefix}}]), count_max).await
}

/// Takes out shares by name.
pub(super) async fn remove(collection: &Collection, names: &[String]) -> Result<(), PortError> {
    collection.delete_found(&json!([{"terms": {"share": names}}]), names.len()).await.map(drop)
}

fn document(name: &str, share: &Share) -> Result<Value, PortError> {
    let mut document = to_document(share, &TIMES)?;
    document["share"] = name.into();
    Ok(document)
}

fn read(known: Option<&Value>) -> Result<Option<Share>, PortError> {
    known.cloned().map(|document| from_document(document, &TIMES)).transpose()
}
