//! Kthena's `AutoscalingPolicy`: with a target in it (1.0), or bound to one by an
//! `AutoscalingPolicyBinding` (before).

mod metrics;

use serde_json::{Map, Value, json};

use crate::{
    behavior::SCALE_DOWN_WINDOW,
    comment::Comments,
    context::Context,
    draft::Draft,
    field::Field,
    object::{Identity, finish_metadata},
    promql::seconds,
};

/// The kind of targets that name none.
const TARGET: [&str; 2] = ["workload.serving.volcano.sh/v1alpha1", "ModelServing"];

/// Returns the policy that a binding names, by its namespace and name.
pub(crate) fn bound(root: &Field) -> (Option<String>, String) {
    let text = |keys: &[&str]| root.at(keys).peek().map(str::to_owned);
    let name = text(&["spec", "policyRef", "name"]).unwrap_or_default();
    (text(&["metadata", "namespace"]), name)
}

/// Converts a policy that has its target.
pub(crate) fn policy(
    root: &Field,
    identity: &Identity,
    context: &Context,
    comments: &mut Comments,
) -> Vec<Draft> {
    finish_metadata(root, &[], comments);
    let spec = root.get("spec");
    let key = (identity.namespace.clone(), identity.name.clone());
    let targets = ["homogeneousTarget", "heterogeneousTarget", "disaggregatedTarget"];
    if targets.iter().any(|key| spec.get(key).exists()) {
        return drafts(&spec, &spec, identity, comments);
    }
    if context.policies.get(&key).is_some_and(|policy| policy.is_bound) {
        let text = "it becomes part of the objects of the AutoscalingPolicyBindings that name it.";
        comments.note("", text);
    } else {
        let text = "it has no target, and no AutoscalingPolicyBinding of the input names it.";
        comments.lost("", text);
    }
    Vec::new()
}

/// Converts a binding, with the policy that it names.
pub(crate) fn binding(
    root: &Field,
    identity: &Identity,
    context: &Context,
    comments: &mut Comments,
) -> Vec<Draft> {
    finish_metadata(root, &[], comments);
    let spec = root.get("spec");
    let reference = spec.at(&["policyRef", "name"]);
    let name = reference.text().unwrap_or_default();
    let Some(policy) = context.policies.get(&(identity.namespace.clone(), name.clone())) else {
        let text = format!("the AutoscalingPolicy {name} is not among the input: add it.");
        comments.lost(reference.path(), text);
        comments.note("spec", format!("it was {}", spec.quote()));
        return Vec::new();
    };
    drafts(&spec, &policy.root.get("spec"), identity, comments)
}

fn drafts(
    spec: &Field,
    policy: &Field,
    identity: &Identity,
    comments: &mut Comments,
) -> Vec<Draft> {
    let behavior = behavior(policy, comments);
    let roles = spec.get("disaggregatedTarget");
    if roles.exists() {
        let text = format!(
            "{}: the roles of a ModelServing cannot be scaled one by one through a scale.",
            roles.quote()
        );
        comments.lost(roles.path(), text);
        for metric in policy.get("metrics").items() {
            for key in ["name", "metricName", "targetValue"] {
                metric.get(key).dismiss();
            }
        }
        return Vec::new();
    }
    // The names of the first versions.
    let either = |name: &str, former: &str| match spec.get(former) {
        field if field.exists() => field,
        _ => spec.get(name),
    };
    let several = either("heterogeneousTarget", "optimizerConfiguration");
    let mut targets = several.get("params").items();
    if several.exists() {
        let text = "which of the targets is the cheapest is no question here. Each is scaled by \
                    its own load.";
        comments.lost(several.path(), text);
        let rate = several.get("costExpansionRatePercent");
        if rate.exists() {
            let text = format!("{}: costs are not compared.", rate.quote());
            comments.lost(rate.path(), text);
        }
        for target in &targets {
            let cost = target.get("cost");
            if cost.exists() {
                let text = format!("{}: costs are not compared.", cost.quote());
                comments.lost(cost.path(), text);
            }
        }
    } else {
        targets = vec![either("homogeneousTarget", "scalingConfiguration")];
    }
    let each = targets.iter().map(|target| {
        let mut draft = Draft { behavior: behavior.clone(), ..Draft::default() };
        let inner = target.get("target");
        draft.refer(&inner.get("targetRef"), TARGET, identity, comments);
        let (lower, upper) = (target.get("minReplicas"), target.get("maxReplicas"));
        draft.bounds([&lower, &upper], [1, 0], comments);
        if draft.min == 0 {
            draft.to_zero_after = Some(crate::behavior::scale_down_window(&behavior).max(1));
            let text = "0: the last replica goes after the window of scale-downs without requests \
                        (scaleToZero.afterSeconds), and comes back by requests at a gateway or by \
                        a wake call.";
            comments.changed(lower.path(), text);
        }
        subset(&inner, &mut draft, comments);
        metrics::metrics(&inner, policy, &mut draft, comments);
        draft
    });
    each.collect()
}

/// A target that is a part of its object.
fn subset(target: &Field, draft: &mut Draft, comments: &mut Comments) {
    let part = target.get("subTargets");
    let is_role = draft.target.as_ref().is_some_and(|target| target[1].contains('/'));
    if part.exists() || is_role {
        let text = format!(
            "{}: the roles of a ModelServing cannot be scaled one by one through a scale.",
            part.quote()
        );
        comments.lost(target.path(), text);
        draft.target = None;
    }
}

/// Returns the speed of changes. Defaults that differ are written out.
fn behavior(policy: &Field, comments: &mut Comments) -> Map<String, Value> {
    let field = policy.get("behavior");
    let tolerance = policy.get("tolerancePercent").within(0..=100).unwrap_or(10);
    let tolerance = format!("{}.{:02}", tolerance / 100, tolerance % 100);
    let (up, down) = (field.at(&["scaleUp", "stablePolicy"]), field.get("scaleDown"));
    let mut found = Map::new();
    for (direction, field, default) in
        [("scaleUp", &up, 0), ("scaleDown", &down, SCALE_DOWN_WINDOW)]
    {
        let mut rules = rules(field, default, comments);
        rules.insert("tolerance".to_owned(), json!(tolerance));
        found.insert(direction.to_owned(), Value::Object(rules));
    }
    let panic = field.at(&["scaleUp", "panicPolicy"]);
    if panic.exists() {
        let text = format!(
            "{}: there is no panic mode. The latest samples decide at once; raise the policies of \
             behavior.scaleUp for larger bursts.",
            panic.quote()
        );
        comments.lost(panic.path(), text);
    }
    found
}

fn rules(field: &Field, window: i64, comments: &mut Comments) -> Map<String, Value> {
    let period = duration(&field.get("period"), comments).unwrap_or(15).clamp(1, 1800);
    let instances = field.get("instances").within(0..=100_000).unwrap_or(1);
    let percent = field.get("percent").within(0..=1000).unwrap_or(100);
    let select = field.get("selectPolicy");
    let is_and = select.one_of(&["And", "Or"]) == Some("And");
    let given = duration(&field.get("stabilizationWindow"), comments);
    if given.is_none() && window > 0 {
        let text = format!("none is given: the HPA's {window} s are written out.");
        comments.changed(&format!("{}.stabilizationWindow", field.path()), text);
    }
    let mut policies = Vec::new();
    for (unit, value) in [("Pods", instances), ("Percent", percent)] {
        if value > 0 {
            policies.push(json!({"type": unit, "value": value, "periodSeconds": period}));
        }
    }
    let is_off = policies.is_empty() || (is_and && policies.len() < 2);
    let mut found = Map::new();
    let window = given.unwrap_or(window).clamp(0, 3600);
    found.insert("stabilizationWindowSeconds".to_owned(), json!(window));
    let select = if is_off {
        "Disabled"
    } else if is_and {
        "Min"
    } else {
        "Max"
    };
    found.insert("selectPolicy".to_owned(), json!(select));
    if !policies.is_empty() {
        found.insert("policies".to_owned(), Value::Array(policies));
    }
    found
}

/// Reads a duration such as `1m30s`.
fn duration(field: &Field, comments: &mut Comments) -> Option<i64> {
    let text = field.text()?;
    let found = seconds(text.trim()).map(i64::from);
    if found.is_none() {
        comments.lost(field.path(), format!("{text} is not a duration in whole seconds."));
    }
    found
}

/// Returns the key of a policy in the index of all of them.
pub(crate) fn key(identity: &Identity) -> (Option<String>, String) {
    (identity.namespace.clone(), identity.name.clone())
}
