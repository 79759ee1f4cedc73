//! Ways to install: the Helm chart and the kustomize overlays, by the real Helm and kustomize.
//!
//! There is no kubelet, so the scenarios run what a Deployment asks for: see [`copies`].

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod chart;
mod copies;
mod objects;
mod overlays;
mod rendered;
mod schemas;
mod skew;
mod traffic;
mod values;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        rendered::values_that_contradict_each_other_are_refused,
        rendered::every_flag_can_be_set,
        rendered::roles_are_those_of_config,
        rendered::components_add_what_values_do,
        rendered::manifests_satisfy_their_schemas,
        chart::release_is_installed_upgraded_and_rolled_back,
        chart::release_of_one_namespace,
        overlays::overlay_is_installed_and_removed,
        skew::operator_is_newer_than_its_crd,
        skew::operator_is_older_than_its_crd,
    };
    // One after the other: each one has the cluster for itself.
    runner::run_bare(vec![(all, 1)]).await
}
