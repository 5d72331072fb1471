//! What keeps quality control from going on, for whoever asks whether it is well.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The most obstacles that are told; the others are counted.
const TOLD_MAX: usize = 5;

/// What keeps the consumer, or a part of it, from going on at the moment; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Mutex<BTreeMap<String, String>>>);

impl Status {
    /// What it waits for, in words for a person; `None` while all of it goes on.
    pub fn obstacle(&self) -> Option<String> {
        let obstacles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if obstacles.is_empty() {
            return None;
        }
        let told: Vec<&str> = obstacles.values().take(TOLD_MAX).map(String::as_str).collect();
        let more = obstacles.len() - told.len();
        let more = if more > 0 { format!("; and `{more}` more") } else { String::new() };
        Some(format!("{}{more}", told.join("; ")))
    }

    /// Says what keeps `part` from going on, or that nothing does any more.
    pub(crate) fn set(&self, part: &str, obstacle: Option<String>) {
        let mut obstacles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match obstacle {
            Some(obstacle) => drop(obstacles.insert(part.to_owned(), obstacle)),
            None => drop(obstacles.remove(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_of_many_parts_are_told_up_to_a_bound() {
        let status = Status::default();
        assert_eq!(status.obstacle(), None);
        (0..7).for_each(|part| status.set(&part.to_string(), Some(format!("part {part} waits"))));
        let told = status.obstacle().expect("there are some");
        assert!(told.starts_with("part 0 waits; part 1 waits") && told.ends_with("; and `2` more"), "{told}");
        (0..7).for_each(|part| status.set(&part.to_string(), None));
        assert_eq!(status.obstacle(), None);
    }
}
