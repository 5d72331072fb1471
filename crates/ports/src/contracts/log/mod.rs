//! The contract of the [`Log`](crate::Log), sentence by sentence.

mod append;
mod documents;
mod drain;
mod groups;
mod reading;
mod removal;
mod retention;

pub use append::{
    a_batch_stays_in_one_piece_beside_others, acceptance_times_never_go_back, an_empty_batch_appends_nothing,
    an_unknown_topic_is_not_found, creating_a_topic_twice_changes_nothing, every_kind_of_record_reads_back,
    nothing_is_delivered_that_a_crash_could_take, positions_are_dense, what_was_answered_survives,
};
pub use documents::{
    a_follower_sees_every_change_and_removal, documents_of_any_size_read_back, notices_stay_whatever_their_key,
    the_newest_document_of_each_key_is_kept,
};
pub use groups::{
    a_commit_without_the_partition_is_a_conflict, a_dropped_member_leaves_its_partitions_to_the_others,
    a_group_goes_on_where_it_committed, a_poll_answers_many_topics, a_position_within_a_batch_can_be_committed,
    a_topic_is_joined_when_it_appears, commits_of_many_topics_are_answered_one_by_one, groups_do_not_touch_each_other,
    members_share_the_work_without_overlap, progress_tells_what_has_changed, topics_take_turns,
    what_is_held_back_holds_nothing_else_back, what_is_held_back_is_delivered_again,
};
pub use reading::{
    a_consumer_waits_for_records, a_reader_answers_about_as_many_as_asked, a_reader_starts_at_any_position,
    a_reader_waits_for_records, an_unknown_partition_is_not_found,
};
pub use removal::{
    a_reader_of_a_removed_topic_is_told, a_topic_created_again_starts_behind_the_removed_one,
    removing_a_topic_twice_changes_nothing,
};
pub use retention::{
    a_clock_that_jumped_ahead_and_back_leaves_retention_working, a_full_log_refuses_whole_batches_until_there_is_room,
    positions_go_on_behind_what_retention_took, retention_never_takes_what_a_group_has_not_read,
    retention_takes_what_is_old_and_read,
};

/// Makes a test of each contract of the log, for the [`Backend`](crate::contracts::Backend) named.
#[macro_export]
macro_rules! log_contracts {
    ($backend:ty) => {
        $crate::contract_tests!($backend, log:
            a_batch_stays_in_one_piece_beside_others,
            acceptance_times_never_go_back,
            an_empty_batch_appends_nothing,
            an_unknown_topic_is_not_found,
            creating_a_topic_twice_changes_nothing,
            every_kind_of_record_reads_back,
            nothing_is_delivered_that_a_crash_could_take,
            positions_are_dense,
            what_was_answered_survives,
            a_follower_sees_every_change_and_removal,
            documents_of_any_size_read_back,
            notices_stay_whatever_their_key,
            the_newest_document_of_each_key_is_kept,
            a_commit_without_the_partition_is_a_conflict,
            a_dropped_member_leaves_its_partitions_to_the_others,
            a_group_goes_on_where_it_committed,
            a_position_within_a_batch_can_be_committed,
            a_poll_answers_many_topics,
            what_is_held_back_is_delivered_again,
            what_is_held_back_holds_nothing_else_back,
            a_topic_is_joined_when_it_appears,
            commits_of_many_topics_are_answered_one_by_one,
            progress_tells_what_has_changed,
            groups_do_not_touch_each_other,
            members_share_the_work_without_overlap,
            topics_take_turns,
            a_consumer_waits_for_records,
            a_reader_answers_about_as_many_as_asked,
            a_reader_starts_at_any_position,
            a_reader_waits_for_records,
            an_unknown_partition_is_not_found,
            a_reader_of_a_removed_topic_is_told,
            a_topic_created_again_starts_behind_the_removed_one,
            removing_a_topic_twice_changes_nothing,
            a_clock_that_jumped_ahead_and_back_leaves_retention_working,
            a_full_log_refuses_whole_batches_until_there_is_room,
            positions_go_on_behind_what_retention_took,
            retention_never_takes_what_a_group_has_not_read,
            retention_takes_what_is_old_and_read,
        );
    };
}
