//! Members that were dropped and are still leaving their groups.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// Counts, by group, who is leaving.
#[derive(Clone)]
pub(super) struct Goodbyes(Arc<watch::Sender<HashMap<String, usize>>>);

/// Somebody who is leaving, until it is dropped.
pub(super) struct Goodbye {
    goodbyes: Goodbyes,
    group: String,
}

impl Goodbyes {
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(HashMap::new()).0))
    }

    /// Notes that a member of a group is leaving.
    pub fn say(&self, group: &str) -> Goodbye {
        self.0.send_modify(|leaving| *leaving.entry(group.to_owned()).or_default() += 1);
        Goodbye { goodbyes: self.clone(), group: group.to_owned() }
    }

    /// Waits until nobody of a group, or of any, is leaving any more; gives up after `longest`.
    pub async fn wait(&self, group: Option<&str>, longest: Duration) {
        let mut leaving = self.0.subscribe();
        let all_left = |leaving: &HashMap<String, usize>| match group {
            Some(group) => !leaving.contains_key(group),
            None => leaving.is_empty(),
        };
        let _ = timeout(longest, leaving.wait_for(all_left)).await;
    }
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.goodbyes.0.send_modify(|leaving| {
            if let Some(count) = leaving.get_mut(&self.group) {
                *count -= 1;
                if *count == 0 {
                    leaving.remove(&self.group);
                }
            }
        });
    }
}
