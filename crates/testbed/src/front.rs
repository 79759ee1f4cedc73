//! A front address that plays the Service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::net::TcpListener;

use crate::nodes::http_port;
use crate::task::Task;

/// How a front chooses among the ready pods, for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The pod with the fewest requests in flight.
    LeastOutstanding,
    /// Any, as kube-proxy does.
    Random,
}

/// A reverse proxy on loopback to the pods of a selector that are ready and not being deleted. (`EndpointSlice`s refuse
/// loopback addresses, so there can be no real Service.)
///
/// Answers are streamed. Nothing is retried: 503 says that no pod is ready, 502 that the chosen one failed.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    _server: Task,
    _watch: Task,
}

struct Proxy {
    balance: Balance,
    backends: Mutex<BTreeMap<String, Backend>>,
    client: reqwest::Client,
}

#[derive(Debug, Clone)]
struct Backend {
    address: SocketAddr,
    outstanding: Arc<AtomicUsize>,
}

/// Counts a request as in flight.
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Front {
    /// Starts a front for the pods of a namespace with these labels (`app=llm`).
    ///
    /// # Errors
    /// Where no port on loopback is free.
    pub async fn start(client: Client, namespace: &str, labels: &str, balance: Balance) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening for the front")?;
        let address = listener.local_addr()?;
        let proxy = Arc::new(Proxy { balance, backends: Mutex::default(), client: crate::http_client() });
        let pods = Api::<Pod>::namespaced(client, namespace);
        let router = Router::new().fallback(forward).with_state(proxy.clone());
        Ok(Self {
            address,
            _server: Task::spawn(async {
                let _ = axum::serve(listener, router).await;
            }),
            _watch: Task::spawn(follow(proxy, pods, Config::default().labels(labels))),
        })
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Keeps the backends equal to the ready pods.
async fn follow(proxy: Arc<Proxy>, pods: Api<Pod>, config: Config) {
    let mut events = watcher(pods, config).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => proxy.change(BTreeMap::clear),
            Ok(Some(Event::InitApply(pod) | Event::Apply(pod))) => proxy.apply(&pod),
            Ok(Some(Event::Delete(pod))) => proxy.change(|backends| {
                backends.remove(&pod.name_any());
            }),
            Ok(Some(Event::InitDone)) => {}
            Ok(None) => return,
            Err(error) => tracing::debug!("front: watching pods: {error}"), // the watcher comes back by itself
        }
    }
}

impl Proxy {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Backend>) -> T) -> T {
        change(&mut self.backends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply(&self, pod: &Pod) {
        let name = pod.name_any();
        let serving = address(pod);
        self.change(|backends| match serving {
            None => {
                backends.remove(&name);
            }
            Some(address) if backends.get(&name).is_none_or(|known| known.address != address) => {
                let outstanding = Arc::default();
                backends.insert(name, Backend { address, outstanding });
            }
            Some(_) => {}
        });
    }

    fn choose(&self) -> Option<(SocketAddr, Ticket)> {
        self.change(|backends| {
            let backend = match self.balance {
                Balance::LeastOutstanding => {
                    backends.values().min_by_key(|backend| backend.outstanding.load(Ordering::Relaxed))?
                }
                Balance::Random if backends.is_empty() => return None,
                Balance::Random => backends.values().nth(fastrand::usize(..backends.len()))?,
            };
            backend.outstanding.fetch_add(1, Ordering::Relaxed);
            Some((backend.address, Ticket(backend.outstanding.clone())))
        })
    }
}

/// Where a pod serves, as long as a Service would send requests to it.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(SocketAddr::new(status.pod_ip.as_ref()?.parse().ok()?, http_port(pod)?))
}

async fn forward(
    State(proxy): State<Arc<Proxy>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((address, ticket)) = proxy.choose() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no pod is ready\n").into_response();
    };
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name); // they belong to one hop
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = proxy.client.request(method, format!("http://{address}{path}"));
    match request.headers(headers).body(body).send().await {
        Ok(answer) => pass_on(answer, ticket),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{address}: {error}\n")).into_response(),
    }
}

/// Streams the pod's answer; the ticket is given back at its end.
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
