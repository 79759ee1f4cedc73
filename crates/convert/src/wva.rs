//! `VariantAutoscaling`s of llm-d's workload-variant-autoscaler. They compute a number of replicas
//! that an HPA or a `ScaledObject` follows, which has the bounds.

use llm_autoscaler_engines::Kind;

use crate::{
    comment::Comments,
    context::{Context, Variant},
    draft::{Draft, Metric, Page, Reading},
    field::Field,
    object::{Identity, finish_metadata},
};

/// The names of the gauge with the computed number, the newest first.
const DESIRED: [&str; 2] = ["wva_desired_replicas", "inferno_desired_replicas"];

/// The series of vLLM by which a variant is saturated, and the mean at which it grows: below the
/// controller's default thresholds (0.80 and 5) by its default spare (0.1 and 3).
const TARGETS: [(&str, &str); 2] =
    [("vllm:kv_cache_usage_perc", "0.7"), ("vllm:num_requests_waiting", "2")];

/// Returns whether a metric is the number that the controller computed.
pub(crate) fn is_desired(name: &str) -> bool {
    DESIRED.iter().any(|desired| name.contains(desired))
}

/// Returns the variant of a document.
pub(crate) fn variant(root: &Field) -> Variant {
    let text = |keys: &[&str]| root.at(keys).peek().map(str::to_owned);
    let target = text(&["spec", "scaleTargetRef", "name"]);
    Variant {
        namespace: text(&["metadata", "namespace"]),
        target: target.or_else(|| text(&["metadata", "name"])).unwrap_or_default(),
    }
}

/// Adds the metrics of the variant that an HPA or a `ScaledObject` follows; false if there is none.
pub(crate) fn replace(
    draft: &mut Draft,
    context: &Context,
    field: &str,
    comments: &mut Comments,
) -> bool {
    let is_its = |it: &Variant| it.target == draft.name && it.namespace == draft.namespace;
    let is_known = context.variants.iter().any(is_its);
    if is_known {
        metrics(draft, field, comments);
    }
    is_known
}

fn metrics(draft: &mut Draft, field: &str, comments: &mut Comments) {
    for (series, target) in TARGETS {
        let page = Page {
            names: vec![series.to_owned()],
            matchers: Vec::new(),
            kind: Kind::Gauge,
            window: None,
            percentile: None,
        };
        let name = series.replace("vllm:", "");
        let (field, target) = (field.to_owned(), target.to_owned());
        draft.metrics.push(Metric {
            field,
            name,
            is_named: false,
            reading: Reading::Page(page),
            target,
        });
    }
    let text = "the number that the workload-variant-autoscaler computed is replaced by what it \
                was computed of: KV cache usage kept at 0.7 and waiting requests at 2 per replica, \
                which are its default thresholds (0.80 and 5) less its default spare (0.1 and 3). \
                Adjust them if your ConfigMap has others.";
    comments.changed(field, text);
    let text = "the size follows the pods' pages in seconds; the computed number took a minute or \
                more to become one.";
    comments.better(field, text);
}

/// Converts a `VariantAutoscaling`.
pub(crate) fn convert(root: &Field, identity: &Identity, comments: &mut Comments) -> Option<Draft> {
    let spec = root.get("spec");
    let mut draft = Draft::default();
    let reference = spec.get("scaleTargetRef");
    if reference.exists() {
        draft.refer(&reference, ["apps/v1", "Deployment"], identity, comments);
    } else {
        // The first version scaled the Deployment of its own name.
        draft.namespace.clone_from(&identity.namespace);
        draft.name.clone_from(&identity.name);
        draft.target = Some(["apps/v1".to_owned(), "Deployment".to_owned(), identity.name.clone()]);
    }
    let notes = [
        ("variantID", "a label of the controller's own metrics."),
        ("accelerator", "the hardware of a replica is of no interest here."),
        ("acceleratorType", "the hardware of a replica is of no interest here."),
        ("acceleratorCount", "GPUs are counted for roles under one ceiling only (maxGPUs)."),
        ("variantProfile", "a profile of the engine's speed is not needed: the load is measured."),
        ("modelProfile", "a profile of the engine's speed is not needed: the load is measured."),
        ("activateModelTuner", "there is no model of the engine to tune."),
    ];
    for (key, text) in notes {
        let field = spec.get(key);
        if field.exists() {
            comments.note(field.path(), format!("{}: {text}", field.quote()));
        }
    }
    for (key, text) in [
        (
            "variantCost",
            "which of several variants is the cheapest is no question here: each \
                         target is scaled by its own load.",
        ),
        (
            "sloClassRef",
            "targets for latencies are metrics here: the signals TimeToFirstToken and \
                         InterTokenLatency with a target of type Value.",
        ),
    ] {
        let field = spec.get(key);
        if field.exists() {
            comments.lost(field.path(), format!("{}: {text}", field.quote()));
        }
    }
    if let Some(model) = spec.get("modelID").text() {
        let text = format!("{model}: the pods of the target are read, whatever model they serve.");
        comments.note("spec.modelID", text);
    }
    finish_metadata(root, &[], comments);
    let (lower, upper) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if upper.exists() {
        draft.bounds([&lower, &upper], [1, 0], comments);
        draft.to_zero_after = (draft.min == 0).then_some(600);
        if draft.min == 0 {
            let text = "the last replica goes after ten minutes without requests \
                        (scaleToZero.afterSeconds); how long it was before stands in the \
                        controller's ConfigMap.";
            comments.changed(lower.path(), text);
        }
        metrics(&mut draft, "spec", comments);
        return Some(draft);
    }
    None
}
