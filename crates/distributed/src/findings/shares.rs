//! Shares as documents: who has each, by the rule that all backends have.

use domain::Timestamp;
use ports::{
    Claim, Lease, PortError,
    leases::{self, Share},
};
use serde_json::Value;

use super::collection::{Collection, from_document, to_document};

/// The fields that are times.
const TIMES: [&str; 2] = ["until", "done"];

/// Takes a share, where nobody else has it.
pub(super) async fn claim(collection: &Collection, claim: &Claim) -> Result<Option<Lease>, PortError> {
    let change = |known: Option<&Value>| match leases::claim(read(known)?.as_ref(), claim) {
        Some((share, lease)) => Ok((Some(to_document(&share, &TIMES)?), Some(lease))),
        None => Ok((None, None)),
    };
    collection.change(&claim.share, change).await
}

/// Says up to which time a share is done.
pub(super) async fn complete(collection: &Collection, lease: &Lease, done: Timestamp) -> Result<(), PortError> {
    let change = |known: Option<&Value>| {
        let share = leases::complete(read(known)?.as_ref(), lease, done)?;
        Ok((Some(to_document(&share, &TIMES)?), ()))
    };
    collection.change(&lease.share, change).await
}

/// Gives a share back.
pub(super) async fn release(collection: &Collection, lease: &Lease) -> Result<(), PortError> {
    let change = |known: Option<&Value>| match leases::release(read(known)?.as_ref(), lease) {
        Some(share) => Ok((Some(to_document(&share, &TIMES)?), ())),
        None => Ok((None, ())),
    };
    collection.change(&lease.share, change).await
}

fn read(known: Option<&Value>) -> Result<Option<Share>, PortError> {
    known.cloned().map(|document| from_document(document, &TIMES)).transpose()
}
