//! Targets that are more than a StatefulSet, with stand-ins for their controllers: roles of
//! RoleBasedGroups, Grove's scaling groups and cliques, components of Dynamo's graphs.
//!
//! The stand-in for RoleBasedGroups behaves as the real controller was observed to: [`stand_in`]
//! asserts that without an operator. Grove and Dynamo follow their sources; [`played`] names the
//! commits.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod owners;
mod played;
mod scaling;
mod stand_in;

use std::process::ExitCode;

use llm_autoscaler_e2e::{
    groups,
    runner::{self, Scenario},
    scenarios,
};

/// The scenarios wait for controllers more than they load the machine.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    use scaling::{roles as scaled, stateless};
    // The scenarios without a permission run first, because the others grant it.
    let forbidden = scenarios! {
        stateless::without_the_permission,
        scaled::without_an_adapter,
    };
    let all = of_the_stand_in().into_iter().chain(of_the_operator()).collect();
    runner::run_in_turn(vec![(forbidden, 2), (all, AT_A_TIME)]).await
}

/// Lists the scenarios of the stand-in for RoleBasedGroups, without an operator's part in them.
fn of_the_stand_in() -> Vec<Scenario> {
    use stand_in::{
        adapters, instances, kinds, pods, policies, roles, rollouts, scale, selectors, sets,
    };
    scenarios! {
        selectors::hpas_and_kubectl_fail_on_wrong_selectors,
        policies::growth_waits_for_the_batch_before,
        selectors::selector_is_computed_once,
        pods::labels_names_and_gates,
        pods::replicas_are_groups_of_pods,
        pods::highest_ordinal_goes_first,
        instances::names_and_labels_of_instances,
        instances::cheapest_goes_first,
        instances::ordered_instances_one_by_one,
        rollouts::instances_are_updated_in_place,
        rollouts::unready_instance_blocks_a_rollout,
        rollouts::stateless_instances_are_updated_in_place,
        rollouts::instances_are_replaced_one_by_one,
        rollouts::surge_is_counted,
        adapters::life_of_an_adapter,
        adapters::adapter_made_by_hand_has_no_effect,
        adapters::adapter_overrides_other_writers,
        scale::writes_to_the_scale,
        roles::json_patch_with_tests,
        roles::server_side_apply,
        roles::kubectl_takes_over,
        sets::set_template_overrides_the_adapter,
        sets::objects_are_deleted_with_their_owner,
        kinds::kinds_with_a_scale,
    }
}

/// Lists the scenarios of the operator.
fn of_the_operator() -> Vec<Scenario> {
    use owners::{by_hand, claims, drivers, pausing, recommend};
    use scaling::{
        admission, coordinated, drains, dynamo, grove, refused, roles as scaled, rolling,
        stateless, units,
    };
    scenarios! {
        scaled::through_an_adapter_by_leaders,
        scaled::replica_lacks_a_worker,
        scaled::an_adapter_without_a_selector,
        scaled::loads_of_a_replicas_pods_are_added,
        scaled::missing_group_is_waited_for,
        drains::a_role_by_its_highest_instance,
        drains::ordered_role_drains_one_by_one,
        stateless::the_instance_with_the_fewest_requests,
        stateless::returning_load_removes_the_marks,
        stateless::a_role_that_is_a_deployment,
        rolling::drain_makes_way_for_a_rollout_of_a_role,
        rolling::nothing_shrinks_during_a_blocked_rollout,
        coordinated::held_back_replicas_are_not_requested_again,
        admission::replicas_that_cannot_be_created_are_reported,
        admission::refused_patch_of_a_role_is_reported,
        admission::answers_of_a_webhook_are_reported,
        admission::old_version_is_written_as_the_new_one,
        refused::set_is_refused,
        refused::groups_of_a_set_are_refused,
        refused::adapter_made_by_hand_is_refused,
        refused::roles_of_other_kinds,
        grove::scaling_group_by_whole_replicas,
        grove::standalone_clique_without_a_selector,
        grove::clique_of_a_group_is_refused,
        grove::clique_below_its_minimum,
        dynamo::component_on_grove,
        dynamo::component_of_leader_worker_sets,
        dynamo::pods_without_a_replica_label,
        dynamo::adapter_that_is_not_there_yet,
        units::pods_and_replicas_that_do_not_match,
        claims::oldest_autoscaler_keeps_the_target,
        claims::role_by_two_names,
        claims::same_pods_of_two_targets,
        pausing::paused_and_unpaused,
        pausing::nothing_shrinks_at_once_after_a_pause,
        recommend::recommendation_beside_another_autoscaler,
        by_hand::manual_size_is_respected_for_a_while,
        by_hand::manual_size_is_reverted_at_once,
        by_hand::zero_replicas_disable_scaling,
        by_hand::repeated_manual_changes_are_reported,
        by_hand::sizes_set_again_are_named_over_restarts,
        drivers::hpa_in_the_way_and_gone,
        drivers::scaled_object_in_the_way_and_gone,
        drivers::owner_that_drives_the_size,
        drivers::owner_that_does_not_drive_the_size,
    }
}
