//! Scenarios of the operator's behaviour as seen from outside.

mod bad_input;
mod bills;
mod changes;
mod convert;
mod docs;
mod guide;
mod manifests;
mod stored;
mod targets;
mod telemetry;
mod urls;
mod zero;

use crate::{runner::Scenario, scenarios};

/// Returns all scenarios, the long ones first.
pub fn all() -> Vec<Scenario> {
    scenarios! {
        changes::operator_is_killed_in_the_middle_of_a_window,
        changes::load_falls_while_sizes_are_refused,
        bad_input::pods_that_do_not_answer_hold_the_size,
        docs::every_yaml_of_the_docs_is_accepted,
        bills::bill_adds_up_across_a_kill,
        bills::gpus_of_claims_are_billed,
        guide::queue_grows_and_goes,
        targets::target_is_deleted_and_created_again,
        changes::spec_is_edited_mid_flight,
        changes::quiet_autoscaler_asks_for_nothing,
        changes::size_is_changed_by_hand,
        manifests::pod_monitor_needs_its_crd,
        zero::to_zero_and_back_by_a_query,
        zero::to_zero_and_back_by_a_call,
        zero::back_from_a_zero_that_no_status_tells,
        zero::to_zero_and_back_by_arrivals_at_a_gateway,
        targets::any_kind_with_a_scale_subresource,
        targets::kind_without_a_scale_subresource,
        bad_input::pages_that_are_not_metrics,
        bad_input::port_that_no_pod_has,
        telemetry::log_has_a_line_for_each_changed_decision,
        telemetry::traces_reach_a_collector,
        telemetry::metrics_are_those_of_the_table,
        urls::names_that_would_change_a_path_are_refused,
        urls::link_local_addresses_are_not_called,
        urls::policy_for_source_hosts_covers_roles,
        bad_input::spec_that_only_the_operator_can_refuse,
        bad_input::specs_that_make_no_sense_are_refused,
        convert::converted_objects_are_accepted,
        manifests::install_yaml_is_config_default,
        stored::stored_objects_are_accepted,
        stored::stored_memory_is_gone_on_with,
    }
}
