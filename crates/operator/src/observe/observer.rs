//! Pods and what the sources say of them → observation. Also notes, for people, what is missing and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Advice, Asked, MetricPlan, Plan};
use llm_autoscaler_core::{
    Deviation, Doubt, Milli, Observation, Reading, Replica, Scale, Selector, StartUps,
};
use llm_autoscaler_engines::{Fold, Kind, Measure, exposition::Value};

use crate::{
    cluster::pods::Pod, cluster::pods::TroubleKind, observe::advice, observe::replicas::Group,
    observe::replicas::Replicas, sampling::page_view::Said, sampling::page_view::Sample,
    sampling::sources::Source, sampling::sources::SourceKind, sampling::sources::Sources,
};

use crate::observe::reading::{folded, reading, total_of};

/// What was seen.
pub struct Seen {
    /// For the decision.
    pub observation: Observation,
    /// How many replicas serve.
    pub ready: i32,
    /// What is missing.
    pub problems: Vec<Problem>,
    /// Where the samples of each metric are from.
    pub origins: Vec<Origin>,
    /// Replicas that will not get ready by waiting, and why.
    pub stuck: Vec<(String, TroubleKind)>,
    /// What a person should know of what was found.
    pub advice: BTreeSet<Advice>,
    /// Some sample is not beyond doubt.
    pub doubtful: bool,
    /// Somebody has not been asked for long enough: it is too early to say that something is missing.
    pub warming_up: bool,
}

/// A replica without a usable sample, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The pod's name; or the source's, where no pod can be named.
    pub of: String,
    /// What is wrong with it.
    pub text: String,
}

/// Where the samples of a metric are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many are from each source, in the order of the spec.
    pub samples: Vec<u32>,
    /// How old the oldest of them is.
    pub age: Duration,
    /// How the first of them was found that was not found under its first name.
    pub alternative: Option<(usize, usize)>,
    /// Why the first source was not enough, where it was not.
    pub why: Option<String>,
}

impl Origin {
    /// Counts a sample of a source in.
    fn count(&mut self, source: usize, sample: &Sample) {
        self.samples[source] += 1;
        self.age = self.age.max(sample.age);
        self.alternative = self.alternative.or(sample.found.alternative);
    }
}

/// Looks at everything once.
pub struct Observer<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The sources that it names.
    pub sources: &'a mut Sources,
    /// The target's replicas.
    pub replicas: &'a Replicas,
    /// Leaves out whatever is in doubt.
    pub strict: bool,
    /// The time.
    pub now: DateTime<Utc>,
    /// For how long a replica that is not ready is waited for.
    pub patience: TimeDelta,
    /// Somebody has called lately.
    pub woken: bool,
}

/// What is wrong with each pod or source, by name.
type Problems = BTreeMap<String, BTreeSet<String>>;

impl Observer<'_> {
    /// What is to be seen of the target now. Samples that are in doubt are good enough to grow by, or to stay.
    pub fn observe(mut self, scale: Scale, scaled_to_zero: bool) -> Seen {
        let listed = usize::try_from(scale.current.max(scale.status)).unwrap_or_default();
        let mut seen = Seen {
            observation: Observation {
                scale,
                selector: Selector::Valid,
                scaled_to_zero,
                replicas: self.replicas.list.iter().map(|group| self.replica(group)).collect(),
                readings: Vec::with_capacity(self.plan.metrics.len()),
                doubt: (self.replicas.alive() > listed).then_some(Doubt::Surplus),
                woken: self.woken,
            },
            ready: 0,
            problems: Vec::new(),
            origins: Vec::with_capacity(self.plan.metrics.len()),
            stuck: Vec::new(),
            advice: self.plan.advice.iter().cloned().collect(),
            doubtful: false,
            warming_up: false,
        };
        // Who has been taken out of service counts for the decision, and serves nobody new.
        let serves = |(replica, group): &(&Replica, &Group)| {
            replica.ready && !replica.deleting && !group.is_closed()
        };
        seen.ready =
            seen.observation.replicas.iter().zip(&self.replicas.list).filter(serves).count() as i32;
        let stuck = |group: &Group| {
            group.stuck(self.now, self.patience).map(|(pod, kind)| (pod.name.clone(), kind))
        };
        seen.stuck = self.replicas.list.iter().filter_map(stuck).collect();
        if seen.observation.doubt == Some(Doubt::Surplus) {
            seen.advice.insert(advice::surplus(self.replicas.alive(), listed));
        }
        let asked = usize::try_from(scale.current).unwrap_or_default();
        seen.advice.extend(advice::in_turn(self.replicas, asked, self.now));
        let mut problems = Problems::new();
        let plan = self.plan;
        for (index, metric) in plan.metrics.iter().enumerate() {
            let (reading, origin) = match (&metric.asked, self.sources.measures[index].clone()) {
                (Asked::Measure { quantile, .. }, Some(measure)) => {
                    self.measured(metric, &measure, *quantile, &mut seen, &mut problems)
                }
                (Asked::Query(query), _) => self.queried(metric, query, &mut seen, &mut problems),
                (Asked::Measure { .. }, None) => (Reading::Failed, Origin::default()),
            };
            seen.observation.readings.push(reading);
            seen.origins.push(origin);
        }
        advice::of_sources(self.sources, &mut seen.advice);
        let problem = |(of, texts): (String, BTreeSet<String>)| {
            let texts: Vec<String> = texts.into_iter().collect();
            Problem { of, text: texts.join("; ") }
        };
        seen.problems = problems.into_iter().map(problem).collect();
        seen
    }

    fn replica(&self, group: &Group) -> Replica {
        Replica { stuck: group.stuck(self.now, self.patience).is_some(), ..group.state() }
    }

    /// Whether a pod has something to say: it runs, and is not stuck. The HPA does not know what stuck is.
    fn asks(&self, pod: &Pod) -> bool {
        let knows_stuck = self.plan.policy.profile.has(Deviation::StuckReplicas);
        pod.is_running() && !(knows_stuck && pod.stuck(self.now, self.patience).is_some())
    }

    /// The reading of a quantity of pods.
    fn measured(
        &mut self,
        metric: &MetricPlan,
        measure: &Arc<Measure>,
        quantile: Option<f64>,
        seen: &mut Seen,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        let mut values: Vec<Option<Value>> = vec![None; self.replicas.speakers.len()];
        let mut origin = Origin { samples: vec![0; self.sources.list.len()], ..Origin::default() };
        let mut reasons = Problems::new();
        for index in 0..self.sources.list.len() {
            if index > 0 && !self.sources.list[index].is_needed() {
                // It begins to be asked now.
                break;
            }
            let is_own = !matches!(self.sources.list[index].kind, SourceKind::Others(..));
            let mut pending = 0;
            if is_own {
                pending = self.fill(
                    index,
                    (metric, measure),
                    &mut values,
                    &mut origin,
                    seen,
                    &mut reasons,
                );
            } else if values.iter().all(Option::is_none)
                && let Some(reading) =
                    self.total(index, (metric, measure), quantile, &mut origin, seen, &mut reasons)
            {
                origin.why = first(&reasons).filter(|_| index > 0);
                return (reading, origin);
            }
            // Who has not answered yet is not looked for elsewhere.
            let asked =
                self.replicas.speakers.values().zip(&values).filter(|(pod, _)| self.asks(pod));
            let is_answered = asked.filter(|(_, value)| value.is_none()).count() == pending;
            // Where there is no replica, the others know.
            if is_own && is_answered && !self.replicas.list.is_empty() {
                break;
            }
        }
        if origin.samples.iter().skip(1).any(|count| *count > 0) {
            origin.why = first(&reasons);
        }
        // Only those are missing that no source has.
        for (pod, value) in self.replicas.speakers.values().zip(&values) {
            if value.is_none()
                && self.asks(pod)
                && let Some(texts) = reasons.remove(&pod.name)
            {
                problems.entry(pod.name.clone()).or_default().extend(texts);
            }
        }
        let nobody = values.iter().all(Option::is_none);
        if nobody {
            // What is wrong with sources as a whole.
            let pods: BTreeSet<&String> = self.replicas.speakers.keys().collect();
            for (of, texts) in reasons.into_iter().filter(|(of, _)| !pods.contains(of)) {
                problems.entry(of).or_default().extend(texts);
            }
        }
        let values = self.by_replica(values, measure.recipe.fold());
        (reading(values, quantile, nobody && !problems.is_empty()), origin)
    }

    /// Fills in the values that one source has and those before it had not. Returns how many are on their way.
    fn fill(
        &self,
        index: usize,
        (metric, measure): (&MetricPlan, &Arc<Measure>),
        values: &mut [Option<Value>],
        origin: &mut Origin,
        seen: &mut Seen,
        reasons: &mut Problems,
    ) -> usize {
        let source = &self.sources.list[index];
        let mut pending = 0;
        for (place, (pod, value)) in self.replicas.speakers.values().zip(values).enumerate() {
            if value.is_some() || !self.asks(pod) {
                continue;
            }
            match self.look(source, (place, pod), measure) {
                Said::Sample(sample) => {
                    advice::of_sample(metric, pod, &sample, source, &mut seen.advice);
                    seen.doubtful |= !sample.is_certain;
                    origin.count(index, &sample);
                    *value = Some(sample.value);
                }
                Said::Pending => pending += 1,
                Said::Nothing(text) => {
                    reasons.entry(pod.name.clone()).or_default().insert(text);
                }
            }
        }
        seen.warming_up |= pending > 0;
        pending
    }

    /// What the replicas say, from what their speakers say. One of whose speakers nothing is known has said nothing.
    fn by_replica(&self, values: Vec<Option<Value>>, fold: Fold) -> Vec<Option<Value>> {
        if self.replicas.list.iter().all(|group| group.speakers == 1) {
            return values;
        }
        let mut parts: Vec<Vec<Option<Value>>> = vec![Vec::new(); self.replicas.list.len()];
        for (place, value) in self.replicas.of_speaker.iter().zip(values) {
            parts[*place].push(value);
        }
        parts
            .into_iter()
            .map(|parts| folded(parts.into_iter().collect::<Option<_>>()?, fold))
            .collect()
    }

    /// `place` is where the pod stands among those that the source is about.
    pub(super) fn look(
        &self,
        source: &Source,
        (place, pod): (usize, &Pod),
        measure: &Arc<Measure>,
    ) -> Said {
        match &source.kind {
            SourceKind::Own(pages) | SourceKind::Others(pages, _) => {
                pages.look((place, pod), measure, self.sources.engine(), self.strict)
            }
            SourceKind::Prometheus(asking) => asking.look(pod, measure, self.strict),
        }
    }

    /// The total of what other pods know; `None` if there is none.
    fn total(
        &mut self,
        index: usize,
        (metric, measure): (&MetricPlan, &Arc<Measure>),
        quantile: Option<f64>,
        origin: &mut Origin,
        seen: &mut Seen,
        reasons: &mut Problems,
    ) -> Option<Reading> {
        let SourceKind::Others(_, view) = &mut self.sources.list[index].kind else { return None };
        let others = view.members();
        let source = &self.sources.list[index];
        if measure.recipe.kind() == Kind::Gauge && measure.recipe.fold() != Fold::Sum {
            let none = format!("{} is a share, and shares of other pods are no total", metric.name);
            reasons.entry(format!("sources[{index}]")).or_default().insert(none);
            return None;
        }
        let mut values = Vec::new();
        // One that is about to end may still be at work, and its page is not read any more.
        let mut complete = !others.values().any(|pod| pod.replica.deleting);
        for (place, pod) in others.values().enumerate().filter(|(_, pod)| pod.is_running()) {
            match self.look(source, (place, pod), measure) {
                Said::Sample(sample) => {
                    advice::of_sample(metric, pod, &sample, source, &mut seen.advice);
                    complete &= sample.is_certain;
                    origin.count(index, &sample);
                    values.push(Some(sample.value));
                }
                Said::Pending => seen.warming_up = true,
                // One that has not served for so long has nothing to do with the load.
                Said::Nothing(_)
                    if pod.stuck(self.now, StartUps::default().patience()).is_some() => {}
                Said::Nothing(text) => {
                    complete = false;
                    reasons.entry(pod.name.clone()).or_default().insert(text);
                }
            }
        }
        if values.is_empty() {
            let none = "no running pod that podSelector selects has a sample";
            reasons.entry(format!("sources[{index}]")).or_default().insert(none.to_owned());
            return None;
        }
        let everybody = vec![true; self.replicas.list.len()];
        Some(match reading(values, quantile, false) {
            Reading::Pooled { value: Some(value), .. } => Reading::Total { value, complete },
            Reading::Pooled { value: None, .. } if complete => {
                Reading::Pooled { value: None, reported: everybody }
            }
            Reading::PerReplica { samples, .. } => {
                let total = samples
                    .into_iter()
                    .flatten()
                    .fold(0_i64, |total, Milli(m)| total.saturating_add(m));
                Reading::Total { value: Milli(total), complete }
            }
            _ => Reading::Failed,
        })
    }

    /// The reading of a query.
    fn queried(
        &self,
        metric: &MetricPlan,
        query: &str,
        seen: &mut Seen,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        let mut origin = Origin { samples: vec![0; self.sources.list.len()], ..Origin::default() };
        let mut texts = BTreeSet::new();
        for (index, source) in self.sources.list.iter().enumerate() {
            let SourceKind::Prometheus(asking) = &source.kind else { continue };
            match asking.reply(query) {
                Err(None) => seen.warming_up = true,
                Err(Some(text)) => {
                    texts.insert(text);
                }
                Ok(reply) => {
                    match total_of(metric, reply.numbers.as_ref().map_or(&[][..], |(_, n)| n)) {
                        Err(problem) => {
                            texts.insert(format!("{}: {problem}", asking.url()));
                        }
                        Ok(value) => {
                            origin.samples[index] = 1;
                            origin.age = reply
                                .numbers
                                .as_ref()
                                .map_or(Duration::ZERO, |(at, _)| at.elapsed());
                            origin.why = texts.first().cloned();
                            let complete = reply.error.is_none() && reply.warnings.is_empty();
                            if let Some(warning) = reply.warnings.first() {
                                seen.advice.insert(advice::partial(asking.url(), warning));
                            }
                            return (Reading::Total { value, complete }, origin);
                        }
                    }
                }
            }
        }
        if !texts.is_empty() {
            problems.entry(metric.name.clone()).or_default().extend(texts);
        }
        (Reading::Failed, origin)
    }
}

fn first(reasons: &Problems) -> Option<String> {
    let (of, texts) = reasons.first_key_value()?;
    Some(format!("{of}: {}", texts.first()?))
}
