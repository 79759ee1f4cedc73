//! The world of a run: a namespace that is disturbed, a neighbour's, and an attacking tenant's.
//! Seven targets in all are judged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{
    Webhook,
    engine::{PodEvent as Traced, PodTrace as Trace},
};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use crate::{
    audit,
    copies::Copies,
    disturbances::{admission, tenant},
    evidence::{Load, PER_REPLICA, PodEvent, PodTrace, Target, Timeline, WINDOW},
    pages::Pages,
    plan::Plan,
    recorder::Recorder,
};

/// The namespaces.
const DISTURBED: &str = "chaos-disturbed";
const NEIGHBOUR: &str = "chaos-neighbour";
const TENANT: &str = "chaos-tenant";

/// Everything that is disturbed, and looked at.
pub(crate) struct World {
    pub copies: Copies,
    pub pages: Pages,
    /// Its namespace is disturbed.
    pub disturbed: Stage,
    /// Its namespace is not.
    pub neighbour: Stage,
    /// Its tenant attacks.
    pub tenant: Stage,
    /// Refuses statuses in the namespace that is disturbed.
    pub webhook: Webhook,
    /// What the engines do.
    traced: Mutex<mpsc::UnboundedReceiver<Traced>>,
}

/// Returns the targets that are judged.
pub(crate) fn targets() -> Vec<Target> {
    let rows = [
        (DISTURBED, "a", 1, 4),
        (DISTURBED, "b", 2, 6),
        (DISTURBED, "c", 2, 5),
        (DISTURBED, "d", 1, 6),
        (NEIGHBOUR, "e", 1, 4),
        (NEIGHBOUR, "f", 2, 6),
        (NEIGHBOUR, "g", 2, 5),
    ];
    let target = |(namespace, name, min, max)| Target {
        name: format!("{namespace}/{name}"),
        min,
        max,
        is_neighbour: namespace == NEIGHBOUR,
    };
    rows.map(target).to_vec()
}

impl World {
    /// Creates everything, and waits until each target is at rest.
    pub(crate) async fn start(cluster: Arc<Cluster>) -> Result<Self> {
        let disturbed = Stage::create_idle(cluster.clone(), DISTURBED).await?;
        let neighbour = Stage::create_idle(cluster.clone(), NEIGHBOUR).await?;
        let tenant = Stage::create_idle(cluster, TENANT).await?;
        let (sender, traced) = mpsc::unbounded_channel();
        disturbed.script.trace(sender.clone());
        neighbour.script.trace(sender);
        let webhook = admission::install(&disturbed).await?;
        tenant::install(&tenant).await?;
        let pages = Pages::default();
        for target in targets() {
            let stage = if target.is_neighbour { &neighbour } else { &disturbed };
            create(stage, &target).await?;
            pages.add(target, stage.script.clone());
        }
        let copies = Copies::start(&disturbed).await?;
        let traced = Mutex::new(traced);
        let world = Self { copies, pages, disturbed, neighbour, tenant, webhook, traced };
        for target in targets() {
            let (_, name) = target.name.split_once('/').unwrap_or_default();
            let stage = if target.is_neighbour { &world.neighbour } else { &world.disturbed };
            stage.until_ready(name, target.min).await?;
            stage.until_condition(name, "Ready", "True", "Scaling").await?;
        }
        Ok(world)
    }

    /// Returns the namespaces of the targets that are judged.
    pub(crate) fn judged_stages(&self) -> [&Stage; 2] {
        [&self.disturbed, &self.neighbour]
    }

    /// Sets the loads of a plan.
    pub(crate) async fn play_loads(&self, recorder: &Recorder, plan: &Plan) {
        let targets = targets();
        for step in &plan.loads {
            tokio::time::sleep_until(recorder.began() + Duration::from_secs_f64(step.at)).await;
            let Target { name, min, max, .. } = targets[step.target].clone();
            self.pages.set_load(&name, step.size);
            let (at, size) = (recorder.now(), step.size.clamp(min, max));
            recorder.lock().loads.push(Load { target: name, at, size });
        }
    }

    /// Returns all that was recorded.
    pub(crate) async fn timeline(&self, recorder: Recorder, plan: &Plan) -> Result<Timeline> {
        let log = self.disturbed.control_plane().audit_log();
        let requests = audit::read(&log, &recorder)?;
        let mut traced = self.traced.lock().await;
        let mut pods = Vec::new();
        while let Ok(event) = traced.try_recv() {
            pods.extend(pod_event(&event, &recorder));
        }
        let record = recorder.into_record();
        Ok(Timeline {
            seconds: plan.seconds,
            targets: targets(),
            disturbed: record.disturbed,
            loads: record.loads,
            pods,
            requests,
            looks: record.looks,
            copies: record.copies,
        })
    }

    /// Returns the ends of the logs of the copies.
    pub(crate) fn logs(&self) -> String {
        self.copies.logs()
    }
}

/// Creates a target and its autoscaler.
async fn create(stage: &Stage, target: &Target) -> Result<()> {
    let (_, name) = target.name.split_once('/').unwrap_or_default();
    stage.create_engine(name, target.min.unsigned_abs()).await?;
    let policies = json!([{"type": "Pods", "value": 10, "periodSeconds": 1}]);
    let spec = json!({
        "minReplicas": target.min,
        "maxReplicas": target.max,
        "metrics": [{
            "signal": "WaitingRequests",
            "target": {"type": "AverageValue", "averageValue": PER_REPLICA.to_string()},
        }],
        "behavior": {
            "scaleUp": {"policies": policies},
            "scaleDown": {"stabilizationWindowSeconds": WINDOW as i32, "policies": policies},
        },
    });
    stage.autoscaler(name, spec).await
}

fn pod_event(event: &Traced, recorder: &Recorder) -> Option<PodEvent> {
    let (target, _) = event.pod.rsplit_once('-')?;
    Some(PodEvent {
        target: target.to_owned(),
        pod: event.pod.clone(),
        at: recorder.second(event.at),
        what: match event.what {
            Trace::Started => PodTrace::Started,
            Trace::Served(waiting) => PodTrace::Served(waiting),
            Trace::Ended => PodTrace::Ended,
        },
    })
}
