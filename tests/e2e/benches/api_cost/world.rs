//! The autoscalers that are compared, each kind in a namespace of its own, and their load.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use llm_autoscaler_e2e::{Stage, fleets::Fleets};
use llm_autoscaler_testbed::PageServer;
use serde_json::{Value, json};

/// The series by which all scale, and its target on average.
const SERIES: &str = "vllm:num_requests_waiting";
const TARGET: &str = "32";
/// The scrape interval in seconds.
pub(crate) const INTERVAL: u64 = 5;
/// The number of requests that this client has in flight at once.
const AT_ONCE: usize = 32;

/// The load of the engines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Engines at rest, one for each autoscaler.
    Quiet,
    /// Queues that change with each sample, three engines for each autoscaler. They want two or
    /// three replicas, so that the windows for shrinking keep the size.
    Noisy,
}

/// Autoscalers of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Hpa,
    Keda,
}

impl Load {
    /// Returns the number of pods of an autoscaler.
    fn pods(self) -> u32 {
        match self {
            Self::Quiet => 1,
            Self::Noisy => 3,
        }
    }

    /// Returns a page of an engine. `at` grows with each page.
    pub(crate) fn page(self, at: u64) -> String {
        let (running, waiting) = match self {
            Self::Quiet => (0, 0),
            Self::Noisy => (8, fastrand::u32(16..31)),
        };
        // An engine that has requests and answers none would be wedged.
        let (tokens, done) = (at * 1000, at * 10);
        let labels = r#"{engine="0",model_name="m"}"#;
        format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} {running}\n\
             # TYPE {SERIES} gauge\n{SERIES}{labels} {waiting}\n\
             # TYPE vllm:generation_tokens_total counter\n\
             vllm:generation_tokens_total{labels} {tokens}\n\
             # TYPE vllm:request_success_total counter\n\
             vllm:request_success_total{{engine=\"0\",finished_reason=\"stop\",model_name=\"m\"}} {done}\n"
        )
    }

    /// Serves pages that change at twice the rate of samples, for ever.
    pub(crate) async fn play(self, server: Arc<PageServer>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(INTERVAL) / 2);
        for at in 0.. {
            ticks.tick().await;
            server.set(&self.page(at));
        }
    }
}

impl Kind {
    /// Returns the namespace.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Hpa => "hpa",
            Self::Keda => "keda-objects",
        }
    }

    /// Returns the title of its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ours => "LLMAutoscaler",
            Self::Hpa => "HPA on custom metrics",
            Self::Keda => "ScaledObject of KEDA",
        }
    }

    /// Creates targets with their pods and autoscalers. `first` is the number of the first pod of
    /// all kinds; KEDA asks this Prometheus.
    pub(crate) async fn create(
        self,
        stage: &Stage,
        fleets: &Fleets<'_>,
        load: Load,
        count: u32,
        first: u32,
        prometheus: &str,
    ) -> Result<()> {
        let create = |index: u32| async move {
            let name = format!("fleet-{index}");
            let pods = load.pods();
            fleets.create(&name, pods as usize).await?;
            for pod in 0..pods {
                let address = first + index * pods + pod;
                fleets.create_pod(&format!("{name}-{pod}"), &name, address).await?;
            }
            self.autoscaler(stage, fleets, &name, index, prometheus).await
        };
        stream::iter(0..count).map(create).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn autoscaler(
        self,
        stage: &Stage,
        fleets: &Fleets<'_>,
        name: &str,
        index: u32,
        prometheus: &str,
    ) -> Result<()> {
        match self {
            Self::Ours => {
                let mode = if index.is_multiple_of(2) { "Create" } else { "Disabled" };
                let target = json!({"type": "AverageValue", "averageValue": TARGET});
                let metrics = json!([{"signal": "WaitingRequests", "target": target}]);
                let spec = json!({"podMonitor": {"mode": mode}, "metrics": metrics});
                fleets.autoscaler(name, name, INTERVAL, spec).await
            }
            Self::Hpa => {
                let hpa = serde_json::from_value(hpa(name))?;
                let hpas = stage.api::<HorizontalPodAutoscaler>();
                hpas.create(&PostParams::default(), &hpa).await?;
                Ok(())
            }
            Self::Keda => {
                let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
                let resource = ApiResource::from_gvk_with_plural(&kind, "scaledobjects");
                let api = Api::<DynamicObject>::namespaced_with(
                    stage.client(),
                    &stage.namespace,
                    &resource,
                );
                let object = scaled_object(name, &stage.namespace, prometheus);
                api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
                Ok(())
            }
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": name})
}

fn hpa(name: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": TARGET});
    json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": reference(name), "minReplicas": 1, "maxReplicas": 1000,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": SERIES}, "target": target}}],
        },
    })
}

/// Returns a ScaledObject at KEDA's defaults, apart from the smallest size.
fn scaled_object(name: &str, namespace: &str, prometheus: &str) -> Value {
    let query = format!(r#"sum({SERIES}{{namespace="{namespace}",pod=~"{name}-.*"}})"#);
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": reference(name), "minReplicaCount": 1, "maxReplicaCount": 1000,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": prometheus, "query": query, "threshold": TARGET,
            }}],
        },
    })
}
