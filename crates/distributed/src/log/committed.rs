//! What a group has committed, as it stands in Kafka: the position as the offset, the totals in the commit's metadata.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::{Partition, Position};
use ports::{Committed, PortError, Totals};
use rdkafka::{Offset, TopicPartitionList, error::KafkaError, topic_partition_list::TopicPartitionListElem};

use super::error::from_kafka;

/// Version of the metadata.
const VERSION: u64 = 1;

/// The metadata of a commit: version, generation of the topic and the totals, separated by spaces.
pub(super) fn metadata(generation: u32, totals: &Totals) -> String {
    let Totals { stored, duplicate, revised, dead_lettered, deletion, rejudgement, skipped } = totals;
    format!("{VERSION} {generation} {stored} {duplicate} {revised} {dead_lettered} {deletion} {skipped} {rejudgement}")
}

/// What a group has committed on a partition of a topic in its present generation.
///
/// A position that another tool has set comes without totals: all before it counts as skipped.
pub(super) fn parse(partition: Partition, offset: Option<u64>, metadata: &str, generation: u32) -> Committed {
    let nothing = Committed { partition, ..Committed::default() };
    let Some(position) = offset else { return nothing };
    let skipped = Totals { skipped: position, ..Totals::default() };
    let Some((made_for, totals)) = parse_totals(metadata) else {
        return Committed { partition, position: Position(position), totals: skipped };
    };
    if made_for != u64::from(generation) {
        return nothing;
    }
    let totals = if totals.sum() == position { totals } else { skipped };
    Committed { partition, position: Position(position), totals }
}

fn parse_totals(metadata: &str) -> Option<(u64, Totals)> {
    let numbers: Vec<u64> = metadata.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [VERSION, generation, stored, duplicate, revised, dead_lettered, deletion, skipped, ref rest @ ..] = *numbers
    else {
        return None;
    };
    // What was committed before there were rejudgements ends before them.
    let rejudgement = match rest {
        [] => 0,
        [rejudgement] => *rejudgement,
        _ => return None,
    };
    let sum = [stored, duplicate, revised, dead_lettered, deletion, skipped, rejudgement];
    sum.iter().try_fold(0u64, |sum, total| sum.checked_add(*total))?;
    Some((generation, Totals { stored, duplicate, revised, dead_lettered, deletion, rejudgement, skipped }))
}

/// What an answer says of one partition.
pub(super) fn of(element: &TopicPartitionListElem<'_>, generation: u32) -> Result<Committed, PortError> {
    element.error().map_err(|error| from_kafka("asking for a committed position", error))?;
    let offset = match element.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    };
    // The library panics where another tool left metadata that is not UTF-8.
    let metadata = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_default();
    Ok(parse(Partition(element.partition() as u32), offset, &metadata, generation))
}

/// Adds a commit to what is sent.
pub(super) fn add_to(
    list: &mut TopicPartitionList,
    topic: &str,
    committed: &Committed,
    generation: u32,
) -> Result<(), KafkaError> {
    let mut element = list.add_partition(topic, committed.partition.0 as i32);
    element.set_offset(Offset::Offset(i64::try_from(committed.position.0).unwrap_or(i64::MAX)))?;
    element.set_metadata(metadata(generation, &committed.totals));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    const TOTALS: Totals =
        Totals { stored: 1, duplicate: 2, revised: 3, dead_lettered: 4, deletion: 5, rejudgement: 7, skipped: 6 };

    #[test]
    fn totals_read_back_with_their_position() {
        let metadata = metadata(7, &TOTALS);
        assert_eq!(metadata, "1 7 1 2 3 4 5 6 7");
        let committed = parse(Partition(2), Some(28), &metadata, 7);
        assert_eq!(committed, Committed { partition: Partition(2), position: Position(28), totals: TOTALS });
        let older = parse(Partition(2), Some(21), "1 7 1 2 3 4 5 6", 7);
        assert_eq!(older.totals, Totals { rejudgement: 0, ..TOTALS });
    }

    #[test]
    fn a_removed_topics_position_counts_for_nothing() {
        let nothing = Committed { partition: Partition(2), ..Committed::default() };
        assert_eq!(parse(Partition(2), Some(21), &metadata(6, &TOTALS), 7), nothing);
        assert_eq!(parse(Partition(2), None, "", 7), nothing);
    }

    proptest! {
        #[test]
        fn totals_add_up_whatever_another_tool_committed(position in 0..u64::MAX / 2, metadata in "([0-9]{1,20} ?){0,9}|.*", generation in any::<u32>()) {
            let committed = parse(Partition(0), Some(position), &metadata, generation);
            prop_assert_eq!(committed.totals.sum(), committed.position.0);
        }
    }
}
