//! What keeps the operator from writing what it has decided.

use crate::ownership::manual_changes::Respected;

/// Reasons why nothing is written to a target that is ours, is found and is understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restraint {
    /// The autoscaler has the annotation for it.
    pub paused: bool,
    /// Somebody else has set the size, and that is respected for a while.
    pub respected: Option<Respected>,
}

impl Restraint {
    /// The first reason, as the operator's metrics call it; `None` where nothing stands in the way.
    pub fn first(&self) -> Option<&'static str> {
        let respected = self.respected.is_some().then_some("respected");
        self.paused.then_some("paused").or(respected)
    }
}
