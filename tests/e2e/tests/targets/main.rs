//! Targets that are more than a StatefulSet, whose controllers stand-ins play: roles of RoleBasedGroups, Grove's scaling groups and
//! cliques, components of Dynamo's graphs.
//!
//! What the stand-in for RoleBasedGroups does is what the real controller was seen to do: [`stand_in`] holds it to that, with nothing for
//! the operator to do. Of Grove and Dynamo the sources were read: [`played`] says which.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod owners;
mod played;
mod scaling;
mod stand_in;

use std::process::ExitCode;

use llm_autoscaler_e2e::{groups, runner, scenarios};

/// They wait for controllers more than for the machine.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    use owners::{by_hand, claims, drivers, pausing};
    use scaling::{
        coordinated, drains, dynamo, grove, refused, roles as scaled, rolling, stateless, units,
    };
    use stand_in::{
        adapters, instances, kinds, pods, policies, roles, rollouts, scale, selectors, sets,
    };
    // What may not be done yet comes before the rest, which needs it.
    let forbidden = scenarios! { stateless::without_the_permission };
    let all = scenarios! {
        selectors::hpas_and_kubectl_fail_on_wrong_selectors,
        policies::growth_waits_for_the_batch_before,
        selectors::computed_once_and_often_wrong,
        pods::labels_names_and_gates,
        pods::replicas_are_groups_of_pods,
        pods::highest_ordinal_goes_first,
        instances::numbered_and_drawn,
        instances::cheapest_goes_first,
        instances::ordered_ones_in_turn,
        rollouts::one_by_one_from_the_highest,
        rollouts::without_numbers,
        adapters::life_of_an_adapter,
        adapters::only_those_of_the_group_count,
        adapters::adapter_is_the_authority,
        scale::what_becomes_of_writes,
        roles::json_patch_with_tests,
        roles::server_side_apply,
        roles::kubectl_takes_over,
        sets::template_of_a_set_wins,
        sets::all_goes_with_its_owner,
        kinds::what_can_be_scaled,
        scaled::through_an_adapter_by_leaders,
        scaled::one_worker_is_missed,
        scaled::without_an_adapter,
        scaled::an_adapter_without_a_selector,
        scaled::what_several_pods_of_a_replica_say_adds_up,
        scaled::what_is_not_there_yet_is_waited_for,
        drains::a_role_by_its_highest_instance,
        drains::an_ordered_role_in_turn,
        stateless::the_instance_with_the_fewest_requests,
        stateless::marks_are_taken_back,
        stateless::a_role_that_is_a_deployment,
        rolling::a_rollout_of_a_role_is_waited_for,
        coordinated::what_a_policy_holds_back_is_on_its_way,
        refused::children_of_a_set,
        refused::adapters_made_by_hand,
        refused::roles_of_other_kinds,
        grove::scaling_group_by_whole_replicas,
        grove::standalone_clique_without_a_selector,
        grove::clique_of_a_group_is_refused,
        grove::clique_below_its_minimum,
        dynamo::component_on_grove,
        dynamo::component_of_leader_worker_sets,
        dynamo::pods_that_do_not_say_their_replica,
        dynamo::adapter_that_is_not_there_yet,
        units::pods_and_replicas_that_do_not_match,
        claims::oldest_autoscaler_keeps_the_target,
        claims::role_by_two_names,
        claims::same_pods_of_two_targets,
        pausing::paused_and_unpaused,
        pausing::nothing_shrinks_at_once_after_a_pause,
        by_hand::respected_for_a_while,
        by_hand::reclaimed_at_once,
        by_hand::zero_is_no_size_to_return_from,
        by_hand::fights_are_told,
        drivers::hpa_in_the_way_and_gone,
        drivers::scaled_object_in_the_way_and_gone,
        drivers::owner_that_drives_the_size,
        drivers::owner_that_does_not_drive_the_size,
    };
    runner::run_in_turn(vec![(forbidden, 1), (all, AT_A_TIME)]).await
}
