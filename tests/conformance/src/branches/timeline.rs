//! The branches of the whole reconcile: several metrics, bounds, zero, writes, selectors and
//! conditions.

use serde_json::Value;

/// A reconcile of a timeline.
pub(super) struct Seen<'a> {
    case: &'a Value,
    /// The spec in force at this step.
    spec: &'a Value,
    step: &'a Value,
    /// The answer to the previous reconcile.
    before: &'a Value,
    answer: &'a Value,
    /// True if the HPA has scaled the target to zero in an earlier step.
    was_zero: bool,
}

/// Returns the reconciles of a timeline with the oracle's answers.
pub(super) fn steps<'a>(case: &'a Value, answer: &'a Value) -> Vec<Seen<'a>> {
    let timeline = &case["timeline"];
    let mut spec = &timeline["spec"];
    let mut before = &Value::Null;
    let mut was_zero = false;
    let mut answers = answer["steps"].as_array().into_iter().flatten();
    let mut seen = Vec::new();
    for step in timeline["steps"].as_array().into_iter().flatten() {
        if step["spec"].is_object() {
            spec = &step["spec"];
        }
        if step["no_reconcile"] == true {
            continue;
        }
        let Some(answer) = answers.next() else { break };
        seen.push(Seen { case, spec, step, before, answer, was_zero });
        was_zero |= answer["scaled"] == true && answer["after"] == 0;
        before = answer;
    }
    seen
}

/// The name of a branch, and the predicate that recognises it.
type Branch = (&'static str, fn(&Seen<'_>) -> bool);

pub(super) const BRANCHES: &[Branch] = &[
    // Several metrics.
    ("metrics: the first wins", |s| s.metrics() > 1 && s.is_valid() && s.is_named(0)),
    ("metrics: a later one wins", |s| s.is_valid() && s.is_named(1)),
    ("metrics: of equals the first gives the name", |s| {
        s.is_valid()
            && s.metrics() > 1
            && s.all_show(|metric| target_of(metric))
            && s.before() > 0
            && s.is_named(0)
    }),
    ("metrics: of zeros the last gives the name", |s| {
        s.is_valid()
            && s.metrics() > 1
            && s.all_show(|_| Some("0"))
            && s.before() > 0
            && s.is_named(s.metrics() - 1)
    }),
    ("metrics: a negative proposal counts as zero", |s| {
        s.is_valid()
            && s.metrics() == 1
            && s.shown(0).is_some_and(|value| value.starts_with('-'))
            && s.after() >= 0
    }),
    ("metrics: one fails, the others grow", |s| {
        s.is_valid() && s.failures() > 0 && s.after() > s.before()
    }),
    ("metrics: one fails, the others stay", |s| {
        s.is_valid() && s.failures() > 0 && s.after() == s.before()
    }),
    ("metrics: one fails, the others would shrink", |s| {
        s.failures() > 0 && s.failures() < s.metrics() && !s.is_valid()
    }),
    ("metrics: all fail", |s| s.failures() > 1 && s.failures() == s.metrics()),
    ("metrics: neither value nor average", |s| {
        s.fails("neither a value target nor an average value target")
    }),
    ("metrics: an External average goes before its value", |s| {
        s.has_target("external", "Value", "averageValue")
    }),
    ("metrics: an External value without an average", |s| {
        s.has_target("external", "AverageValue", "value")
    }),
    ("metrics: an Object target is what its type says", |s| {
        s.has_target("object", "Value", "averageValue")
    }),
    ("metrics: the total is compared with status.replicas", |s| {
        s.is_valid()
            && s.metrics() == 1
            && s.shown(0).is_some()
            && s.shown(0) == s.average_of(0)
            && s.step["status_replicas"].is_i64()
            && s.step["status_replicas"] != s.answer["before"]
    }),
    // The reconcile.
    ("step: the scale cannot be read", |s| s.able() == "FailedGetScale"),
    ("step: the scale can be read again", |s| {
        s.reason_before("AbleToScale") == "FailedGetScale" && s.able() != "FailedGetScale"
    }),
    ("step: the first number of replicas is a recommendation", |s| {
        s.before.is_null()
            && s.case["recommendations"].is_null()
            && s.able() == "ScaleDownStabilized"
    }),
    ("step: a restart forgets what held a scale-down", |s| {
        s.step["restart"] == true && s.reason_before("AbleToScale") == "ScaleDownStabilized"
    }),
    ("step: zero by someone else is left alone", |s| s.active() == "ScalingDisabled"),
    ("step: zero of our own is left alone without an outside metric", |s| {
        s.active() == "ScalingDisabled" && s.holds("ScaledToZero") && s.spec["minReplicas"] == 0
    }),
    ("step: zero is left alone without the gate", |s| {
        s.active() == "ScalingDisabled" && s.no_gate()
    }),
    ("step: zero of our own stays zero", |s| s.before() == 0 && s.is_valid() && s.after() == 0),
    ("step: from zero by a metric", |s| {
        s.before() == 0 && s.is_valid() && s.after() > 0 && s.says("above target")
    }),
    ("step: from zero to the minimum", |s| {
        s.before() == 0 && s.is_valid() && s.says("below Spec.MinReplicas")
    }),
    ("step: from zero to the minimum, for no reason", |s| {
        s.before() == 0
            && s.event("SuccessfulRescale").is_some_and(|message| message.ends_with("reason: "))
    }),
    ("step: to zero and back", |s| s.was_zero && s.before() == 0 && s.is_valid() && s.after() > 0),
    ("step: above the maximum", |s| s.says("above Spec.MaxReplicas")),
    ("step: below the minimum", |s| s.before() > 0 && s.says("below Spec.MinReplicas")),
    ("step: the bounds leave ScalingLimited as it was", |s| {
        s.says("Spec.M")
            && s.before() > 0
            && s.condition("ScalingLimited").is_object()
            && s.condition("ScalingLimited") == condition(s.before, "ScalingLimited")
    }),
    ("step: no result", |s| s.event("FailedComputeMetricsReplicas").is_some()),
    ("step: no result leaves the desired number", |s| {
        s.event("FailedComputeMetricsReplicas").is_some()
            && s.answer["status_desired"] != s.answer["before"]
    }),
    ("step: a metric above its target", |s| s.says("above target")),
    ("step: all metrics below their targets", |s| {
        s.says("All metrics below target") && s.after() < s.before()
    }),
    ("step: the size is kept", |s| {
        s.is_valid() && s.answer["scaled"] == false && s.able() == "ReadyForNewScale"
    }),
    ("step: the write fails", |s| s.event("FailedRescale").is_some()),
    ("step: the write fails and a metric failed, too", |s| {
        s.event("FailedRescale").is_some() && s.failures() > 0
    }),
    ("step: a new spec has a new generation", |s| {
        s.answer["observed_generation"].as_i64() > Some(1) && s.step["spec"].is_object()
    }),
    ("step: the last change is remembered", |s| {
        s.answer["scaled"] == false && s.answer["last_scale_t"].as_f64() >= Some(0.0)
    }),
    // Windows and limits in the reconcile.
    ("legacy step: the window grows the target", |s| {
        !s.has_behavior() && s.says("All metrics below target") && s.after() > s.before()
    }),
    ("legacy step: the window holds", |s| !s.has_behavior() && s.able() == "ScaleDownStabilized"),
    ("legacy step: twice at once", |s| !s.has_behavior() && s.limited() == "ScaleUpLimit"),
    ("behavior step: the scale-up window holds", |s| {
        s.has_behavior() && s.able() == "ScaleUpStabilized"
    }),
    ("behavior step: the scale-down window holds", |s| {
        s.has_behavior() && s.able() == "ScaleDownStabilized"
    }),
    ("behavior step: scale-up's limit", |s| s.has_behavior() && s.limited() == "ScaleUpLimit"),
    ("behavior step: scale-down's limit", |s| s.has_behavior() && s.limited() == "ScaleDownLimit"),
    ("behavior step: the scale-down window is the controller's", |s| {
        s.has_behavior()
            && s.able() == "ScaleDownStabilized"
            && s.spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"].is_null()
            && s.case["downscale_stabilization_s"].is_number()
    }),
    ("behavior step: a change into the bounds counts for the policies", |s| {
        let message = event(s.before, "SuccessfulRescale").unwrap_or_default();
        s.has_behavior()
            && message.contains("Spec.M")
            && matches!(s.limited(), "ScaleUpLimit" | "ScaleDownLimit")
    }),
    ("behavior step: empty, all of it by default", |s| {
        s.is_valid() && s.spec["behavior"] == serde_json::json!({})
    }),
    ("behavior step: a tolerance of its own", |s| {
        s.is_valid()
            && ["scaleUp", "scaleDown"]
                .iter()
                .any(|of| s.spec["behavior"][of]["tolerance"].is_string())
    }),
    // Selectors.
    ("selector: none", |s| s.event("SelectorRequired").is_some()),
    ("selector: finds no pod", |s| s.fails("no pods returned by selector")),
    ("selector: of sets", |s| {
        s.step["selector"].as_str().is_some_and(|selector| selector.contains(" in "))
            && s.is_valid()
    }),
    // Conditions.
    ("condition: AbleToScale SucceededGetScale", |s| s.able() == "SucceededGetScale"),
    ("condition: AbleToScale SucceededRescale", |s| s.able() == "SucceededRescale"),
    ("condition: AbleToScale FailedUpdateScale", |s| s.able() == "FailedUpdateScale"),
    ("condition: AbleToScale flips twice in one step", |s| {
        s.able() == "FailedUpdateScale"
            && s.reason_before("AbleToScale") == "FailedUpdateScale"
            && s.condition("AbleToScale")["transition_t"] == s.answer["t"]
            && s.answer["t"] != s.before["t"]
    }),
    ("condition: ScalingActive FailedGetPodsMetric", |s| s.active() == "FailedGetPodsMetric"),
    ("condition: ScalingActive FailedGetObjectMetric", |s| s.active() == "FailedGetObjectMetric"),
    ("condition: ScalingActive FailedGetExternalMetric", |s| {
        s.active() == "FailedGetExternalMetric"
    }),
    ("condition: ScalingLimited DesiredWithinRange", |s| s.limited() == "DesiredWithinRange"),
    ("condition: ScalingLimited TooFewReplicas", |s| s.limited() == "TooFewReplicas"),
    ("condition: ScalingLimited TooManyReplicas", |s| s.limited() == "TooManyReplicas"),
    ("condition: ScaledToZero True", |s| s.scales() && s.reason("ScaledToZero") == "ScaledToZero"),
    ("condition: ScaledToZero False", |s| {
        s.scales() && s.reason("ScaledToZero") == "NotScaledToZero"
    }),
    ("condition: ScaledToZero is removed without the gate", |s| {
        s.no_gate()
            && s.condition("ScaledToZero").is_null()
            && initial_zero(s.case)
            && s.before.is_null()
    }),
    ("condition: an unchanged status keeps its transition", |s| {
        s.reason("ScalingActive") == s.reason_before("ScalingActive")
            && s.is_valid()
            && s.condition("ScalingActive")["transition_t"] != s.answer["t"]
    }),
];

impl<'a> Seen<'a> {
    fn before(&self) -> i64 {
        self.answer["before"].as_i64().unwrap_or_default()
    }

    fn after(&self) -> i64 {
        self.answer["after"].as_i64().unwrap_or_default()
    }

    fn scales(&self) -> bool {
        self.answer["scaled"] == true
    }

    fn condition(&self, type_: &str) -> &'a Value {
        condition(self.answer, type_)
    }

    fn reason(&self, type_: &str) -> &'a str {
        self.condition(type_)["reason"].as_str().unwrap_or_default()
    }

    fn reason_before(&self, type_: &str) -> &'a str {
        condition(self.before, type_)["reason"].as_str().unwrap_or_default()
    }

    fn holds(&self, type_: &str) -> bool {
        self.condition(type_)["status"] == "True"
    }

    fn able(&self) -> &'a str {
        self.reason("AbleToScale")
    }

    fn active(&self) -> &'a str {
        self.reason("ScalingActive")
    }

    fn limited(&self) -> &'a str {
        self.reason("ScalingLimited")
    }

    /// Returns true if the metrics gave a result in this step.
    fn is_valid(&self) -> bool {
        self.active() == "ValidMetricFound"
            && self.answer["current_metrics"].is_array()
            && self.able() != "FailedGetScale"
    }

    /// Returns true if the result is attributed to the metric with this index.
    fn is_named(&self, index: usize) -> bool {
        let name = &metric_source(&self.spec["metrics"][index])["metric"]["name"];
        let message = self.condition("ScalingActive")["message"].as_str().unwrap_or_default();
        name.as_str().is_some_and(|name| message.contains(&format!("metric {name}")))
    }

    fn event(&self, reason: &str) -> Option<&'a str> {
        event(self.answer, reason)
    }

    /// Returns true if the event about the change of size gives this reason.
    fn says(&self, reason: &str) -> bool {
        self.event("SuccessfulRescale").is_some_and(|message| message.contains(reason))
    }

    fn fails(&self, with: &str) -> bool {
        self.answer["error"].as_str().is_some_and(|error| error.contains(with))
    }

    fn metrics(&self) -> usize {
        self.spec["metrics"].as_array().map_or(0, Vec::len)
    }

    /// Returns the number of metrics that failed.
    fn failures(&self) -> usize {
        let events = self.answer["events"].as_array().into_iter().flatten();
        events
            .filter(|event| {
                event["reason"].as_str().is_some_and(|reason| {
                    reason.starts_with("FailedGet") && reason.ends_with("Metric")
                })
            })
            .count()
    }

    /// Returns the current value of a metric in the status.
    fn shown(&self, index: usize) -> Option<&'a str> {
        let current = &metric_source(&self.answer["current_metrics"][index])["current"];
        current["averageValue"].as_str().or(current["value"].as_str())
    }

    /// Returns true if the status shows for every metric the value that `what` derives from the
    /// metric's spec.
    fn all_show(&self, what: impl Fn(&'a Value) -> Option<&'a str>) -> bool {
        (0..self.metrics()).all(|index| {
            let shown = self.shown(index);
            shown.is_some() && shown == what(&self.spec["metrics"][index])
        })
    }

    /// Returns the average target of an Object or External metric.
    fn average_of(&self, index: usize) -> Option<&'a str> {
        let metric = &self.spec["metrics"][index];
        let is_outside = metric["type"] != "Pods";
        metric_source(metric)["target"]["averageValue"].as_str().filter(|_| is_outside)
    }

    /// Returns true if the reconcile evaluated a metric of this source with a target of this type
    /// that sets the field `set`.
    fn has_target(&self, source: &str, type_: &str, set: &str) -> bool {
        let metrics = self.spec["metrics"].as_array().into_iter().flatten();
        let mut targets = metrics.map(|metric| &metric[source]["target"]);
        self.answer["current_metrics"].is_array()
            && targets.any(|target| target["type"] == type_ && target[set].is_string())
    }

    fn has_behavior(&self) -> bool {
        self.is_valid() && self.spec["behavior"].is_object()
    }

    fn no_gate(&self) -> bool {
        self.case["scale_to_zero_gate"] == false
    }
}

fn condition<'a>(answer: &'a Value, type_: &str) -> &'a Value {
    let conditions = answer["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// Returns the message of the event with this reason.
fn event<'a>(answer: &'a Value, reason: &str) -> Option<&'a str> {
    let mut events = answer["events"].as_array()?.iter();
    events.find(|event| event["reason"] == reason)?["message"].as_str()
}

fn metric_source(metric: &Value) -> &Value {
    let source = metric["type"].as_str().unwrap_or_default().to_lowercase();
    &metric[source]
}

fn target_of(metric: &Value) -> Option<&str> {
    let target = &metric_source(metric)["target"];
    target["averageValue"].as_str().or(target["value"].as_str())
}

fn initial_zero(case: &Value) -> bool {
    let conditions =
        case["timeline"]["initial_status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "ScaledToZero")
}
