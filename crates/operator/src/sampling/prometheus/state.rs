//! What is known from one server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure,
    exposition::Scratch,
    prometheus::{PodLabels, PodReading, PodSeries, QueryData, group_by_pod},
};
use tokio::task::AbortHandle;

use crate::sampling::prometheus::{
    Need,
    client::{Answered, QueryError},
};

/// What is known from a server.
#[derive(Default)]
pub struct State {
    pub(super) needs: HashMap<u64, Need>,
    /// The raw samples of each stretch of time.
    stretches: HashMap<Duration, Stretch>,
    queries: HashMap<String, Reply>,
    /// How far the server's clock is ahead of ours, in seconds, if it says.
    ahead: Option<f64>,
    pub(super) task: Option<AbortHandle>,
}

/// The raw samples of one stretch of time.
#[derive(Default)]
struct Stretch {
    /// What was wrong with the latest query.
    error: Option<QueryError>,
    /// What the server said against its latest answer.
    warnings: Vec<String>,
    /// When the latest answer came.
    at: Option<Monotonic>,
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
    pub numbers: Option<(Monotonic, Vec<f64>)>,
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
        at_present: Monotonic,
    ) -> Result<Option<Sample>, QueryError> {
        let Some(stretch) = self.stretches.get_mut(&stretch(measure, stale_after)) else {
            return Ok(None);
        };
        let Some(at) = stretch.at else { return stretch.error.clone().map_or(Ok(None), Err) };
        let is_latest = stretch.error.is_none() && stretch.warnings.is_empty();
        let now = stretch.now;
        let Some(reading) = stretch.reading(pod, measure, stale_after) else {
            return stretch.error.clone().map_or(Ok(None), Err);
        };
        let age = Duration::try_from_secs_f64((now - reading.at).max(0.0)).unwrap_or(Duration::MAX);
        Ok(Some(Sample { reading, age: age.saturating_add(at_present.since(at)), is_latest }))
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

    /// The interval that serves everybody.
    pub(super) fn interval(&self) -> Duration {
        self.needs.values().map(|need| need.interval).min().unwrap_or(Duration::from_secs(15))
    }

    /// What is to be asked to serve everybody.
    pub(super) fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        for need in self.needs.values() {
            questions.timeout = questions.timeout.max(need.timeout);
            for measure in need.measures.iter() {
                let wanted =
                    questions.stretches.entry(stretch(measure, need.stale_after)).or_default();
                wanted.0.extend(measure.recipe.families());
                wanted.1.insert(need.namespace.clone());
            }
            for query in need.queries.iter() {
                let stale_after =
                    questions.queries.entry(query.clone()).or_insert(need.stale_after);
                *stale_after = need.stale_after.min(*stale_after);
            }
        }
        questions
    }

    /// Takes in what was answered to questions, by the stretch of time that they were about, or the query.
    pub(super) fn take(
        &mut self,
        answers: Vec<(Option<Duration>, String, Result<Answered, QueryError>)>,
        labels: &PodLabels,
        at: Monotonic,
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
                    reply.take(answered, at);
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
            self.stretches.entry(stretch).or_default().take(answered, labels, at);
        }
    }
}

/// Families and namespaces by the stretch of time; queries with the age that a sample may have.
#[derive(Default)]
pub(super) struct Questions {
    pub(super) stretches: BTreeMap<Duration, (BTreeSet<String>, BTreeSet<String>)>,
    pub(super) queries: BTreeMap<String, Duration>,
    pub(super) timeout: Duration,
}

impl Stretch {
    fn reading(
        &mut self,
        pod: (&str, &str),
        measure: &Arc<Measure>,
        gap: Duration,
    ) -> Option<PodReading> {
        let OfPod { series, readings } = self.pods.get_mut(pod.0)?.get_mut(pod.1)?;
        if let Some((_, reading)) = readings.iter().find(|(known, _)| Arc::ptr_eq(known, measure)) {
            return reading.clone();
        }
        let reading = series.reading(measure, gap, &mut Scratch::default());
        readings.push((measure.clone(), reading.clone()));
        reading
    }

    fn take(
        &mut self,
        answered: Result<Vec<Answered>, QueryError>,
        labels: &PodLabels,
        at: Monotonic,
    ) {
        let answers = match answered {
            Ok(answers) => answers,
            Err(error) => return self.error = Some(error),
        };
        *self = Self { at: Some(at), ..Self::default() };
        for answer in answers {
            self.now = self.now.max(answer.now);
            self.warnings.extend(answer.answer.warnings);
            let QueryData::Series(series) = answer.answer.data else { continue };
            for ((namespace, pod), series) in group_by_pod(series, labels) {
                self.pods
                    .entry(namespace)
                    .or_default()
                    .entry(pod)
                    .or_default()
                    .series
                    .extend(series);
            }
        }
    }
}

impl Reply {
    fn take(&mut self, answered: Result<Answered, QueryError>, at: Monotonic) {
        match answered {
            Err(error) => self.error = Some(error),
            Ok(Answered { answer, .. }) => {
                let numbers = match answer.data {
                    QueryData::Scalar(number) => vec![number],
                    QueryData::Series(series) => {
                        series.iter().filter_map(|series| Some(series.samples.last()?.1)).collect()
                    }
                };
                *self =
                    Self { error: None, warnings: answer.warnings, numbers: Some((at, numbers)) };
            }
        }
    }
}
