//! Requests that come at a rate, whatever is answered, to engines in virtual time.
//!
//! Nothing is sent: requests are put into the models of the engines, whose pages the pods serve. So
//! a load of many requests per second takes next to no computing, and pages are exact even on a
//! machine that is busy with something else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use llm_autoscaler_sim::{Engine, EngineConfig, EventKind, Request, vllm};

use crate::engine::{Page, Script};
use crate::task::Task;

/// The time between two looks at the pods.
const LISTED_EVERY: Duration = Duration::from_millis(500);
/// The time between two pages of a pod. An API server that is slow delays none of them.
const EVERY: Duration = Duration::from_millis(100);
/// The time of the start of an engine in its page, in seconds since 1970.
const CREATED: f64 = 1_795_475_069.5;
/// The seed of the times between requests.
const SEED: u64 = 21;

/// The lengths of the requests, and the engine of each pod.
#[derive(Debug, Clone)]
pub struct OpenLoad {
    /// The engine of each pod.
    pub engine: EngineConfig,
    /// The tokens of each prompt.
    pub prompt_tokens: u32,
    /// The tokens of each answer.
    pub output_tokens: u32,
}

/// A load that goes on until it is dropped.
#[derive(Debug)]
pub struct RunningLoad {
    state: Arc<Mutex<State>>,
    _tasks: [Task; 2],
}

/// The finished requests, and those of them that were late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Punctuality {
    /// The finished requests.
    pub finished: u64,
    /// Those of them with a first token, or a mean time between two tokens, after its promise.
    pub late: u64,
}

#[derive(Debug)]
struct State {
    load: OpenLoad,
    rate: f64,
    /// A series that the pages lack.
    lacking: Option<String>,
    /// The promise that requests are held against: the time to first token, and the mean one
    /// between two tokens.
    promise: [Duration; 2],
    punctuality: Punctuality,
    /// The names of the pods that are ready.
    ready: Vec<String>,
    engines: BTreeMap<String, LiveEngine>,
    /// The requests from the last one to the next one at an even rate: exponentially distributed.
    next: f64,
    random: fastrand::Rng,
    next_id: u64,
    at: Instant,
}

#[derive(Debug)]
struct LiveEngine {
    engine: Engine,
    started: Instant,
    /// The times of the requests in flight: sent, and the first token.
    requests: HashMap<u64, (Duration, Option<Duration>)>,
}

impl OpenLoad {
    /// Starts the load on the ready pods with these labels, at no request per second. `script`
    /// serves their pages; `promise` is what requests are held against.
    pub fn start(
        self,
        client: Client,
        namespace: &str,
        labels: &str,
        script: Script,
        promise: [Duration; 2],
    ) -> RunningLoad {
        // A pod that starts is an idle engine of this kind before it gets its first request.
        script.set_default(Page::text(page(&Engine::new(self.engine.clone()))));
        let state = Arc::new(Mutex::new(State {
            load: self,
            rate: 0.0,
            lacking: None,
            promise,
            punctuality: Punctuality::default(),
            ready: Vec::new(),
            engines: BTreeMap::new(),
            next: 0.0,
            random: fastrand::Rng::with_seed(SEED),
            next_id: 0,
            at: Instant::now(),
        }));
        let (pods, shared) = (Api::<Pod>::namespaced(client, namespace), state.clone());
        let (namespace, params) = (namespace.to_owned(), ListParams::default().labels(labels));
        let listing = Task::spawn(async move {
            loop {
                match ready(&pods, &params).await {
                    Ok(names) => lock(&shared).ready = names,
                    Err(error) => eprintln!("open load: {error:#}"),
                }
                tokio::time::sleep(LISTED_EVERY).await;
            }
        });
        let shared = state.clone();
        let working = Task::spawn(async move {
            loop {
                lock(&shared).pass(&namespace, &script);
                tokio::time::sleep(EVERY).await;
            }
        });
        RunningLoad { state, _tasks: [listing, working] }
    }
}

impl RunningLoad {
    /// Sets the requests per second of all pods together.
    pub fn set_rate(&self, rate: f64) {
        lock(&self.state).rate = rate;
    }

    /// Takes a series off the pages, or puts all back.
    pub fn set_lacking(&self, series: Option<&str>) {
        lock(&self.state).lacking = series.map(str::to_owned);
    }

    /// Returns the numbers of requests since the last call.
    pub fn take_punctuality(&self) -> Punctuality {
        std::mem::take(&mut lock(&self.state).punctuality)
    }
}

impl State {
    /// Sends the requests of the time since the last pass, lets all engines work until now, and
    /// sets their pages.
    fn pass(&mut self, namespace: &str, script: &Script) {
        let ready = &self.ready;
        self.engines.retain(|name, _| ready.contains(name));
        let (from, to) = (self.at, Instant::now());
        for name in ready {
            let engine = &self.load.engine;
            self.engines.entry(name.clone()).or_insert_with(|| LiveEngine {
                engine: Engine::new(engine.clone()),
                started: from,
                requests: HashMap::new(),
            });
        }
        // Requests arrive at random, as those of many users do.
        let mut at = from;
        while self.rate > 0.0 {
            let later = at + Duration::from_secs_f64(self.next / self.rate);
            if later > to {
                self.next -= self.rate * (to - at).as_secs_f64();
                break;
            }
            at = later;
            self.next = -(1.0 - self.random.f64()).ln();
            self.send(at);
        }
        self.at = to;
        self.advance(to);
        for (name, live) in &self.engines {
            let page = page(&live.engine);
            let lacks = |line: &&str| {
                self.lacking.as_ref().is_none_or(|series| !line.starts_with(&**series))
            };
            let page: String = page.lines().filter(lacks).flat_map(|line| [line, "\n"]).collect();
            script.set(&format!("{namespace}/{name}"), Page::text(page));
        }
    }

    /// Sends a request to the engine with the fewest in flight.
    fn send(&mut self, at: Instant) {
        self.advance(at);
        let (prompt_tokens, output_tokens) = (self.load.prompt_tokens, self.load.output_tokens);
        let fewest = self.engines.values_mut().min_by_key(|live| live.requests.len());
        let Some(live) = fewest else { return };
        let id = self.next_id;
        self.next_id += 1;
        let now = at.saturating_duration_since(live.started);
        if live.engine.submit(now, Request { id, prompt_tokens, output_tokens }).is_ok() {
            live.requests.insert(id, (now, None));
        }
    }

    /// Lets all engines work until a time, and counts the requests that end.
    fn advance(&mut self, to: Instant) {
        let [first_token, between] = self.promise;
        for live in self.engines.values_mut() {
            let now = to.saturating_duration_since(live.started);
            for event in live.engine.advance(now) {
                match event.kind {
                    EventKind::FirstToken => {
                        if let Some((_, first)) = live.requests.get_mut(&event.id) {
                            *first = Some(event.at);
                        }
                    }
                    EventKind::Token => {}
                    EventKind::Finished => {
                        let Some((sent, Some(first))) = live.requests.remove(&event.id) else {
                            continue;
                        };
                        let gaps = self.load.output_tokens.saturating_sub(1).max(1);
                        let is_late = first.saturating_sub(sent) > first_token
                            || event.at.saturating_sub(first) / gaps > between;
                        self.punctuality.finished += 1;
                        self.punctuality.late += u64::from(is_late);
                    }
                }
            }
        }
    }
}

fn page(engine: &Engine) -> String {
    vllm::render(&vllm::Page::of(engine, "qwen3-32b", CREATED))
}

/// Returns the names of the pods that are ready and not being deleted.
async fn ready(pods: &Api<Pod>, params: &ListParams) -> Result<Vec<String>> {
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = |all: &Vec<_>| {
            all.iter().any(|it: &k8s_openapi::api::core::v1::PodCondition| {
                it.type_ == "Ready" && it.status == "True"
            })
        };
        pod.metadata.deletion_timestamp.is_none() && conditions.is_some_and(ready)
    };
    let pods = pods.list(params).await?.items;
    Ok(pods.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
