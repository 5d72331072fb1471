//! The law of the registry: whoever reads the topic, from wherever, before or after compaction, comes to the same state.

use std::collections::HashMap;

use domain::{Position, SensorId, SensorTypeDraft, SensorTypeId};
use ports::Document;
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::State;
use crate::{
    document::{self, Key, SensorDocument, TypeDocument, tombstone},
    parse_toml,
};

/// What a process does, by what it knows: `behind` documents less than the log holds.
#[derive(Debug, Clone)]
struct Act {
    behind: usize,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// Makes a type, or its next version.
    PutType {
        id: usize,
        properties: usize,
    },
    RemoveType {
        id: usize,
    },
    /// Registers a sensor, or changes its name.
    PutSensor {
        id: usize,
        sensor_type: usize,
        name: usize,
    },
    /// Removes a sensor.
    RemoveSensor {
        id: usize,
    },
    /// Reads the topic anew, as it is compacted now.
    Restart {
        follower: usize,
    },
    /// Repairs what this process saw was refused.
    Repair {
        follower: usize,
    },
}

const TYPES: [&str; 2] = ["t", "u"];
const SENSORS: [&str; 3] = ["a", "b", "c"];

fn definition(properties: usize) -> SensorTypeDraft {
    let mut text = "id = \"t\"\nsampling_interval = \"1s\"\n".to_owned();
    for property in 0..=properties {
        text += &format!("[[properties]]\nid = \"p{property}\"\nunit = \"m\"\n");
    }
    parse_toml(&text, "t.toml").expect("a type").1
}

/// The log with its followers.
struct World {
    /// Every document that was ever appended.
    log: Vec<Document>,
    followers: [State; 2],
}

fn apply(state: &mut State, position: usize, document: &Document) {
    state.apply(Position(position as u64), document::read(document).expect("readable"));
}

/// What a process knows that starts when the log is as it is, compacted.
fn replay(log: &[Document]) -> State {
    let newest: HashMap<&str, usize> =
        log.iter().enumerate().map(|(position, document)| (document.key.as_str(), position)).collect();
    let mut state = State::default();
    for (position, document) in log.iter().enumerate() {
        if newest[document.key.as_str()] == position && document.body.is_some() {
            apply(&mut state, position, document);
        }
    }
    state.settle();
    state
}

impl World {
    fn append(&mut self, document: Document) {
        let position = self.log.len();
        for follower in &mut self.followers {
            apply(follower, position, &document);
        }
        self.log.push(document);
    }

    /// What somebody knows who has not read the newest documents yet.
    fn view(&self, behind: usize) -> State {
        let mut state = State::default();
        let read = self.log.len().saturating_sub(behind);
        self.log.iter().take(read).enumerate().for_each(|(position, document)| apply(&mut state, position, document));
        state
    }

    fn act(&mut self, act: Act) {
        let view = self.view(act.behind);
        match act.what {
            What::PutType { id, properties } => self.put_type(&view, TYPES[id], properties),
            What::RemoveType { id } => {
                let versions: Vec<_> = view.versions(TYPES[id]).cloned().collect();
                for version in versions {
                    self.append(tombstone(&Key::Type(version.id.clone(), version.version)));
                }
            }
            What::PutSensor { id, sensor_type, name } => {
                self.put_sensor(&view, (SENSORS[id], TYPES[sensor_type]), name)
            }
            What::RemoveSensor { id } => {
                let held = view.sensor(SENSORS[id]).cloned();
                held.into_iter().for_each(|held| self.append(document::removal(&held.id, held.number)));
            }
            What::Restart { follower } => self.followers[follower] = replay(&self.log),
            What::Repair { follower } => {
                self.repair(follower);
            }
        }
    }

    fn put_type(&mut self, view: &State, id: &str, properties: usize) {
        let id = SensorTypeId::parse(id).expect("an id");
        let Some(newest) = view.newest(id.as_str()) else {
            return self.append(TypeDocument::new(None, definition(properties)).document(&id, 1));
        };
        if let Ok(Some(next)) = newest.evolve(definition(properties)) {
            let document = TypeDocument::new(Some(next.number), next.definition);
            self.append(document.document(&id, next.version));
        }
    }

    fn put_sensor(&mut self, view: &State, (id, sensor_type): (&str, &str), name: usize) {
        let Some(sensor_type) = view.newest(sensor_type) else { return };
        let held = view.sensor(id);
        let sensor = domain::Sensor {
            id: SensorId::parse(id).expect("an id"),
            number: 0,
            sensor_type: sensor_type.id.clone(),
            name: Some(name.to_string()),
            place: None,
            group: None,
        };
        let revision = view.revision(id).unwrap_or(0) + 1;
        let document = SensorDocument::new(&sensor, held.map(|held| held.number), revision, sensor_type.number);
        let document = document.with_removal(view.removed_number(&sensor.id), name == 2);
        self.append(document.document(&sensor.id));
    }

    /// Says whether there was anything to repair.
    fn repair(&mut self, follower: usize) -> bool {
        self.followers[follower].settle();
        let repairs = self.followers[follower].repairs(usize::MAX);
        let any = !repairs.is_empty();
        repairs.into_iter().for_each(|document| self.append(document));
        any
    }
}

/// What a state says, as text.
fn picture(state: &State) -> String {
    let sensors: Vec<_> = state.sensors().map(|it| (it, state.is_leaving(it.id.as_str()))).collect();
    assert!(
        sensors.len() == state.sensor_count() && sensors.iter().all(|(it, _)| state.sensor(it.id.as_str()) == Some(it))
    );
    let types: Vec<_> = TYPES.iter().flat_map(|id| state.versions(id)).collect();
    format!("{types:#?}\n{sensors:#?}")
}

fn act() -> impl Strategy<Value = Act> {
    let what = prop_oneof![
        4 => (0..2usize, 0..3usize).prop_map(|(id, properties)| What::PutType { id, properties }),
        1 => (0..2usize).prop_map(|id| What::RemoveType { id }),
        8 => (0..3usize, 0..2usize, 0..3usize)
            .prop_map(|(id, sensor_type, name)| What::PutSensor { id, sensor_type, name }),
        2 => (0..3usize).prop_map(|id| What::RemoveSensor { id }),
        1 => (0..2usize).prop_map(|follower| What::Restart { follower }),
        2 => (0..2usize).prop_map(|follower| What::Repair { follower }),
    ];
    (0..4usize, what).prop_map(|(behind, what)| Act { behind, what })
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(512))]

    #[test]
    fn everybody_agrees_after_repair(acts in prop::collection::vec(act(), 0..40)) {
        let mut world = World { log: Vec::new(), followers: [State::default(), State::default()] };
        for act in acts {
            world.act(act);
        }
        let mut rounds = 0;
        while world.repair(0) | world.repair(1) {
            rounds += 1;
            prop_assert!(rounds < 20, "the repairs never end");
        }
        let fresh = replay(&world.log);
        prop_assert!(!fresh.is_unsettled());
        prop_assert_eq!(picture(&world.followers[0]), picture(&fresh));
        prop_assert_eq!(picture(&world.followers[1]), picture(&fresh));
    }
}
