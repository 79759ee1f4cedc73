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
    let list = spec.get("metrics").items();
    for metric in &list {
        let before = draft.metrics.len();
        metrics::metric(metric, &mut draft, context, comments);
        if draft.metrics.len() == before {
            metric.keep(comments);
        }
    }
    if list.is_empty() && !utilization.exists() {
        let text = "without metrics an HPA scales by CPU usage at 80 %, which is no metric here.";
        comments.lost("spec.metrics", text);
    }
    finish_metadata(root, &[], comments);
    Some(draft)
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
