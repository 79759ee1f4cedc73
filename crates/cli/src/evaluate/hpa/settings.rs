//! The settings of the controller that a case names.

use llm_autoscaler_core::Settings;
use serde::Deserialize;

use crate::evaluate::fields::seconds;

/// The flags and feature gates of the controller; those that are absent have the HPA's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct SettingsCase {
    tolerance_up: Option<f64>,
    tolerance_down: Option<f64>,
    downscale_stabilization_s: Option<f64>,
    scale_up_limit_factor: Option<f64>,
    scale_to_zero_gate: Option<bool>,
}

impl SettingsCase {
    /// Returns the tolerance for a scale-up. It is the default of both directions in a spec.
    pub(super) fn tolerance_up(&self) -> f64 {
        self.tolerance_up.unwrap_or(0.1)
    }

    /// Returns the tolerance for a scale-down.
    pub(super) fn tolerance_down(&self) -> f64 {
        self.tolerance_down.unwrap_or(0.1)
    }

    /// Returns the other settings, as the core takes them.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            downscale_stabilization: self
                .downscale_stabilization_s
                .map_or(Settings::HPA.downscale_stabilization, seconds),
            scale_up_limit_factor: self
                .scale_up_limit_factor
                .unwrap_or(Settings::HPA.scale_up_limit_factor),
            scale_to_zero: self.scale_to_zero_gate.unwrap_or(true),
        }
    }
}
