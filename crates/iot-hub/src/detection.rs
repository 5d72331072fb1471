//! What detection is told of the process that it runs in.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use ad_jobs::schedule::Config;

/// Into how many shares the datastreams of a type are divided where several processes may work on them: more of them have nothing to do.
const SHARES: u32 = 4;

/// The configuration with the name and the shares of this process. Alone it takes up at once what it left when it was killed.
pub(crate) fn config(config: &Config, are_shared: bool) -> Config {
    if !are_shared {
        return Config { owner: "iot-hub".to_owned(), shares: 1, ..config.clone() };
    }
    // Keys that are new in every process.
    let chance = RandomState::new().build_hasher().finish();
    Config { owner: format!("ad-jobs-{}-{chance:016x}", std::process::id()), shares: SHARES, ..config.clone() }
}
