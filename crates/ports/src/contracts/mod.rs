//! The contracts of the ports as runnable tests, the same bodies for every backend.
//!
//! A backend implements [`Backend`] in its `tests/contracts.rs` and names it in [`log_contracts!`](crate::log_contracts) and
//! [`store_contracts!`](crate::store_contracts): each contract becomes a test of its own, under its own name.

mod backend;
pub mod findings;
mod fixtures;
pub mod log;
pub mod store;

pub use backend::{Backend, Ending, Settings};

/// Makes a test of each named contract of a module, for one backend.
///
/// A macro, because the test runner wants a function per test, and a list of forty in each backend would drift from this one.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($backend:ty, $module:ident: $($contract:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $contract() {
                $crate::contracts::$module::$contract::<$backend>().await;
            }
        )+
    };
}
