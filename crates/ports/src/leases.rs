//! Who has a share: the rule by which every backend gives leases, as pure functions over what it keeps of a share.
//!
//! **Invariant:** a token grows with each owner that takes the share and is never used twice, so that a lease that was taken over can
//! be told from the one in force.

use domain::{Position, SensorTypeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Claim, Done, ErrorKind, Lease, PortError};

/// What a backend keeps of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Who has it; `None` once it was given back.
    pub owner: Option<String>,
    /// Until when.
    pub until: Timestamp,
    /// The token of the newest lease.
    pub token: u64,
    /// Up to which time it is done.
    pub done: Option<Timestamp>,
    /// Up to which position it is done of what was stamped ahead of its time.
    #[serde(default)]
    pub ahead: u64,
}

/// Name of the share under which a run that was asked for is carried out; `#` is in no id of a sensor type.
pub fn of_run(id: &str) -> String {
    format!("#run/{id}")
}

/// What the name of every share of a sensor type's sensors begins with.
pub fn prefix_of_type(sensor_type: &SensorTypeId) -> String {
    format!("{sensor_type}/")
}

/// The share as a claim leaves it and the lease that it gives; `None` where another owner has the share.
pub fn claim(share: Option<&Share>, claim: &Claim) -> Option<(Share, Lease)> {
    let owner = share.and_then(|share| share.owner.as_deref());
    let is_own = owner == Some(claim.owner.as_str());
    let believed_to = claim.until.saturating_add(claim.until.since(claim.now));
    let holds = |share: &Share| claim.now < share.until && share.until <= believed_to;
    if owner.is_some() && !is_own && share.is_some_and(holds) {
        return None;
    }
    let last = share.map_or(0, |share| share.token);
    let token = if is_own { last } else { last + 1 };
    let (done, ahead) = share.map_or((None, 0), |share| (share.done, share.ahead));
    let taken = Share { owner: Some(claim.owner.clone()), until: claim.until, token, done, ahead };
    let done = done.map(|to| Done { to, ahead: Position(ahead) });
    Some((taken, Lease { share: claim.share.clone(), owner: claim.owner.clone(), token, done }))
}

/// The share as it is done so far.
///
/// # Errors
/// `Conflict` where the lease is not in force.
pub fn complete(share: Option<&Share>, lease: &Lease, done: Done) -> Result<Share, PortError> {
    let in_force = share.filter(|share| is_in_force(share, lease));
    let conflict = || PortError::new(ErrorKind::Conflict, format!("another has taken share `{}`", lease.share));
    let completed = in_force.map(|share| Share { done: Some(done.to), ahead: done.ahead.0, ..share.clone() });
    completed.ok_or_else(conflict)
}

/// The share as it is given back; `None` where the lease is not in force.
pub fn release(share: Option<&Share>, lease: &Lease) -> Option<Share> {
    share.filter(|share| is_in_force(share, lease)).map(|share| Share { owner: None, ..share.clone() })
}

fn is_in_force(share: &Share, lease: &Lease) -> bool {
    share.token == lease.token && share.owner.as_deref() == Some(lease.owner.as_str())
}
