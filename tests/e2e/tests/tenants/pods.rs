//! Pods that are as large as the API server allows.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::Request,
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

/// The memory that the operator may ever have had, in MB.
const MEMORY: u64 = 256;
/// The number of labels of a pod, of 88 bytes each.
const LABELS: usize = 11_000;
/// The number of such pods before the start of the operator.
const BEFORE: usize = 70;
/// The number of those that come later.
const AFTER: usize = 30;
/// The number of those beside an autoscaler.
const BESIDE: usize = 20;
/// The time within which a neighbour follows its load.
const REACTION: Duration = Duration::from_secs(3);

/// Each of them used to take 2.2 MB of the operator's memory, in any namespace: 180 ended it.
pub(crate) async fn pods_with_a_megabyte_of_labels(stage: &Stage) -> Result<String> {
    stage.operator.kill();
    let crowd = Crowd::create(stage, "crowd").await?;
    crowd.grow("early", BEFORE, &[]).await?;
    stage.waiting("a", 4);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.operator.serve_all_namespaces()?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let at_start = within_limit(stage)?;

    // They come beside the load of a neighbour, and so do those of its own namespace.
    let own = Crowd { pods: stage.api::<Pod>(), namespace: stage.namespace.clone() };
    let reaction = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        stage.waiting("a", 14);
        stage.until_replicas("a", 3, SOON).await?;
        Ok(began.elapsed())
    };
    let (reaction, (), ()) =
        tokio::try_join!(reaction, crowd.grow("late", AFTER, &[]), own.grow("own", BESIDE, &[]),)?;
    let seconds = reaction.as_secs_f64();
    ensure!(reaction <= REACTION, "a size came {seconds:.1} s after the load");
    let meanwhile = within_limit(stage)?;

    // The first autoscaler of the crowd's namespace has all of its pods listed.
    crowd.autoscaler(stage, "b").await?;
    crowd.until_condition(stage, "b", "FailedGetScale").await?;
    // A pod that is too large stops those that it belongs to, and says so.
    own.grow("part", 1, &[("app", "a")]).await?;
    let told = stage.until_condition("a", "ScalingActive", "False", "PodsUnknown").await?;
    ensure!(told.message.contains("the pod part-0 is too large"), "{}", told.message);
    stage.waiting("a", 0);
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    own.pods.delete("part-0", &DeleteParams::default()).await?;
    stage.until_condition("a", "ScalingActive", "True", "ValidMetricFound").await?;
    let at_last = within_limit(stage)?;

    let namespaces = Api::<Namespace>::all(stage.client());
    namespaces.delete(&crowd.namespace, &DeleteParams::default()).await?;
    Ok(format!(
        "at most {at_start} MB at the start, {meanwhile} MB later, {at_last} MB at last; a size \
         after {seconds:.1} s"
    ))
}

/// Returns the most memory that the operator has had.
fn within_limit(stage: &Stage) -> Result<u64> {
    let (_, peak) = stage.operator.memory_mb()?;
    ensure!(peak <= MEMORY, "the operator has had {peak} MB");
    Ok(peak)
}

/// A namespace with large pods, which no node may run.
struct Crowd {
    namespace: String,
    pods: Api<Pod>,
}

impl Crowd {
    async fn create(stage: &Stage, suffix: &str) -> Result<Self> {
        let namespace = format!("{}-{suffix}", stage.namespace);
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(stage.client()).create(&PostParams::default(), &object).await?;
        Ok(Self { pods: Api::namespaced(stage.client(), &namespace), namespace })
    }

    /// Creates pods with these labels, and as many more as there is room for.
    async fn grow(&self, prefix: &str, count: usize, labels: &[(&str, &str)]) -> Result<()> {
        let filling = (0..LABELS).map(|number| (format!("{number:043}"), "x".repeat(40)));
        let given = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let labels: BTreeMap<String, String> = filling.chain(given).collect();
        let text = json!({
            "metadata": {"name": "NAME", "labels": labels},
            "spec": {
                "schedulingGates": [{"name": "example.com/never"}],
                "containers": [{"name": "c", "image": "none"}],
            },
        })
        .to_string();
        let created = stream::iter(0..count).map(|number| {
            // A million bytes are turned into text once, and the answer is not parsed.
            let body = text.replacen("NAME", &format!("{prefix}-{number}"), 1);
            let request = Request::new(self.pods.resource_url());
            let request = request.create(&PostParams::default(), body.into_bytes());
            async {
                self.pods.clone().into_client().request_text(request?).await?;
                anyhow::Ok(())
            }
        });
        created.buffer_unordered(4).try_collect::<Vec<()>>().await.map(|_| ())
    }

    /// Applies an LLMAutoscaler for a target that does not exist.
    async fn autoscaler(&self, stage: &Stage, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "engine": "VLLM",
                "minReplicas": 1,
                "maxReplicas": 3,
                "metrics": [{
                    "signal": "WaitingRequests",
                    "target": {"type": "AverageValue", "averageValue": "5"},
                }],
            },
        });
        let (api, params) = (self.autoscalers(stage), PatchParams::apply("user").force());
        api.patch(name, &params, &Patch::Apply(object)).await?;
        Ok(())
    }

    async fn until_condition(&self, stage: &Stage, name: &str, reason: &str) -> Result<()> {
        let api = self.autoscalers(stage);
        wait::until(&format!("{name} to report {reason}"), SOON, async || {
            let conditions = api.get(name).await?.status.unwrap_or_default().conditions;
            Ok(conditions.iter().any(|condition| condition.reason == reason).then_some(()))
        })
        .await
    }

    fn autoscalers(&self, stage: &Stage) -> Api<LLMAutoscaler> {
        Api::namespaced(stage.client(), &self.namespace)
    }
}
