//! Neighbours are on time: in the namespace that no disturbance is aimed at, a higher load has its
//! size within three seconds, and the Lease and a second more if a copy was disturbed.

use super::Violation;
use crate::evidence::{LEASE, Load, Reach, Second, Timeline};

const ON_TIME: &str = "a neighbour's size follows its load in time";

/// The time within which a size follows a load.
const LIMIT: Second = 3.0;

/// A load that went up, and the time until the size that it asks for was written.
pub(crate) struct Reaction<'a> {
    pub load: &'a Load,
    /// The time; `None` if it was not written.
    pub took: Option<Second>,
    /// The time that it may take.
    pub limit: Second,
}

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    let late = |it: &Reaction<'_>| it.took.is_none_or(|took| took > it.limit);
    let tell = |it: Reaction<'_>| {
        let took = it.took.map_or("never".to_owned(), |took| format!("after {took:.1} s"));
        let evidence = format!("a load for {} had its size {took}", it.load.size);
        Violation::new(ON_TIME, it.load.at, &it.load.target, evidence)
    };
    reactions(timeline).into_iter().filter(late).map(tell).collect()
}

/// Returns the reactions of neighbours to loads that went up while the API server worked, and that
/// lasted for long enough.
pub(crate) fn reactions(timeline: &Timeline) -> Vec<Reaction<'_>> {
    let neighbours = timeline.targets.iter().filter(|target| target.is_neighbour);
    let mut found = Vec::new();
    for target in neighbours {
        let loads: Vec<_> = timeline.loads.iter().filter(|it| it.target == target.name).collect();
        for (index, load) in loads.iter().enumerate().skip(1) {
            let near = |reach| timeline.is_disturbed(reach, load.at - LEASE - 1.0, load.at + LIMIT);
            let limit = LIMIT + if near(Reach::Copies) { LEASE + 1.0 } else { 0.0 };
            let until = load.at + limit;
            let is_api_disturbed = timeline.disturbed.iter().any(|it| {
                it.reach == Reach::ApiServer
                    && it.from <= until
                    && it.until + it.recovery >= load.at
            });
            let lasts = loads.get(index + 1).map_or(timeline.seconds, |next| next.at) > until;
            let Some(before) = timeline.size_before(&target.name, load.at) else { continue };
            if load.size <= before || is_api_disturbed || !lasts {
                continue;
            }
            let write = timeline.requests.iter().find(|it| {
                it.object == load.target
                    && it.received >= load.at
                    && it.written_size().is_some_and(|size| size >= load.size)
            });
            let took = write.map(|write| write.received - load.at);
            found.push(Reaction { load, took, limit });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::examples::{TARGET, disturbed, look, scale, timeline};

    /// Judges the write of a size at this moment, after a load for five at second 50.
    fn judge(written: Second, reach: Option<Reach>) -> usize {
        let mut timeline = timeline(3);
        timeline.looks.push(look(0.0, 3));
        timeline.loads.push(Load { target: TARGET.to_owned(), at: 50.0, size: 5 });
        timeline.requests.push(scale("one", written, 5));
        timeline.disturbed.extend(reach.map(|reach| disturbed(reach, 47.0, 52.0)));
        check(&timeline).len()
    }

    #[test]
    fn a_size_that_is_late_is_found() {
        // time of the write, disturbance; violations
        let table = [
            (51.2, None, 0),
            (53.5, None, 1),
            (53.5, Some(Reach::Namespace), 1),
            (53.5, Some(Reach::Clock), 1),
            (53.5, Some(Reach::Tenant), 1),
            (58.5, Some(Reach::Copies), 0),
            (59.5, Some(Reach::Copies), 1),
            (59.5, Some(Reach::ApiServer), 0),
        ];
        for (written, reach, expected) in table {
            assert_eq!(judge(written, reach), expected, "{written} {reach:?}");
        }
    }
}
