//! The error of a simulation that cannot begin.

/// The reason why a simulation cannot begin: which input, what is wrong with it, what would be
/// right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SimulateError(String);

impl SimulateError {
    /// Returns an error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
