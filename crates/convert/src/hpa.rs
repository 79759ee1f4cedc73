//! HorizontalPodAutoscalers.

mod metrics;

use crate::{
    behavior::{behavior, scale_down_window},
    comment::Comments,
    context::Context,
    draft::Draft,
    field::Field,
    object::{Identity, finish_metadata},
};

/// Converts a HorizontalPodAutoscaler.
pub(crate) fn convert(
    root: &Field,
    identity: &Identity,
    context: &Context,
    comments: &mut Comments,
) -> Option<Draft> {
    let spec = root.get("spec");
    if let Some(owner) = controller(root) {
        spec.dismiss();
        finish_metadata(root, &[], comments);
        comments.note("", format!("{owner} has created it: that is what is converted, not this."));
        return None;
    }
    let mut draft = Draft::default();
    draft.refer(&spec.get("scaleTargetRef"), ["apps/v1", "Deployment"], identity, comments);
    let (lower, upper) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    draft.bounds([&lower, &upper], [1, 0], comments);
    draft.behavior = behavior(&spec.get("behavior"));
    if draft.min == 0 {
        draft.to_zero_after = Some(scale_down_window(&draft.behavior));
        let text = "the last replica goes when all metrics have required none for the window of \
                    scale-downs (scaleToZero.afterSeconds), as before; it also stays while a wake \
                    call is in effect.";
        comments.changed(lower.path(), text);
    }
    let utilization = spec.get("targetCPUUtilizationPercentage");
    if utilization.exists() {
        let text = format!("{}: CPU usage is no metric here.", utilization.quote());
        draft.leave_out(comments, utilization.path(), &text);
    }
    let is_older = older(root, &mut draft, comments);
    let list = spec.get("metrics").items();
    for metric in &list {
        let before = draft.metrics.len();
        metrics::metric(metric, &mut draft, context, comments);
        if draft.metrics.len() == before {
            metric.keep(comments);
        }
    }
    if list.is_empty() && !utilization.exists() && !is_older {
        let text = "without metrics an HPA scales by CPU usage at 80 %, which is no metric here.";
        comments.lost("spec.metrics", text);
    }
    finish_metadata(root, &[], comments);
    Some(draft)
}

/// Leaves out what older versions have elsewhere. Returns whether there is something.
fn older(root: &Field, draft: &mut Draft, comments: &mut Comments) -> bool {
    const WAY: &str = "give the object as autoscaling/v2, such as kubectl get hpa.v2.autoscaling \
                       NAME -o yaml prints it";
    let annotations = root.at(&["metadata", "annotations"]);
    let mut is_older = false;
    for key in ["metrics", "behavior"] {
        let field = annotations.get(&format!("autoscaling.alpha.kubernetes.io/{key}"));
        if let Some(text) = field.text() {
            let text =
                format!("{text}: autoscaling/v1 has its {key} here, which is not read: {WAY}.");
            draft.leave_out(comments, field.path(), &text);
            is_older = true;
        }
    }
    let version = root.get("apiVersion");
    if version.peek() == Some("autoscaling/v2beta1") {
        let text = format!("autoscaling/v2beta1: its metrics have other fields: {WAY}.");
        draft.leave_out(comments, version.path(), &text);
        is_older = true;
    }
    is_older
}

/// Returns whether another autoscaler has created an HPA for itself.
pub(crate) fn is_created(root: &Field) -> bool {
    controller(root).is_some()
}

/// Returns the autoscaler that has created an HPA for itself.
fn controller(root: &Field) -> Option<String> {
    const KINDS: [&str; 3] = ["ScaledObject", "PodAutoscaler", "VariantAutoscaling"];
    let owners = root.at(&["metadata", "ownerReferences"]).items();
    let owner = owners.iter().find(|owner| {
        KINDS.contains(&owner.get("kind").peek().unwrap_or_default())
            && owner.get("controller").flag() == Some(true)
    })?;
    let [kind, name] = ["kind", "name"].map(|key| owner.get(key).text().unwrap_or_default());
    Some(format!("{kind} {name}"))
}
