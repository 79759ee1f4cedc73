//! Hollow nodes: scheduler and kubelet in one, without containers.

mod address;
mod plan;
mod pod;
mod status;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, utils::Backoff, watcher as watch_pods};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::task::Task;
use address::AddressPool;
pub use plan::{ColdStart, Plan};
pub(crate) use pod::http_port;

/// Nodes that bind every pending pod of the cluster, give it an address of its own, run its engine
/// there, and report its status as a kubelet does: running, ready after its cold start, gone when
/// it is deleted.
///
/// Dropping them stops all engines; the pods stay as they are.
#[derive(Debug)]
pub struct HollowNodes {
    _watch: Task,
}

struct Shared {
    client: Client,
    nodes: Vec<String>,
    next_node: AtomicUsize,
    addresses: Mutex<AddressPool>,
    plan: Box<dyn Fn(&Pod) -> Plan + Send + Sync>,
}

impl HollowNodes {
    /// Creates the nodes `hollow-0`, … and starts to run pods. `plan` returns the plan of each pod.
    ///
    /// # Errors
    /// Fails if the nodes cannot be created.
    pub async fn start(
        client: Client,
        nodes: usize,
        plan: impl Fn(&Pod) -> Plan + Send + Sync + 'static,
    ) -> Result<Self> {
        let nodes: Vec<_> = (0..nodes.max(1)).map(|index| format!("hollow-{index}")).collect();
        let api = Api::<Node>::all(client.clone());
        for name in &nodes {
            // Without a status no controller expects heartbeats of the node.
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            let params = PatchParams::apply("testbed").force();
            api.patch(name, &params, &Patch::Apply(node))
                .await
                .with_context(|| format!("creating the node {name}"))?;
        }
        let shared = Arc::new(Shared {
            client,
            nodes,
            next_node: AtomicUsize::new(0),
            addresses: Mutex::default(),
            plan: Box::new(plan),
        });
        Ok(Self { _watch: Task::spawn(run(shared)) })
    }
}

impl Shared {
    fn next_node(&self) -> &str {
        &self.nodes[self.next_node.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }

    /// Returns true if the pod needs a hollow node: it is not finished, not gated, and not on
    /// another node.
    fn wants(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_ref());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let held = spec.is_some_and(|spec| {
            spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())
        });
        node.is_none_or(|node| self.nodes.contains(node))
            && !held
            && !matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// The waits of a watch that has failed. They do not grow: a kubelet is not far behind when the API
/// server is there again.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(250))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// The channels to the workers of pods, by UID.
type Workers = HashMap<String, watch::Sender<Option<Arc<Pod>>>>;

async fn run(shared: Arc<Shared>) {
    let mut lives = JoinSet::new();
    let mut workers = Workers::new();
    let mut listed = Vec::new();
    let pods = Api::<Pod>::all(shared.client.clone());
    let mut events = watch_pods(pods, watcher::Config::default()).backoff(Steady).boxed();
    loop {
        while lives.try_join_next().is_some() {}
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(pod))) => {
                listed.push(pod.uid().unwrap_or_default());
                apply(&shared, &mut workers, &mut lives, pod);
            }
            // Pods that the list does not contain were deleted while the watch was down.
            Ok(Some(Event::InitDone)) => {
                workers.retain(|uid, worker| listed.contains(uid) || forget(worker));
            }
            Ok(Some(Event::Apply(pod))) => apply(&shared, &mut workers, &mut lives, pod),
            Ok(Some(Event::Delete(pod))) => {
                if let Some(worker) = workers.remove(&pod.uid().unwrap_or_default()) {
                    forget(&worker);
                }
            }
            Ok(None) => break,
            // The watcher recovers on its own.
            Err(error) => tracing::debug!("hollow nodes: watching pods: {error}"),
        }
    }
}

/// Tells a worker that its pod is gone. Always returns false, as `retain` needs it.
fn forget(worker: &watch::Sender<Option<Arc<Pod>>>) -> bool {
    worker.send_replace(None);
    false
}

fn apply(shared: &Arc<Shared>, workers: &mut Workers, lives: &mut JoinSet<()>, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    if let Some(worker) = workers.get(&uid) {
        worker.send_replace(Some(Arc::new(pod)));
    } else if shared.wants(&pod) {
        let pod = Arc::new(pod);
        let (sender, receiver) = watch::channel(Some(pod.clone()));
        workers.insert(uid, sender);
        lives.spawn(pod::Worker::new(shared.clone(), &pod, receiver).run());
    }
}
