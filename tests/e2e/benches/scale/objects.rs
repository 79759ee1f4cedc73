//! The objects of the bench: namespaces, fleets with their autoscalers, and pods.

use std::fmt;

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use llm_autoscaler_e2e::{Stage, fleets::address};
use llm_autoscaler_testbed::controlplane::StoredObject;
use serde_json::{Value, json};

/// The autoscalers of one namespace.
const OF_NAMESPACE: u32 = 100;
/// The objects that are stored between two lines of progress.
const STEP: usize = 20_000;
/// The time at which all objects were created.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// A number of pods and of autoscalers, which have the pods in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) pods: u32,
    pub(crate) autoscalers: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} pods, {} autoscalers", self.pods, self.autoscalers)
    }
}

/// The objects that are there.
pub(crate) struct Objects<'a> {
    stage: &'a Stage,
    port: u16,
    interval: u64,
    size: Size,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(stage: &'a Stage, port: u16, interval: u64) -> Self {
        Self { stage, port, interval, size: Size { pods: 0, autoscalers: 0 } }
    }

    /// Creates the namespaces of this many autoscalers.
    pub(crate) async fn create_namespaces(&self, autoscalers: u32) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.stage.client());
        for number in 0..autoscalers.div_ceil(OF_NAMESPACE) {
            let name = Some(namespace(number * OF_NAMESPACE));
            let metadata = ObjectMeta { name, ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            api.create(&PostParams::default(), &namespace).await?;
        }
        Ok(())
    }

    /// Creates what is missing. Pods that are there keep their autoscalers.
    pub(crate) async fn grow_to(&mut self, size: Size) -> Result<()> {
        let mut objects = Vec::new();
        for number in self.size.autoscalers..size.autoscalers {
            objects.push(fleet(number, size));
            objects.push(self.autoscaler(number));
        }
        for number in self.size.pods..size.pods {
            objects.push(self.pod(number, number % size.autoscalers));
        }
        for (number, part) in objects.chunks(STEP).enumerate() {
            self.stage.control_plane().store(part).await?;
            if objects.len() > STEP {
                println!("  {} of {} objects", number * STEP + part.len(), objects.len());
            }
        }
        self.size = size;
        Ok(())
    }

    fn autoscaler(&self, number: u32) -> StoredObject {
        let name = format!("fleet-{number}");
        let target = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": name});
        stored(
            "llmautoscaler.io/llmautoscalers",
            number,
            json!({
                "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
                "metadata": metadata("a", number, &name, number, &json!({})),
                "spec": {
                    "scaleTargetRef": target, "maxReplicas": 1000,
                    "sources": [{"scrape": {"intervalSeconds": self.interval, "timeoutSeconds": 2}}],
                    "metrics": [{
                        "signal": "InFlightRequests",
                        "target": {"type": "AverageValue", "averageValue": "32"},
                    }],
                    "podMonitor": {"mode": "Disabled"},
                    // Nothing is written while the figures are taken.
                    "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
                },
            }),
        )
    }

    /// Returns a pod as a Deployment's controller and a kubelet would leave it.
    fn pod(&self, number: u32, fleet: u32) -> StoredObject {
        let (name, fleet_name) =
            (format!("fleet-{fleet}-7d4b9c6f5-{number:x}"), format!("fleet-{fleet}"));
        let labels = json!({
            "fleet": fleet_name, "app.kubernetes.io/name": "vllm",
            "app.kubernetes.io/instance": fleet_name, "app.kubernetes.io/component": "engine",
            "pod-template-hash": "7d4b9c6f5",
        });
        let ip = address(number).to_string();
        let at =
            |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": CREATED});
        stored(
            "pods",
            fleet,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": metadata("b", number, &name, fleet, &labels),
                "spec": {
                    // The hollow nodes leave a pod alone that waits for a gate.
                    "schedulingGates": [{"name": "example.com/bench"}],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                    "securityContext": {}, "enableServiceLinks": true,
                    "containers": [{
                        "name": "engine", "image": "vllm/vllm-openai:v0.11.0",
                        "imagePullPolicy": "IfNotPresent",
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                        "args": ["--model", "/models/llama", "--tensor-parallel-size", "1"],
                        "env": [{"name": "HF_HOME", "value": "/models"}],
                        "ports": [{"name": "http", "containerPort": self.port, "protocol": "TCP"}],
                        "resources": {
                            "requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"},
                        },
                    }],
                },
                "status": {
                    "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": CREATED,
                    "conditions": [at("Initialized"), at("Ready"), at("ContainersReady")],
                    "containerStatuses": [{
                        "name": "engine", "ready": true, "started": true, "restartCount": 0,
                        "image": "vllm/vllm-openai:v0.11.0", "imageID": "vllm@sha256:0",
                        "state": {"running": {"startedAt": CREATED}},
                    }],
                },
            }),
        )
    }
}

fn fleet(number: u32, size: Size) -> StoredObject {
    let name = format!("fleet-{number}");
    // Later pods are counted too, so that none of these sizes is one of another writer.
    let pods = size.pods.div_ceil(size.autoscalers);
    stored(
        "example.com/fleets",
        number,
        json!({
            "apiVersion": "example.com/v1", "kind": "Fleet",
            "metadata": metadata("f", number, &name, number, &json!({})),
            "spec": {"size": pods}, "status": {"size": pods, "selector": format!("fleet={name}")},
        }),
    )
}

fn namespace(autoscaler: u32) -> String {
    format!("scale-{}", autoscaler / OF_NAMESPACE)
}

/// Returns the metadata of an object of an autoscaler with this number; `kind` makes the UID.
fn metadata(kind: &str, number: u32, name: &str, autoscaler: u32, labels: &Value) -> Value {
    json!({
        "name": name, "namespace": namespace(autoscaler), "labels": labels,
        "uid": format!("{kind}0000000-0000-4000-8000-{number:012}"),
        "creationTimestamp": CREATED, "generation": 1,
    })
}

fn stored(resource: &'static str, autoscaler: u32, object: Value) -> StoredObject {
    StoredObject { resource, namespace: namespace(autoscaler), object }
}
