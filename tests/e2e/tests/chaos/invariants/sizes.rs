//! Sizes are within their bounds, and each write of one names the version that it rests on.

use super::Violation;
use crate::evidence::{Target, Timeline};

const BOUNDS: &str = "a size is within its bounds";
const VERSION: &str = "a write of a size names a version";

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    timeline.targets.iter().flat_map(|target| of_target(timeline, target)).collect()
}

fn of_target(timeline: &Timeline, target: &Target) -> Vec<Violation> {
    let mut found = Vec::new();
    let is_outside = |size: i32| !(target.min..=target.max).contains(&size);
    for request in timeline.requests.iter().filter(|it| it.object == target.name) {
        let Some(size) = request.written_size() else { continue };
        let (at, bounds) = (request.received, format!("{} to {}", target.min, target.max));
        if is_outside(size) {
            let evidence = format!("{} wrote {size}, and the bounds are {bounds}", request.process);
            found.push(Violation::new(BOUNDS, at, &target.name, evidence));
        }
        if request.version.as_deref().is_none_or(str::is_empty) {
            let evidence = format!("{} wrote {size} without a resourceVersion", request.process);
            found.push(Violation::new(VERSION, at, &target.name, evidence));
        }
    }
    let looks = timeline.looks.iter().filter(|look| look.target == target.name);
    if let Some(look) = looks.into_iter().find(|look| is_outside(look.size)) {
        let evidence = format!("the API server shows {}", look.size);
        found.push(Violation::new(BOUNDS, look.at, &target.name, evidence));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::examples::{look, scale, timeline};

    #[test]
    fn a_size_outside_of_the_bounds_and_a_write_without_a_version_are_found() {
        let unversioned =
            |size| crate::evidence::Request { version: None, ..scale("one", 9.0, size) };
        // write; the invariants that it breaks
        let table = [
            (scale("one", 9.0, 2), vec![]),
            (scale("one", 9.0, 6), vec![]),
            (scale("one", 9.0, 1), vec![BOUNDS]),
            (scale("one", 9.0, 7), vec![BOUNDS]),
            (unversioned(3), vec![VERSION]),
            (unversioned(7), vec![BOUNDS, VERSION]),
            (crate::evidence::Request { code: 409, ..scale("one", 9.0, 7) }, vec![]),
        ];
        for (row, (write, expected)) in table.into_iter().enumerate() {
            let mut timeline = timeline(3);
            timeline.requests.push(write);
            let found: Vec<_> = check(&timeline).iter().map(|it| it.invariant).collect();
            assert_eq!(found, expected, "row {row}");
        }
    }

    #[test]
    fn a_size_that_is_seen_outside_of_the_bounds_is_found_without_its_write() {
        let mut timeline = timeline(3);
        timeline.looks = vec![look(1.0, 3), look(2.0, 9), look(3.0, 9)];
        let found = check(&timeline);
        assert_eq!(found.len(), 1);
        assert!((found[0].at - 2.0).abs() < f64::EPSILON);
    }
}
