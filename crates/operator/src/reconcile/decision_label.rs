//! A decision as the operator's metrics and its log name it.

use llm_autoscaler_core::{Adjusted, Adjustment, Bound, Decision, Outcome, Reason};

/// Returns the result.
pub(super) fn result(decision: &Decision) -> &'static str {
    match &decision.outcome {
        Outcome::Computed(derivation) if derivation.held.is_some() => "held",
        Outcome::Computed(_) => "computed",
        Outcome::NoEvents => "no_events",
        Outcome::Fallback { .. } => "fallback",
        Outcome::NoMetrics { .. } => "no_metrics",
        Outcome::NoSelector => "no_selector",
        Outcome::OutOfBounds { .. } => "out_of_bounds",
        Outcome::Disabled => "disabled",
    }
}

/// Returns the reason for which a size changes. Where the metrics ask for the current size, it is a
/// window or a limit that moves it.
pub(super) fn reason(decision: &Decision) -> &'static str {
    if let Some(Adjusted { by, .. }) = decision.adjusted {
        return match by {
            Adjustment::Ratio => "ratio",
            Adjustment::Lagging => "lagging",
            Adjustment::SharedLimit => "shared_limit",
            Adjustment::WaitingForRoom => "waiting_for_room",
        };
    }
    match &decision.outcome {
        Outcome::OutOfBounds { bound: Bound::BelowMin, .. } => "below_min",
        Outcome::OutOfBounds { bound: Bound::AboveMax, .. } => "above_max",
        Outcome::OutOfBounds { bound: Bound::Wake, .. } => "wake",
        Outcome::Fallback { .. } => "fallback",
        Outcome::Computed(derivation) => match derivation.reason {
            Some(Reason::AboveTarget) => "above_target",
            Some(Reason::AllBelowTarget) => "below_target",
            Some(Reason::BelowMin) => "below_min",
            Some(Reason::Fallback) => "fallback",
            Some(Reason::Replacement) => "replacement",
            None => "limit",
        },
        Outcome::NoEvents | Outcome::NoMetrics { .. } | Outcome::NoSelector | Outcome::Disabled => {
            "limit"
        }
    }
}

/// Returns the highest proposal of the metrics, before windows and limits.
pub(super) fn proposed(decision: &Decision) -> Option<i32> {
    match &decision.outcome {
        Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
            Some(derivation.raw)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_size_has_the_reason_that_made_it() {
        let decided =
            |outcome, adjusted| Decision { current: 3, outcome, metrics: Vec::new(), adjusted };
        let bound = |bound| Outcome::OutOfBounds { to: 2, bound };
        let ratio = Adjusted { to: 4, by: Adjustment::Ratio };
        // the decision, the reason
        let table = [
            (decided(bound(Bound::AboveMax), None), "above_max"),
            (decided(bound(Bound::BelowMin), None), "below_min"),
            (decided(bound(Bound::Wake), None), "wake"),
            (decided(bound(Bound::Wake), Some(ratio)), "ratio"),
        ];
        for (decision, expected) in table {
            assert_eq!(reason(&decision), expected, "{decision:?}");
        }
    }
}
