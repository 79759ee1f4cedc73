//! The observation of one target.
//!
//! It makes pods and samples the input of a decision, and findings: texts about what is missing or
//! doubtful, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Advice, Asked, MetricConfig, TargetConfig};
use llm_autoscaler_core::{
    Basis, Doubt, EngineActivity, Observation, Precision, PromisedSize, Reading, Replica,
    ReplicaState, Scale, Selector,
};
use llm_autoscaler_engines::Engine;

use crate::{
    advice,
    pod::TroubleKind,
    progress::ProgressTracker,
    reading::query_total,
    replicas::{ReplicaPods, Replicas},
    samples::{Evidence, QueryLookup, Sample, Samples, SourceKind},
    settling::Unsettled,
};

use self::metric_reader::MetricReader;

mod activity;
mod metric_reader;

/// Everything that is known of one target at one moment.
#[derive(Clone, Copy, Debug)]
pub struct TargetSnapshot<'a> {
    /// The target's part of the spec.
    pub config: &'a TargetConfig,
    /// Its replicas.
    pub replicas: &'a Replicas,
    /// The answers of its sources.
    pub samples: &'a Samples,
    /// Its scale subresource as last read.
    pub scale: Scale,
    /// The state of the scale subresource's selector.
    pub selector: Selector,
    /// True if this autoscaler is the one that scaled it to zero.
    pub scaled_to_zero: bool,
    /// True if a wake call arrived within the time after which the target may go to zero.
    pub woken: bool,
    /// The engines that make no progress.
    pub progress: &'a ProgressTracker,
    /// The time that a replica may take to become ready.
    pub startup_timeout: TimeDelta,
    /// The time of the observation.
    pub now: DateTime<Utc>,
}

/// The observations of one target, from the same snapshot.
#[derive(Clone, Debug)]
pub struct Observations {
    /// The observation by all usable samples. They may scale up, or keep the size.
    pub usable: TargetObservation,
    /// The observation by samples beyond doubt only, which may scale down. `None` if no sample is
    /// in doubt; both observations are equal then.
    pub beyond_doubt: Option<TargetObservation>,
}

/// One observation of a target.
#[derive(Clone, Debug)]
pub struct TargetObservation {
    /// The input of a decision.
    pub observation: Observation,
    /// The findings for people.
    pub findings: Findings,
}

/// The findings of an observation for people.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The number of replicas that serve.
    pub ready: i32,
    /// The pods without a usable sample and the sources without an answer, sorted by name.
    pub problems: Vec<Problem>,
    /// The origin of the samples of each metric, in the order of the spec.
    pub origins: Vec<Origin>,
    /// The replicas that will not become ready by waiting: the name of a pod, and its trouble.
    pub stuck: Vec<(String, TroubleKind)>,
    /// The requested replicas that are not created, where that is overdue.
    pub uncreated: Option<Unsettled>,
    /// Hints, although nothing is wrong.
    pub advice: BTreeSet<Advice>,
    /// The pods with pages of another engine than the spec's, by name, and that engine.
    pub other_engines: BTreeMap<String, Engine>,
    /// True if a sample of the target's pods is in doubt.
    pub in_doubt: bool,
    /// True if a first answer is still due, so that it is too early to call a sample missing.
    pub warming_up: bool,
    /// For each source, true if the sources before it were not enough. The first source is always
    /// scraped or queried, so its entry is false.
    pub needed_sources: Vec<bool>,
}

/// A pod without a usable sample, or a source without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the pod. If no pod can be named, it is that of the source or of the metric.
    pub of: String,
    /// The reasons, separated by semicolons.
    pub text: String,
}

/// The origin of the samples of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of samples from each source, in the order of the spec.
    pub samples: Vec<u32>,
    /// The age of the oldest sample.
    pub age: Duration,
    /// The place of the alternative name that the first sample with one was found under. See
    /// `Extract::alternative` in the engines crate.
    pub alternative: Option<(usize, usize)>,
    /// The place of the source of the first sample; 0 without one.
    pub source: usize,
    /// The reason why the first source was not enough, if another source was used.
    pub why: Option<String>,
}

impl Origin {
    fn new(sources: usize) -> Self {
        Self { samples: vec![0; sources], ..Self::default() }
    }

    fn record_sample(&mut self, source: usize, sample: &Sample) {
        if self.samples.iter().all(|samples| *samples == 0) {
            self.source = source;
        }
        self.samples[source] += 1;
        self.age = self.age.max(sample.age);
        // The place of a name is that in the table of the first sample's program.
        if self.source == source {
            self.alternative = self.alternative.or(sample.found.alternative);
        }
    }
}

/// The reasons why there is no sample, by the name of a pod, a source or a metric.
type Problems = BTreeMap<String, BTreeSet<String>>;

/// Observes a target by all usable samples. If one of them is in doubt, it is also observed by the
/// samples beyond doubt.
pub fn observe(snapshot: &TargetSnapshot<'_>) -> Observations {
    let usable = snapshot.observe(Evidence::Usable);
    let beyond_doubt = usable.findings.in_doubt.then(|| snapshot.observe(Evidence::BeyondDoubt));
    Observations { usable, beyond_doubt }
}

impl Observations {
    /// Adds the size that keeps the promise of the spec.
    pub fn set_promised(&mut self, promised: Option<PromisedSize>) {
        self.usable.observation.promised = promised;
        if let Some(beyond_doubt) = &mut self.beyond_doubt {
            beyond_doubt.observation.promised = promised;
        }
    }

    /// Returns the observation that a decision with this basis was made by. A decision in doubt was
    /// made by all usable samples, because nothing is beyond doubt.
    pub fn by_basis(&self, basis: Basis) -> &TargetObservation {
        match (&self.beyond_doubt, basis) {
            (Some(beyond_doubt), Basis::BeyondDoubt) => beyond_doubt,
            _ => &self.usable,
        }
    }

    /// Returns the problems to report. If a decision could not do without samples in doubt, they
    /// are those of the samples beyond doubt.
    pub fn problems(&self, basis: Basis) -> &[Problem] {
        &self.without_doubt(basis).unwrap_or(&self.usable).findings.problems
    }

    /// Returns the observation without samples in doubt, if a decision with this basis asked for
    /// it.
    ///
    /// Its [`Findings::needed_sources`] are needed too: another source may have the sample that is
    /// in doubt, and the target may shrink by that one.
    pub fn without_doubt(&self, basis: Basis) -> Option<&TargetObservation> {
        self.beyond_doubt.as_ref().filter(|_| basis != Basis::Usable)
    }
}

impl TargetObservation {
    /// Returns the states of the replicas, in their order.
    pub fn states(&self) -> Vec<ReplicaState> {
        self.observation.replicas.iter().copied().map(ReplicaState::new).collect()
    }
}

impl TargetSnapshot<'_> {
    /// Makes one observation by the samples that the evidence admits.
    pub fn observe(&self, evidence: Evidence) -> TargetObservation {
        let activities = self.activities();
        let places = self.replicas.replica_of_reporting_pod.iter();
        let is_asleep = |place: &usize| activities.get(*place) == Some(&EngineActivity::Asleep);
        let asleep: Vec<bool> = places.map(is_asleep).collect();
        let mut problems = Problems::new();
        let mut findings = self.findings_without_metrics(&activities);
        let mut readings = Vec::with_capacity(self.config.metrics.len());
        for (index, metric) in self.config.metrics.iter().enumerate() {
            let (reading, origin) = match &metric.asked {
                Asked::Measure { measure, quantile, .. } => {
                    MetricReader::new(self, evidence, index, measure, *quantile, &asleep)
                        .read(&mut findings, &mut problems)
                }
                Asked::Query(_) => self.read_query(index, &mut findings, &mut problems),
            };
            readings.push(reading);
            findings.origins.push(origin);
        }
        advice::of_sources(&self.samples.sources, &mut findings.advice);
        let reporting = self.replicas.reporting_pods.values().filter(|pod| pod.is_running());
        let (own, others) = (self.config.engine, &findings.other_engines);
        findings.advice.extend(advice::other_engines(own, others, reporting.count()));
        findings.problems = problems.into_iter().map(|(of, texts)| problem(of, texts)).collect();
        let observation = Observation {
            scale: self.scale,
            selector: self.selector,
            scaled_to_zero: self.scaled_to_zero,
            replicas: self
                .replicas
                .list
                .iter()
                .zip(&activities)
                .map(|(group, activity)| self.replica(group, *activity))
                .collect(),
            readings,
            promised: None,
            doubt: self.has_surplus().then_some(Doubt::Surplus),
            woken: self.woken,
        };
        TargetObservation { observation, findings }
    }

    /// Returns the findings that do not depend on the metrics.
    fn findings_without_metrics(&self, activities: &[EngineActivity]) -> Findings {
        let mut advice: BTreeSet<Advice> = self.config.advice.iter().cloned().collect();
        if self.has_surplus() {
            advice.insert(advice::surplus(self.replicas.alive(), self.reported_size()));
        }
        let requested = usize::try_from(self.scale.current).unwrap_or_default();
        advice.extend(advice::ordered_start(self.replicas, requested, self.now));
        let asleep = self.replicas.list.iter().zip(activities);
        let asleep = asleep.filter(|(_, activity)| **activity == EngineActivity::Asleep);
        advice.extend(advice::asleep(asleep.map(|(group, _)| &*group.pods[0].name)));
        advice.extend(advice::wedged(self.wedged_pods()));
        advice.extend(advice::workers_with_port(self.replicas, self.config));
        Findings {
            ready: self.replicas.list.iter().filter(|group| serves(group)).count() as i32,
            stuck: self.stuck_replicas(activities),
            advice,
            needed_sources: vec![false; self.samples.sources.len()],
            ..Findings::default()
        }
    }

    /// Returns the number of replicas by the scale subresource.
    fn reported_size(&self) -> usize {
        usize::try_from(self.scale.current.max(self.scale.status)).unwrap_or_default()
    }

    /// Returns true if more replicas are alive than the target reports. The grouping of pods into
    /// replicas is in doubt then.
    fn has_surplus(&self) -> bool {
        self.replicas.alive() > self.reported_size()
    }

    fn replica(&self, group: &ReplicaPods, activity: EngineActivity) -> Replica {
        let stuck = self.stuck_pod(group, activity).is_some();
        Replica { stuck, activity, ..group.state() }
    }

    /// Reads a metric that is a query. The first Prometheus server with an answer counts.
    fn read_query(
        &self,
        index: usize,
        findings: &mut Findings,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        let metric = self.metric(index);
        let mut origin = Origin::new(self.samples.sources.len());
        let mut reasons = BTreeSet::new();
        for (place, source) in self.samples.sources.iter().enumerate() {
            let SourceKind::Prometheus { url, .. } = &source.kind else { continue };
            match source.queries.get(index).and_then(Option::as_ref) {
                None | Some(QueryLookup::Pending) => findings.warming_up = true,
                Some(QueryLookup::Missing(reason)) => {
                    reasons.insert(reason.clone());
                }
                Some(QueryLookup::Numbers { numbers, age, warning, complete }) => {
                    match query_total(metric, numbers) {
                        Err(problem) => {
                            reasons.insert(format!("{url}: {problem}"));
                        }
                        Ok(value) => {
                            origin.samples[place] = 1;
                            origin.age = *age;
                            origin.why = reasons.first().cloned();
                            let warning = warning.iter();
                            findings.advice.extend(warning.map(|w| advice::partial_answer(url, w)));
                            let precision = Precision::Exact;
                            let complete = *complete;
                            return (Reading::Total { value, precision, complete }, origin);
                        }
                    }
                }
            }
        }
        if !reasons.is_empty() {
            problems.entry(metric.name.clone()).or_default().extend(reasons);
        }
        (Reading::Failed, origin)
    }

    fn metric(&self, index: usize) -> &MetricConfig {
        &self.config.metrics[index]
    }
}

/// Returns true if a replica gets new requests. A replica that has been taken out of service counts
/// for the decision, but gets none.
fn serves(group: &ReplicaPods) -> bool {
    let replica = group.state();
    replica.ready && !replica.deleting && !group.is_closed()
}

fn problem(of: String, texts: BTreeSet<String>) -> Problem {
    let texts: Vec<String> = texts.into_iter().collect();
    Problem { of, text: texts.join("; ") }
}

#[cfg(test)]
mod tests;
