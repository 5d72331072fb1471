//! The ports on one disk: the log, the store and the findings in one data folder, for one process, with nothing to install.
//!
//! **Invariant:** log and store share one journal. An append is synced before it is answered; the store's writes and the committed positions
//! stand behind it in the same journal and need no sync of their own: whatever prefix survives a crash is consistent, and
//! what is behind the committed position is done again.

mod backup;
mod check;
mod codec;
mod disk;
mod error;
mod findings;
mod folder;
mod interner;
mod log;
mod records_codec;
mod rows_codec;
mod store;

pub use backup::BackupReport;
pub use check::{CheckReport, check};
pub use folder::{Folder, OpenError, Settings};

/// Reads any bytes as each thing that the folder holds, for the fuzz target: none may panic or take much memory.
pub fn decode_anything(bytes: &[u8]) {
    let _ = records_codec::decode_entry(bytes, 1, &mut interner::Interner::default());
    store::decode_anything(bytes);
}
