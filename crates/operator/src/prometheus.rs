//! Prometheus servers, each asked once per interval for what all autoscalers need of it.
//!
//! The key of a server is its address, its names for the labels of pods, and the credentials; where there are credentials,
//! the namespace that they are from as well. Whoever needs the same stretch of time of some families is served by the same query.

mod client;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use llm_autoscaler_api::Access;
use llm_autoscaler_engines::{
    Measure,
    exposition::Scratch,
    prometheus::{Outcome, PodLabels, PodReading, PodSeries, by_pod, range_query},
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

pub use client::QueryError;
use client::{Answered, Asker, Question};

use crate::{access::Gate, telemetry::Telemetry};

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
}

/// A server, and the task that asks it.
pub struct Server {
    /// What it is.
    pub key: ServerKey,
    state: Mutex<State>,
    changed: Notify,
}

/// What is known from a server.
#[derive(Default)]
pub struct State {
    needs: HashMap<u64, Need>,
    /// The raw samples of each stretch of time.
    stretches: HashMap<Duration, Stretch>,
    queries: HashMap<String, Reply>,
    /// How far the server's clock is ahead of ours, in seconds, if it says.
    ahead: Option<f64>,
    task: Option<AbortHandle>,
}

/// The raw samples of one stretch of time.
#[derive(Default)]
struct Stretch {
    /// What was wrong with the latest query.
    error: Option<QueryError>,
    /// What the server said against its latest answer.
    warnings: Vec<String>,
    /// When the latest answer came.
    at: Option<Instant>,
    /// The server's time then.
    now: f64,
    /// By namespace and name.
    pods: HashMap<String, HashMap<String, OfPod>>,
}

/// The samples of a pod, and what was made of them so far.
#[derive(Default)]
struct OfPod {
    series: PodSeries,
    readings: Vec<(Arc<Measure>, Option<PodReading>)>,
}

/// The answer to somebody's own query.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What was wrong with the latest attempt.
    pub error: Option<QueryError>,
    /// What the server said against its latest answer.
    pub warnings: Vec<String>,
    /// The latest answer: when it came, and its numbers, one of each series.
    pub numbers: Option<(Instant, Vec<f64>)>,
}

/// What a server says about a pod.
pub struct Sample {
    /// The reading.
    pub reading: PodReading,
    /// For how long it has been scraped.
    pub age: Duration,
    /// Whether it is from the latest query, which was answered in full.
    pub is_latest: bool,
}

impl Servers {
    /// Is let in by `gate`.
    pub fn new(gate: Gate, telemetry: Telemetry) -> Self {
        Self(Arc::new(Shared { servers: Mutex::default(), asker: Asker::new(gate), telemetry }))
    }

    /// Makes `owner` one of those who need something of a server, or changes what it needs.
    pub fn subscribe(&self, owner: u64, key: &ServerKey, need: Need) -> Arc<Server> {
        let mut servers = self.servers();
        let new = || Arc::new(Server { key: key.clone(), state: Mutex::default(), changed: Notify::new() });
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

/// The stretch of time that a measure needs: its window, and as much before it as a sample may be old.
fn stretch(measure: &Measure, stale_after: Duration) -> Duration {
    measure.window + stale_after
}

impl State {
    /// What is known of a pod; `Ok(None)` while nobody has asked yet, or where the answer has nothing of it.
    ///
    /// # Errors
    /// The latest query failed, and there is no answer before it.
    pub fn sample(
        &mut self,
        pod: (&str, &str),
        measure: &Arc<Measure>,
        stale_after: Duration,
    ) -> Result<Option<Sample>, QueryError> {
        let Some(stretch) = self.stretches.get_mut(&stretch(measure, stale_after)) else { return Ok(None) };
        let Some(at) = stretch.at else { return stretch.error.clone().map_or(Ok(None), Err) };
        let is_latest = stretch.error.is_none() && stretch.warnings.is_empty();
        let now = stretch.now;
        let Some(reading) = stretch.reading(pod, measure, stale_after) else {
            return stretch.error.clone().map_or(Ok(None), Err);
        };
        let age = Duration::try_from_secs_f64((now - reading.at).max(0.0)).unwrap_or(Duration::MAX);
        Ok(Some(Sample { reading, age: age.saturating_add(at.elapsed()), is_latest }))
    }

    /// Whether a query for this measure has been tried.
    pub fn has_tried(&self, measure: &Measure, stale_after: Duration) -> bool {
        let stretch = self.stretches.get(&stretch(measure, stale_after));
        stretch.is_some_and(|stretch| stretch.at.is_some() || stretch.error.is_some())
    }

    /// What was wrong with the latest query for this measure.
    pub fn error(&self, measure: &Measure, stale_after: Duration) -> Option<&QueryError> {
        self.stretches.get(&stretch(measure, stale_after))?.error.as_ref()
    }

    /// What the server said against its latest answer.
    pub fn warnings(&self, measure: &Measure, stale_after: Duration) -> &[String] {
        self.stretches.get(&stretch(measure, stale_after)).map_or(&[], |stretch| &stretch.warnings)
    }

    /// The latest answer to a query.
    pub fn reply(&self, query: &str) -> Option<&Reply> {
        self.queries.get(query)
    }

    /// How many seconds the server's clock is ahead of ours.
    pub fn ahead(&self) -> Option<f64> {
        self.ahead
    }

    fn interval(&self) -> Duration {
        self.needs.values().map(|need| need.interval).min().unwrap_or(Duration::from_secs(15))
    }

    /// What is to be asked to serve everybody.
    fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        for need in self.needs.values() {
            questions.timeout = questions.timeout.max(need.timeout);
            for measure in need.measures.iter() {
                let wanted = questions.stretches.entry(stretch(measure, need.stale_after)).or_default();
                wanted.0.extend(measure.recipe.families());
                wanted.1.insert(need.namespace.clone());
            }
            for query in need.queries.iter() {
                let stale_after = questions.queries.entry(query.clone()).or_insert(need.stale_after);
                *stale_after = need.stale_after.min(*stale_after);
            }
        }
        questions
    }
}

/// Families and namespaces by the stretch of time; queries with the age that a sample may have.
#[derive(Default)]
struct Questions {
    stretches: BTreeMap<Duration, (BTreeSet<String>, BTreeSet<String>)>,
    queries: BTreeMap<String, Duration>,
    timeout: Duration,
}

impl Stretch {
    fn reading(&mut self, pod: (&str, &str), measure: &Arc<Measure>, gap: Duration) -> Option<PodReading> {
        let OfPod { series, readings } = self.pods.get_mut(pod.0)?.get_mut(pod.1)?;
        if let Some((_, reading)) = readings.iter().find(|(known, _)| Arc::ptr_eq(known, measure)) {
            return reading.clone();
        }
        let reading = series.reading(measure, gap, &mut Scratch::default());
        readings.push((measure.clone(), reading.clone()));
        reading
    }

    fn take(&mut self, answered: Result<Vec<Answered>, QueryError>, labels: &PodLabels) {
        let answers = match answered {
            Ok(answers) => answers,
            Err(error) => return self.error = Some(error),
        };
        *self = Self { at: Some(Instant::now()), ..Self::default() };
        for answer in answers {
            self.now = self.now.max(answer.now);
            self.warnings.extend(answer.answer.warnings);
            let Outcome::Series(series) = answer.answer.outcome else { continue };
            for ((namespace, pod), series) in by_pod(series, labels) {
                self.pods.entry(namespace).or_default().entry(pod).or_default().series.extend(series);
            }
        }
    }
}

impl Reply {
    fn take(&mut self, answered: Result<Answered, QueryError>) {
        match answered {
            Err(error) => self.error = Some(error),
            Ok(Answered { answer, .. }) => {
                let numbers = match answer.outcome {
                    Outcome::Scalar(number) => vec![number],
                    Outcome::Series(series) => {
                        series.iter().filter_map(|series| Some(series.samples.last()?.1)).collect()
                    }
                };
                *self =
                    Self { error: None, warnings: answer.warnings, numbers: Some((Instant::now(), numbers)) };
            }
        }
    }
}

/// Asks one server for ever; ended from outside.
async fn run(shared: Arc<Shared>, server: Arc<Server>) {
    let mut next = Instant::now();
    let mut settled = false;
    let mut asked = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = sleep_until(next) => {}
            () = server.changed.notified() => {
                // What nobody has asked for before is asked for at once.
                let needs = needs(&server);
                if needs.is_subset(&asked) {
                    continue;
                }
            }
        }
        asked = needs(&server);
        ask(&shared, &server).await;
        let interval = server.lock().interval();
        let began = next;
        next = began + if settled { interval } else { server.phase(interval) };
        settled = true;
        while next <= Instant::now() {
            next += interval;
        }
    }
}

/// What is needed, in a form that can be compared.
fn needs(server: &Server) -> BTreeSet<(String, String)> {
    let questions = server.lock().questions();
    let stretches = questions.stretches.iter().flat_map(|(stretch, (families, namespaces))| {
        let pairs = families.iter().flat_map(move |family| namespaces.iter().map(move |ns| (family, ns)));
        pairs.map(move |(family, namespace)| (format!("{family} {stretch:?}"), namespace.clone()))
    });
    let queries = questions.queries.keys().map(|query| (query.clone(), String::new()));
    stretches.chain(queries).collect()
}

async fn ask(shared: &Shared, server: &Server) {
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
                let query = range_query(names, &server.key.labels.namespace, of, *stretch);
                asked.push((Some(*stretch), question(query, None)));
            }
        }
    }
    asked.extend(queries.iter().map(|(query, stale)| (None, question(query.clone(), Some(*stale)))));
    let answers: Vec<_> = stream::iter(asked)
        .map(|(stretch, question)| async move {
            let answered = shared.asker.ask(&server.key, &question).await;
            shared.telemetry.asked(answered.as_ref().err());
            (stretch, question.query, answered)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let wake: Vec<Arc<Notify>> = {
        let mut state = server.lock();
        state.take(answers, &server.key.labels);
        state.needs.values().map(|need| need.wake.clone()).collect()
    };
    for wake in wake {
        wake.notify_one();
    }
}

impl State {
    fn take(
        &mut self,
        answers: Vec<(Option<Duration>, String, Result<Answered, QueryError>)>,
        labels: &PodLabels,
    ) {
        let mut by_stretch: HashMap<Duration, Result<Vec<Answered>, QueryError>> = HashMap::new();
        let mut queries = std::mem::take(&mut self.queries);
        for (stretch, query, answered) in answers {
            if let Ok(answered) = &answered {
                self.ahead = answered.ahead;
            }
            match stretch {
                None => {
                    let mut reply = queries.remove(&query).unwrap_or_default();
                    reply.take(answered);
                    self.queries.insert(query, reply);
                }
                Some(stretch) => {
                    let all = by_stretch.entry(stretch).or_insert_with(|| Ok(Vec::new()));
                    match (&mut *all, answered) {
                        (Ok(all), Ok(answered)) => all.push(answered),
                        (Ok(_), Err(error)) => *all = Err(error),
                        (Err(_), _) => {}
                    }
                }
            }
        }
        self.stretches.retain(|stretch, _| by_stretch.contains_key(stretch));
        for (stretch, answered) in by_stretch {
            self.stretches.entry(stretch).or_default().take(answered, labels);
        }
    }
}
