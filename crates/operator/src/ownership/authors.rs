//! The field managers of sizes: which are the names of well-known tools.

/// The managers of commands by which a person sets a size.
const BY_HAND: [&str; 5] =
    ["kubectl", "kubectl-scale", "kubectl-edit", "kubectl-patch", "kubectl-replace"];

/// The managers of tools that apply manifests, or the beginnings of their names.
const DEPLOYMENT_TOOLS: [&str; 9] = [
    "kubectl",
    "helm",
    "Helm",
    "argocd",
    "kustomize-controller",
    "helm-controller",
    "flux",
    "fleet",
    "terraform",
];

/// Returns whether a size under this manager was set by a command that a person types.
pub(crate) fn is_by_hand(manager: &str) -> bool {
    BY_HAND.contains(&manager)
}

/// Returns whether this manager is a person's command, or a tool that applies manifests: it is no
/// controller that owns the target.
pub(crate) fn is_deployment_tool(manager: &str) -> bool {
    DEPLOYMENT_TOOLS.iter().any(|tool| manager.starts_with(tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_a_persons_command_or_a_tool_or_a_controller() {
        // manager; by hand, a tool
        let table = [
            ("kubectl", true, true),
            ("kubectl-scale", true, true),
            ("kubectl-edit", true, true),
            ("kubectl-client-side-apply", false, true),
            ("helm", false, true),
            ("kustomize-controller", false, true),
            ("argocd-controller", false, true),
            ("argocd-application-controller", false, true),
            ("model-operator", false, false),
            ("manager", false, false),
        ];
        for (manager, by_hand, tool) in table {
            assert_eq!(
                (is_by_hand(manager), is_deployment_tool(manager)),
                (by_hand, tool),
                "{manager}"
            );
        }
    }
}
