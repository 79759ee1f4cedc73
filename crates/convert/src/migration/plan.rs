//! The result of planning a migration.

use super::step::Step;

/// The steps of a migration that are left. The first one is to be taken next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Sentences on what the steps bring about, and on what is left to do.
    pub notes: Vec<String>,
}
