//! ScaledObjects of KEDA.

mod authentication;
mod formula;
mod settings;
mod triggers;

use serde_json::json;

use crate::{
    behavior::{behavior, disable},
    comment::Comments,
    context::Context,
    draft::Draft,
    field::Field,
    object::{Identity, finish_metadata},
};

pub(crate) use authentication::read as read_authentication;

/// KEDA's defaults.
const POLLING: i64 = 30;
const COOLDOWN: i64 = 300;
const MOST: i64 = 100;

/// Annotations that are read here.
const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
const PAUSED_IN: [&str; 2] =
    ["autoscaling.keda.sh/paused-scale-in", "autoscaling.keda.sh/paused-scale-down"];
const PAUSED_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
const FORCED: &str = "autoscaling.keda.sh/force-activation";

/// Annotations that are about KEDA's own HPA.
const OF_HPA: [&str; 3] = [
    "scaledobject.keda.sh/transfer-hpa-ownership",
    "scaledobject.keda.sh/hpa-excluded-labels",
    "validations.keda.sh/hpa-ownership",
];

/// Converts a ScaledObject.
pub(crate) fn convert(
    root: &Field,
    identity: &Identity,
    context: &Context,
    comments: &mut Comments,
) -> Draft {
    let spec = root.get("spec");
    let mut draft = Draft::default();
    let reference = spec.get("scaleTargetRef");
    draft.refer(&reference, ["apps/v1", "Deployment"], identity, comments);
    let container = reference.get("envSourceContainerName");
    if container.exists() {
        let text =
            format!("{}: triggers read no variables of a container here.", container.quote());
        comments.note(container.path(), text);
    }
    let (lower, upper) = (spec.get("minReplicaCount"), spec.get("maxReplicaCount"));
    draft.bounds([&lower, &upper], [0, MOST], comments);
    let advanced = spec.get("advanced");
    draft.behavior = behavior(&advanced.at(&["horizontalPodAutoscalerConfig", "behavior"]));
    settings(&spec, &mut draft, comments);
    paused(root, &mut draft, comments);
    zero(root, &mut draft, comments);
    triggers::triggers(&spec, &mut draft, context, comments);
    fallback(&spec, &mut draft, comments);
    for field in OF_HPA.map(|key| root.at(&["metadata", "annotations"]).get(key)) {
        if let Some(text) = field.text() {
            comments.note(field.path(), format!("{text}: there is no HPA in between."));
        }
    }
    let known = [PAUSED, PAUSED_REPLICAS, PAUSED_IN[0], PAUSED_IN[1], PAUSED_OUT, FORCED];
    finish_metadata(root, &known, comments);
    draft
}

/// Comments on settings of KEDA's own machinery.
fn settings(spec: &Field, draft: &mut Draft, comments: &mut Comments) {
    let polling = spec.get("pollingInterval");
    if let Some(seconds) = polling.integer() {
        let text = format!(
            "{seconds} s between two looks at a trigger: pods are scraped every 2 s and queries \
             sent every 5 s here, and a sample is acted upon at once."
        );
        comments.better(polling.path(), text);
    }
    let advanced = spec.get("advanced");
    let name = advanced.at(&["horizontalPodAutoscalerConfig", "name"]);
    if let Some(name) = name.text() {
        comments.note(advanced.path(), format!("there is no HPA in between, so none is {name}."));
    }
    let restore = advanced.get("restoreToOriginalReplicaCount");
    if restore.flag() == Some(true) {
        let text = "true: when the LLMAutoscaler is deleted, the size stays as it is.";
        comments.lost(restore.path(), text);
    }
    let initial = spec.get("initialCooldownPeriod");
    if let Some(seconds) = initial.integer().filter(|seconds| *seconds > 0) {
        let text = format!(
            "{seconds} s after its creation before the target may go to zero: create it without \
             scaleToZero and with minReplicas 1 at first."
        );
        match draft.min {
            0 => comments.lost(initial.path(), text),
            _ => comments.note(initial.path(), format!("{seconds}: the target never is at zero.")),
        }
    }
}

/// Reads when the last replica goes.
fn zero(root: &Field, draft: &mut Draft, comments: &mut Comments) {
    let spec = root.get("spec");
    let (idle, cooldown) = (spec.get("idleReplicaCount"), spec.get("cooldownPeriod"));
    let after = cooldown.within(0..=604_800).unwrap_or(COOLDOWN);
    let is_idle = idle.within(0..=0).is_some();
    let forced = root.at(&["metadata", "annotations"]).get(FORCED);
    if is_set(&forced) {
        draft.min = draft.min.max(1);
        let text = "at least one replica: minReplicas is not 0, whatever idleReplicaCount says.";
        comments.note(forced.path(), text);
    }
    let is_idle = is_idle && !is_set(&forced);
    if is_idle && draft.min == 1 {
        draft.min = 0;
        let text = "0 with minReplicaCount 1 is minReplicas 0 with scaleToZero.";
        comments.note(idle.path(), text);
    } else if is_idle && draft.min > 1 {
        let text = format!(
            "0 while idle and at least {} otherwise: a target that goes to zero has no other lower \
             limit while it is there. The limit is kept, so it does not go to zero.",
            draft.min
        );
        comments.lost(idle.path(), text);
    }
    if draft.min > 0 {
        if cooldown.exists() {
            let text = format!("{after} s before zero: the target never is at zero.");
            comments.note(cooldown.path(), text);
        }
        return;
    }
    draft.to_zero_after = Some(after.max(1));
    let text = format!(
        "{after} s (scaleToZero.afterSeconds) without requests; the window of scale-downs runs at \
         the same time and not before it. The first replica comes back by a query that changes, by \
         requests that arrive at a gateway (signal ArrivalRate), or by a wake call; the pods' own \
         series are not there at zero, as before."
    );
    comments.changed(cooldown.path(), text);
}

/// Reads the annotations that pause a ScaledObject.
fn paused(root: &Field, draft: &mut Draft, comments: &mut Comments) {
    let annotation = |key: &str| root.at(&["metadata", "annotations"]).get(key);
    let whole = annotation(PAUSED);
    if is_set(&whole) {
        draft.is_paused = true;
        comments.note(whole.path(), "the LLMAutoscaler is paused as well.");
    }
    let at = annotation(PAUSED_REPLICAS);
    if let Some(replicas) = at.text() {
        draft.is_paused = true;
        let text = format!(
            "the LLMAutoscaler is paused, and keeps the size that it finds. Set {replicas} by \
             kubectl scale if it is another one."
        );
        comments.changed(at.path(), text);
    }
    for (keys, direction) in [(&PAUSED_IN[..], "scaleDown"), (&[PAUSED_OUT][..], "scaleUp")] {
        for field in keys.iter().map(|key| annotation(key)) {
            if is_set(&field) {
                disable(&mut draft.behavior, direction);
                let text = format!("it is behavior.{direction}.selectPolicy: Disabled.");
                comments.note(field.path(), text);
            }
        }
    }
}

/// Returns whether an annotation is set. Any text but a no sets it.
fn is_set(field: &Field) -> bool {
    field.flag().unwrap_or_else(|| field.text().is_some())
}

/// Reads the size for the time in which the triggers fail.
fn fallback(spec: &Field, draft: &mut Draft, comments: &mut Comments) {
    let field = spec.get("fallback");
    if !field.exists() {
        return;
    }
    let polling = spec.get("pollingInterval").within(1..=86_400).unwrap_or(POLLING);
    let threshold = field.get("failureThreshold").within(0..=10_000).unwrap_or(3);
    let given = field.get("replicas").within(0..=1_000_000).unwrap_or(0);
    let behaviors =
        ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"];
    let behavior = field.get("behavior").one_of(&behaviors).unwrap_or("static");
    match behavior {
        "static" | "currentReplicasIfHigher" => {}
        "currentReplicas" => {
            let text = format!(
                "currentReplicas: without a fallback the size stays as it is, which is the same \
                 (failureThreshold {threshold}, replicas {given})."
            );
            return comments.note(field.path(), text);
        }
        other => {
            let text = format!(
                "{other} (failureThreshold {threshold}, replicas {given}): nothing shrinks while \
                 the metrics have failed. The size stays as it is."
            );
            return comments.lost(field.path(), text);
        }
    }
    let replicas = given.min(draft.max);
    if replicas < 1 {
        let text = format!(
            "replicas {given} (failureThreshold {threshold}): nothing shrinks while the metrics \
             have failed, so no fallback is needed."
        );
        return comments.better(field.path(), text);
    }
    let after = (threshold * polling).clamp(1, 86_400);
    draft.fallback = Some(json!({"afterSeconds": after, "replicas": replicas}));
    let text = format!(
        "{threshold} failures in a row are {after} s in which every metric has failed. At least \
         {replicas} of {given} replicas are kept, and never fewer than there are ({behavior})."
    );
    comments.changed(field.path(), text);
}
