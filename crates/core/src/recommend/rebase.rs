//! Proposals for a target that would have another size than the one that was observed.

use crate::{
    decision::{Counted, MetricOutcome, Proposal},
    observation::Observation,
    policy::Policy,
};

/// Returns the outcomes as they would be for a target of `current` replicas under the observed
/// load, as far as that can be told.
///
/// The number of replicas that brings a metric to its target is the ratio times the observed size;
/// the HPA's formulas rest on that proportion. It does not depend on `current`, and neither does
/// a proposal. The tolerance does: a proposal within the tolerance of the observed size says that
/// this size may stay, and it is the one around `current` that is asked for. Example: at 10
/// replicas and a ratio of 0.95 the observed size may stay, and so may 9, because 9.5 / 9 is within
/// the tolerance too. But 8 may not, so 10 is proposed.
///
/// A proposal that reckons with replicas of which nothing is known stays as it is.
pub(crate) fn rebase(
    policy: &Policy,
    outcomes: Vec<MetricOutcome>,
    observation: &Observation,
    current: i32,
) -> Vec<MetricOutcome> {
    let observed = observation.scale.current;
    if observed == current || observed <= 0 || current <= 0 {
        return outcomes;
    }
    let rebased = |outcome| match outcome {
        MetricOutcome::Proposal(proposal) if is_complete(&proposal.counted) => {
            MetricOutcome::Proposal(for_size(policy, proposal, observed, current))
        }
        other => other,
    };
    outcomes.into_iter().map(rebased).collect()
}

fn for_size(policy: &Policy, proposal: Proposal, observed: i32, current: i32) -> Proposal {
    let need = proposal.ratio * f64::from(observed);
    let may_stay = policy.tolerance.hold(need / f64::from(current));
    let was_kept = proposal.replicas == observed && policy.tolerance.hold(proposal.ratio);
    let replicas = if may_stay {
        current
    } else if was_kept {
        policy.profile.ceil32(need)
    } else {
        proposal.replicas
    };
    Proposal { replicas, ..proposal }
}

/// Returns true if every replica that counts has a sample that counts.
fn is_complete(counted: &Counted) -> bool {
    let Counted { ready: _, unready, warming, missing, absent, ignored: _, stuck, halted } =
        *counted;
    [unready, warming, missing, absent, stuck, halted] == [0; 6]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::{Precision, Scale},
        profile::Profile,
        tests::support::policy_with_windows,
        units::Milli,
    };

    fn proposal(replicas: i32, ratio: f64, counted: Counted) -> MetricOutcome {
        let usage = Milli(0);
        MetricOutcome::Proposal(Proposal {
            replicas,
            usage,
            precision: Precision::Exact,
            ratio,
            counted,
        })
    }

    #[test]
    fn the_tolerance_is_that_of_the_size_that_would_be_there() {
        let policy = policy_with_windows(Profile::Default, 0, 0);
        let missing = Counted { missing: 1, ..Counted::default() };
        let all = Counted::default();
        // observed size, ratio, proposal, counted, size that would be there; proposal for it
        let table = [
            // Within the tolerance of both sizes.
            (10, 0.95, 10, all, 9, 9),
            // Within that of the observed size only: what the load asks for.
            (10, 0.95, 10, all, 8, 10),
            (10, 1.05, 10, all, 20, 11),
            // Within that of the other size only.
            (10, 0.5, 5, all, 5, 5),
            (10, 0.46, 5, all, 5, 5),
            (10, 1.96, 20, all, 19, 19),
            // Of neither.
            (10, 0.5, 5, all, 7, 5),
            (10, 3.0, 30, all, 20, 30),
            // An equal size, none at all, and a replica of which nothing is known.
            (10, 0.95, 10, all, 10, 10),
            (10, 0.5, 5, all, 0, 5),
            (10, 0.95, 10, missing, 8, 10),
            (10, 0.5, 6, missing, 5, 6),
            // No number, no change.
            (10, f64::NAN, 10, all, 8, 10),
            (10, f64::INFINITY, 30, all, 8, 30),
        ];
        for (observed, ratio, replicas, counted, current, expected) in table {
            let scale = Scale { current: observed, status: observed };
            let observation = Observation { scale, ..Observation::default() };
            let outcomes = vec![proposal(replicas, ratio, counted)];
            let rebased = rebase(&policy, outcomes, &observation, current);
            let expected = proposal(expected, ratio, counted);
            assert_eq!(
                format!("{rebased:?}"),
                format!("{:?}", [expected]),
                "{observed} {ratio} {current}"
            );
        }
    }
}
