//! The reading of one metric of pods, with failover between sources.

use std::sync::Arc;

use llm_autoscaler_core::{Milli, Precision, Reading, StartupTimes};
use llm_autoscaler_engines::{Fold, Kind, Measure, exposition::Value};

use super::{Findings, Origin, Problems, TargetSnapshot};
use crate::{
    advice,
    pod::{Members, Pod},
    progress::Progress,
    reading::{fold_values, reading},
    samples::{Answer, Evidence, Lookup, Sample, SourceKind},
};

/// The readings so far of one metric.
pub(super) struct MetricReader<'a> {
    snapshot: &'a TargetSnapshot<'a>,
    evidence: Evidence,
    index: usize,
    measure: &'a Measure,
    quantile: Option<f64>,
    /// The value of each reporting pod, in the order of `Replicas::reporting_pods`.
    values: Vec<Option<Value>>,
    /// True for each of them of a replica that sleeps. Its numbers are no load, and must not hide
    /// the total of another source.
    asleep: &'a [bool],
    /// True for each of them with a page that contradicts the metric's kind. No other source is
    /// asked.
    contradicted: Vec<bool>,
    origin: Origin,
    /// The reasons why pods and sources have no sample.
    reasons: Problems,
}

impl<'a> MetricReader<'a> {
    pub(super) fn new(
        snapshot: &'a TargetSnapshot<'a>,
        evidence: Evidence,
        index: usize,
        measure: &'a Measure,
        quantile: Option<f64>,
        asleep: &'a [bool],
    ) -> Self {
        Self {
            snapshot,
            evidence,
            index,
            measure,
            quantile,
            values: vec![None; snapshot.replicas.reporting_pods.len()],
            asleep,
            contradicted: vec![false; snapshot.replicas.reporting_pods.len()],
            origin: Origin::new(snapshot.samples.sources.len()),
            reasons: Problems::new(),
        }
    }

    /// Takes the value of each pod from the first source that has one.
    ///
    /// A later source is needed only for the pods that are missing then. Other pods, which report
    /// for the target as a whole, are needed only if no pod of the target has a value.
    pub(super) fn read(
        mut self,
        findings: &mut Findings,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        let metric = self.snapshot.metric(self.index);
        let sources = self.snapshot.samples.sources.iter().enumerate();
        let mut first = None;
        for (place, source) in sources.filter(|(place, _)| metric.measure_at(*place).is_some()) {
            let first = *first.get_or_insert(place);
            if place > 0 {
                findings.needed_sources[place] = true;
                if !source.is_active {
                    // The source is scraped or queried from now on, and answers the next time.
                    findings.warming_up |= place == first;
                    break;
                }
            }
            let lookups = source.metrics.get(self.index).map_or(&[][..], Vec::as_slice);
            if let SourceKind::OtherPods(others) = &source.kind {
                if self.values.iter().all(Option::is_none)
                    && !self.contradicted.contains(&true)
                    && let Some(total) = self.total(place, others, lookups, findings)
                {
                    self.origin.why = self.first_reason().filter(|_| place > first);
                    return (total, self.origin);
                }
                continue;
            }
            let pending = self.fill(place, lookups, findings);
            // No other source is used for a pod whose first answer is still due. A target without
            // replicas, or with replicas that sleep only, can still have a total of other pods.
            let has_awake = self.asleep.iter().any(|asleep| !asleep);
            if self.unanswered() == pending && has_awake {
                break;
            }
        }
        if self.origin.samples.iter().skip(1).any(|count| *count > 0) {
            self.origin.why = self.first_reason();
        }
        self.finish(findings, problems)
    }

    /// Returns the number of pods that should report and have no value yet.
    fn unanswered(&self) -> usize {
        let pods = self.snapshot.replicas.reporting_pods.values().enumerate();
        let is_open = |(at, pod): &(usize, &Arc<Pod>)| {
            self.values[*at].is_none() && !self.asleep[*at] && self.snapshot.should_report(*at, pod)
        };
        pods.filter(is_open).count()
    }

    /// Fills in the values that a source has and the sources before it have not. Returns the number
    /// of first answers that are still due.
    fn fill(&mut self, place: usize, lookups: &[Lookup], findings: &mut Findings) -> usize {
        let snapshot = self.snapshot;
        let mut pending = 0;
        for (at, pod) in snapshot.replicas.reporting_pods.values().enumerate() {
            let is_settled = self.values[at].is_some() || self.contradicted[at] || self.asleep[at];
            if is_settled || !pod.is_running() {
                continue;
            }
            let is_due = snapshot.should_report(at, pod);
            if let Some(Lookup::Ambiguous(text)) = lookups.get(at) {
                findings.advice.insert(advice::ambiguous(snapshot.metric(self.index), text));
            }
            if let Some(Lookup::OtherEngine { engine, .. }) = lookups.get(at) {
                findings.other_engines.insert(pod.name.clone(), *engine);
            }
            match self.answer(lookups, at) {
                Answer::Sample(sample) => {
                    self.record_sample(place, pod, sample, findings);
                    findings.in_doubt |= !sample.is_certain();
                    self.values[at] = Some(sample.value.clone());
                }
                Answer::Pending if is_due => pending += 1,
                Answer::Missing(reason) if is_due => self.record_missing(&pod.name, reason),
                Answer::Contradicted(reason) if is_due => {
                    self.record_missing(&pod.name, reason);
                    self.contradicted[at] = true;
                }
                Answer::Pending | Answer::Missing(_) | Answer::Contradicted(_) => {}
            }
        }
        findings.warming_up |= pending > 0;
        pending
    }

    /// Returns the answer about the pod at a place. A pod that is newer than the answers is
    /// pending.
    fn answer<'l>(&self, lookups: &'l [Lookup], at: usize) -> Answer<'l> {
        lookups.get(at).map_or(Answer::Pending, |lookup| lookup.admitted(self.evidence))
    }

    /// Returns the total of pods that report for the target as a whole; `None` if none of them has
    /// a sample, or if the metric cannot be summed.
    fn total(
        &mut self,
        place: usize,
        others: &Members,
        lookups: &[Lookup],
        findings: &mut Findings,
    ) -> Option<Reading> {
        if self.measure.recipe.kind() == Kind::Gauge && self.measure.recipe.fold() != Fold::Sum {
            let name = &self.snapshot.metric(self.index).name;
            let reason = format!("{name} is a share, and shares of other pods are no total");
            self.record_missing(&format!("sources[{place}]"), &reason);
            return None;
        }
        let mut values = Vec::new();
        // A terminating pod may still process requests, and is not scraped any more.
        let is_ending = |pod: &Pod| pod.replica.deleting && !pod.replica.has_ended();
        let mut complete = !others.values().any(|pod| is_ending(pod));
        for (at, pod) in others.values().enumerate().filter(|(_, pod)| pod.is_running()) {
            match self.answer(lookups, at) {
                Answer::Sample(sample) => {
                    self.record_sample(place, pod, sample, findings);
                    complete &= sample.is_certain();
                    values.push(Some(sample.value.clone()));
                }
                Answer::Pending => {
                    complete = false;
                    findings.warming_up = true;
                }
                // A pod that has been unready for so long, and does not answer, gets no requests.
                Answer::Missing(_) if self.is_stuck(pod) && !has_answer(lookups, at, pod) => {}
                Answer::Missing(reason) | Answer::Contradicted(reason) => {
                    complete = false;
                    self.record_missing(&pod.name, reason);
                }
            }
        }
        if values.is_empty() {
            let reason = "no running pod that podSelector selects has a sample";
            self.record_missing(&format!("sources[{place}]"), reason);
            return None;
        }
        self.advise_on_buckets(&values, findings);
        Some(self.total_reading(reading(&values, self.quantile), complete))
    }

    /// Returns true if another pod is stuck. Start-up times are learned of the target's pods only,
    /// so the default applies.
    fn is_stuck(&self, pod: &Pod) -> bool {
        pod.stuck(self.snapshot.now, StartupTimes::default().startup_timeout()).is_some()
    }

    /// Turns the reading of other pods into one of the whole target. A quantile of too few events
    /// is a missing value if a pod is missing, and else counts as reported by all replicas.
    fn total_reading(&self, reading: Reading, complete: bool) -> Reading {
        match reading {
            Reading::Pooled { value: Some(value), precision, .. } => {
                Reading::Total { value, precision, complete }
            }
            Reading::Pooled { value: None, precision, .. } if complete => {
                let reported = vec![true; self.snapshot.replicas.list.len()];
                Reading::Pooled { value: None, precision, reported }
            }
            Reading::PerReplica { samples, .. } => {
                let samples = samples.into_iter().flatten();
                let total = samples.fold(0_i64, |total, Milli(m)| total.saturating_add(m));
                Reading::Total { value: Milli(total), precision: Precision::Exact, complete }
            }
            _ => Reading::Failed,
        }
    }

    fn record_sample(&mut self, place: usize, pod: &Pod, sample: &Sample, findings: &mut Findings) {
        let metric = self.snapshot.metric(self.index);
        let source = self.snapshot.samples.sources[place].kind.name();
        let def = metric.signal_at(place);
        advice::of_sample((metric, def), pod, sample, source, &mut findings.advice);
        self.origin.record_sample(place, sample);
    }

    fn record_missing(&mut self, of: &str, reason: &str) {
        self.reasons.entry(of.to_owned()).or_default().insert(reason.to_owned());
    }

    fn first_reason(&self) -> Option<String> {
        let (of, texts) = self.reasons.first_key_value()?;
        Some(format!("{of}: {}", texts.first()?))
    }

    /// Adds the reasons for what no source has to the problems, and turns the values into a
    /// reading.
    fn finish(mut self, findings: &mut Findings, problems: &mut Problems) -> (Reading, Origin) {
        let reporting_pods = &self.snapshot.replicas.reporting_pods;
        for (at, (pod, value)) in reporting_pods.values().zip(&self.values).enumerate() {
            if value.is_none()
                && self.snapshot.should_report(at, pod)
                && let Some(texts) = self.reasons.remove(&pod.name)
            {
                problems.entry(pod.name.clone()).or_default().extend(texts);
            }
        }
        let is_empty = self.values.iter().all(Option::is_none);
        if is_empty {
            let reasons = std::mem::take(&mut self.reasons).into_iter();
            let of_sources = reasons.filter(|(of, _)| !reporting_pods.contains_key(of));
            for (of, texts) in of_sources {
                problems.entry(of).or_default().extend(texts);
            }
        }
        if is_empty && !problems.is_empty() {
            // The texts of the problems are more useful than "no samples" would be.
            return (Reading::Failed, self.origin);
        }
        let values = self.by_replica();
        self.advise_on_buckets(&values, findings);
        (reading(&values, self.quantile), self.origin)
    }

    /// Adds the advice about a target outside of a histogram's buckets.
    fn advise_on_buckets(&self, values: &[Option<Value>], findings: &mut Findings) {
        let policy = &self.snapshot.config.policy;
        if let Some(metric) = policy.metrics.get(self.index) {
            let name = &self.snapshot.metric(self.index).name;
            let advice = advice::of_buckets(name, metric.target, policy.tolerance, values);
            findings.advice.extend(advice);
        }
    }

    /// Folds the values of each replica's reporting pods into one value per replica. If any
    /// reporting pod of a replica has no value, the replica has none.
    fn by_replica(&mut self) -> Vec<Option<Value>> {
        let values = std::mem::take(&mut self.values);
        let replicas = self.snapshot.replicas;
        if replicas.list.iter().all(|group| group.reporting_pods == 1) {
            return values;
        }
        let mut parts: Vec<Vec<Option<Value>>> = vec![Vec::new(); replicas.list.len()];
        for ((at, replica), value) in
            replicas.replica_of_reporting_pod.iter().enumerate().zip(values)
        {
            // The requests of a wedged engine are no load, also where others of its replica work.
            let is_wedged = matches!(self.snapshot.progress.of(at), Progress::Wedged(_));
            let is_alone = replicas.list[*replica].reporting_pods == 1;
            if !is_wedged || is_alone {
                parts[*replica].push(value);
            }
        }
        let fold = self.measure.recipe.fold();
        let parts = parts.into_iter().map(|parts| parts.into_iter().collect::<Option<Vec<_>>>());
        parts.map(|parts| fold_values(parts?, fold)).collect()
    }
}

/// Returns true if a pod that was ready before answers, with or without a usable number.
fn has_answer(lookups: &[Lookup], at: usize, pod: &Pod) -> bool {
    pod.was_ready && lookups.get(at).is_some_and(Lookup::is_answer)
}
