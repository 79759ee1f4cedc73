//! `spec.mode`: whether the operator carries its decisions out.

use llm_autoscaler_core::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The choice whether the operator carries its decisions out.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScalingMode {
    /// Write the number of replicas to the target.
    #[default]
    Scale,
    /// Write nothing but the status, beside whatever scales the target.
    Recommend,
}

impl ScalingMode {
    /// Returns the mode as decisions take it.
    pub const fn core(self) -> Mode {
        match self {
            Self::Scale => Mode::Scale,
            Self::Recommend => Mode::Recommend,
        }
    }
}
