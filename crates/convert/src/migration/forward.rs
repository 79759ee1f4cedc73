//! From another autoscaler to the LLMAutoscaler.

use llm_autoscaler_api::{PAUSED, ScaleTargetRef, ScalingMode, workloads::keda};

use super::{
    living::Living,
    look::{Sight, Size, reference},
    plan::Plan,
    record::{Record, Stage},
    refusal::Refusal,
    source::Source,
    step::{SETTLED, Step},
};

/// Plans the steps that are left until the LLMAutoscaler scales its target.
///
/// # Errors
/// The switch is not safe, or there is nothing to switch.
pub fn forward(sight: &Sight) -> Result<Plan, Refusal> {
    let target = sight.target()?;
    let name = sight.name();
    let record = Record::of(&sight.autoscaler)?;
    let mode = sight.autoscaler.spec.mode;
    let stage = record.as_ref().map(|record| record.stage);
    match (mode, stage) {
        (_, Some(Stage::Restoring)) => {
            return Err(Refusal(format!(
                "going back has begun: finish it first, by llm-autoscaler migrate {name} --back \
                 --yes"
            )));
        }
        (ScalingMode::Scale, Some(Stage::Switched)) => return Ok(confirm(sight, target)),
        (ScalingMode::Scale, None) => {
            return Err(Refusal(format!(
                "the LLMAutoscaler {name} has mode: Scale already; set mode: Recommend and compare \
                 for a while before you migrate (docs/recommend.md)"
            )));
        }
        _ => {}
    }
    if sight.autoscaler.is_paused() {
        return Err(Refusal(format!(
            "the annotation {PAUSED} would keep the operator from scaling after the switch: \
             remove it, by kubectl annotate llmas {name} {PAUSED}-"
        )));
    }
    if let Some(rival) = sight.rival(target) {
        let target = reference(target);
        return Err(Refusal(format!(
            "{target} is scaled by the LLMAutoscaler {rival}: delete it, or set its mode to \
             Recommend"
        )));
    }
    let size = sight.size(target)?;
    let living = Living::of(sight, target);
    match record {
        // A migration that has ended, and another autoscaler since.
        Some(Record { stage: Stage::Switched, .. }) if living.is_at_work() => {
            begin(sight, target, size, &living)
        }
        Some(record) => go_on(sight, target, size, &living, &record),
        None => begin(sight, target, size, &living),
    }
}

/// Returns the plan of a migration that has been done.
fn confirm(sight: &Sight, target: &ScaleTargetRef) -> Plan {
    let scales = sight.is_observed() && sight.condition("Ready", "True").is_some();
    let target = reference(target);
    Plan {
        steps: if scales { Vec::new() } else { vec![Step::AwaitScaling { target }] },
        notes: Vec::new(),
    }
}

/// Plans a migration from its beginning.
fn begin(
    sight: &Sight,
    target: &ScaleTargetRef,
    size: Size,
    living: &Living,
) -> Result<Plan, Refusal> {
    let source = match living.candidates()[..] {
        [] => {
            is_not_elsewhere(sight, target)?;
            None
        }
        [source] => Some(source),
        [one, other, ..] => {
            return Err(Refusal(format!(
                "{} is scaled by the {} and the {} at once: remove one of them first",
                reference(target),
                one.label(),
                other.label()
            )));
        }
    };
    is_beyond_doubt(sight)?;
    is_within_bounds(sight, target, size)?;
    if let Some(source) = source {
        can_be_stopped(source)?;
    }
    let stage = if source.is_some() { Stage::Stopping } else { Stage::Adopting };
    let record = Record { stage, replicas: size.replicas, source: source.map(Source::saved) };
    record.text()?;
    let mut plan = remaining(sight, target, size, living, &record);
    plan.steps.insert(0, Step::Record(record));
    plan.notes = notes(sight, target, size, source, living);
    Ok(plan)
}

/// Plans the rest of a migration that has begun.
fn go_on(
    sight: &Sight,
    target: &ScaleTargetRef,
    size: Size,
    living: &Living,
    record: &Record,
) -> Result<Plan, Refusal> {
    let saved = record.source.as_ref().map(|saved| Source(&saved.manifest));
    if let Some(third) = living.third(saved) {
        return Err(Refusal(format!(
            "{} is scaled by the {} now, which was not there when the migration began: remove it, \
             or go back by --back",
            reference(target),
            third.label()
        )));
    }
    if let Some((source, saved)) =
        saved.and_then(|it| living.namesake(it)).zip(record.source.as_ref())
        && source.uid() != saved.uid
    {
        let by = source.tool().map_or_else(String::new, |tool| format!(", it seems by {tool}"));
        return Err(Refusal(format!(
            "the {} has been created again{by}: remove it there first, or go back by --back",
            source.label()
        )));
    }
    is_within_bounds(sight, target, size)?;
    Ok(remaining(sight, target, size, living, record))
}

/// Returns the steps after the record has been written.
fn remaining(
    sight: &Sight,
    target: &ScaleTargetRef,
    size: Size,
    living: &Living,
    record: &Record,
) -> Plan {
    let mut steps = Vec::new();
    let saved = record.source.as_ref().map(|saved| Source(&saved.manifest));
    if let Some(saved) = saved {
        let found = living.namesake(saved);
        let is_asked = |source: Source| {
            source.is_being_deleted()
                || (source.is_scaled_object()
                    && keda::is_paused(&source.annotations())
                    && !source.restores_on_deletion())
        };
        if let Some(source) = found.filter(|source| !is_asked(*source)) {
            steps.push(Step::Stop(source.stop()));
        }
        let has_stopped = steps.is_empty() && !living.is_at_work();
        if record.stage == Stage::Stopping || !has_stopped {
            if !(has_stopped && sight.quiet >= SETTLED) {
                steps.push(Step::AwaitStopped { source: saved.label() });
            }
            if record.stage != Stage::Adopting {
                steps.push(Step::Record(record.at(Stage::Adopting)));
            }
        }
    }
    let target = reference(target);
    if !size.is_adopted {
        steps.push(Step::Adopt { target: target.clone(), replicas: size.replicas });
    }
    steps.push(Step::Switch(record.at(Stage::Switched)));
    steps.push(Step::AwaitScaling { target });
    Plan { steps, notes: Vec::new() }
}

/// Fails if the recommendation is missing, old or in doubt: at the switch it becomes the decision.
fn is_beyond_doubt(sight: &Sight) -> Result<(), Refusal> {
    let name = sight.name();
    if !sight.is_observed() {
        return Err(Refusal(format!(
            "the operator has not looked at the LLMAutoscaler {name} as it is: is it running, and \
             does it serve this namespace?"
        )));
    }
    let needed = ["Ready", "Recommending", "ScalingActive"];
    let missing = needed.iter().find(|type_| sight.condition(type_, "True").is_none());
    let doubt = [("SamplesComplete", "False"), ("Fallback", "True"), ("ScalingActive", "False")];
    let doubt = doubt
        .iter()
        .find_map(|(type_, status)| Some((*type_, *status, sight.condition(type_, status)?)));
    let why = match (doubt, missing) {
        (Some((type_, status, message)), _) => format!("{type_} is {status}: {message}"),
        (None, Some(type_)) => format!("{type_} is not True"),
        (None, None) if sight.status().desired_replicas.is_none() => {
            "there is no recommendation yet".to_owned()
        }
        (None, None) => return Ok(()),
    };
    Err(Refusal(format!(
        "the recommendation of the LLMAutoscaler {name} is in doubt ({why}): wait, or find the \
         reason by llm-autoscaler explain {name}"
    )))
}

/// Fails if the bounds would change the size at the switch, whatever the load is.
fn is_within_bounds(sight: &Sight, target: &ScaleTargetRef, size: Size) -> Result<(), Refusal> {
    let spec = &sight.autoscaler.spec;
    let (before, name) = (size.replicas, sight.name());
    let target = reference(target);
    let jump = |field: &str, after: i32| {
        Err(Refusal(format!(
            "at the switch {target} would go from {before} to {after} replicas at once, because of \
             {field}: change {field} of the LLMAutoscaler {name}, or the size, first"
        )))
    };
    if before == 0 {
        return Err(Refusal(format!(
            "{target} is at 0 replicas, which the operator would leave as it is: set it to 1 first"
        )));
    }
    if before < spec.min_replicas {
        return jump("minReplicas", spec.min_replicas);
    }
    if before > spec.max_replicas {
        return jump("maxReplicas", spec.max_replicas);
    }
    Ok(())
}

/// Fails if the autoscaler of the same name scales another target: one of the two names is wrong.
fn is_not_elsewhere(sight: &Sight, target: &ScaleTargetRef) -> Result<(), Refusal> {
    let names = [sight.name(), &target.name];
    let mut sources = sight.others.iter().map(Source);
    let Some(other) = sources.find(|source| names.contains(&source.name())) else { return Ok(()) };
    let its: Vec<String> = other.targets().iter().map(reference).collect();
    let target = reference(target);
    Err(Refusal(format!(
        "nothing scales {target}, but the {} scales {}: name the same target in both",
        other.label(),
        its.join(", ")
    )))
}

/// Fails if an autoscaler cannot be stopped by a write to its object.
fn can_be_stopped(source: Source) -> Result<(), Refusal> {
    let label = source.label();
    if let Some((kind, name, _)) = source.controller() {
        return Err(Refusal(format!(
            "the {label} belongs to the {kind} {name}, which would create it again: switch it off \
             there (docs/owners.md), then migrate"
        )));
    }
    if source.annotations().contains_key(keda::PAUSED_REPLICAS) {
        let key = keda::PAUSED_REPLICAS;
        return Err(Refusal(format!(
            "the {label} holds its target at a size by the annotation {key}: remove that, by \
             kubectl annotate scaledobject {} {key}-, then migrate",
            source.name()
        )));
    }
    if source.is_being_deleted() {
        return Err(Refusal(format!("the {label} is being deleted: wait until it is gone")));
    }
    if source.targets().len() > 1 {
        return Err(Refusal(format!(
            "the {label} scales {} targets, and would be stopped for all of them: split it first",
            source.targets().len()
        )));
    }
    Ok(())
}

/// Returns sentences on the time after the switch.
fn notes(
    sight: &Sight,
    target: &ScaleTargetRef,
    size: Size,
    source: Option<Source>,
    living: &Living,
) -> Vec<String> {
    let mut notes = Vec::new();
    let (before, target) = (size.replicas, reference(target));
    let after = sight.status().desired_replicas.unwrap_or(before);
    if after > before {
        notes.push(format!("{target} grows from {before} to {after} replicas after the switch."));
    }
    if after < before {
        notes.push(format!(
            "{target} keeps {before} replicas for a whole window of scale-downs, although {after} \
             are recommended."
        ));
    }
    if let Some(tool) = source.and_then(Source::tool) {
        let label = source.map(Source::label).unwrap_or_default();
        notes.push(format!(
            "the {label} was created by {tool}: remove it there too. If it comes back, the \
             LLMAutoscaler leaves the target to it (TargetTaken)."
        ));
    }
    if source.is_some_and(Source::restores_on_deletion) {
        notes.push(
            "restoreToOriginalReplicaCount is false from then on, so that deleting the \
             ScaledObject changes no size; --back makes it true again."
                .to_owned(),
        );
    }
    for followed in &living.followed {
        notes.push(format!("the {} is followed by nothing afterwards.", followed.label()));
    }
    notes.push(format!(
        "if a file or a repository has mode: Recommend for the LLMAutoscaler {}, change it there \
         too.",
        sight.name()
    ));
    notes
}
