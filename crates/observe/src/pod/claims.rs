//! The ResourceClaims of a pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as core;

/// Returns the names of a pod's ResourceClaims, each once. One that is made from a template has a
/// name once it exists.
pub(super) fn claims(pod: &core::Pod) -> Vec<String> {
    let made = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let name_of = |claim: &core::PodResourceClaim| {
        let mut made = made.clone();
        let named = claim.resource_claim_name.as_ref();
        named
            .or_else(|| made.find(|it| it.name == claim.name)?.resource_claim_name.as_ref())
            .cloned()
    };
    let all = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    all.filter_map(name_of).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_has_the_name_of_the_spec_or_that_of_the_one_made_for_the_pod() {
        let spec = json!([
            {"name": "shared", "resourceClaimName": "all-gpus"},
            {"name": "again", "resourceClaimName": "all-gpus"},
            {"name": "own", "resourceClaimTemplateName": "one-gpu"},
            {"name": "not-made", "resourceClaimTemplateName": "one-gpu"},
        ]);
        let made = json!([
            {"name": "own", "resourceClaimName": "qwen3-0-own-x7k2p"},
            {"name": "not-made"},
        ]);
        let table = [
            (json!({}), vec![]),
            (json!({"spec": {"containers": []}}), vec![]),
            (json!({"spec": {"containers": [], "resourceClaims": spec}}), vec!["all-gpus"]),
            (
                json!({
                    "spec": {"containers": [], "resourceClaims": spec},
                    "status": {"resourceClaimStatuses": made},
                }),
                vec!["all-gpus", "qwen3-0-own-x7k2p"],
            ),
        ];
        for (pod, expected) in table {
            let pod: core::Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(claims(&pod), expected);
        }
    }
}
