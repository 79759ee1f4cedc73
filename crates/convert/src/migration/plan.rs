//! The result of planning a migration.

use std::fmt::{self, Display, Formatter};

use super::step::Step;

/// The steps of a migration that are left. The first one is to be taken next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Sentences on what the steps bring about, and on what is left to do.
    pub notes: Vec<String>,
}

/// The reason why a migration is not safe, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
