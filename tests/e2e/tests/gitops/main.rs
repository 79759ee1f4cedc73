//! The operator beside GitOps tools: `docs/gitops.md`.
//!
//! kubectl and Helm are the programs themselves. Flux applies, and kstatus and Argo CD judge, by
//! their libraries and scripts: `tests/gitops`.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod argocd;
mod health;
mod recorded;
mod sizes;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// The scenarios mostly wait.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    use sizes::{client_side, helm, server_side};
    let all = scenarios! {
        argocd::scripts_pass_their_tests,
        argocd::actions_pause_and_resume,
        health::first_status_is_waited_for,
        health::target_may_come_later,
        health::roles_are_waited_for,
        health::mistake_fails_until_it_is_mended,
        health::missing_samples_and_pauses,
        health::deletion_is_awaited,
        server_side::size_is_adopted_before_git_drops_it,
        server_side::paused_autoscaler_adopts_nothing,
        server_side::written_size_stays,
        server_side::flux_drops_the_size,
        server_side::custom_resource_is_adopted,
        client_side::size_falls_unless_it_is_forgotten_first,
        client_side::move_to_server_side_apply,
        helm::size_in_a_chart,
        helm::client_side_release,
    };
    runner::run(all, AT_A_TIME).await
}
