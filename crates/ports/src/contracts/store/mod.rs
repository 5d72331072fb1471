//! The contract of the [`Store`](crate::Store), sentence by sentence, and at random against the store in memory.

mod crash;
mod delete;
mod random;
mod revise;
mod rows;
mod scan;
mod statistics;
mod types;
mod write;

pub use crash::{a_commit_never_outlives_the_writes_before_it, a_store_that_was_closed_has_every_row};
pub use delete::{
    a_deletion_applied_again_takes_nothing, a_deletion_spares_what_came_behind_it,
    a_deletion_takes_a_range_of_one_sensor, expiry_takes_old_rows_and_no_others,
    rows_can_be_made_again_after_a_deletion,
};
pub use random::{Load, random_operations_match_the_model, same_as_model};
pub use revise::{
    a_record_written_again_does_not_undo_a_revision, a_revision_changes_flags_and_version_alone,
    rows_that_are_not_there_are_not_revised,
};
pub use scan::{
    a_scan_goes_on_behind_any_row, a_scan_never_repeats_a_row_while_others_write,
    a_scan_of_keys_has_the_identities_alone, a_write_is_seen_by_the_next_scan, scans_answer_in_canonical_order,
    scans_answer_what_is_asked_for,
};
pub use statistics::{
    buckets_agree_with_statistics_of_the_scan, latest_and_summaries_follow_the_rows,
    sensors_are_answered_by_id_and_in_pages, too_many_buckets_are_rejected,
};
pub use types::{
    a_type_widens_to_the_properties_it_gains, an_unprepared_type_is_not_found,
    removed_types_are_gone_and_can_come_again, types_do_not_touch_each_other,
};
pub use write::{
    a_batch_written_again_has_the_same_outcomes, a_merged_row_is_judged_by_the_newer_version,
    a_row_reads_back_as_it_was_judged, an_equal_record_changes_nothing, order_of_arrival_does_not_matter,
    records_of_one_identity_merge_by_the_rule, rows_of_one_batch_merge_one_by_one,
};

/// Makes a test of each contract of the store, for the [`Backend`](crate::contracts::Backend) named.
#[macro_export]
macro_rules! store_contracts {
    ($backend:ty) => {
        $crate::contract_tests!($backend, store:
            a_commit_never_outlives_the_writes_before_it,
            a_store_that_was_closed_has_every_row,
            a_deletion_applied_again_takes_nothing,
            a_deletion_spares_what_came_behind_it,
            a_deletion_takes_a_range_of_one_sensor,
            expiry_takes_old_rows_and_no_others,
            rows_can_be_made_again_after_a_deletion,
            random_operations_match_the_model,
            a_record_written_again_does_not_undo_a_revision,
            a_revision_changes_flags_and_version_alone,
            rows_that_are_not_there_are_not_revised,
            a_scan_goes_on_behind_any_row,
            a_scan_of_keys_has_the_identities_alone,
            a_scan_never_repeats_a_row_while_others_write,
            a_write_is_seen_by_the_next_scan,
            scans_answer_in_canonical_order,
            scans_answer_what_is_asked_for,
            buckets_agree_with_statistics_of_the_scan,
            latest_and_summaries_follow_the_rows,
            sensors_are_answered_by_id_and_in_pages,
            too_many_buckets_are_rejected,
            a_type_widens_to_the_properties_it_gains,
            an_unprepared_type_is_not_found,
            removed_types_are_gone_and_can_come_again,
            types_do_not_touch_each_other,
            a_batch_written_again_has_the_same_outcomes,
            a_merged_row_is_judged_by_the_newer_version,
            a_row_reads_back_as_it_was_judged,
            an_equal_record_changes_nothing,
            order_of_arrival_does_not_matter,
            records_of_one_identity_merge_by_the_rule,
            rows_of_one_batch_merge_one_by_one,
        );
    };
}
