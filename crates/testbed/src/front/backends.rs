//! The pods behind a front, and the choice among them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt};

use crate::nodes::http_port;
use crate::task::Task;

/// The rule by which a front chooses a ready pod for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The pod with the fewest requests in flight.
    LeastOutstanding,
    /// A random pod, as kube-proxy chooses.
    Random,
}

/// The ready pods of a selector, and the rule for choosing among them.
pub(super) struct Backends {
    balance: Balance,
    pods: Mutex<BTreeMap<String, Backend>>,
    client: reqwest::Client,
}

#[derive(Debug, Clone)]
struct Backend {
    address: SocketAddr,
    outstanding: Arc<AtomicUsize>,
}

impl Backend {
    fn new(address: SocketAddr) -> Self {
        Self { address, outstanding: Arc::default() }
    }
}

/// Counts a request as in flight until it is dropped.
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps the backends equal to the ready pods with these labels, until the returned task is
/// dropped.
pub(super) fn follow(
    client: Client,
    namespace: &str,
    labels: &str,
    balance: Balance,
) -> (Arc<Backends>, Task) {
    let backends = Arc::new(Backends::new(balance));
    let pods = Api::<Pod>::namespaced(client, namespace);
    let watching = watch(backends.clone(), pods, Config::default().labels(labels));
    (backends, Task::spawn(watching))
}

async fn watch(backends: Arc<Backends>, pods: Api<Pod>, config: Config) {
    let mut events = watcher(pods, config).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => backends.change(BTreeMap::clear),
            Ok(Some(Event::InitApply(pod) | Event::Apply(pod))) => backends.apply(&pod),
            Ok(Some(Event::Delete(pod))) => backends.change(|pods| {
                pods.remove(&pod.name_any());
            }),
            Ok(Some(Event::InitDone)) => {}
            Ok(None) => return,
            // The watcher recovers on its own.
            Err(error) => tracing::debug!("front: watching pods: {error}"),
        }
    }
}

impl Backends {
    /// Creates backends without any pod.
    pub(super) fn new(balance: Balance) -> Self {
        Self { balance, pods: Mutex::default(), client: crate::http_client() }
    }

    /// Sends a request to one of the pods, and streams its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let Some((address, ticket)) = self.choose() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "no pod is ready\n").into_response();
        };
        let request = self.client.request(method, format!("http://{address}{path}"));
        match request.headers(headers).body(body).send().await {
            Ok(answer) => pass_on(answer, ticket),
            Err(error) => {
                (StatusCode::BAD_GATEWAY, format!("{address}: {error}\n")).into_response()
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Backend>) -> T) -> T {
        change(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply(&self, pod: &Pod) {
        let name = pod.name_any();
        let serving = address(pod);
        self.change(|pods| match serving {
            None => {
                pods.remove(&name);
            }
            Some(address) if pods.get(&name).is_none_or(|known| known.address != address) => {
                pods.insert(name, Backend::new(address));
            }
            Some(_) => {}
        });
    }

    #[cfg(test)]
    pub(super) fn insert(&self, name: &str, address: SocketAddr) {
        self.change(|pods| pods.insert(name.to_owned(), Backend::new(address)));
    }

    fn choose(&self) -> Option<(SocketAddr, Ticket)> {
        self.change(|pods| {
            let backend = match self.balance {
                Balance::LeastOutstanding => pods
                    .values()
                    .min_by_key(|backend| backend.outstanding.load(Ordering::Relaxed))?,
                Balance::Random if pods.is_empty() => return None,
                Balance::Random => pods.values().nth(fastrand::usize(..pods.len()))?,
            };
            backend.outstanding.fetch_add(1, Ordering::Relaxed);
            Some((backend.address, Ticket(backend.outstanding.clone())))
        })
    }
}

/// Returns the address of a pod if a Service would send requests to it.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(SocketAddr::new(status.pod_ip.as_ref()?.parse().ok()?, http_port(pod)?))
}

/// Streams the pod's answer, and drops the ticket when it ends.
fn pass_on(mut answer: reqwest::Response, ticket: Ticket) -> Response {
    let status = answer.status();
    let mut headers = std::mem::take(answer.headers_mut());
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONNECTION);
    let chunks = stream::try_unfold((answer, ticket), async |(mut answer, ticket)| {
        let chunk = answer.chunk().await?;
        Ok::<_, reqwest::Error>(chunk.map(|chunk| (chunk, (answer, ticket))))
    });
    (status, headers, Body::from_stream(chunks)).into_response()
}
