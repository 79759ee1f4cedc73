//! Advice about the workers of replicas of several pods.

use llm_autoscaler_api::{
    Advice, Port, SourceConfig, TargetConfig, conditions::Reason, workloads::ReportingPods,
};

use crate::{pod::Pod, replicas::Replicas};

/// Returns the advice for replicas of several pods, of which only the leaders are read although
/// ready workers declare the metrics port as well: each may run an engine of its own, and its
/// requests would not count.
pub fn workers_with_port(replicas: &Replicas, config: &TargetConfig) -> Option<Advice> {
    let all: usize = replicas.list.iter().map(|group| group.pods.len()).sum();
    if all == replicas.reporting_pods.len() {
        // There are no workers.
        return None;
    }
    let ports = MetricsPorts::of(config)?;
    // A grouping by the spec says on purpose which pods are scraped.
    let label = |pod: &Pod| {
        let mut groupings = config.groupings.iter();
        let grouping = groupings.find(|grouping| pod.labels.contains_key(&grouping.label))?;
        matches!(grouping.reporting, ReportingPods::LabelOrAbsent(..)).then_some(&*grouping.label)
    };
    let mut workers = replicas.list.iter().flat_map(|group| &group.pods).filter(|pod| {
        !replicas.reporting_pods.contains_key(&pod.name) && pod.replica.ready && ports.are_of(pod)
    });
    let (first, label) = workers.find_map(|pod| Some((&pod.name, label(pod)?)))?;
    let text = format!(
        "only the leader of each replica is read, but {first} and {} other workers declare the \
         metrics port too: if each pod runs an engine of its own, its requests count neither for \
         growing nor against shrinking until spec.replicaPods is {{groupLabel: {label}}}",
        workers.count()
    );
    Some(Advice { reason: Reason::WorkersWithPort, text })
}

/// The ports by which a pod may have a metrics page.
struct MetricsPorts {
    ports: Vec<Port>,
    /// The number that counts if a pod declares no other.
    usual: Option<u16>,
}

impl MetricsPorts {
    /// Returns those of the source that scrapes the target's own pods, or those of the engine if a
    /// Prometheus server does. `None` if other pods report for the target.
    fn of(config: &TargetConfig) -> Option<Self> {
        let own = config.sources.iter().find_map(|source| match source {
            SourceConfig::Scrape(scrape) if scrape.pods.is_none() => {
                Some(Self { ports: scrape.ports.clone(), usual: scrape.usual_port })
            }
            _ => None,
        });
        let is_prometheus = |source: &SourceConfig| matches!(source, SourceConfig::Prometheus(_));
        let of_engine = || {
            let profile = config.engine.profile();
            let names = profile.port_names.iter();
            let ports = names.map(|name| Port::Name((*name).to_owned())).collect();
            Self { ports, usual: profile.port }
        };
        own.or_else(|| config.sources.iter().any(is_prometheus).then(of_engine))
    }

    fn are_of(&self, pod: &Pod) -> bool {
        self.ports.iter().any(|port| pod.declares(port))
            || self.usual.is_some_and(|port| pod.has_only_port(port))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use llm_autoscaler_api::parse_target;
    use llm_autoscaler_core::Profile;
    use serde_json::{Value, json};

    use super::*;

    const LWS: &str = "leaderworkerset.sigs.k8s.io";

    fn config(sources: &Value, replica_pods: &Value) -> TargetConfig {
        let target = json!({"type": "AverageValue", "averageValue": "5"});
        let api_version = "leaderworkerset.x-k8s.io/v1";
        let spec = json!({
            "scaleTargetRef": {
                "apiVersion": api_version, "kind": "LeaderWorkerSet", "name": "pd",
            },
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 9,
            "metrics": [{"signal": "WaitingRequests", "target": target}],
            "sources": sources, "replicaPods": replica_pods,
        });
        parse_target(&serde_json::from_value(spec).unwrap(), Profile::Default).unwrap()
    }

    /// Returns a group of a leader and a worker; the ports and the readiness are the worker's.
    fn group(ports: &[(&str, u16)], unnamed: &[u16], ready: bool) -> BTreeMap<String, Arc<Pod>> {
        let pods = ["0", "1"].map(|index| {
            let mut pod = Pod::serving(&format!("pd-0-{index}"), "pd");
            Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/group-index"), "0".to_owned());
            Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/worker-index"), index.to_owned());
            if index == "1" {
                let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), *port));
                (pod.ports, pod.unnamed_ports) = (ports.collect(), unnamed.into());
                pod.replica.ready = ready;
            }
            (pod.name.clone(), Arc::new(pod))
        });
        BTreeMap::from(pods)
    }

    #[test]
    fn workers_that_declare_the_metrics_port_are_named() {
        let (scrape, nine) = (json!([{"scrape": {}}]), json!([{"scrape": {"port": 9000}}]));
        let server = json!([{"prometheus": {"url": "http://p"}}]);
        let router = json!([{"scrape": {"podSelector": {"matchLabels": {"app": "router"}}}}]);
        let (known, all) = (json!(null), json!({"groupLabel": format!("{LWS}/group-index")}));
        let http = &[("http", 8000)][..];
        for (name, sources, replica_pods, ports, unnamed, ready, expected) in [
            ("a named port", &scrape, &known, http, &[][..], true, true),
            ("the usual number", &scrape, &known, &[], &[8000], true, true),
            ("another port", &scrape, &known, &[("ray", 6379)], &[], true, false),
            ("no port", &scrape, &known, &[], &[], true, false),
            ("a worker that is not ready", &scrape, &known, http, &[], false, false),
            ("every pod is scraped", &scrape, &all, http, &[], true, false),
            ("the number of the spec", &nine, &known, &[("api", 9000)], &[], true, true),
            ("that number without a name", &nine, &known, &[], &[9000, 1], true, true),
            ("another number than the spec's", &nine, &known, http, &[], true, false),
            ("a server, a named port", &server, &known, http, &[], true, true),
            ("a server, the usual number", &server, &known, &[], &[8000], true, true),
            ("a server, another port", &server, &known, &[("ray", 6379)], &[], true, false),
            ("a router reports", &router, &known, http, &[], true, false),
        ] {
            let config = config(sources, replica_pods);
            let pods = Arc::new(group(ports, unnamed, ready));
            let advice = workers_with_port(&Replicas::of(&pods, &config.groupings), &config);
            assert_eq!(advice.is_some(), expected, "{name}");
            let text = advice.map(|advice| advice.text).unwrap_or_default();
            let label = format!("{{groupLabel: {LWS}/group-index}}");
            assert!(!expected || text.contains("pd-0-1") && text.contains(&label), "{text}");
        }
    }
}
