//! The bound on the bytes of all bodies that are held at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{Code, Problem};

/// Counts the bytes of bodies held over all requests.
#[derive(Debug)]
pub struct InFlight {
    size_bytes: AtomicUsize,
    size_bytes_max: usize,
}

/// A request's share of the bound; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    of: Arc<InFlight>,
    size_bytes: usize,
}

impl InFlight {
    /// Allows `size_bytes_max` bytes at once.
    pub fn new(size_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { size_bytes: AtomicUsize::new(0), size_bytes_max })
    }

    /// An empty share.
    pub fn permit(self: &Arc<Self>) -> Permit {
        Permit { of: Arc::clone(self), size_bytes: 0 }
    }
}

impl Permit {
    /// Takes `more_bytes` into the share.
    ///
    /// # Errors
    /// 503 with Retry-After where the bound would be passed.
    pub fn grow(&mut self, more_bytes: usize) -> Result<(), Problem> {
        let before = self.of.size_bytes.fetch_add(more_bytes, Ordering::Relaxed);
        self.size_bytes += more_bytes;
        if before + more_bytes <= self.of.size_bytes_max {
            return Ok(());
        }
        let detail = "the hub holds as many bytes of requests as it may; try again later";
        Err(Problem::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.size_bytes.fetch_sub(self.size_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let bound = InFlight::new(10);
        let mut first = bound.permit();
        first.grow(6).expect("room for 10");
        let mut second = bound.permit();
        assert_eq!(second.grow(6).expect_err("only 4 left").code(), Code::Unavailable);
        drop(second);
        first.grow(4).expect("the refused bytes were given back");
        drop(first);
        bound.permit().grow(10).expect("all is free again");
    }
}
