//! Rules and times in words.

use chrono::TimeDelta;
use llm_autoscaler_api::conditions::Reason;

/// Returns the rule in `limitedBy` of a status in words; a rule of a later version as it is.
pub(crate) fn rule_words(rule: &str) -> &str {
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == rule);
    match known {
        Some(Reason::DesiredWithinRange) => "no limit applies",
        Some(Reason::TooFewReplicas) => "minReplicas keeps the size",
        Some(Reason::TooManyReplicas) => "maxReplicas keeps the size",
        Some(Reason::ScaleUpLimit) => "the scale-up policies allow no more for now",
        Some(Reason::ScaleDownLimit) => "the scale-down policies allow no fewer for now",
        Some(Reason::NotIdleYet) => "the target has not been idle for long enough to go to zero",
        Some(Reason::NoQuorum) => "fewer than 80 % of the replicas have a sample",
        Some(Reason::IncompleteTotal) => "a part of the total has no sample",
        Some(Reason::SamplesInDoubt) => "the samples are in doubt",
        Some(Reason::ReplicasMismatch) => "more replicas are found than the target has",
        Some(Reason::RoleRatio) => "the size keeps the ratio of the roles",
        Some(Reason::RoleLagging) => "it waits for replicas of the other role to start",
        Some(Reason::SharedCeiling) => "the roles together ask for more than their shared maximum",
        Some(Reason::WaitingForRoom) => "it waits until replicas of another role have terminated",
        Some(Reason::OutOfBounds) => "the size was outside of minReplicas and maxReplicas",
        _ if rule.is_empty() => "no limit applies",
        _ => rule,
    }
}

/// Returns a duration for people: `45 s`, `5 min`, `1 h 30 min`.
pub(crate) fn duration(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        let table = [
            (-5, "0 s"),
            (45, "45 s"),
            (300, "5 min"),
            (85, "1 min 25 s"),
            (3600, "1 h"),
            (5430, "1 h 30 min"),
        ];
        for (seconds, expected) in table {
            assert_eq!(duration(TimeDelta::seconds(seconds)), expected);
        }
    }

    #[test]
    fn every_rule_of_a_decision_has_words() {
        let limits = [
            "DesiredWithinRange",
            "TooFewReplicas",
            "TooManyReplicas",
            "ScaleUpLimit",
            "ScaleDownLimit",
            "NotIdleYet",
            "NoQuorum",
            "IncompleteTotal",
            "SamplesInDoubt",
            "ReplicasMismatch",
            "RoleRatio",
            "RoleLagging",
            "SharedCeiling",
            "WaitingForRoom",
            "OutOfBounds",
        ];
        for rule in limits {
            assert_ne!(rule_words(rule), rule);
        }
        assert_eq!(rule_words("OfALaterVersion"), "OfALaterVersion");
    }
}
