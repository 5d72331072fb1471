//! Computing aside: on threads that have a processor when nobody else wants it, so that readings are taken and judged as fast as ever.

use ports::{ErrorKind, PortError};
use tokio::sync::oneshot;

/// What a computation comes to; an error where it has panicked.
pub(crate) type Computing<T> = oneshot::Receiver<T>;

/// Begins a computation. How many are under way at once is bounded by whoever begins them.
///
/// # Errors
/// `Unavailable` where the system has no thread to spare.
pub(crate) fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Computing<T>, PortError> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        step_back();
        // Nobody waits for it where the process stops.
        let _ = tell.send(work());
    };
    let begun = std::thread::Builder::new().name("detection".to_owned()).spawn(run);
    begun.map_err(|error| {
        PortError::new(ErrorKind::Unavailable, "there is no thread to compute on").with_source(error)
    })?;
    Ok(told)
}

/// Gives this thread the lowest priority. Only Linux has priorities of threads; elsewhere they are the whole process's.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_computation_steps_back_behind_the_rest_of_the_process() {
        let priority = || rustix::process::getpriority_process(None).expect("a priority");
        let before = priority();
        assert_eq!(compute(priority).expect("a thread").await, Ok(19));
        assert_eq!(priority(), before, "nobody else does");
    }

    #[tokio::test]
    async fn a_computation_that_panics_is_an_error() {
        let computing = compute(|| assert_eq!(1, 2, "by the test"));
        assert!(computing.expect("a thread").await.is_err());
    }
}
