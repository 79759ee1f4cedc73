//! Prometheus servers, each asked once per interval for what all autoscalers need of it.
//!
//! The key of a server is its address, its names for the labels of pods, and the credentials; where there are credentials,
//! the namespace that they are from as well. Whoever needs the same stretch of time of some families is served by the same query.

mod client;
mod state;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use llm_autoscaler_api::Access;
use llm_autoscaler_engines::{
    Measure,
    prometheus::{PodLabels, range_selector},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub use client::QueryError;
use client::{Asker, Question};
use state::{Questions, State};

use crate::{
    clock::Clock,
    sampling::{credentials::Gate, schedule::Rhythm},
    telemetry::Telemetry,
};

/// How many queries one server gets at the same time.
const CONCURRENCY: usize = 4;
/// How many families and namespaces one query names at most.
const CHUNK: usize = 24;

/// What one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    /// Its address, without a slash at the end.
    pub url: String,
    /// What it calls the labels of pods.
    pub labels: PodLabels,
    /// What lets us in.
    pub access: Arc<Access>,
    /// Where the credentials are from; `None` without any.
    pub namespace: Option<String>,
}

/// What somebody needs of a server.
#[derive(Clone, Debug)]
pub struct Need {
    /// The namespace of the pods.
    pub namespace: String,
    /// Of the pods.
    pub measures: Arc<[Arc<Measure>]>,
    /// PromQL, as it is.
    pub queries: Arc<[String]>,
    /// How often.
    pub interval: Duration,
    /// After how long an answer is given up.
    pub timeout: Duration,
    /// How old a sample may be.
    pub stale_after: Duration,
    /// Woken at each fresh answer.
    pub wake: Arc<Notify>,
}

/// All servers.
#[derive(Clone)]
pub struct Servers(Arc<Shared>);

struct Shared {
    servers: Mutex<HashMap<ServerKey, Arc<Server>>>,
    asker: Asker,
    telemetry: Telemetry,
    clock: Clock,
}

/// A server, and the task that asks it.
pub struct Server {
    /// What it is.
    pub key: ServerKey,
    state: Mutex<State>,
    changed: Notify,
}

impl Servers {
    /// Is let in by `gate`.
    pub fn new(gate: Gate, telemetry: Telemetry, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            servers: Mutex::default(),
            asker: Asker::new(gate),
            telemetry,
            clock,
        }))
    }

    /// Makes `owner` one of those who need something of a server, or changes what it needs.
    pub fn subscribe(&self, owner: u64, key: &ServerKey, need: Need) -> Arc<Server> {
        let mut servers = self.servers();
        let new = || {
            Arc::new(Server { key: key.clone(), state: Mutex::default(), changed: Notify::new() })
        };
        let server = servers.entry(key.clone()).or_insert_with(new).clone();
        let mut state = server.lock();
        state.needs.insert(owner, need);
        if state.task.is_none() {
            let task = tokio::spawn(run(self.0.clone(), server.clone()));
            state.task = Some(task.abort_handle());
        }
        drop(state);
        server.changed.notify_one();
        server
    }

    /// Ends the needs of `owner`; a server that nobody needs is not asked.
    pub fn unsubscribe(&self, owner: u64, key: &ServerKey) {
        let mut servers = self.servers();
        let Some(server) = servers.get(key).cloned() else { return };
        let mut state = server.lock();
        state.needs.remove(&owner);
        if state.needs.is_empty() {
            if let Some(task) = state.task.take() {
                task.abort();
            }
            servers.remove(key);
        }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerKey, Arc<Server>>> {
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// What is known from it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share of the interval that is the server's own.
    fn phase(&self, interval: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        interval.mul_f64((hasher.finish() % 4096) as f64 / 4096.0)
    }
}

/// Asks one server for ever; ended from outside.
async fn run(shared: Arc<Shared>, server: Arc<Server>) {
    let mut rhythm = Rhythm::new(Instant::now());
    let mut asked = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = sleep_until(rhythm.next()) => {
                asked = needs(&server);
                rhythm.done(ask(&shared, &server).await);
            }
            () = server.changed.notified() => {
                // What nobody has asked for before is asked for at once.
                if !needs(&server).is_subset(&asked) {
                    rhythm.at_once(Instant::now());
                    continue;
                }
            }
        }
        let interval = server.lock().interval();
        rhythm.plan(interval, server.phase(interval), Instant::now());
    }
}

/// What is needed, in a form that can be compared.
fn needs(server: &Server) -> BTreeSet<(String, String)> {
    let questions = server.lock().questions();
    let stretches = questions.stretches.iter().flat_map(|(stretch, (families, namespaces))| {
        let pairs =
            families.iter().flat_map(move |family| namespaces.iter().map(move |ns| (family, ns)));
        pairs.map(move |(family, namespace)| (format!("{family} {stretch:?}"), namespace.clone()))
    });
    let queries = questions.queries.keys().map(|query| (query.clone(), String::new()));
    stretches.chain(queries).collect()
}

/// Asks everything once; whether all of it was answered.
async fn ask(shared: &Shared, server: &Server) -> bool {
    let questions = server.lock().questions();
    let Questions { stretches, queries, timeout } = questions;
    let question = |query: String, lookback| Question { query, lookback, timeout };
    let mut asked: Vec<(Option<Duration>, Question)> = Vec::new();
    for (stretch, (families, namespaces)) in &stretches {
        let (families, namespaces): (Vec<&str>, Vec<&str>) =
            (families.iter().map(|f| &**f).collect(), namespaces.iter().map(|n| &**n).collect());
        for families in families.chunks(CHUNK) {
            for namespaces in namespaces.chunks(CHUNK) {
                let (names, of) = (families.iter().copied(), namespaces.iter().copied());
                let query = range_selector(names, &server.key.labels.namespace, of, *stretch);
                asked.push((Some(*stretch), question(query, None)));
            }
        }
    }
    asked
        .extend(queries.iter().map(|(query, stale)| (None, question(query.clone(), Some(*stale)))));
    let answers: Vec<_> = stream::iter(asked)
        .map(|(stretch, question)| async move {
            let answered = shared.asker.ask(&server.key, &question).await;
            shared.telemetry.record_query(answered.as_ref().err().map_or("ok", QueryError::kind));
            (stretch, question.query, answered)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let ok = answers.iter().all(|(_, _, answered)| answered.is_ok());
    let wake: Vec<Arc<Notify>> = {
        let mut state = server.lock();
        state.take(answers, &server.key.labels, shared.clock.monotonic());
        state.needs.values().map(|need| need.wake.clone()).collect()
    };
    for wake in wake {
        wake.notify_one();
    }
    ok
}
