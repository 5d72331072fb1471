//! The ports of the platform, the log, the store and the findings, and the clock: what every backend promises and every service relies on.
//!
//! **Invariant:** a service knows these traits alone; the doc comments are the contract, and `contracts` runs them against
//! every backend.

mod clock;
#[cfg(feature = "contracts")]
pub mod contracts;
mod error;
mod findings;
pub mod leases;
mod log;
pub mod memory;
mod progress;
mod store;

pub use clock::{Clock, ManualClock, SeenAhead, SystemClock, WatchedClock, is_ahead, latest_stamp, next_acceptance};
pub use error::{ErrorKind, PortError};
pub use findings::{
    AnomalyQuery, Claim, Done, Effect, Findings, Lease, Recorded, Removal, RemovalPlace, Removed, RunQuery,
};
pub use log::{
    Appended, Batch, Committed, Consumer, Content, Delivery, Document, Extent, Log, Reader, TopicKind, Totals,
    Undecodable,
};
pub use progress::{Mark, Progress, Standing};
pub use store::{
    Bucket, BucketQuery, Judge, Order, Outcome, ReadingQuery, Revisions, Scan, SensorQuery, SensorRows, SensorSummary,
    Store, TimeRange,
};
