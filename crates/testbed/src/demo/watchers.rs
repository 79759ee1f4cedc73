//! The observers of the demo: tasks that watch the table, the queue and the size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use llm_autoscaler_testbed::ControlPlane;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Story;
use super::stage::NAME;

/// A shared handle for tasks that run `kubectl`.
#[derive(Clone)]
pub(super) struct Kubectl(pub(super) Arc<ControlPlane>);

impl Kubectl {
    pub(super) async fn run(&self, args: &[&str]) -> Result<String> {
        self.0.kubectl(args.iter().copied()).await
    }
}

/// A task that ends when its owner is dropped.
struct Watching(JoinHandle<()>);

impl Watching {
    fn start(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Shows `kubectl get llmautoscalers` each time its output changes.
pub(super) struct TableWatch(#[expect(dead_code, reason = "held, not read")] Watching);

impl TableWatch {
    pub(super) fn start(client: Client, kubectl: Kubectl, story: Story) -> Self {
        let kind = GroupVersionKind::gvk("llmautoscaler.io", "v1alpha1", "LLMAutoscaler");
        let resource = ApiResource::from_gvk(&kind);
        let autoscalers = Api::<DynamicObject>::default_namespaced_with(client, &resource);
        Self(Watching::start(async move {
            let mut changes =
                watcher(autoscalers, watcher::Config::default()).default_backoff().boxed();
            let mut last = String::new();
            while changes.next().await.is_some() {
                // The command fails before the object exists and on transient errors; the next
                // round retries.
                let Ok(table) = kubectl.run(&["get", "llmautoscalers", NAME]).await else {
                    continue;
                };
                let known = without_age(&table);
                if known != last {
                    story.show("kubectl get llmautoscalers", &known);
                    last = known;
                }
            }
        }))
    }
}

/// Removes the last column, the age, which changes all the time.
fn without_age(table: &str) -> String {
    let width = table.lines().next().and_then(|head| head.rfind("AGE")).unwrap_or(usize::MAX);
    let lines = table.lines().map(|line| line.get(..width).unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Scrapes the queue length from every pod's own page, every 20 ms.
pub(super) struct PodPages {
    waiting: watch::Receiver<f64>,
    stepped: watch::Receiver<Option<Instant>>,
    _task: Watching,
}

impl PodPages {
    pub(super) fn watch(client: Client, threshold: f64) -> Self {
        let (waiting_sender, waiting) = watch::channel(0.0);
        let (stepped_sender, stepped) = watch::channel(None);
        let task = async move {
            let pods = Api::<Pod>::default_namespaced(client);
            let http = reqwest::Client::new();
            let mut urls = Vec::new();
            let mut listed = None::<Instant>;
            loop {
                if listed.is_none_or(|at| at.elapsed() > Duration::from_millis(500)) {
                    urls = urls_of(&pods).await.unwrap_or(urls);
                    listed = Some(Instant::now());
                }
                let queues = queues(&http, &urls).await;
                if queues.values().any(|waiting| *waiting > threshold) {
                    stepped_sender.send_if_modified(|at| {
                        at.is_none() && at.replace(Instant::now()).is_none()
                    });
                }
                waiting_sender.send_replace(queues.values().sum());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Self { waiting, stepped, _task: Watching::start(task) }
    }

    /// Returns the number of waiting requests in all pods.
    pub(super) fn waiting(&self) -> f64 {
        *self.waiting.borrow()
    }

    /// Returns the time at which the queue first exceeded the threshold.
    pub(super) async fn stepped(&self, within: Duration) -> Result<Instant> {
        let mut stepped = self.stepped.clone();
        let at = timeout(within, stepped.wait_for(Option::is_some)).await;
        let at = at.context("no queue grew: check that the load reaches the pods")?;
        (*at?).context("no queue grew")
    }
}

async fn urls_of(pods: &Api<Pod>) -> Result<Vec<String>> {
    let labels = ListParams::default().labels(&format!("app={NAME}"));
    let url = |pod: Pod| {
        let port = pod.spec?.containers.first()?.ports.as_ref()?.first()?.container_port;
        Some(format!("http://{}:{port}/metrics", pod.status?.pod_ip?))
    };
    Ok(pods.list(&labels).await?.into_iter().filter_map(url).collect())
}

async fn queues(http: &reqwest::Client, urls: &[String]) -> BTreeMap<String, f64> {
    let mut asked = JoinSet::new();
    for url in urls.iter().cloned() {
        let request = http.get(&url).timeout(Duration::from_secs(1));
        asked.spawn(async move {
            let page = request.send().await.ok()?.text().await.ok()?;
            let line = page.lines().find(|line| line.starts_with("vllm:num_requests_waiting{"))?;
            Some((url, line.rsplit(' ').next()?.parse().ok()?))
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

/// Watches `spec.replicas` of the `StatefulSet`.
pub(super) struct ScaleWatch {
    seen: watch::Receiver<(Instant, i32)>,
    _task: Watching,
}

impl ScaleWatch {
    pub(super) fn start(client: Client) -> Self {
        let (sender, seen) = watch::channel((Instant::now(), 1));
        let sets = Api::<StatefulSet>::default_namespaced(client);
        let task = async move {
            let mut sets = watcher(sets, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            loop {
                match sets.try_next().await {
                    Ok(Some(set)) if set.name_any() == NAME => {
                        let replicas = set.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                        sender.send_if_modified(|seen| {
                            let changed = seen.1 != replicas;
                            if changed {
                                *seen = (Instant::now(), replicas);
                            }
                            changed
                        });
                    }
                    Ok(Some(_)) | Err(_) => {} // the watcher recovers on its own
                    Ok(None) => return,
                }
            }
        };
        Self { seen, _task: Watching::start(task) }
    }

    /// Waits for the first change of size. Returns its time and the new size.
    pub(super) async fn changed(&self, within: Duration) -> Result<(Instant, i32)> {
        self.wait(|replicas| replicas != 1, within, "the operator did not scale").await
    }

    /// Waits until the size is `wanted`, and returns that time.
    pub(super) async fn reached(&self, wanted: i32, within: Duration) -> Result<Instant> {
        let failure = format!("the operator did not scale to {wanted}");
        Ok(self.wait(|replicas| replicas == wanted, within, &failure).await?.0)
    }

    async fn wait(
        &self,
        wanted: impl Fn(i32) -> bool,
        within: Duration,
        failure: &str,
    ) -> Result<(Instant, i32)> {
        let mut seen = self.seen.clone();
        match timeout(within, seen.wait_for(|(_, replicas)| wanted(*replicas))).await {
            Ok(seen) => Ok(*seen?),
            Err(_) => Err(anyhow!("{failure} within {} s", within.as_secs())),
        }
    }
}
