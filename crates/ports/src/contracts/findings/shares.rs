//! Leases of shares.

use domain::{Position, Timestamp};

use super::FindingsBackend;
use crate::{Claim, Done, ErrorKind, contracts::Ending};

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// A wish of `owner` at `now` for ten seconds.
fn claim(owner: &str, now: i64) -> Claim {
    Claim { share: "emb/3".to_owned(), owner: owner.to_owned(), now: second(now), until: second(now + 10) }
}

/// Another owner gets a share once its time is up or it was given back; its own owner prolongs it.
pub async fn a_share_has_one_owner<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let owner = async |owner: &str, now: i64| findings.claim(&claim(owner, now)).await.expect("answered");
    let first = owner("one", 0).await.expect("nobody has it");
    assert_eq!((first.owner.as_str(), first.done), ("one", None));
    assert_eq!(owner("two", 9).await, None);
    assert_eq!(owner("one", 9).await.expect("its own").token, first.token);
    assert_eq!(owner("two", 18).await, None);
    let second = owner("two", 19).await.expect("its time is up");
    assert_ne!(second.token, first.token);
    assert_eq!(owner("one", 20).await, None);
    findings.release(&first).await.expect("nothing comes of it");
    assert_eq!(owner("one", 20).await, None);
    findings.release(&second).await.expect("given back");
    findings.release(&second).await.expect("given back");
    let third = owner("one", 20).await.expect("it was given back");
    assert!(third.token != first.token && third.token != second.token);
    let other = Claim { share: "emb/4".to_owned(), ..claim("two", 20) };
    assert!(findings.claim(&other).await.expect("answered").is_some());
}

/// A lease completes nothing once another owner has claimed the share or it was given back.
pub async fn a_lease_that_was_taken_over_completes_nothing<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let first = findings.claim(&claim("one", 0)).await.expect("answered").expect("nobody has it");
    let second_owner = findings.claim(&claim("two", 10)).await.expect("answered").expect("its time is up");
    let late = findings.complete(&first, second(900).into()).await.expect_err("taken over");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    findings.complete(&second_owner, second(450).into()).await.expect("in force");
    findings.release(&second_owner).await.expect("given back");
    let late = findings.complete(&second_owner, second(900).into()).await.expect_err("given back");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let third = findings.claim(&claim("one", 11)).await.expect("answered").expect("it was given back");
    assert_eq!(third.done, Some(second(450).into()));
}

/// What is done is known to every later lease, whoever has it and whatever ended in between.
pub async fn what_is_done_stays_done<B: FindingsBackend>() {
    for ending in Ending::ALL {
        let mut backend = B::start().await;
        let findings = backend.findings();
        let first = findings.claim(&claim("one", 0)).await.expect("answered").expect("nobody has it");
        findings.complete(&first, second(900).into()).await.expect("in force");
        findings.complete(&first, second(1_800).into()).await.expect("in force");
        drop(findings);
        backend.reopen(ending).await;
        let findings = backend.findings();
        assert_eq!(findings.claim(&claim("two", 5)).await.expect("answered"), None, "{ending:?}");
        let next = findings.claim(&claim("two", 10)).await.expect("answered").expect("its time is up");
        assert_eq!(next.done, Some(second(1_800).into()), "{ending:?}");
        // By a clock that was put right, less is done, but what came ahead of its time.
        let less = Done { to: second(60), ahead: Position(7) };
        findings.complete(&next, less).await.expect("in force");
        findings.release(&next).await.expect("given back");
        let last = findings.claim(&claim("one", 6)).await.expect("answered").expect("it was given back");
        assert_eq!(last.done, Some(less), "{ending:?}");
    }
}

/// A lease that a clock gave which was decades ahead is taken over by the first who asks by the right time, and completes nothing then.
pub async fn a_lease_of_a_clock_that_was_ahead_keeps_nobody_out<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let ahead = findings.claim(&claim("one", 2_000_000_000)).await.expect("answered").expect("nobody has it");
    let right = findings.claim(&claim("two", 100)).await.expect("answered").expect("it is not believed");
    let late = findings.complete(&ahead, second(900).into()).await.expect_err("taken over");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    findings.complete(&right, second(90).into()).await.expect("in force");
    // Clocks may differ a little.
    assert_eq!(findings.claim(&claim("three", 95)).await.expect("answered"), None);
}
