//! The 25 StatefulSets of one of the autoscalers.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::api::{ListParams, Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage, gated::PodSettings};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use super::{Outcome, Shrunk, scale_downs::ScaleDowns};
use crate::{
    clients::{self, Clients},
    gated,
};

const SETS: u32 = 25;
const REPLICAS: u32 = 5;
/// The termination grace period in seconds, where requests in flight are not waited for.
const GRACE: i64 = 5;
/// What careful users set without drains: the pod leaves its Services during the sleep in seconds,
/// the engine ends its requests, and the grace period is longer than both.
const PRE_STOP: i64 = 15;
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(45);
const CAREFUL_GRACE: i64 = 75;
/// The longest time that all scale-downs may take.
const LIMIT: Duration = Duration::from_mins(14);
/// The deadline of a drain in seconds.
const DEADLINE: i32 = 150;

/// The autoscaler of a side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scaler {
    /// This operator, with `drain`; the pods have its readiness gate.
    Ours,
    /// The HPA of kube-controller-manager; the pods have no gate, because no controller would open
    /// it.
    Hpa,
    /// The same HPA, and pods that take care themselves: they sleep before SIGTERM, and end their
    /// requests after it.
    CarefulHpa,
}

/// The StatefulSets, their clients and the counter of their scale-downs.
pub(super) struct Side {
    scaler: Scaler,
    names: Vec<String>,
    loads: Vec<Clients>,
    scale_downs: ScaleDowns,
}

impl Side {
    /// Creates a side without any objects.
    pub(super) fn new(stage: &Stage, scaler: Scaler) -> Self {
        let (prefix, shutdown_timeout) = match scaler {
            Scaler::Ours => ("ours", None),
            Scaler::Hpa => ("hpa", None),
            Scaler::CarefulHpa => ("careful", Some(SHUTDOWN_TIMEOUT)),
        };
        stage.assign(prefix, clients::engine(shutdown_timeout));
        let names = (0..SETS).map(|number| format!("{prefix}-{number}")).collect();
        Self { scaler, names, loads: Vec::new(), scale_downs: ScaleDowns::watch(stage.api()) }
    }

    /// Creates all objects, and waits until all replicas are ready.
    pub(super) async fn create(&self, stage: &Stage) -> Result<()> {
        try_join_all(self.names.iter().map(|name| self.create_one(stage, name))).await?;
        for name in &self.names {
            stage.until_ready_within(name, REPLICAS.cast_signed(), Duration::from_mins(2)).await?;
            self.until_active(stage, name).await?;
        }
        Ok(())
    }

    /// Starts the clients.
    pub(super) async fn load(&mut self, stage: &Stage) -> Result<()> {
        self.loads =
            try_join_all(self.names.iter().map(|name| Clients::start_with_long(stage, name)))
                .await?;
        Ok(())
    }

    /// Lowers the minimum to one replica, and waits until one pod is left. Returns the time that it
    /// took, and the time that all further pods lived meanwhile, in seconds.
    pub(super) async fn shrink(&self, stage: &Stage) -> Result<Shrunk> {
        let began = Instant::now();
        try_join_all(self.names.iter().map(|name| self.keep(stage, name, 1))).await?;
        let (mut seen, mut pod_seconds) = (began, 0.0);
        loop {
            // The machine is busy, so polling is slow.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let further = self.pods(stage).await? - f64::from(SETS);
            if further <= 0.0 {
                break;
            }
            pod_seconds += further * seen.elapsed().as_secs_f64();
            seen = Instant::now();
            ensure!(began.elapsed() < LIMIT, "{further} pods are left after {LIMIT:?}");
        }
        Ok(Shrunk { took: began.elapsed(), pod_seconds })
    }

    /// Returns the number of the side's pods, those that are being removed included.
    async fn pods(&self, stage: &Stage) -> Result<f64> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let selector = format!("app in ({})", names.join(","));
        let pods = stage.api::<Pod>().list(&ListParams::default().labels(&selector)).await?;
        Ok(f64::from(u32::try_from(pods.items.len())?))
    }

    /// Stops the clients, and sums up their results.
    pub(super) async fn end(self, shrunk: Shrunk) -> Outcome {
        let ended = join_all(self.loads.into_iter().map(Clients::stop)).await;
        Outcome {
            scale_downs: self.scale_downs.of(&self.names),
            answered: ended.iter().map(|(answered, ..)| answered).sum(),
            cut_off: ended.iter().map(|(_, cut_off, _)| cut_off).sum(),
            first: ended.into_iter().find_map(|(.., first)| first),
            shrunk,
        }
    }

    async fn create_one(&self, stage: &Stage, name: &str) -> Result<()> {
        self.keep(stage, name, REPLICAS).await?;
        let settings = PodSettings { grace: GRACE, ..PodSettings::default() };
        let settings = match self.scaler {
            Scaler::Ours => PodSettings { gates: &[gated::GATE], ..settings },
            Scaler::Hpa => settings,
            Scaler::CarefulHpa => {
                PodSettings { grace: CAREFUL_GRACE, pre_stop: Some(PRE_STOP), ..settings }
            }
        };
        gated::create_with(stage, name, REPLICAS, &settings).await
    }

    /// Creates the autoscaler. One replica is enough for ten requests, and there are five; replicas
    /// are removed one at a time.
    async fn keep(&self, stage: &Stage, name: &str, min: u32) -> Result<()> {
        let target = json!({"type": "AverageValue", "averageValue": "10"});
        let down = json!({
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}],
        });
        let mut spec =
            json!({"minReplicas": min, "maxReplicas": REPLICAS, "behavior": {"scaleDown": down}});
        match self.scaler {
            Scaler::Ours => {
                spec["metrics"] = json!([{"signal": "InFlightRequests", "target": target}]);
                spec["drain"] = json!({"deadlineSeconds": DEADLINE});
                stage.autoscaler(name, spec).await
            }
            Scaler::Hpa | Scaler::CarefulHpa => {
                // An HPA cannot add two series. Here no request ever waits, so the running ones are
                // all.
                let metric = json!({"name": "vllm:num_requests_running"});
                spec["metrics"] =
                    json!([{"type": "Pods", "pods": {"metric": metric, "target": target}}]);
                apply_hpa(stage, name, spec).await
            }
        }
    }

    /// Waits until an HPA has read its metric. Our operator has read it by the time of the first
    /// answers.
    async fn until_active(&self, stage: &Stage, name: &str) -> Result<()> {
        if self.scaler == Scaler::Ours {
            return Ok(());
        }
        let hpas = stage.api::<HorizontalPodAutoscaler>();
        wait::until(&format!("the HPA {name} to be active"), SOON * 2, async || {
            let conditions = hpas.get(name).await?.status.and_then(|status| status.conditions);
            let is_active = conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "ScalingActive" && c.status == "True");
            Ok(is_active.then_some(()))
        })
        .await
    }
}

async fn apply_hpa(stage: &Stage, name: &str, mut spec: Value) -> Result<()> {
    spec["scaleTargetRef"] = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name});
    let object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": stage.namespace},
        "spec": spec,
    });
    let params = PatchParams::apply("user").force();
    stage.api::<HorizontalPodAutoscaler>().patch(name, &params, &Patch::Apply(object)).await?;
    Ok(())
}
