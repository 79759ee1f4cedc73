//! The chart, and sets of its values.

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Packaging, repository};
use serde_json::{Value, json};

/// The name of the release, and of its objects.
pub(crate) const RELEASE: &str = "llm-autoscaler";
/// The namespace of the release.
pub(crate) const SYSTEM: &str = "llm-autoscaler-system";

/// Returns the path of the chart.
pub(crate) fn chart() -> String {
    repository().join("deploy/helm/llm-autoscaler").to_string_lossy().into_owned()
}

/// Renders the chart with values that replace the defaults.
pub(crate) async fn template(
    stage: &Stage,
    packaging: &Packaging,
    values: &Value,
) -> Result<String> {
    let file = packaging.folder().join("values.json");
    std::fs::write(&file, values.to_string())?;
    let (chart, file) = (chart(), file.to_string_lossy().into_owned());
    let args = ["template", RELEASE, &*chart, "--namespace", SYSTEM, "--values", &*file];
    packaging.helm(stage.control_plane(), &args).await
}

/// Returns values that switch everything on.
pub(crate) fn everything() -> Value {
    json!({
        "replicas": 3,
        "lease": {"name": "scaler", "durationSeconds": 20, "buckets": 3},
        "image": {"repository": "registry.example/llm-autoscaler",
                  "digest": format!("sha256:{}", "0123456789abcdef".repeat(4))},
        "imagePullSecrets": [{"name": "registry"}],
        "syncPeriodSeconds": 30,
        "profile": "hpa-exact",
        "allowSourceHosts": ["prom.example", "*.metrics.example", "10.0.0.0/8"],
        "sourceCredentials": [{"hosts": ["prom.example"], "namespaces": ["team-a"],
                               "bearerTokenFile": {"path": "/etc/token/token"}}],
        "allowLoopback": true,
        "monitoringNamespaces": ["monitoring"],
        "gpuResources": ["nvidia.com/mig-3g.40gb"],
        "autoscalersPerNamespace": 20,
        "memoryBudget": "1Gi",
        "log": {"format": "text", "level": "debug"},
        "metricsApi": {"enabled": true},
        "externalScaler": {"mode": "TLS"},
        "extraTargets": [{"apiGroup": "fleets.example", "resource": "fleets"}],
        "rbac": {"drain": true, "roleBasedGroups": true, "credentialsNamespaces": ["team-a"]},
        "serviceAccount": {"name": "scaler", "annotations": {"example/role": "reader"}},
        "service": {"annotations": {"a": "b"}, "labels": {"c": "d"}},
        "podDisruptionBudget": {"maxUnavailable": null, "minAvailable": "50%"},
        "networkPolicy": {
            "enabled": true,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "wakeFrom": [{"podSelector": {}}],
            "podPorts": [8000, 9090],
            "apiServerCIDRs": ["192.0.2.10/32"],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}],
        },
        "serviceMonitor": {"enabled": true, "labels": {"release": "prom"}},
        "prometheusRule": {"enabled": true, "labels": {"release": "prom"},
                           "runbookUrl": "https://docs.example/runbook"},
        "dashboards": {"enabled": true, "annotations": {"grafana_folder": "autoscaling"}},
        "autoscalerMetrics": true,
        "otlpEndpoint": "http://collector.monitoring:4318",
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}],
        }}},
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"e": "f"},
        "podLabels": {"g": "h"},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    })
}

/// Returns values for one namespace, with everything that is possible there.
pub(crate) fn one_namespace(namespace: &str) -> Value {
    let mut values = everything();
    values["watchNamespace"] = json!(namespace);
    values["rbac"]["credentialsNamespaces"] = json!([namespace]);
    values["rbac"]["userRoles"] = json!(true);
    values["rbac"]["wakeReviews"] = json!(true);
    values
}
