//! The contracts of the ports as runnable tests, the same bodies for every backend.
