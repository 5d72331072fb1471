//! Chance that can be repeated.

use rand::{SeedableRng, rngs::StdRng};

/// A generator by the seed in the environment variable `TEST_SEED`, or by a new one; prints it.
pub fn seeded(test: &str) -> StdRng {
    let seed = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("{test}: TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
