//! The size that keeps a promise to the users, in the place of the first metric's proposal.

use std::borrow::Cow;

use crate::{
    decision::{MetricOutcome, Proposal},
    observation::Observation,
};

/// Returns the outcomes by which the size is decided. With a size that keeps the promise, the first
/// metric, which is the plain formula for times without one, proposes that size instead.
///
/// A first metric that failed stays failed: without samples nothing is known of the load either.
/// Where too little is known to shrink the target by, at least `current` is proposed. Where the
/// first metric proposes none, no replica has a request, and the last one is left to the rules of
/// scaling to zero.
pub(crate) fn with_promise<'a>(
    outcomes: &'a [MetricOutcome],
    observation: &Observation,
    current: i32,
) -> Cow<'a, [MetricOutcome]> {
    let (Some(promised), Some(MetricOutcome::Proposal(plain))) =
        (observation.promised, outcomes.first())
    else {
        return Cow::Borrowed(outcomes);
    };
    let wanted = promised.replicas.unwrap_or(plain.replicas);
    let wanted = if plain.replicas == 0 && wanted <= 1 { 0 } else { wanted };
    let replicas = if promised.may_shrink { wanted } else { wanted.max(current) };
    let mut outcomes = outcomes.to_vec();
    outcomes[0] = MetricOutcome::Proposal(Proposal { replicas, ..*plain });
    Cow::Owned(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::{Counted, MetricError},
        observation::{Precision, PromisedSize},
        units::Milli,
    };

    fn proposal(replicas: i32) -> MetricOutcome {
        MetricOutcome::Proposal(Proposal {
            replicas,
            usage: Milli(0),
            precision: Precision::Exact,
            ratio: 1.0,
            counted: Counted::default(),
        })
    }

    #[test]
    fn the_promised_size_takes_the_place_of_the_first_proposal() {
        let failed = MetricOutcome::Failed(MetricError::NoSamples);
        let size = |replicas, may_shrink| Some(PromisedSize { replicas, may_shrink });
        let table = [
            // the promise, the first outcome, at 5 replicas; the first outcome then
            (None, proposal(3), proposal(3)),
            (size(Some(7), true), proposal(3), proposal(7)),
            (size(Some(2), true), proposal(9), proposal(2)),
            (size(Some(2), false), proposal(9), proposal(5)),
            (size(Some(7), false), proposal(9), proposal(7)),
            (size(None, false), proposal(3), proposal(5)),
            (size(None, false), proposal(9), proposal(9)),
            (size(Some(1), true), proposal(0), proposal(0)),
            (size(Some(1), false), proposal(0), proposal(5)),
            (size(Some(2), true), proposal(0), proposal(2)),
            (size(Some(7), true), failed, failed),
        ];
        for (promised, plain, expected) in table {
            let observation = Observation { promised, ..Observation::default() };
            let outcomes = [plain, proposal(4)];
            let found = with_promise(&outcomes, &observation, 5);
            assert_eq!(*found, [expected, proposal(4)], "{promised:?} {plain:?}");
        }
    }
}
