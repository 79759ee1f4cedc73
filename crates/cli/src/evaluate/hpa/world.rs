//! The cluster of a timeline: a scale, its pods, and the metrics APIs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::core::{Selector, SelectorExt};
use llm_autoscaler_api::{messages::SelectorProblem, selector};
use llm_autoscaler_core::{MetricKind, Reading};

use super::{
    pods::{Activity, MetricsAnswer, Pod, Pods},
    scenario::{MetricState, Timeline, WorldStep},
};
use crate::evaluate::fields::seconds;

pub(super) struct World<'a> {
    timeline: &'a Timeline,
    /// `spec.replicas` of the scale.
    pub(super) replicas: i32,
    status: Option<i32>,
    selector: &'a str,
    /// The pods that a step has listed, which replace the automatic ones.
    explicit: Option<&'a [Pod]>,
    automatic: Vec<AutomaticPod>,
    created: usize,
    metrics: BTreeMap<&'a str, &'a MetricState>,
    pub(super) get_scale_error: Option<String>,
    pub(super) update_scale_error: Option<String>,
}

/// A pod that is created and removed as the scale changes.
struct AutomaticPod {
    name: String,
    /// The time of its creation; `None` if it exists from the beginning.
    created: Option<DateTime<Utc>>,
}

impl<'a> World<'a> {
    pub(super) fn new(timeline: &'a Timeline, start: DateTime<Utc>) -> Self {
        let mut world = Self {
            timeline,
            replicas: timeline.initial_replicas,
            status: None,
            selector: "app=kit",
            explicit: None,
            automatic: Vec::new(),
            created: 0,
            metrics: BTreeMap::new(),
            get_scale_error: None,
            update_scale_error: None,
        };
        world.resize(start);
        for pod in &mut world.automatic {
            pod.created = None;
        }
        world
    }

    pub(super) fn apply(&mut self, step: &'a WorldStep, now: DateTime<Utc>) {
        self.metrics.extend(step.metrics.iter().map(|(name, state)| (name.as_str(), state)));
        self.explicit = step.pods.as_deref().or(self.explicit);
        if let Some(replicas) = step.set_replicas {
            self.scale(replicas, now);
        }
        self.status = step.status_replicas.or(self.status);
        self.selector = step.selector.as_deref().unwrap_or(self.selector);
        let set = |error: &mut Option<String>, step: &Option<String>| {
            if let Some(text) = step {
                *error = Some(text.clone()).filter(|text| !text.is_empty());
            }
        };
        set(&mut self.get_scale_error, &step.get_scale_error);
        set(&mut self.update_scale_error, &step.update_scale_error);
    }

    pub(super) fn scale(&mut self, replicas: i32, now: DateTime<Utc>) {
        self.replicas = replicas;
        self.resize(now);
    }

    fn resize(&mut self, now: DateTime<Utc>) {
        let wanted = usize::try_from(self.replicas).unwrap_or_default();
        while self.automatic.len() < wanted {
            let name = format!("pod-{}", self.created);
            self.automatic.push(AutomaticPod { name, created: Some(now) });
            self.created += 1;
        }
        self.automatic.truncate(wanted);
    }

    pub(super) fn status_replicas(&self) -> i32 {
        self.status.unwrap_or(self.replicas)
    }

    /// Returns the problem of the scale's selector, if it has one.
    pub(super) fn selector_problem(&self) -> Option<SelectorProblem> {
        if self.selector.is_empty() {
            return Some(SelectorProblem::Missing);
        }
        let error = selector::parse(self.selector).err()?;
        Some(SelectorProblem::Invalid { error: error.to_string() })
    }

    /// Returns the pods that the selector matches; every pod has the label `app=kit`.
    pub(super) fn selected_pods(&self, now: DateTime<Utc>) -> Pods {
        let labels = BTreeMap::from([("app".to_owned(), "kit".to_owned())]);
        let found = selector::parse(self.selector)
            .is_ok_and(|selector: Selector| selector.matches(&labels));
        Pods::new(if found { self.pods(now) } else { Vec::new() }.as_slice())
    }

    fn pods(&self, now: DateTime<Utc>) -> Vec<Pod> {
        match self.explicit {
            Some(pods) => pods.to_vec(),
            None => self.automatic.iter().map(|pod| self.automatic_pod(pod, now)).collect(),
        }
    }

    fn automatic_pod(&self, pod: &AutomaticPod, now: DateTime<Utc>) -> Pod {
        let younger_than = |age| pod.created.is_some_and(|created| now - created < seconds(age));
        let (phase, ready) = if younger_than(self.timeline.new_pod_pending_s) {
            ("Pending", "False")
        } else if younger_than(self.timeline.new_pod_ready_s) {
            ("Running", "False")
        } else {
            ("Running", "True")
        };
        Pod {
            name: pod.name.clone(),
            phase: phase.to_owned(),
            ready: ready.to_owned(),
            deleted: false,
            stuck: false,
            activity: Activity::Unknown,
        }
    }

    /// Reads one metric as the HPA's metrics client does.
    pub(super) fn read(
        &self,
        kind: MetricKind,
        name: &str,
        selected: &Pods,
        now: DateTime<Utc>,
    ) -> (Reading, Option<String>) {
        selected.reading(kind, self.query(kind, name, now))
    }

    fn query(
        &self,
        kind: MetricKind,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<MetricsAnswer, String> {
        let unknown = || format!("the server could not find the metric {name}");
        let metric = self.metrics.get(name).ok_or_else(unknown)?;
        if !metric.error.is_empty() {
            return Err(metric.error.clone());
        }
        Ok(match kind {
            MetricKind::PerReplica | MetricKind::Pooled => {
                MetricsAnswer::PerPod(samples(metric, &self.pods(now)))
            }
            MetricKind::Object => MetricsAnswer::Object(metric.object.ok_or_else(unknown)?),
            MetricKind::External => MetricsAnswer::External(metric.external.clone()),
        })
    }
}

/// Returns the samples by pod. A value without a pod is a stray, as of a pod that is not listed.
fn samples(metric: &MetricState, pods: &[Pod]) -> BTreeMap<String, i64> {
    if let Some(values) = &metric.per_pod {
        let name =
            |index: usize| pods.get(index).map_or(format!("extra-{index}"), |pod| pod.name.clone());
        return values.iter().enumerate().map(|(index, value)| (name(index), *value)).collect();
    }
    let running =
        || pods.iter().filter(|pod| matches!(pod.phase.as_str(), "" | "Running") && !pod.deleted);
    let count = running().count() as i64;
    let each =
        metric.each.or_else(|| metric.total.filter(|_| count > 0).map(|total| total / count));
    each.map(|value| running().map(|pod| (pod.name.clone(), value)).collect()).unwrap_or_default()
}
