//! Moves in a row, what is refused, and laws that hold whatever is moved.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn id(text: &str) -> GroupId {
    GroupId::parse(text).expect("an id")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn under(group: &str, to: &str) -> Move {
    Move::Group { group: id(group), to: Some(id(to)) }
}

fn into(sensor: &str, to: &str) -> Move {
    Move::SensorInto { sensor: id(sensor), to: id(to) }
}

/// Groups that all stand alone.
fn forest(groups: &[&str]) -> Forest {
    let mut forest = Forest::default();
    groups.iter().for_each(|group| forest.put_group(id(group), GroupPlace::default()));
    forest
}

/// Every group in short, `group[groups and sensors under it]`, from the roots down.
fn shown(forest: &Forest, second: i64) -> String {
    fn show(tree: &crate::Tree, group: &GroupId, out: &mut String) {
        out.push_str(group.as_str());
        let children = tree.children(group.as_str()).expect("it is there");
        let mut parts: Vec<String> = Vec::new();
        for group in &children.groups {
            let mut part = String::new();
            show(tree, group, &mut part);
            parts.push(part);
        }
        parts.extend(children.sensors.iter().map(ToString::to_string));
        if !parts.is_empty() {
            out.push_str(&format!("[{}]", parts.join(" ")));
        }
    }
    let tree = forest.at(at(second));
    let mut shown = Vec::new();
    for root in tree.roots() {
        let mut out = String::new();
        show(&tree, root, &mut out);
        shown.push(out);
    }
    shown.join(" ")
}

#[track_caller]
fn check(forest: &mut Forest, (moves, second): (&[Move], i64), expected: &str) {
    let rearranged = forest.rearranged(moves, at(second)).expect("the moves are allowed");
    forest.rearrange(rearranged);
    assert_eq!(shown(forest, second), expected);
}

#[track_caller]
fn refused(forest: &Forest, moves: &[Move], expected: &[&str]) {
    let faults = forest.rearranged(moves, at(100)).expect_err("the moves are refused");
    assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn moves_hold_from_a_time_on_and_take_what_is_below_along() {
    let mut forest = forest(&["site", "hall", "line", "dept"]);
    check(
        &mut forest,
        (&[under("hall", "site"), under("line", "hall"), into("m1", "line")], 10),
        "dept site[hall[line[m1]]]",
    );
    check(&mut forest, (&[into("m1", "dept")], 20), "dept[m1] site[hall[line[m1]]]");
    check(&mut forest, (&[into("m1", "site"), under("line", "site")], 30), "dept[m1] site[hall line m1]");
    assert_eq!(shown(&forest, 9), "dept hall line site");
    assert_eq!(shown(&forest, 29), "dept[m1] site[hall[line[m1]]]");
    let out = Move::SensorOutOf { sensor: id("m1"), from: id("dept") };
    check(&mut forest, (&[out, Move::Group { group: id("hall"), to: None }], 15), "dept hall[line[m1]] site");
    assert_eq!(
        shown(&forest, 30),
        "dept hall site[line[m1]]",
        "what was to become of the same subjects later does not any more"
    );
}

#[test]
fn moves_that_depend_on_each_other_are_one() {
    let mut forest = forest(&["a", "b"]);
    check(&mut forest, (&[under("a", "b")], 10), "b[a]");
    check(&mut forest, (&[Move::Group { group: id("a"), to: None }, under("b", "a")], 20), "a[b]");
}

#[test]
fn what_can_not_be_is_refused_by_name_and_whole() {
    let mut forest = forest(&["a", "b", "c"]);
    check(&mut forest, (&[under("b", "a"), under("c", "b"), into("s", "c")], 10), "a[b[c[s]]]");
    let before = forest.clone();
    refused(
        &forest,
        &[under("a", "c"), under("b", "nowhere")],
        &["group `a` can't be under `c`, which is the same or under it", "there is no group `nowhere`"],
    );
    refused(&forest, &[under("a", "a")], &["group `a` can't be under `a`, which is the same or under it"]);
    assert_eq!(forest, before);
    forest.put_group(id("other"), GroupPlace::default());
    check(&mut forest, (&[into("s", "other")], 50), "a[b[c[s]]] other[s]");
    refused(
        &forest,
        &[under("other", "a")],
        &["sensor `s` would be in two places of the tree of `a`: in `c` and in `other`"],
    );
}

#[test]
fn a_tree_has_so_many_levels_and_no_more() {
    let names: Vec<String> = (0..=LEVELS_MAX).map(|level| format!("g{level}")).collect();
    let mut forest = forest(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let chain: Vec<Move> = (1..LEVELS_MAX).map(|level| under(&names[level], &names[level - 1])).collect();
    let rearranged = forest.rearranged(&chain, at(1)).expect("so many levels");
    forest.rearrange(rearranged);
    let below = under(&names[LEVELS_MAX], &names[LEVELS_MAX - 1]);
    refused(&forest, &[below], &["group `g16` would be on level `17`: a tree has at most 16"]);
    let above = under("g0", &names[LEVELS_MAX]);
    refused(&forest, &[above], &["group `g15` would be on level `17`: a tree has at most 16"]);
}

#[test]
fn a_move_in_the_past_is_checked_at_every_time_since() {
    let mut forest = forest(&["a", "b"]);
    check(&mut forest, (&[under("a", "b")], 200), "b[a]");
    // From 100 on `b` would be under `a`, and from 200 on `a` under `b`.
    refused(&forest, &[under("b", "a")], &["group `b` can't be under `a`, which is the same or under it"]);
}

proptest! {
    #[test]
    fn whatever_is_moved_no_group_is_under_itself_and_no_sensor_twice_in_a_tree(
        moves in proptest::collection::vec((0..6usize, prop_oneof![Just(None), (0..6usize).prop_map(Some)], any::<bool>(), 0..50i64), 1..60)) {
        let mut forest = forest(&["g0", "g1", "g2", "g3", "g4", "g5"]);
        for (subject, to, is_group, second) in moves {
            let name = |number: usize| format!("g{number}");
            let one = match (is_group, to) {
                (true, to) => Move::Group { group: id(&name(subject)), to: to.map(|to| id(&name(to))) },
                (false, Some(to)) => into(&format!("s{subject}"), &name(to)),
                (false, None) => Move::SensorOutOf { sensor: id(&format!("s{subject}")), from: id("g0") },
            };
            let Ok(rearranged) = forest.rearranged(&[one], at(second)) else { continue };
            forest.rearrange(rearranged);
            for time in forest.changes_from(Timestamp::MIN) {
                let tree = forest.at(time);
                prop_assert_eq!(tree.bottom_up().len(), 6, "every group hangs on a root");
                for root in tree.roots() {
                    let placed: usize = tree.groups_under(root).iter().filter_map(|group| tree.children(group.as_str())).map(|its| its.sensors.len()).sum();
                    prop_assert_eq!(tree.sensors_under(root).len(), placed);
                }
                for (index, group) in tree.bottom_up().iter().enumerate() {
                    prop_assert!(forest.parent(group, time).is_none_or(|parent| tree.bottom_up()[index..].contains(parent)));
                }
            }
        }
    }
}
