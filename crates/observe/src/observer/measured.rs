//! The reading of one metric that is measured at pods, with failover between sources.

use llm_autoscaler_core::{Milli, Reading, StartupTimes};
use llm_autoscaler_engines::{Fold, Kind, Measure, exposition::Value};

use super::{Findings, Origin, Problems, Scene};
use crate::{
    advice,
    pod::{Members, Pod},
    reading::{folded, reading},
    samples::{Answer, Evidence, Lookup, Sample, SourceKind},
};

/// One metric that is being read.
pub(super) struct Measured<'a> {
    scene: &'a Scene<'a>,
    evidence: Evidence,
    index: usize,
    measure: &'a Measure,
    quantile: Option<f64>,
    /// The values of the reporting pods, in their order.
    values: Vec<Option<Value>>,
    origin: Origin,
    /// Why pods and sources have no sample.
    reasons: Problems,
}

impl<'a> Measured<'a> {
    pub(super) fn new(
        scene: &'a Scene<'a>,
        evidence: Evidence,
        index: usize,
        measure: &'a Measure,
        quantile: Option<f64>,
    ) -> Self {
        Self {
            scene,
            evidence,
            index,
            measure,
            quantile,
            values: vec![None; scene.replicas.speakers.len()],
            origin: Origin::new(scene.samples.sources.len()),
            reasons: Problems::new(),
        }
    }

    /// Takes each pod's value from the first source that has one; a source after the first is needed for what is missing then.
    pub(super) fn read(
        mut self,
        findings: &mut Findings,
        problems: &mut Problems,
    ) -> (Reading, Origin) {
        for (place, source) in self.scene.samples.sources.iter().enumerate() {
            if place > 0 {
                findings.needed[place] = true;
                if !source.is_active {
                    // Its answers are there from the next observation on.
                    break;
                }
            }
            let lookups = source.metrics.get(self.index).map_or(&[][..], Vec::as_slice);
            if let SourceKind::OtherPods(others) = &source.kind {
                if self.values.iter().all(Option::is_none)
                    && let Some(total) = self.total(place, others, lookups, findings)
                {
                    self.origin.why = self.first_reason().filter(|_| place > 0);
                    return (total, self.origin);
                }
                continue;
            }
            let pending = self.fill(place, lookups, findings);
            // A pod whose first answer is due is not looked for elsewhere. Where there is no replica, other pods may report.
            if self.unanswered() == pending && !self.scene.replicas.list.is_empty() {
                break;
            }
        }
        if self.origin.samples.iter().skip(1).any(|count| *count > 0) {
            self.origin.why = self.first_reason();
        }
        self.finish(problems)
    }

    /// The number of pods that should report, and have no value yet.
    fn unanswered(&self) -> usize {
        let pods = self.scene.replicas.speakers.values().zip(&self.values);
        pods.filter(|(pod, value)| value.is_none() && self.scene.should_report(pod)).count()
    }

    /// Fills in the values that one source has and the sources before it have not. Returns how many first answers are due.
    fn fill(&mut self, place: usize, lookups: &[Lookup], findings: &mut Findings) -> usize {
        let scene = self.scene;
        let mut pending = 0;
        for (at, pod) in scene.replicas.speakers.values().enumerate() {
            if self.values[at].is_some() || !scene.should_report(pod) {
                continue;
            }
            match lookups.get(at).map_or(Answer::Pending, |lookup| lookup.admitted(self.evidence)) {
                Answer::Sample(sample) => {
                    self.count(place, pod, sample, findings);
                    findings.in_doubt |= !sample.is_certain();
                    self.values[at] = Some(sample.value.clone());
                }
                Answer::Pending => pending += 1,
                Answer::Missing(reason) => self.miss(&pod.name, reason),
            }
        }
        findings.warming_up |= pending > 0;
        pending
    }

    /// The total of pods that report for the target as a whole; `None` where none of them has a sample.
    fn total(
        &mut self,
        place: usize,
        others: &Members,
        lookups: &[Lookup],
        findings: &mut Findings,
    ) -> Option<Reading> {
        if self.measure.recipe.kind() == Kind::Gauge && self.measure.recipe.fold() != Fold::Sum {
            let name = &self.scene.metric(self.index).name;
            self.miss(
                &format!("sources[{place}]"),
                &format!("{name} is a share, and shares of other pods are no total"),
            );
            return None;
        }
        let mut values = Vec::new();
        // A pod that is about to end may still be at work, and its page is not scraped any more.
        let mut complete = !others.values().any(|pod| pod.replica.deleting);
        for (at, pod) in others.values().enumerate().filter(|(_, pod)| pod.is_running()) {
            match lookups.get(at).map_or(Answer::Pending, |lookup| lookup.admitted(self.evidence)) {
                Answer::Sample(sample) => {
                    self.count(place, pod, sample, findings);
                    complete &= sample.is_certain();
                    values.push(Some(sample.value.clone()));
                }
                Answer::Pending => findings.warming_up = true,
                // A pod that has not served for so long has nothing to do with the load.
                Answer::Missing(_) if self.is_stuck(pod) => {}
                Answer::Missing(reason) => {
                    complete = false;
                    self.miss(&pod.name, reason);
                }
            }
        }
        if values.is_empty() {
            let reason = "no running pod that podSelector selects has a sample";
            self.miss(&format!("sources[{place}]"), reason);
            return None;
        }
        Some(self.total_reading(reading(values, self.quantile, false), complete))
    }

    /// Other pods are not of the target, so nothing has been learned of how long they take to start.
    fn is_stuck(&self, pod: &Pod) -> bool {
        pod.stuck(self.scene.now, StartupTimes::default().startup_timeout()).is_some()
    }

    fn total_reading(&self, reading: Reading, complete: bool) -> Reading {
        match reading {
            Reading::Pooled { value: Some(value), .. } => Reading::Total { value, complete },
            Reading::Pooled { value: None, .. } if complete => {
                let reported = vec![true; self.scene.replicas.list.len()];
                Reading::Pooled { value: None, reported }
            }
            Reading::PerReplica { samples, .. } => {
                let samples = samples.into_iter().flatten();
                let total = samples.fold(0_i64, |total, Milli(m)| total.saturating_add(m));
                Reading::Total { value: Milli(total), complete }
            }
            _ => Reading::Failed,
        }
    }

    fn count(&mut self, place: usize, pod: &Pod, sample: &Sample, findings: &mut Findings) {
        let metric = self.scene.metric(self.index);
        let source = self.scene.samples.sources[place].kind.name();
        advice::of_sample(metric, pod, sample, source, &mut findings.advice);
        self.origin.count(place, sample);
    }

    fn miss(&mut self, of: &str, reason: &str) {
        self.reasons.entry(of.to_owned()).or_default().insert(reason.to_owned());
    }

    fn first_reason(&self) -> Option<String> {
        let (of, texts) = self.reasons.first_key_value()?;
        Some(format!("{of}: {}", texts.first()?))
    }

    /// Tells what no source has, and makes the values a reading.
    fn finish(mut self, problems: &mut Problems) -> (Reading, Origin) {
        let speakers = &self.scene.replicas.speakers;
        for (pod, value) in speakers.values().zip(&self.values) {
            if value.is_none()
                && self.scene.should_report(pod)
                && let Some(texts) = self.reasons.remove(&pod.name)
            {
                problems.entry(pod.name.clone()).or_default().extend(texts);
            }
        }
        let nothing = self.values.iter().all(Option::is_none);
        if nothing {
            // Reasons that are about sources as a whole.
            let of_sources = std::mem::take(&mut self.reasons);
            for (of, texts) in of_sources.into_iter().filter(|(of, _)| !speakers.contains_key(of)) {
                problems.entry(of).or_default().extend(texts);
            }
        }
        let values = self.by_replica();
        (reading(values, self.quantile, nothing && !problems.is_empty()), self.origin)
    }

    /// Folds the values of each replica's reporting pods into one value per replica. A replica of which any reporting pod has no
    /// value has none.
    fn by_replica(&mut self) -> Vec<Option<Value>> {
        let values = std::mem::take(&mut self.values);
        let replicas = self.scene.replicas;
        if replicas.list.iter().all(|group| group.speakers == 1) {
            return values;
        }
        let mut parts: Vec<Vec<Option<Value>>> = vec![Vec::new(); replicas.list.len()];
        for (place, value) in replicas.of_speaker.iter().zip(values) {
            parts[*place].push(value);
        }
        let fold = self.measure.recipe.fold();
        let one = |parts: Vec<Option<Value>>| {
            folded(parts.into_iter().collect::<Option<Vec<Value>>>()?, fold)
        };
        parts.into_iter().map(one).collect()
    }
}
