//! The observation of one target: its replicas and the answers of its sources, made into what a decision rests on, and into
//! findings for people about what is missing and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Advice, Asked, MetricConfig, TargetConfig};
use llm_autoscaler_core::{
    Deviation, Doubt, EngineActivity, Observation, Reading, Replica, ReplicaState, Scale, Selector,
};

use crate::{
    advice,
    pod::{Pod, TroubleKind},
    reading::total_of,
    replicas::{Group, Replicas},
    samples::{Evidence, QueryLookup, Sample, Samples, SourceKind},
};

use self::measured::Measured;

mod measured;

/// Everything that is known of one target at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The plan of the target.
    pub plan: &'a TargetConfig,
    /// Its replicas.
    pub replicas: &'a Replicas,
    /// The answers of its sources.
    pub samples: &'a Samples,
    /// Its scale as last read.
    pub scale: Scale,
    /// What the scale says about the pods that belong to it.
    pub selector: Selector,
    /// True where this autoscaler has scaled it to zero.
    pub scaled_to_zero: bool,
    /// True where a wake call came within the time after which it may go to zero.
    pub woken: bool,
    /// How long a replica that is not ready is waited for.
    pub startup_timeout: TimeDelta,
    /// The time.
    pub now: DateTime<Utc>,
}

/// The observations of one target.
#[derive(Clone, Debug)]
pub struct Observed {
    /// By all samples that are usable: good enough to grow by, or to stay.
    pub usable: Sight,
    /// By samples beyond doubt only: good enough to shrink by. `None` where no sample is in doubt, and the two are one.
    pub beyond_doubt: Option<Sight>,
}

/// One observation, and what there is to tell of it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The input of a decision.
    pub observation: Observation,
    /// What there is to tell.
    pub findings: Findings,
}

/// What an observation tells people.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The number of replicas that serve.
    pub ready: i32,
    /// The replicas without a usable sample, and the sources without an answer.
    pub problems: Vec<Problem>,
    /// The origin of the samples of each metric.
    pub origins: Vec<Origin>,
    /// The replicas that will not get ready by waiting, by the name of a pod, and why.
    pub stuck: Vec<(String, TroubleKind)>,
    /// Things that a person should know of although nothing is wrong.
    pub advice: BTreeSet<Advice>,
    /// True where a sample is in doubt.
    pub in_doubt: bool,
    /// True where a first answer is still due: it is too early to say that something is missing.
    pub warming_up: bool,
    /// For each source, true where it was needed because the sources before it were not enough.
    pub needed: Vec<bool>,
}

/// A replica without a usable sample, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the pod; of the source or the metric, where no pod can be named.
    pub of: String,
    /// The reasons.
    pub text: String,
}

/// The origin of the samples of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of samples from each source, in the order of the spec.
    pub samples: Vec<u32>,
    /// The age of the oldest sample.
    pub age: Duration,
    /// How the first sample was found that was not found under its first name.
    pub alternative: Option<(usize, usize)>,
    /// Why the first source was not enough, where it was not.
    pub why: Option<String>,
}

impl Origin {
    fn new(sources: usize) -> Self {
        Self { samples: vec![0; sources], ..Self::default() }
    }

    fn count(&mut self, source: usize, sample: &Sample) {
        self.samples[source] += 1;
        self.age = self.age.max(sample.age);
        self.alternative = self.alternative.or(sample.found.alternative);
    }
}

/// The problems of each pod, source or metric, by name.
type Problems = BTreeMap<String, BTreeSet<String>>;

/// Observes a target: by all usable samples, and, where one of them is in doubt, by those beyond doubt as well.
pub fn observe(scene: &Scene<'_>) -> Observed {
    let usable = scene.observe(Evidence::Usable);
    let beyond_doubt = usable.findings.in_doubt.then(|| scene.observe(Evidence::BeyondDoubt));
    Observed { usable, beyond_doubt }
}

impl Sight {
    /// The states of the replicas, in their order. A replica whose page has a sample answers.
    pub fn states(&self) -> Vec<ReplicaState> {
        let Observation { replicas, readings, .. } = &self.observation;
        let states = replicas.iter().enumerate().map(|(place, replica)| {
            let answers = readings.iter().any(|reading| has_sample(reading, place));
            let activity =
                if answers { EngineActivity::Answering } else { EngineActivity::Unknown };
            ReplicaState::new(*replica, activity)
        });
        states.collect()
    }
}

/// True for a reading to which the replica at this place has contributed.
fn has_sample(reading: &Reading, place: usize) -> bool {
    match reading {
        Reading::PerReplica { samples, .. } => samples.get(place).is_some_and(Option::is_some),
        Reading::Pooled { reported, .. } => reported.get(place).is_some_and(|reported| *reported),
        Reading::Object(_) | Reading::External(_) | Reading::Total { .. } | Reading::Failed => {
            false
        }
    }
}

impl Scene<'_> {
    /// Makes one observation by the samples that the evidence admits.
    pub fn observe(&self, evidence: Evidence) -> Sight {
        let mut problems = Problems::new();
        let mut sight = Sight {
            observation: Observation {
                scale: self.scale,
                selector: self.selector,
                scaled_to_zero: self.scaled_to_zero,
                replicas: self.replicas.list.iter().map(|group| self.replica(group)).collect(),
                readings: Vec::with_capacity(self.plan.metrics.len()),
                doubt: self.surplus().then_some(Doubt::Surplus),
                woken: self.woken,
            },
            findings: self.findings(),
        };
        for (index, metric) in self.plan.metrics.iter().enumerate() {
            let (reading, origin) = match &metric.asked {
                Asked::Measure { measure, quantile, .. } => {
                    let measured = Measured::new(self, evidence, index, measure, *quantile);
                    measured.read(&mut sight.findings, &mut problems)
                }
                Asked::Query(_) => self.queried(index, &mut sight.findings, &mut problems),
            };
            sight.observation.readings.push(reading);
            sight.findings.origins.push(origin);
        }
        advice::of_sources(&self.samples.sources, &mut sight.findings.advice);
        sight.findings.problems = problems.into_iter().map(problem).collect();
        sight
    }

    /// The findings that do not depend on samples.
    fn findings(&self) -> Findings {
        let mut advice: BTreeSet<Advice> = self.plan.advice.iter().cloned().collect();
        if self.surplus() {
            advice.insert(advice::surplus(self.replicas.alive(), self.listed()));
        }
        let asked = usize::try_from(self.scale.current).unwrap_or_default();
        advice.extend(advice::in_turn(self.replicas, asked, self.now));
        Findings {
            ready: self.replicas.list.iter().filter(|group| serves(group)).count() as i32,
            stuck: self.stuck(),
            advice,
            needed: vec![false; self.samples.sources.len()],
            ..Findings::default()
        }
    }

    fn stuck(&self) -> Vec<(String, TroubleKind)> {
        let stuck = |group: &Group| {
            group.stuck(self.now, self.startup_timeout).map(|(pod, kind)| (pod.name.clone(), kind))
        };
        self.replicas.list.iter().filter_map(stuck).collect()
    }

    /// The number of replicas that the scale subresource knows of.
    fn listed(&self) -> usize {
        usize::try_from(self.scale.current.max(self.scale.status)).unwrap_or_default()
    }

    /// True where more replicas are found than the target has: what is one replica has not been understood.
    fn surplus(&self) -> bool {
        self.replicas.alive() > self.listed()
    }

    fn replica(&self, group: &Group) -> Replica {
        Replica { stuck: group.stuck(self.now, self.startup_timeout).is_some(), ..group.state() }
    }

    /// True for a pod that should have a sample: it runs, and is not stuck. The HPA does not know what stuck is.
    fn should_report(&self, pod: &Pod) -> bool {
        let knows_stuck = self.plan.policy.profile.has(Deviation::StuckReplicas);
        pod.is_running() && !(knows_stuck && pod.stuck(self.now, self.startup_timeout).is_some())
    }

    /// The reading of a metric that is a query: of the first server that has an answer.
    fn queried(
        &self,
        index: usize,
        findings: &mut Findings,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        let metric = &self.plan.metrics[index];
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
                    match total_of(metric, numbers) {
                        Err(problem) => {
                            reasons.insert(format!("{url}: {problem}"));
                        }
                        Ok(value) => {
                            origin.samples[place] = 1;
                            origin.age = *age;
                            origin.why = reasons.first().cloned();
                            findings.advice.extend(warning.iter().map(|w| advice::partial(url, w)));
                            return (Reading::Total { value, complete: *complete }, origin);
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
        &self.plan.metrics[index]
    }
}

/// True for a replica that serves new requests. One that is out of service counts for the decision, and gets no new ones.
fn serves(group: &Group) -> bool {
    let replica = group.state();
    replica.ready && !replica.deleting && !group.is_closed()
}

fn problem((of, texts): (String, BTreeSet<String>)) -> Problem {
    let texts: Vec<String> = texts.into_iter().collect();
    Problem { of, text: texts.join("; ") }
}

#[cfg(test)]
mod tests;
