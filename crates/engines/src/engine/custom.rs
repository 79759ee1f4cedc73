//! Programs that nothing is known of: their series are named in the spec.

use crate::EngineProfile;

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "Custom",
    display: "a program of your own",
    metrics_path: "/metrics",
    port_names: &["metrics", "http"],
    port: None,
    enabling: "",
    prefixes: &[],
    repeats: &[],
    signals: &[],
};
