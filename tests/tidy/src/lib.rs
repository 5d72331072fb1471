//! Rules of the house as tests: which crate may know which, what every file looks like, that documents tell the truth.
//!
//! **Invariant:** a rule is broken by changing it here, with the reason in the commit, never by an exception in the code.

#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod workspace;
