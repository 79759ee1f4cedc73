//! The recommendations of autoscalers.
//!
//! The copy of the operator that decides knows each of them from its latest step. The other copies
//! have them from the statuses, which are current as long as the holder of the namespace's Lease is
//! seen to renew it: a copy that loses its Lease writes no status, and the next one writes all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use kube::{ResourceExt, core::SelectorExt};
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus,
    conditions::{ConditionType, status_text},
};
use llm_autoscaler_core::{Monotonic, Now};

use crate::{
    clock::Clock,
    http::wake::AutoscalerKey,
    lease::Leases,
    lock::lock,
    metrics_api::{catalog::Catalog, request::ExternalRequest},
};

/// The name of the metric.
pub(super) const METRIC: &str = "llm_autoscaler_recommended_replicas";
/// The label with the name of the autoscaler.
const AUTOSCALER: &str = "autoscaler";
/// The label with the name of the role.
const ROLE: &str = "role";
/// The time that a step may take beyond two periods, before its result is stale.
const MARGIN: Duration = Duration::from_secs(15);

/// A recommendation for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recommended {
    /// The autoscaler's name.
    pub autoscaler: String,
    /// The role; `None` for the only target of a spec without roles.
    pub role: Option<String>,
    /// The number of replicas.
    pub replicas: i32,
    /// The time at which it was known to be current.
    pub at: DateTime<Utc>,
}

impl Recommended {
    /// Returns the labels of the metric.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let role = self.role.as_ref().map(|role| (ROLE.to_owned(), role.clone()));
        let autoscaler = (AUTOSCALER.to_owned(), self.autoscaler.clone());
        [autoscaler].into_iter().chain(role).collect()
    }
}

/// The latest steps of the autoscalers that this copy serves; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct LatestSteps(Arc<Mutex<HashMap<AutoscalerKey, Step>>>);

struct Step {
    /// The number of the entry, by which a later entry of the same name is told from this one.
    entry: u64,
    at: Now,
    /// The number of replicas by the name of the target or role; empty if nothing is recommended.
    replicas: Vec<(String, i32)>,
}

/// The steps of one autoscaler, which are forgotten when it is dropped.
pub(crate) struct StepEntry {
    steps: LatestSteps,
    key: AutoscalerKey,
    entry: u64,
}

impl LatestSteps {
    /// Begins to record the steps of an autoscaler.
    pub(crate) fn add(&self, key: AutoscalerKey) -> StepEntry {
        StepEntry { steps: self.clone(), key, entry: fastrand::u64(..) }
    }
}

impl StepEntry {
    /// Records the status after a step.
    pub(crate) fn record(&self, status: &LLMAutoscalerStatus, at: Now) {
        let step = Step { entry: self.entry, at, replicas: replicas(status) };
        lock(&self.steps.0).insert(self.key.clone(), step);
    }
}

impl Drop for StepEntry {
    fn drop(&mut self) {
        let mut steps = lock(&self.steps.0);
        if steps.get(&self.key).is_some_and(|step| step.entry == self.entry) {
            steps.remove(&self.key);
        }
    }
}

/// Returns the recommended replicas of each target of a status; none while the autoscaler cannot
/// compute them.
fn replicas(status: &LLMAutoscalerStatus) -> Vec<(String, i32)> {
    let active = ConditionType::ScalingActive.as_str();
    let mut conditions = status.conditions.iter();
    if !conditions.any(|it| it.type_ == active && it.status == status_text(true)) {
        return Vec::new();
    }
    let targets = status.targets.iter().map(|target| {
        let recommended = target.recommendation.as_ref().map(|it| it.replicas);
        (target.name.clone(), recommended.unwrap_or(target.desired_replicas))
    });
    targets.collect()
}

/// The recommended replicas by the names of targets, and when they were known to be current.
type Current = (Vec<(String, i32)>, DateTime<Utc>);

/// Finds recommendations. Cheap to clone.
#[derive(Clone)]
pub(super) struct Recommendations {
    /// The autoscalers.
    pub catalog: Catalog,
    /// The steps of this copy.
    pub steps: LatestSteps,
    /// Tells which copy decides.
    pub leases: Leases,
    /// The clock.
    pub clock: Clock,
    /// The longest time between two steps.
    pub period: Duration,
}

impl Recommendations {
    /// Returns the recommendations that a request selects.
    ///
    /// # Errors
    /// There is none, for this reason.
    pub(super) fn find(&self, request: &ExternalRequest) -> Result<Vec<Recommended>, String> {
        let ExternalRequest { namespace, metric, selector } = request;
        if metric != METRIC {
            return Err(format!("there is no metric {metric}; there is {METRIC}"));
        }
        let (mut found, mut reasons) = (Vec::new(), Vec::new());
        for object in self.catalog.objects(namespace) {
            let chosen: Vec<_> = match self.current(&object) {
                Ok((replicas, at)) => recommended(&object, replicas, at)
                    .filter(|it| selector.matches(&it.labels()))
                    .collect(),
                Err(reason) => {
                    if is_selected(&object, selector) {
                        reasons.push(format!("{}: {reason}", object.name_any()));
                    }
                    continue;
                }
            };
            found.extend(chosen);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        reasons.truncate(3);
        Err(match &reasons[..] {
            [] => format!("no LLMAutoscaler of the namespace {namespace} is selected"),
            reasons => reasons.join("; "),
        })
    }

    /// Returns the recommended replicas of one target of an autoscaler.
    ///
    /// # Errors
    /// There is none, for this reason.
    pub(super) fn of(&self, object: &LLMAutoscaler, role: Option<&str>) -> Result<i32, String> {
        let name = object.name_any();
        let found = self.current(object).map_err(|reason| format!("{name}: {reason}"))?;
        let mut all = recommended(object, found.0, found.1);
        let one = all.find(|it| it.role.as_deref() == role);
        one.map(|it| it.replicas).ok_or_else(|| format!("{name}: nothing has been decided yet"))
    }

    /// Returns the recommended replicas of an autoscaler, and when they were known to be current.
    fn current(&self, object: &LLMAutoscaler) -> Result<Current, &'static str> {
        let (key, now) = (AutoscalerKey::of(object), self.clock.now());
        let nothing = "it cannot compute a recommendation; its conditions say why";
        if self.leases.holds(&key.namespace) {
            let steps = lock(&self.steps.0);
            let step = steps.get(&key).ok_or("nothing has been decided yet")?;
            if is_stale(step.at.monotonic, self.period, now.monotonic) {
                return Err("its latest decision is too long ago");
            }
            let found = (step.replicas.clone(), step.at.wall);
            return if found.0.is_empty() { Err(nothing) } else { Ok(found) };
        }
        let renewed = self.leases.renewed_by_another(&key.namespace);
        let renewed = renewed.ok_or("no copy of the operator is known to serve its namespace")?;
        let status = object.status.clone().unwrap_or_default();
        if status.observed_generation != object.metadata.generation {
            return Err("its spec has changed, and nothing has been decided since");
        }
        match replicas(&status) {
            empty if empty.is_empty() => Err(nothing),
            found => Ok((found, now.wall - now.monotonic.since(renewed))),
        }
    }
}

/// Returns whether a step is so long ago that the next one should have ended.
fn is_stale(step: Monotonic, period: Duration, now: Monotonic) -> bool {
    now.since(step) > 2 * period + MARGIN
}

fn recommended(
    object: &LLMAutoscaler,
    replicas: Vec<(String, i32)>,
    at: DateTime<Utc>,
) -> impl Iterator<Item = Recommended> {
    let (autoscaler, has_roles) = (object.name_any(), object.spec.roles.is_some());
    replicas.into_iter().map(move |(name, replicas)| {
        let role = has_roles.then_some(name);
        Recommended { autoscaler: autoscaler.clone(), role, replicas, at }
    })
}

/// Returns whether a request may be about an autoscaler without a recommendation.
fn is_selected(object: &LLMAutoscaler, selector: &kube::core::Selector) -> bool {
    let roles = object.spec.roles.iter().flatten().map(|role| Some(role.name.clone()));
    let none = object.spec.roles.is_none().then_some(None);
    roles.chain(none).any(|role| {
        let at = DateTime::UNIX_EPOCH;
        let value = Recommended { autoscaler: object.name_any(), role, replicas: 0, at };
        selector.matches(&value.labels())
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Selector;
    use llm_autoscaler_api::selector;
    use serde_json::json;

    use super::*;
    use crate::latest;

    fn object(active: &str) -> LLMAutoscaler {
        let condition = json!({
            "type": "ScalingActive", "status": active, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let target = |name: &str, desired| {
            json!({
                "name": name, "currentReplicas": 1, "readyReplicas": 1, "desiredReplicas": desired,
            })
        };
        let mut targets = [target("prefill", 2), target("decode", 5)];
        targets[1]["recommendation"] = json!({"replicas": 7});
        let role = |name: &str| {
            json!({
                "name": name,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": 1,
                "maxReplicas": 9,
                "metrics": [],
            })
        };
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"namespace": "ns", "name": "a", "generation": 1},
            "spec": {
                "engine": "VLLM",
                "minReplicas": 1,
                "maxReplicas": 9,
                "metrics": [],
                "roles": [role("prefill"), role("decode")],
            },
            "status": {"observedGeneration": 1, "conditions": [condition], "targets": targets},
        });
        serde_json::from_value(object).unwrap()
    }

    struct Scene {
        recommendations: Recommendations,
        entry: StepEntry,
        _objects: latest::Sender<Arc<LLMAutoscaler>>,
    }

    fn scene(leases: Leases, object: &LLMAutoscaler) -> Scene {
        let (objects, receiver) = latest::channel(Arc::new(object.clone()));
        let catalog = Catalog::default();
        catalog.add(&AutoscalerKey::of(object), receiver);
        let (steps, clock, period) =
            (LatestSteps::default(), Clock::start(), Duration::from_secs(15));
        let entry = steps.add(AutoscalerKey::of(object));
        let recommendations = Recommendations { catalog, steps, leases, clock, period };
        Scene { recommendations, entry, _objects: objects }
    }

    fn find(scene: &Scene, text: &str) -> Result<Vec<(Option<String>, i32)>, String> {
        let selector =
            if text.is_empty() { Selector::default() } else { selector::parse(text).unwrap() };
        let (namespace, metric) = ("ns".to_owned(), METRIC.to_owned());
        let found = scene.recommendations.find(&ExternalRequest { namespace, metric, selector })?;
        Ok(found.into_iter().map(|it| (it.role, it.replicas)).collect())
    }

    #[test]
    fn the_copy_that_decides_answers_by_its_latest_step() {
        let active = object("True");
        let scene = scene(Leases::solo(), &active);
        let status = active.status.clone().unwrap();
        assert!(find(&scene, "").unwrap_err().contains("nothing has been decided"));
        let now = scene.recommendations.clock.now();
        scene.entry.record(&status, now);
        let (prefill, decode) = ((Some("prefill".to_owned()), 2), (Some("decode".to_owned()), 7));
        assert_eq!(find(&scene, "").unwrap(), [prefill, decode.clone()]);
        assert_eq!(find(&scene, "autoscaler=a,role=decode").unwrap(), [decode]);
        assert!(find(&scene, "autoscaler=b").unwrap_err().contains("is selected"));
        let none = object("False").status.unwrap();
        scene.entry.record(&none, now);
        assert!(find(&scene, "").unwrap_err().contains("conditions say why"));
        assert!(find(&scene, "autoscaler=b").unwrap_err().contains("is selected"));
        scene.entry.record(&status, now);
        drop(scene.entry);
        assert!(lock(&scene.recommendations.steps.0).is_empty());
    }

    #[test]
    fn a_step_is_stale_when_the_next_one_should_have_ended() {
        let at = |second| Monotonic(Duration::from_secs(second));
        let period = Duration::from_secs(15);
        // now, whether the step of second 100 is stale
        for (now, expected) in [(100, false), (145, false), (146, true)] {
            assert_eq!(is_stale(at(100), period, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_copy_that_stands_by_answers_only_while_another_one_is_seen_to_decide() {
        // This Lease has not been renewed.
        let scene = scene(Leases::by_hand(1), &object("True"));
        assert!(find(&scene, "").unwrap_err().contains("no copy of the operator"));
        let request = ExternalRequest {
            namespace: "ns".to_owned(),
            metric: "other".to_owned(),
            selector: Selector::default(),
        };
        assert!(scene.recommendations.find(&request).unwrap_err().contains(METRIC));
    }
}
