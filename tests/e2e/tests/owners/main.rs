//! Model servers that own workloads, by the CRDs that they publish: `docs/owners.md`.
//!
//! Their controllers are not run. What those would write into a status, and the pods that they
//! would create, are written here, with the labels that their sources give them.

mod kinds;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::owners;

/// The scenarios mostly wait.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        kinds::kinds_without_a_scale_are_refused,
        kinds::serving_groups_of_kthena,
        kinds::role_sets_of_aibrix,
        kinds::pod_autoscaler_of_aibrix_owns_its_target,
    };
    runner::run_beside(vec![(all, AT_A_TIME)], async |cluster| {
        owners::install(&cluster.control_plane).await?;
        Ok(String::new)
    })
    .await
}
