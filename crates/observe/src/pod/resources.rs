//! The extended resources that a pod requests.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use llm_autoscaler_api::Quantity;

/// Returns the extended resources of a pod, which device plugins and DRA drivers provide, and how
/// many of each it holds at most: the sum over its containers, or what one of its init containers
/// requests if that is more, as the scheduler counts them.
pub(super) fn extended(pod: &core::Pod) -> Vec<(String, u32)> {
    let mut all: BTreeMap<&str, u32> = BTreeMap::new();
    let init = || pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let is_sidecar =
        |container: &&core::Container| container.restart_policy.as_deref() == Some("Always");
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    for (name, count) in containers.chain(init().filter(is_sidecar)).flat_map(requests) {
        let sum = all.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
    for (name, count) in init().filter(|container| !is_sidecar(container)).flat_map(requests) {
        let most = all.entry(name).or_default();
        *most = count.max(*most);
    }
    all.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Returns the extended resources of a container. Their limits equal their requests, and either may
/// be left out.
fn requests(container: &core::Container) -> impl Iterator<Item = (&str, u32)> {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref()).or(limits);
    requests.into_iter().flatten().filter(|(name, _)| is_extended(name)).filter_map(
        |(name, quantity)| {
            let count = Quantity(quantity.0.clone()).milli().ok()?.0 / 1000;
            Some((name.as_str(), u32::try_from(count).ok()?))
        },
    )
}

/// Returns whether a resource is an extended one: its name has a domain that is not Kubernetes'.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn extended_resources_are_summed_as_the_scheduler_does() {
        let gpus = |count: &str| json!({"limits": {"nvidia.com/gpu": count, "memory": "1Gi"}});
        let container = |name: &str, resources| json!({"name": name, "resources": resources});
        let mut sidecar = container("s", json!({"requests": {"nvidia.com/gpu": "1"}}));
        sidecar["restartPolicy"] = json!("Always");
        let other = json!({"requests": {"rdma/hca": "1", "example.kubernetes.io/x": "1"}});
        let table = [
            (json!([container("a", gpus("4")), container("b", json!({}))]), json!([]), 4),
            (json!([container("a", gpus("4")), container("b", gpus("2"))]), json!([sidecar]), 7),
            (json!([container("a", gpus("4"))]), json!([container("i", gpus("8"))]), 8),
            (json!([container("a", gpus("1k"))]), json!([]), 1000),
        ];
        for (containers, init, expected) in table {
            let pod = json!({"spec": {"containers": containers, "initContainers": init}});
            let pod: core::Pod = serde_json::from_value(pod.clone()).unwrap();
            assert_eq!(extended(&pod), [("nvidia.com/gpu".to_owned(), expected)]);
        }
        let pod = json!({"spec": {"containers": [container("a", other)]}});
        let pod: core::Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(extended(&pod), [("rdma/hca".to_owned(), 1)]);
    }
}
