//! The operator's permissions: each is used, each that is missing is told, and those of one
//! namespace suffice for one namespace.
//!
//! The API server writes an audit log of the operator's requests. The admission plugin
//! `OwnerReferencesPermissionEnforcement`, which asks for permissions that no request shows, is on.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod audit;
mod grants;
mod kinds;
mod missing;
mod namespaced;
mod used;
mod world;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::controlplane::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned();
    let options = Options { apiserver_args: vec![plugin], audit: true, ..Options::default() };
    let all = scenarios! {
        used::no_permission_is_unused,
        missing::each_missing_permission_is_told,
        namespaced::roles_of_one_namespace_suffice,
    };
    // One after the other: they take permissions away, and count requests.
    runner::run_on(options, vec![(all, 1)], async |_| Ok(String::new)).await
}
