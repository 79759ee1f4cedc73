//! The numbers of pods, sampled while they are asked for.
//!
//! The first request for a number subscribes to it, like one more source of its autoscaler: pages
//! that are scraped anyway are not scraped twice. A page that is older than half a second is
//! scraped for the answer. A subscription that is not asked for ends after two minutes.

mod total;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, stream};
use kube::core::SelectorExt;
use llm_autoscaler_api::{TargetConfig, exported, selector};
use llm_autoscaler_core::{Milli, Monotonic, Profile};
use llm_autoscaler_engines::{Measure, exposition::Value};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::{Lookup, NO_SERIES, Samples, SourceKind, SourceSamples},
};
use tokio::sync::Notify;

use crate::{
    cluster::pods::PodView,
    http::wake::AutoscalerKey,
    lock::lock,
    metrics_api::{
        catalog::{Catalog, Target},
        documents::PodValue,
        request::PodsRequest,
    },
    sampling::sources::{Sampling, Sources},
    scale::client::ScaleClient,
};

/// The age of a page that answers without another scrape.
const FRESH: Duration = Duration::from_millis(500);
/// The longest wait for a page that has answered before: longer than the usual timeout of a scrape.
const REFRESHED_WITHIN: Duration = Duration::from_millis(1250);
/// The longest wait for the first sample of a number.
const FIRST_WITHIN: Duration = Duration::from_millis(2500);
/// The time after which the scale of a target is read again, for its selector.
const LOCATED_FOR: Duration = Duration::from_mins(1);
/// The time for which a number is sampled that is not asked for.
const KEPT: Duration = Duration::from_mins(2);
/// The number of targets that are read at once for one request.
const AT_ONCE: usize = 16;
/// The number of numbers of one namespace that are sampled at once. A client chooses the labels of
/// series, so that there may be very many.
const OF_NAMESPACE: usize = 1000;
/// The number of reasons that an answer without a number has.
const REASONS: usize = 3;

/// A number of a target: the autoscaler, its role, the name of the number and its labels.
type Key = (AutoscalerKey, Option<String>, String, Vec<(String, String)>);

/// Finds numbers of pods.
pub(super) struct PodValues {
    sampling: Sampling,
    scales: Arc<ScaleClient>,
    catalog: Catalog,
    profile: Profile,
    numbers: Mutex<HashMap<Key, Arc<Number>>>,
}

/// A number of one target that is sampled.
struct Number {
    target: Arc<Target>,
    config: TargetConfig,
    state: tokio::sync::Mutex<NumberState>,
    asked_at: Mutex<Monotonic>,
    wake: Arc<Notify>,
}

struct NumberState {
    sources: Sources,
    /// The target's pods; `None` while its scale has not been read.
    located: Option<Located>,
}

struct Located {
    view: PodView,
    selector: String,
    at: Monotonic,
}

/// The reason why there is no number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// No autoscaler of the namespace has it.
    Metric(String),
    /// No pod has a sample.
    Samples(String),
}

/// The number of one pod, or why there is none.
#[derive(Debug)]
enum Outcome {
    Number(f64, Duration),
    Pending,
    None(String),
}

impl PodValues {
    /// Samples nothing yet.
    pub(super) fn new(
        sampling: Sampling,
        scales: Arc<ScaleClient>,
        catalog: Catalog,
        profile: Profile,
    ) -> Self {
        Self { sampling, scales, catalog, profile, numbers: Mutex::default() }
    }

    /// Returns the numbers of the pods that a request selects, in the order of their names.
    ///
    /// # Errors
    /// There is none: see [`Missing`].
    pub(super) async fn find(&self, request: &PodsRequest) -> Result<Vec<PodValue>, Missing> {
        let PodsRequest { namespace, metric, series, .. } = request;
        let targets = self.catalog.targets(namespace, self.profile).into_iter();
        let wanted: Vec<_> = targets
            .filter_map(|target| {
                let measure = exported::measure(&target.role.config, metric, series)?;
                Some(self.number((metric, series), target, &measure))
            })
            .collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            return Err(Missing::Metric(format!(
                "no LLMAutoscaler of the namespace {namespace} has the metric {metric}: its \
                 engine or its spec names it otherwise"
            )));
        }
        if let Some(problem) = self.sampling.pods.problem(namespace) {
            return Err(Missing::Samples(problem));
        }
        let is_chosen = |pod: &Pod| match &*request.pod {
            "*" => request.pods.matches(&pod.labels),
            name => pod.name == name,
        };
        let answers = stream::iter(wanted).map(|number| self.read(number, is_chosen));
        let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
        let (mut pods, mut reasons) = (BTreeMap::new(), Vec::new());
        for (values, missing) in answers {
            for value in values {
                pods.entry(value.pod.clone()).or_insert(value);
            }
            reasons.extend(missing);
        }
        if !pods.is_empty() {
            return Ok(pods.into_values().collect());
        }
        reasons.truncate(REASONS);
        Err(Missing::Samples(match &reasons[..] {
            [] => format!("no pod of an LLMAutoscaler of the namespace {namespace} is selected"),
            reasons => format!("no sample of {metric}: {}", reasons.join("; ")),
        }))
    }

    /// Ends the sampling of numbers that are not asked for, for the life of the process.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::time::sleep(KEPT / 4).await;
            let now = self.sampling.clock.monotonic();
            lock(&self.numbers).retain(|_, number| now.since(*lock(&number.asked_at)) < KEPT);
        }
    }

    /// Returns a number of a target, which is sampled from now on.
    fn number(
        &self,
        (metric, series): (&str, &[(String, String)]),
        target: Arc<Target>,
        measure: &Measure,
    ) -> Result<Arc<Number>, Missing> {
        let now = self.sampling.clock.monotonic();
        let (autoscaler, role) = (target.autoscaler.clone(), target.role.name.clone());
        let namespace = autoscaler.namespace.clone();
        let key = (autoscaler, role, metric.to_owned(), series.to_vec());
        let mut numbers = lock(&self.numbers);
        let known = numbers.get(&key).filter(|known| Arc::ptr_eq(&known.target, &target));
        if let Some(known) = known {
            *lock(&known.asked_at) = now;
            return Ok(known.clone());
        }
        let of_namespace = numbers.keys().filter(|(it, ..)| it.namespace == namespace);
        if of_namespace.count() >= OF_NAMESPACE {
            return Err(Missing::Samples(format!(
                "{OF_NAMESPACE} other numbers of the namespace {namespace} are asked for; ask for \
                 fewer metrics, or with fewer label selectors"
            )));
        }
        let (config, wake) = (target.role.config.reading(measure), Arc::<Notify>::default());
        let sources = Sources::new(&self.sampling, &namespace, &wake, &config);
        let state = tokio::sync::Mutex::new(NumberState { sources, located: None });
        let number = Arc::new(Number { target, config, state, asked_at: Mutex::new(now), wake });
        numbers.insert(key, number.clone());
        Ok(number)
    }

    /// Returns the numbers of the selected pods of a target, and why others have none.
    async fn read(
        &self,
        number: Arc<Number>,
        is_chosen: impl Fn(&Pod) -> bool,
    ) -> (Vec<PodValue>, Vec<String>) {
        let mut state = number.state.lock().await;
        let name = &number.target.autoscaler.name;
        if let Err(error) = self.locate(&number, &mut state).await {
            return (Vec::new(), vec![format!("{name}: {error}")]);
        }
        let NumberState { sources, located: Some(located) } = &mut *state else {
            return (Vec::new(), Vec::new());
        };
        let members = located.view.latest();
        let chosen: Vec<bool> = members.values().map(|pod| is_chosen(pod)).collect();
        if !chosen.contains(&true) {
            return (Vec::new(), Vec::new());
        }
        let outcomes = self.outcomes(&number, sources, &members, &chosen).await;
        let window = number.config.metrics[0].measure_at(0).map(|measure| measure.window);
        let window = window.unwrap_or_default();
        let now = self.sampling.clock.now().wall;
        let (mut values, mut missing) = (Vec::new(), Vec::new());
        for (pod, outcome) in members.keys().zip(outcomes) {
            let reason = match outcome {
                Some(Outcome::Number(value, age)) => match Milli::from_f64(value) {
                    Some(value) => {
                        values.push(PodValue { pod: pod.clone(), value, at: now - age, window });
                        continue;
                    }
                    None => "its value is not a number".to_owned(),
                },
                Some(Outcome::Pending) => "the first sample is on its way".to_owned(),
                Some(Outcome::None(reason)) => reason,
                None => continue,
            };
            missing.push(format!("{pod}: {reason}"));
        }
        (values, missing)
    }

    /// Finds the pods of a target by the selector of its scale.
    async fn locate(&self, number: &Number, state: &mut NumberState) -> Result<(), String> {
        let now = self.sampling.clock.monotonic();
        let is_known = |located: &Located| now.since(located.at) < LOCATED_FOR;
        if state.located.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let namespace = &number.target.autoscaler.namespace;
        let scale = self.scales.get_scale(namespace, &number.config.target).await;
        let text = scale.map_err(|error| error.to_string())?.selector;
        if text.is_empty() {
            return Err("its target has no selector of pods".to_owned());
        }
        match &mut state.located {
            Some(located) if located.selector == text => located.at = now,
            located => {
                let selector = selector::parse(&text).map_err(|error| error.to_string())?;
                let view = self.sampling.pods.view(namespace, selector);
                *located = Some(Located { view, selector: text, at: now });
                // A view of pods that have never been listed is empty.
                self.sampling.pods.until_complete(namespace, FIRST_WITHIN).await;
            }
        }
        Ok(())
    }

    /// Returns the outcome of each chosen pod, after a wait for samples that are fresh.
    async fn outcomes(
        &self,
        number: &Number,
        sources: &mut Sources,
        members: &Members,
        chosen: &[bool],
    ) -> Vec<Option<Outcome>> {
        let began = self.sampling.clock.monotonic();
        let names = members.keys().zip(chosen).filter(|(_, chosen)| **chosen);
        let names: HashSet<&str> = names.map(|(name, _)| name.as_str()).collect();
        sources.update_subscriptions(members, began);
        let is_scraped_anew = sources.demand(|name| names.contains(name), FRESH, began);
        loop {
            // The notice of a scrape that ends from here on is not missed.
            let woken = number.wake.notified();
            let now = self.sampling.clock.monotonic();
            sources.update_subscriptions(members, now);
            let samples = sources.samples(members, false, now);
            let (outcomes, needed) = outcomes(&samples, chosen);
            sources.renew(&needed, now);
            let waited = now.since(began);
            let within = outcomes.iter().flatten().map(|outcome| match outcome {
                Outcome::Pending => FIRST_WITHIN,
                Outcome::Number(_, age) if *age > FRESH + waited => REFRESHED_WITHIN,
                // The scrape before has failed, and this one may not.
                Outcome::None(_) if is_scraped_anew => REFRESHED_WITHIN,
                Outcome::Number(..) | Outcome::None(_) => Duration::ZERO,
            });
            let left = within.max().unwrap_or_default().saturating_sub(waited);
            if left.is_zero() {
                return outcomes;
            }
            // The end of the wait is seen above.
            let _ = tokio::time::timeout(left, woken).await;
        }
    }
}

/// Returns the outcome of each chosen pod: of the first source that has a sample beyond doubt. For
/// each source, it is told besides whether it is needed.
fn outcomes(samples: &Samples, chosen: &[bool]) -> (Vec<Option<Outcome>>, Vec<bool>) {
    let mut needed = vec![false; samples.sources.len()];
    let outcomes = chosen
        .iter()
        .enumerate()
        .map(|(pod, is_chosen)| is_chosen.then(|| outcome(&samples.sources, pod, &mut needed)));
    let outcomes = outcomes.collect();
    (outcomes, needed)
}

fn outcome(sources: &[SourceSamples], pod: usize, needed: &mut [bool]) -> Outcome {
    let mut missing: Option<Outcome> = None;
    for (source, is_needed) in sources.iter().zip(needed) {
        if matches!(source.kind, SourceKind::OtherPods(_)) {
            continue;
        }
        *is_needed = true;
        let lookup = source.metrics.first().and_then(|lookups| lookups.get(pod));
        let found = match lookup {
            Some(Lookup::Sample(sample)) => match (&sample.value, &sample.doubt) {
                (Value::Number(value), None) => return Outcome::Number(*value, sample.age),
                (_, Some(doubt)) => Outcome::None(doubt.to_string()),
                _ => Outcome::None("its value is not a number".to_owned()),
            },
            Some(Lookup::NoSeries) => Outcome::None(NO_SERIES.to_owned()),
            Some(Lookup::Contradicted(reason)) => return Outcome::None(reason.clone()),
            Some(Lookup::Pending { error: None }) => Outcome::Pending,
            Some(
                Lookup::Pending { error: Some(reason) }
                | Lookup::Missing(reason)
                | Lookup::NoNumber(reason)
                | Lookup::Ambiguous(reason)
                | Lookup::OtherEngine { reason, .. },
            ) => Outcome::None(reason.clone()),
            None => continue,
        };
        let is_first = missing.is_none();
        // The reason of the first source is told, unless another one may have a sample soon.
        if is_first || matches!(found, Outcome::Pending) {
            missing = Some(found);
        }
    }
    missing.unwrap_or_else(|| Outcome::None("none of its sources is about single pods".to_owned()))
}

#[cfg(test)]
mod tests;
