//! The autoscalers that scale a target.

use llm_autoscaler_api::{ScaleTargetRef, workloads};

use super::{look::Sight, source::Source};

/// The autoscalers of other kinds that name the target.
#[derive(Debug)]
pub(super) struct Living<'a> {
    /// The objects that a user has created.
    pub(super) created: Vec<Source<'a>>,
    /// The HPAs that one of those has created.
    pub(super) derived: Vec<Source<'a>>,
    /// The `VariantAutoscaling` objects that only compute a number for another autoscaler.
    pub(super) followed: Vec<Source<'a>>,
}

impl Sight {
    /// Returns whether an autoscaler of another kind scales the target.
    pub fn is_scaled_by_others(&self) -> bool {
        let target = self.autoscaler.spec.scale_target_ref.as_ref();
        target.is_some_and(|target| Living::of(self, target).is_at_work())
    }
}

impl<'a> Living<'a> {
    /// Finds the autoscalers of a target.
    pub(super) fn of(sight: &'a Sight, target: &ScaleTargetRef) -> Self {
        let names_it = |source: &Source| {
            source.targets().iter().any(|its| workloads::is_same_object(its, target))
        };
        let its: Vec<Source> = sight.others.iter().map(Source).filter(names_it).collect();
        let mut living = Self { created: Vec::new(), derived: Vec::new(), followed: Vec::new() };
        for source in &its {
            let owner = source.controller();
            let is_derived = owner.is_some_and(|(.., uid)| its.iter().any(|it| it.uid() == uid));
            let is_followed = source.kind() == "VariantAutoscaling"
                && source.0.pointer("/spec/maxReplicas").is_none();
            if is_derived {
                living.derived.push(*source);
            } else if is_followed {
                living.followed.push(*source);
            } else {
                living.created.push(*source);
            }
        }
        living
    }

    /// Returns the objects that are at work, or without any those that have stopped.
    pub(super) fn candidates(&self) -> Vec<Source<'a>> {
        let working: Vec<Source> =
            self.created.iter().copied().filter(|it| !it.has_stopped()).collect();
        if working.is_empty() { self.created.clone() } else { working }
    }

    /// Returns the object with the kind and the name of another one.
    pub(super) fn namesake(&self, other: Source) -> Option<Source<'a>> {
        self.created.iter().copied().find(|it| it.is_named_like(other))
    }

    /// Returns an object with another kind or name, and an HPA that none of the objects created.
    pub(super) fn third(&self, known: Option<Source>) -> Option<Source<'a>> {
        let is_known = |it: &Source| known.is_some_and(|known| it.is_named_like(known));
        let is_its = |it: &Source| {
            let owner = it.controller();
            owner.zip(known).is_some_and(|((kind, name, _), known)| {
                kind == known.kind() && name == known.name()
            })
        };
        let mut working = self.created.iter().copied().filter(|it| !it.has_stopped());
        working.find(|it| !is_known(it) && !is_its(it))
    }

    /// Returns whether an autoscaler still scales the target.
    pub(super) fn is_at_work(&self) -> bool {
        !self.derived.is_empty() || self.created.iter().any(|it| !it.has_stopped())
    }
}
