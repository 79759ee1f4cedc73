//! Runs the model of an engine in real time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use chrono::Utc;
use llm_autoscaler_sim::{Engine, EngineConfig, Event, EventKind, Request, RequestTooLong, vllm};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::completions;
use crate::task::Task;

/// The number of connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// An emulated vLLM.
#[derive(Debug, Clone)]
pub struct Emulated {
    /// The speed and the capacity of the engine.
    pub config: EngineConfig,
    /// The model's name in metrics and in the API.
    pub model: String,
    /// The time that the engine takes to load its model; nothing listens until then.
    pub loading: Duration,
    /// The time from the last answer to the exit, which is bounded by the pod's grace period.
    pub ending: Duration,
    /// The longest time that requests in flight may take after SIGTERM; `None` if only the pod's
    /// grace period bounds it.
    pub shutdown_timeout: Option<Duration>,
}

impl Default for Emulated {
    fn default() -> Self {
        Self {
            config: EngineConfig::default(),
            model: "qwen3-32b".to_owned(),
            loading: Duration::ZERO,
            ending: Duration::ZERO,
            shutdown_timeout: None,
        }
    }
}

/// A running emulated engine.
pub(crate) struct Server {
    ready: watch::Sender<bool>,
    shutdown: oneshot::Sender<()>,
    http: Task,
    ending: Duration,
    shutdown_timeout: Option<Duration>,
    _clock: Task,
    _end: CutOff,
}

/// Aborts the remaining answers when the engine ends: their connections outlive the server's task.
struct CutOff(Arc<Live>);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.lock().listeners.clear();
    }
}

impl Emulated {
    /// Starts the engine on an address that is already bound.
    pub(super) fn start(&self, socket: TcpSocket) -> Server {
        let live = Arc::new(Live::new(self));
        let router = Router::new()
            .route("/v1/completions", post(completions::complete))
            .route("/v1/models", get(models))
            .route("/metrics", get(metrics))
            .route("/health", get(async || ()))
            .with_state(live.clone());
        let (shutdown, mut asked) = oneshot::channel::<()>();
        let (loading, ready) = (self.loading, watch::Sender::new(false));
        let loaded = ready.clone();
        let serving = async move {
            tokio::select! {
                () = sleep(loading) => {}
                _ = &mut asked => return,
            }
            match socket.listen(BACKLOG) {
                Ok(listener) => {
                    loaded.send_replace(true);
                    let stopped = async {
                        let _ = asked.await;
                    };
                    let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
                }
                Err(error) => eprintln!("hollow node: listening for an emulated engine: {error}"),
            }
        };
        Server {
            ready,
            shutdown,
            http: Task::spawn(serving),
            ending: self.ending,
            shutdown_timeout: self.shutdown_timeout,
            _end: CutOff(live.clone()),
            _clock: Task::spawn(async move { live.run().await }),
        }
    }
}

impl Server {
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Takes no more requests, and lets the requests in flight finish within `grace`, or less.
    pub(super) async fn stop(mut self, grace: Duration) {
        let _ = self.shutdown.send(());
        let grace = self.shutdown_timeout.map_or(grace, |timeout| timeout.min(grace));
        let ending = async {
            self.http.join().await;
            sleep(self.ending).await;
        };
        let _ = timeout(grace, ending).await;
    }
}

/// The engine with its clock and the receivers of its requests' events.
pub(super) struct Live {
    pub(super) model: String,
    started: Instant,
    created: f64,
    state: Mutex<LiveState>,
    /// Notified when the time of the engine's next step may have changed.
    changed: Notify,
}

struct LiveState {
    engine: Engine,
    next_id: u64,
    listeners: HashMap<u64, mpsc::UnboundedSender<EventKind>>,
}

/// A request in flight. Dropping it before its last event aborts the request.
pub(super) struct InFlight {
    live: Arc<Live>,
    id: u64,
    events: mpsc::UnboundedReceiver<EventKind>,
}

impl InFlight {
    /// Returns the next event; `None` after the last one.
    pub(super) async fn next(&mut self) -> Option<EventKind> {
        self.events.recv().await
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = self.live.now();
        let mut state = self.live.lock();
        state.listeners.remove(&self.id);
        state.engine.abort(now, self.id);
    }
}

impl Live {
    fn new(emulated: &Emulated) -> Self {
        Self {
            model: emulated.model.clone(),
            started: Instant::now(),
            created: Utc::now().timestamp_micros() as f64 / 1e6,
            state: Mutex::new(LiveState {
                engine: Engine::new(emulated.config.clone()),
                next_id: 0,
                listeners: HashMap::new(),
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn submit(
        self: &Arc<Self>,
        prompt_tokens: u32,
        output_tokens: u32,
    ) -> Result<InFlight, RequestTooLong> {
        let (sender, events) = mpsc::unbounded_channel();
        let now = self.now();
        let mut state = self.lock();
        let id = state.next_id;
        let request = Request { id, prompt_tokens, output_tokens };
        state.engine.submit(now, request)?;
        state.next_id += 1;
        state.listeners.insert(id, sender);
        drop(state);
        self.changed.notify_one();
        Ok(InFlight { live: self.clone(), id, events })
    }

    /// Advances the engine each time a step ends.
    async fn run(&self) {
        loop {
            let next = self.lock().engine.next_event_at();
            match next {
                Some(at) => tokio::select! {
                    () = sleep_until(self.started + at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
            let now = self.now();
            self.lock().advance(now);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self) -> String {
        let now = self.now();
        let mut state = self.lock();
        state.advance(now);
        vllm::render(&vllm::Page::of(&state.engine, &self.model, self.created))
    }
}

impl LiveState {
    fn advance(&mut self, now: Duration) {
        for Event { id, kind, .. } in self.engine.advance(now) {
            if let Some(listener) = self.listeners.get(&id) {
                let _ = listener.send(kind); // a request whose receiver is gone aborts itself
            }
            if kind == EventKind::Finished {
                self.listeners.remove(&id);
            }
        }
    }
}

async fn metrics(State(live): State<Arc<Live>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], live.page())
}

async fn models(State(live): State<Arc<Live>>) -> Json<Value> {
    Json(json!({
        "object": "list",
        "data": [{
            "id": live.model,
            "object": "model",
            "created": live.created as i64,
            "owned_by": "testbed",
        }],
    }))
}
