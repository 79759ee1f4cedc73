//! From the LLMAutoscaler back to the autoscaler that it has replaced.

use llm_autoscaler_api::{ScaleTargetRef, ScalingMode, workloads};

use super::{
    living::Living,
    look::{Sight, Size, reference},
    plan::Plan,
    record::{MIGRATION, Record, Stage},
    refusal::Refusal,
    source::{SOURCE_KINDS, Source},
    step::Step,
    write::Write,
};

/// Plans the steps that are left until the other autoscaler scales the target again.
///
/// # Errors
/// Going back is not safe, or no migration is recorded.
pub fn back(sight: &Sight) -> Result<Plan, Refusal> {
    let target = sight.target()?;
    let name = sight.name();
    let scales = sight.autoscaler.spec.mode == ScalingMode::Scale;
    let Some(record) = Record::of(&sight.autoscaler)? else {
        if !scales {
            return Ok(Plan::default());
        }
        return Err(Refusal(format!(
            "no migration is recorded in the LLMAutoscaler {name}, so there is nothing to go back \
             to; to stop it, set mode: Recommend"
        )));
    };
    let size = sight.size(target)?;
    let living = Living::of(sight, target);
    let saved = record.source.as_ref().map(|saved| Source(&saved.manifest));
    if let Some(saved) = saved {
        is_of_target(saved, target)?;
    }
    if let Some(third) = living.third(saved) {
        return Err(Refusal(format!(
            "{} is scaled by the {} now: remove it, then go back",
            reference(target),
            third.label()
        )));
    }
    let mut steps = Vec::new();
    if scales || record.stage != Stage::Restoring {
        if let Some(saved) = saved {
            keeps_the_size(saved, target, size)?;
        }
        steps.push(Step::Withdraw(record.at(Stage::Restoring)));
    }
    let is_withdrawn = !scales && sight.is_observed();
    if !is_withdrawn || sight.condition("Recommending", "True").is_none() {
        steps.push(Step::AwaitWithdrawn);
    }
    if let Some(saved) = saved {
        steps.extend(restore(saved, &living)?.map(Step::Restore));
    }
    steps.push(Step::Forget);
    Ok(Plan { steps, notes: notes(sight, target, size, saved) })
}

/// Fails if the record has something else than an autoscaler of the target: the annotation can be
/// written by others than the caller, whose permissions create the object.
fn is_of_target(saved: Source, target: &ScaleTargetRef) -> Result<(), Refusal> {
    let is_known = SOURCE_KINDS.iter().any(|kind| {
        let version = format!("{}/{}", kind.group, kind.version);
        kind.kind == saved.kind() && saved.0["apiVersion"] == *version
    });
    let is_its = |its: &ScaleTargetRef| workloads::is_same_object(its, target);
    if is_known && !saved.targets().is_empty() && saved.targets().iter().all(is_its) {
        return Ok(());
    }
    Err(Refusal(format!(
        "the annotation {MIGRATION} has a {} that does not scale {}: it was changed since the \
         switch, so create the other autoscaler by hand",
        saved.label(),
        reference(target)
    )))
}

/// Returns the write that makes the source what it was; `None` if it is that already.
fn restore(saved: Source, living: &Living) -> Result<Option<Write>, Refusal> {
    let label = saved.label();
    let Some(found) = living.namesake(saved) else {
        return Ok(Some(Write::Create { object: saved.0.clone() }));
    };
    if found.is_being_deleted() {
        return Err(Refusal(format!("the {label} is being deleted: wait until it is gone")));
    }
    if found.is_scaled_object() {
        return Ok(found.resume(saved));
    }
    if found.0.get("spec") != saved.0.get("spec") {
        return Err(Refusal(format!(
            "the {label} is there again with another spec than the record has: delete one of the \
             two, the object or the annotation of the LLMAutoscaler"
        )));
    }
    Ok(None)
}

/// Fails if the bounds of the source would change the size at once.
fn keeps_the_size(saved: Source, target: &ScaleTargetRef, size: Size) -> Result<(), Refusal> {
    let (before, label, target) = (i64::from(size.replicas), saved.label(), reference(target));
    let (lower, upper) = saved.bounds();
    if before == 0 && !saved.is_scaled_object() {
        return Err(Refusal(format!(
            "{target} is at 0 replicas, which the {label} would leave as it is: set it to 1 first"
        )));
    }
    let after = before.clamp(lower, upper.max(lower));
    if after == before {
        return Ok(());
    }
    Err(Refusal(format!(
        "{target} would go from {before} to {after} replicas at once, because the {label} has the \
         bounds {lower} to {upper}: let the LLMAutoscaler bring it there first, by its minReplicas \
         and maxReplicas"
    )))
}

fn notes(sight: &Sight, target: &ScaleTargetRef, size: Size, saved: Option<Source>) -> Vec<String> {
    let target = reference(target);
    let mut notes = Vec::new();
    match saved {
        None => notes.push(format!("nothing scales {target} afterwards, as before the switch.")),
        Some(saved) if saved.is_scaled_object() && saved.bounds().0 == 0 => notes.push(format!(
            "KEDA sets {target} to 0 replicas at once if no trigger of the {} is active.",
            saved.label()
        )),
        Some(_) => {}
    }
    if size.is_adopted {
        notes.push(format!(
            "spec.replicas of {target} stays owned by the operator's field manager too until the \
             first change of size, so that no tool can remove it."
        ));
    }
    notes.push(format!(
        "if a file or a repository has mode: Scale for the LLMAutoscaler {}, change it there too.",
        sight.name()
    ));
    notes
}
