//! `spec.behavior` → windows, policies and tolerances.

use chrono::TimeDelta;
use llm_autoscaler_core::{Amount, Behavior, RatePolicy, Rules, Select, Settings, Tolerances};

use super::SpecError;
use crate::{
    behavior::{BehaviorSpec, PolicySpec, PolicyType, RulesSpec, SelectPolicy},
    quantity::QuantityError,
};

/// The HPA's tolerance where the spec sets none (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;

pub(super) fn tolerances(behavior: Option<&BehaviorSpec>) -> Result<Tolerances, SpecError> {
    let of = |rules: Option<&RulesSpec>, direction: &str| match rules
        .and_then(|rules| rules.tolerance.as_ref())
    {
        None => Ok(TOLERANCE),
        Some(text) => {
            let field = format!("behavior.{direction}.tolerance");
            let wrong = |error: QuantityError| SpecError::new(&field, error.to_string());
            let value = text.tolerance().map_err(wrong)?;
            if value < 0.0 {
                Err(SpecError::new(&field, format!("{text} is negative: use 0 or more")))
            } else {
                Ok(value)
            }
        }
    };
    Ok(Tolerances {
        down: of(behavior.and_then(|b| b.scale_down.as_ref()), "scaleDown")?,
        up: of(behavior.and_then(|b| b.scale_up.as_ref()), "scaleUp")?,
    })
}

pub(super) fn behavior(spec: &BehaviorSpec) -> Behavior {
    let window = Settings::HPA.downscale_stabilization;
    Behavior {
        scale_up: rules(spec.scale_up.as_ref(), Rules::default_scale_up()),
        scale_down: rules(spec.scale_down.as_ref(), Rules::default_scale_down(window)),
    }
}

/// Fills in what the spec leaves out: field by field, and a list of policies as a whole.
fn rules(spec: Option<&RulesSpec>, default: Rules) -> Rules {
    let Some(RulesSpec { stabilization_window_seconds, select_policy, policies, tolerance: _ }) =
        spec
    else {
        return default;
    };
    Rules {
        window: stabilization_window_seconds.map_or(default.window, seconds),
        select: select_policy.map_or(default.select, |select| match select {
            SelectPolicy::Max => Select::Max,
            SelectPolicy::Min => Select::Min,
            SelectPolicy::Disabled => Select::Disabled,
        }),
        policies: policies
            .as_ref()
            .map_or(default.policies, |list| list.iter().map(rate_policy).collect()),
    }
}

fn rate_policy(spec: &PolicySpec) -> RatePolicy {
    let amount = match spec.type_ {
        PolicyType::Pods => Amount::Replicas(spec.value),
        PolicyType::Percent => Amount::Percent(spec.value),
    };
    RatePolicy { amount, period: seconds(spec.period_seconds) }
}

fn seconds(seconds: i32) -> TimeDelta {
    TimeDelta::seconds(seconds.into())
}
