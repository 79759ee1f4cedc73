//! The reason why a migration is refused.

use std::fmt::{self, Display, Formatter};

/// The reason why a migration is not safe, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
