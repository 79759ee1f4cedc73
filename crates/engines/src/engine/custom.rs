//! Programs that no table describes. Their series are named in the spec.

use crate::engine::EngineProfile;

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "Custom",
    display: "a program of your own",
    metrics_path: "/metrics",
    port_names: &["metrics", "http"],
    port: None,
    enabling: "",
    prefixes: &[],
    repeat_labels: &[],
    sleep: None,
    progress: None,
    lengths: None,
    step: Err("its series are not known"),
    signals: &[],
    idle_rules: &[],
};
