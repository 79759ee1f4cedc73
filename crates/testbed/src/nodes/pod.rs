//! The life of one pod: bound, started, ready, stopped, gone.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{ColdStart, Plan, Shared, status};
use crate::engine::{Place, Running};

/// The interval at which a pod without a node is planned again.
const REPLAN_INTERVAL: Duration = Duration::from_millis(200);

/// The interval at which a call is repeated while the API server is in trouble.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Runs one pod; `None` in the channel means that the object is gone.
pub(super) struct Worker {
    shared: Arc<Shared>,
    api: Api<Pod>,
    name: String,
    pod: watch::Receiver<Option<Arc<Pod>>>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        pod: &Pod,
        updates: watch::Receiver<Option<Arc<Pod>>>,
    ) -> Self {
        let namespace = pod.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(shared.client.clone(), &namespace),
            name: pod.name_any(),
            shared,
            pod: updates,
        }
    }

    /// Runs the pod from its binding to its end.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.live().await
            && !self.is_leaving()
        {
            tracing::warn!(pod = self.name, "hollow node: {error:#}");
            eprintln!("hollow node: pod {}: {error:#}", self.name);
        }
    }

    async fn live(&mut self) -> Result<()> {
        let Some(pod) = self.current() else { return Ok(()) };
        let Some(plan) = self.until_there_is_room(&pod).await? else {
            return Ok(()); // the API server removes an unbound pod at once when it is deleted
        };
        self.bind(&pod).await?;
        let address = Leased::new(&self.shared)?;
        let place = Place::new(&pod, address.ip, http_port(&pod));
        let (running, failure) = match plan.engine.start(&place).await {
            Ok(running) => (Some(running), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let state =
            status::State { address: address.ip, started: Utc::now(), ready: false, failure };
        let ready = running.as_ref().map(Running::ready);
        self.serve(state, plan.cold_start.draw(), ready).await?;
        if let Some(running) = running {
            let (grace, pre_stop) = (self.grace(), pre_stop(&pod).min(self.grace()));
            tokio::time::sleep(pre_stop).await;
            running.stop(grace.saturating_sub(pre_stop)).await;
        }
        self.delete().await
    }

    /// Keeps the status up to date until the pod is deleted.
    async fn serve(
        &mut self,
        mut state: status::State,
        cold_start: Option<Duration>,
        mut engine: Option<watch::Receiver<bool>>,
    ) -> Result<()> {
        let mut warm = false;
        let mut warming = Box::pin(async move {
            match cold_start {
                Some(time) => tokio::time::sleep(time).await,
                None => pending().await,
            }
        });
        let mut reported = None;
        while let Some(pod) = self.current().filter(|pod| pod.metadata.deletion_timestamp.is_none())
        {
            state.ready = warm && engine.as_mut().is_none_or(|ready| *ready.borrow_and_update());
            let facts = (state.ready, status::gates_pass(&pod));
            if reported != Some(facts) {
                let patch = Patch::Strategic(status::patch(&pod, &state, Utc::now()));
                self.write_status(&patch).await.context("writing its status")?;
                reported = Some(facts);
            }
            tokio::select! {
                () = &mut warming, if !warm => warm = true,
                () = changed(engine.as_mut()) => {}
                gone = self.pod.changed() => if gone.is_err() { break },
            }
        }
        Ok(())
    }

    async fn bind(&self, pod: &Pod) -> Result<()> {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return Ok(());
        }
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.name, "uid": pod.uid()},
            "target": {"kind": "Node", "name": self.shared.next_node()},
        });
        let params = PostParams::default();
        let bind = || -> BoxFuture<'_, kube::Result<serde_json::Value>> {
            self.api.create_subresource("binding", &self.name, &params, &binding).boxed()
        };
        self.persist(bind).await.map(drop).context("binding it to a node")
    }

    async fn delete(&self) -> Result<()> {
        let Some(pod) = self.current() else { return Ok(()) };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let delete = || self.api.delete(&self.name, &params).boxed();
        self.persist(delete).await.map(drop).context("removing it")
    }

    async fn write_status(&self, patch: &Patch<Value>) -> kube::Result<Pod> {
        let params = PatchParams::default();
        self.persist(|| self.api.patch_status(&self.name, &params, patch).boxed()).await
    }

    /// Repeats a call while the API server is down or in trouble, and the object is there.
    async fn persist<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, kube::Result<T>>,
    ) -> kube::Result<T> {
        loop {
            match call().await {
                Err(error) if is_outage(&error) && self.current().is_some() => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                result => return result,
            }
        }
    }

    fn current(&self) -> Option<Arc<Pod>> {
        self.pod.borrow().clone()
    }

    fn is_leaving(&self) -> bool {
        self.current().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// Plans the pod until its plan lets it have a node. Returns `None` if it is deleted before.
    async fn until_there_is_room(&self, pod: &Pod) -> Result<Option<Plan>> {
        let mut said = false;
        while !self.is_leaving() {
            let plan = (self.shared.plan)(pod);
            if plan.cold_start != ColdStart::Unschedulable {
                return Ok(Some(plan));
            }
            if !said {
                let patch = Patch::Strategic(status::unschedulable(pod, Utc::now()));
                let written = self.write_status(&patch).await;
                written.context("writing that there is no room for it")?;
                said = true;
            }
            tokio::time::sleep(REPLAN_INTERVAL).await;
        }
        Ok(None)
    }

    fn grace(&self) -> Duration {
        let seconds = self.current().and_then(|pod| pod.metadata.deletion_grace_period_seconds);
        Duration::from_secs(seconds.unwrap_or(0).try_into().unwrap_or(0))
    }
}

/// Returns true for an error of a call that may succeed later without a change of it.
fn is_outage(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        _ => true,
    }
}

async fn changed(ready: Option<&mut watch::Receiver<bool>>) {
    let alive = match ready {
        Some(ready) => ready.changed().await.is_ok(),
        None => false,
    };
    if !alive {
        pending::<()>().await;
    }
}

/// Returns the port named `http`, else the first one.
pub(crate) fn http_port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = || containers.iter().flat_map(|container| container.ports.iter().flatten());
    let named = ports().find(|port| port.name.as_deref() == Some("http"));
    named.or_else(|| ports().next()).and_then(|port| port.container_port.try_into().ok())
}

/// Returns the longest `lifecycle.preStop.sleep` of the containers, which precedes SIGTERM and
/// counts towards the grace period.
fn pre_stop(pod: &Pod) -> Duration {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let sleeps = containers.iter().filter_map(|container| {
        container.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref()?.seconds.try_into().ok()
    });
    Duration::from_secs(sleeps.max().unwrap_or(0))
}

/// An address that returns to the pool when it is dropped.
struct Leased {
    shared: Arc<Shared>,
    ip: Ipv4Addr,
}

impl Leased {
    fn new(shared: &Arc<Shared>) -> Result<Self> {
        let ip = shared.addresses.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Ok(Self { shared: shared.clone(), ip })
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let mut addresses = self.shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.give_back(self.ip);
    }
}

impl Place {
    fn new(pod: &Pod, ip: Ipv4Addr, port: Option<u16>) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            address: port.map(|port| SocketAddr::from((ip, port))),
        }
    }
}
