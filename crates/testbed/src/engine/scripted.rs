//! Serves pages that a test sets, pod by pod.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use llm_autoscaler_sim::{Gauges, Histogram, Metrics, vllm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Place;
use crate::task::Task;

/// The answer of a pod to every request.
#[derive(Debug, Clone, PartialEq)]
pub enum Page {
    /// A vLLM page with these gauges.
    Vllm {
        /// The gauge `vllm:num_requests_running`.
        running: u64,
        /// The gauge `vllm:num_requests_waiting`.
        waiting: u64,
        /// The gauge `vllm:kv_cache_usage_perc`, from 0 to 1.
        kv: f64,
    },
    /// Exactly this response.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The header `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// This body, after which the connection is closed; the response states no length.
    Cut(String),
    /// A page of this many bytes.
    Endless(usize),
    /// This many bytes of a page, after which nothing comes any more.
    Unfinished(usize),
    /// The request is read and never answered.
    Hang,
    /// Connections are refused, and open ones are closed.
    Refuse,
    /// The connection is reset in the middle of the answer.
    Reset,
}

impl Page {
    /// Returns a page in the exposition format.
    pub fn text(body: impl Into<String>) -> Self {
        Self::Raw {
            status: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8".to_owned(),
            body: body.into(),
        }
    }

    /// Returns the page of an idle vLLM.
    pub fn idle() -> Self {
        Self::waiting(0)
    }

    /// Returns the page of a vLLM with `waiting` queued requests. If any wait, the batch is full
    /// with 8.
    pub fn waiting(waiting: u64) -> Self {
        let running = if waiting > 0 { 8 } else { 0 };
        let kv = running as f64 / 10.0;
        Self::Vllm { running, waiting, kv }
    }
}

/// An event in the life of a scripted pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodEvent {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The time of the event.
    pub at: DateTime<Utc>,
    /// The event.
    pub what: PodTrace,
}

/// Kinds of events in the life of a scripted pod.
#[derive(Debug, Clone, PartialEq)]
pub enum PodTrace {
    /// Its engine serves.
    Started,
    /// A client has got a whole page of [`Page::Vllm`], with this number of waiting requests.
    Served(u64),
    /// Its engine has stopped.
    Ended,
}

/// The answers of all pods that run this script, and counts of their requests. Clones share it.
///
/// Pods are named `namespace/name`, or by their name alone in the namespace `default`. An answer
/// that is set before the pod runs applies from its start on.
#[derive(Debug, Clone)]
pub struct Script(Arc<Mutex<Scripts>>);

#[derive(Debug)]
struct Scripts {
    default: Page,
    trace: Option<mpsc::UnboundedSender<PodEvent>>,
    pods: HashMap<String, Arc<PodScript>>,
}

#[derive(Debug)]
struct PodScript {
    pod: String,
    trace: Mutex<Option<mpsc::UnboundedSender<PodEvent>>>,
    page: watch::Sender<Page>,
    ready: watch::Sender<bool>,
    requests: AtomicU64,
    last_request: Mutex<String>,
}

impl Default for Script {
    /// Returns a script by which every pod is an idle vLLM.
    fn default() -> Self {
        Self::new(Page::idle())
    }
}

impl Script {
    /// Returns a script by which every pod gives this answer until another is set for it.
    pub fn new(default: Page) -> Self {
        let pods = HashMap::new();
        Self(Arc::new(Mutex::new(Scripts { default, pods, trace: None })))
    }

    /// Sends what happens in all pods to a channel from now on.
    pub fn trace(&self, events: mpsc::UnboundedSender<PodEvent>) {
        let mut scripts = self.lock();
        for pod in scripts.pods.values() {
            *pod.trace.lock().unwrap_or_else(PoisonError::into_inner) = Some(events.clone());
        }
        scripts.trace = Some(events);
    }

    /// Sets the answer of one pod.
    pub fn set(&self, pod: &str, page: Page) {
        self.pod(pod).page.send_replace(page);
    }

    /// Sets the answer of all pods, including those that start later.
    pub fn set_all(&self, page: &Page) {
        let mut scripts = self.lock();
        scripts.default = page.clone();
        for pod in scripts.pods.values() {
            pod.page.send_replace(page.clone());
        }
    }

    /// Sets the answer of the pods of which none has been set and that have not started.
    pub fn set_default(&self, page: Page) {
        self.lock().default = page;
    }

    /// Sets the readiness of a pod. A pod that is not ready still answers.
    pub fn set_ready(&self, pod: &str, ready: bool) {
        self.pod(pod).ready.send_replace(ready);
    }

    /// Returns the number of requests that the pod has read.
    pub fn requests(&self, pod: &str) -> u64 {
        self.pod(pod).requests.load(Ordering::Relaxed)
    }

    /// Returns the request line and the headers of the last request.
    pub fn last_request(&self, pod: &str) -> String {
        let pod = self.pod(pod);
        let last = pod.last_request.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    pub(super) fn start(&self, place: &Place, listener: TcpListener) -> Server {
        let script = self.pod(&format!("{}/{}", place.namespace, place.pod));
        script.record(PodTrace::Started);
        let task = Task::spawn(serve(script.clone(), listener));
        Server { ready: script.ready.clone(), script, _task: task }
    }

    fn pod(&self, pod: &str) -> Arc<PodScript> {
        let key = if pod.contains('/') { pod.to_owned() } else { format!("default/{pod}") };
        let mut scripts = self.lock();
        let (page, trace) = (scripts.default.clone(), scripts.trace.clone());
        let new = || {
            Arc::new(PodScript {
                pod: key.clone(),
                trace: Mutex::new(trace),
                page: watch::Sender::new(page),
                ready: watch::Sender::new(true),
                requests: AtomicU64::new(0),
                last_request: Mutex::default(),
            })
        };
        scripts.pods.entry(key.clone()).or_insert_with(new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Scripts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodScript {
    fn record(&self, what: PodTrace) {
        let trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trace) = &*trace {
            let event = PodEvent { pod: self.pod.clone(), at: Utc::now(), what };
            // Nothing is recorded any more once the receiver is gone.
            let _ = trace.send(event);
        }
    }
}

/// A running scripted engine.
pub(crate) struct Server {
    ready: watch::Sender<bool>,
    script: Arc<PodScript>,
    _task: Task,
}

impl Server {
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script.record(PodTrace::Ended);
    }
}

/// Serves connections. While the page is [`Page::Refuse`], nothing listens and open connections are
/// closed.
async fn serve(script: Arc<PodScript>, listener: TcpListener) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let mut page = script.page.subscribe();
    loop {
        if page.wait_for(|page| *page != Page::Refuse).await.is_err() {
            return;
        }
        let listening = match listener.take() {
            Some(listener) => listener,
            None => match TcpListener::bind(address).await {
                Ok(listener) => listener,
                Err(error) => {
                    return eprintln!("scripted engine: listening on {address} again: {error}");
                }
            },
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listening.accept() => if let Ok((stream, _)) = accepted {
                    let script = script.clone();
                    connections.spawn(async move { let _ = converse(&script, stream).await; });
                },
                _ = page.wait_for(|page| *page == Page::Refuse) => break,
            }
        }
    }
}

/// Serves one connection, which is kept alive if the client asks for that.
async fn converse(script: &PodScript, mut stream: TcpStream) -> std::io::Result<()> {
    while let Some(head) = read_head(&mut stream).await? {
        script.requests.fetch_add(1, Ordering::Relaxed);
        *script.last_request.lock().unwrap_or_else(PoisonError::into_inner) = head;
        let page = script.page.borrow().clone();
        match page {
            Page::Vllm { running, waiting, kv } => {
                let body = vllm_page(running, waiting, kv);
                write(&mut stream, 200, "text/plain; version=0.0.4; charset=utf-8", &body).await?;
                script.record(PodTrace::Served(waiting));
            }
            Page::Raw { status, content_type, body } => {
                write(&mut stream, status, &content_type, &body).await?;
            }
            Page::Cut(body) => {
                stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n").await?;
                return stream.write_all(body.as_bytes()).await;
            }
            Page::Endless(bytes) => return endless(&mut stream, bytes, bytes).await,
            Page::Unfinished(bytes) => {
                endless(&mut stream, bytes, bytes + 1).await?;
                // The connection stays open until the client gives up.
                while stream.read(&mut [0; 1024]).await? > 0 {}
            }
            Page::Reset => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n# HELP").await?;
                stream.set_zero_linger()?;
                return Ok(());
            }
            Page::Hang | Page::Refuse => {
                // The connection stays open until the client gives up.
                while stream.read(&mut [0; 1024]).await? > 0 {}
            }
        }
    }
    Ok(())
}

/// Reads up to the empty line after the headers; requests with bodies are not expected.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Writes this many bytes of a page, after a head that promises `length` of them.
async fn endless(stream: &mut TcpStream, bytes: usize, length: usize) -> std::io::Result<()> {
    stream
        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .await?;
    let lines = "some_counter_total{label=\"value\"} 1\n".repeat(1000);
    let mut left = bytes;
    while left > 0 {
        let part = left.min(lines.len());
        stream.write_all(&lines.as_bytes()[..part]).await?;
        left -= part;
    }
    Ok(())
}

async fn write(
    stream: &mut TcpStream,
    status: u16,
    content_type: &str,
    body: &str,
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await
}

fn vllm_page(running: u64, waiting: u64, kv_usage: f64) -> String {
    vllm::render(&vllm::Page {
        model_name: "qwen3-32b",
        created: 1_795_475_069.5,
        gauges: Gauges { running, waiting, kv_usage },
        metrics: &Metrics::default(),
        steps: 0,
        time_per_output_token: &Histogram::new(&[1.0]),
        kv_blocks: (128, 128),
    })
}
