//! The twins: an HPA and an LLMAutoscaler with the same spec, and changes that apply to both.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::{setting, timelines::Change, view::View};

/// The names of the StatefulSets and of their autoscalers: the HPA's first, then ours.
pub(crate) const TWINS: [&str; 2] = ["hpa", "ours"];
/// An upper bound of the number of pods.
const PODS: u32 = 12;

/// Two StatefulSets of a namespace, one scaled by the HPA and one by ours.
pub(crate) struct Pair {
    stage: Stage,
    spec: Value,
    sizes: Arc<Mutex<[Vec<i32>; 2]>>,
    recorder: AbortHandle,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.recorder.abort();
    }
}

impl Pair {
    /// Creates both with one idle replica, and with `spec` merged over their common spec. If the
    /// operator serves the HPA's metrics, an LLMAutoscaler that only recommends has its pods
    /// sampled.
    pub(crate) async fn start(stage: Stage, spec: &Value, is_served: bool) -> Result<Self> {
        for twin in TWINS {
            stage.engine(twin, 1).await?;
        }
        if is_served {
            stage.autoscaler(TWINS[0], json!({"mode": "Recommend"})).await?;
            until_served(&stage).await?;
        }
        let sizes = Arc::<Mutex<[Vec<i32>; 2]>>::default();
        let recorder = tokio::spawn(record(stage.api(), sizes.clone())).abort_handle();
        let mut pair =
            Self { stage, spec: json!({"minReplicas": 1, "maxReplicas": 10}), sizes, recorder };
        wait::until("the first sizes to be seen", Duration::from_secs(30), async || {
            Ok((pair.sizes() == [[1], [1]]).then_some(()))
        })
        .await?;
        pair.apply(&Change::Spec(spec.clone())).await?;
        Ok(pair)
    }

    /// Returns all sizes that each has requested, from the first one on.
    pub(crate) fn sizes(&self) -> [Vec<i32>; 2] {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies a change to both.
    pub(crate) async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Queue(waiting) => self.page(0, &Page::waiting(*waiting)),
            Change::Silent(pod) => self.page(*pod, &Page::Refuse),
            // Pod 0 is last: as long as its queue is visible, the size stays.
            Change::AllSilent => (0..PODS).rev().for_each(|pod| self.page(pod, &Page::Refuse)),
            Change::OthersIdle => (1..PODS).for_each(|pod| self.page(pod, &Page::idle())),
            Change::Ready(pod, ready) => {
                self.pods(*pod).for_each(|pod| self.stage.script.set_ready(&pod, *ready));
            }
            Change::Spec(fields) => self.set_spec(fields).await?,
            Change::ByHand(size) => self.set_size(*size).await?,
            Change::TargetGone => {
                let (api, params) = (self.stage.api::<StatefulSet>(), DeleteParams::background());
                try_join_all(TWINS.map(|twin| api.delete(twin, &params))).await?;
            }
            Change::TargetBack => {
                try_join_all(TWINS.map(|twin| self.stage.create_engine(twin, 1))).await?;
            }
        }
        Ok(())
    }

    fn page(&self, pod: u32, page: &Page) {
        self.pods(pod).for_each(|pod| self.stage.script.set(&pod, page.clone()));
    }

    fn pods(&self, ordinal: u32) -> impl Iterator<Item = String> {
        TWINS.iter().map(move |twin| format!("{}/{twin}-{ordinal}", self.stage.namespace))
    }

    async fn set_spec(&mut self, fields: &Value) -> Result<()> {
        for (field, value) in fields.as_object().into_iter().flatten() {
            self.spec[field] = value.clone();
        }
        let [hpa, ours] = TWINS;
        let mut spec = self.spec.clone();
        spec["scaleTargetRef"] =
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": hpa});
        spec["metrics"] = json!([{"type": "Pods", "pods": {
            "metric": {"name": "vllm:num_requests_waiting"},
            "target": {"type": "AverageValue", "averageValue": "5"},
        }}]);
        let object = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": hpa, "namespace": self.stage.namespace},
            "spec": spec,
        });
        let params = PatchParams::apply("user").force();
        self.stage
            .api::<HorizontalPodAutoscaler>()
            .patch(hpa, &params, &Patch::Apply(object))
            .await?;
        self.stage.autoscaler(ours, self.spec.clone()).await
    }

    async fn set_size(&self, size: i32) -> Result<()> {
        let api = self.stage.api::<StatefulSet>();
        let (params, patch) =
            (PatchParams::default(), Patch::Merge(json!({"spec": {"replicas": size}})));
        try_join_all(TWINS.map(|twin| api.patch(twin, &params, &patch))).await?;
        Ok(())
    }

    /// Checks that both had the same sizes and have equal conditions. `strict` includes those that
    /// differ for a while after a rescale.
    pub(crate) async fn agree(&self, strict: bool) -> Result<()> {
        let [hpa, ours] = self.sizes();
        ensure!(hpa == ours, "sizes differ: HPA {hpa:?}, ours {ours:?}");
        let [hpa, ours] = TWINS;
        let (hpa, ours) =
            (View::of_hpa(&self.stage, hpa).await?, View::of_ours(&self.stage, ours).await?);
        hpa.agrees(&ours, strict)
    }

    /// Describes the state of both, for failed timelines.
    pub(crate) async fn scene(&self) -> String {
        let describe = ["-n", &self.stage.namespace, "describe", "hpa"];
        let hpa = self.stage.control_plane().kubectl(describe).await.unwrap_or_default();
        format!("{hpa}{}\n", self.stage.scene().await)
    }
}

/// Waits until the operator serves the metric of the HPA's pod: an HPA that is there earlier would
/// say that it is missing.
async fn until_served(stage: &Stage) -> Result<()> {
    let (pod, metric) = (format!("{}-0", TWINS[0]), "vllm:num_requests_waiting");
    let path = setting::pods_path(stage, &pod, metric);
    wait::until("the operator to serve the metric", Duration::from_secs(30), async || {
        Ok(setting::raw(stage, &path).await.ok().map(drop))
    })
    .await
}

/// Records every size that a StatefulSet requests.
async fn record(api: Api<StatefulSet>, sizes: Arc<Mutex<[Vec<i32>; 2]>>) {
    let mut events =
        watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Some(event) = events.next().await {
        let Ok(set) = event else { continue }; // the watcher recovers on its own
        let twin = TWINS.iter().position(|twin| *twin == set.name_any());
        let size = set.spec.and_then(|spec| spec.replicas);
        let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(twin), Some(size)) = (twin, size)
            && sizes[twin].last() != Some(&size)
        {
            sizes[twin].push(size);
        }
    }
}
