//! No status says that a target is managed while its pages have not been read.

use super::Violation;
use crate::evidence::{PodTrace, Reach, Second, Target, Timeline};

const WRITTEN: &str = "no status is written Ready without samples";
const SHOWN: &str = "no status stays Ready without samples";

/// The time for which a sample is kept: three intervals and a timeout.
const KEPT: Second = 4.0;
/// The time from a step to the write of its status: at most one a second, and a busy machine.
const WRITE: Second = 3.0;
/// What a slow API server adds to that.
const SLOW: Second = 3.0;
/// The time in which a copy that takes over, or an API server that is there again, has the status
/// written.
const RECOVERY: Second = 30.0;

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    timeline.targets.iter().flat_map(|target| of_target(timeline, target)).collect()
}

fn of_target(timeline: &Timeline, target: &Target) -> Vec<Violation> {
    let served: Vec<Second> = timeline
        .pods
        .iter()
        .filter(|it| it.target == target.name && matches!(it.what, PodTrace::Served(_)))
        .map(|it| it.at)
        .collect();
    let silent = |at: Second| {
        let before = served.partition_point(|served| *served <= at);
        before.checked_sub(1).map_or(at, |index| at - served[index])
    };
    let mut found = Vec::new();
    for request in timeline.requests.iter().filter(|it| it.object == target.name) {
        let (at, is_status) = (request.received, request.resource == "llmautoscalers/status");
        let is_slow = timeline.is_disturbed(Reach::ApiServer, at - SLOW, at);
        let limit = KEPT + WRITE + if is_slow { SLOW } else { 0.0 };
        if is_status
            && request.is_accepted_write()
            && request.ready == Some(true)
            && silent(at) > limit
        {
            let evidence = format!(
                "{} wrote Ready=True, and the last page was served {:.1} s before",
                request.process,
                silent(at)
            );
            found.push(Violation::new(WRITTEN, at, &target.name, evidence));
        }
    }
    let looks = timeline.looks.iter().filter(|look| look.target == target.name);
    let lies = looks.filter(|look| {
        let is_ready = look.status.conditions.get("Ready").is_some_and(|it| it == "True");
        let can_write = [Reach::ApiServer, Reach::Copies]
            .iter()
            .all(|reach| !timeline.is_disturbed(*reach, look.at - RECOVERY, look.at));
        let refused = timeline.refuses_statuses(target, look.at - RECOVERY, look.at);
        is_ready && can_write && !refused && silent(look.at) > KEPT + WRITE + 1.0
    });
    let lies: Vec<_> = lies.collect();
    if let [first, ..] = lies[..] {
        let evidence = format!(
            "it is shown as Ready=True {} times, and the last page was served {:.1} s before",
            lies.len(),
            silent(first.at)
        );
        found.push(Violation::new(SHOWN, first.at, &target.name, evidence));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::examples::{disturbed, look, serve, status, timeline};

    fn judge(change: impl Fn(&mut Timeline)) -> Vec<&'static str> {
        let mut timeline = timeline(3);
        serve(&mut timeline, &[0, 1, 2], 0..50, 3);
        change(&mut timeline);
        check(&timeline).iter().map(|it| it.invariant).collect()
    }

    #[test]
    fn a_status_that_is_ready_without_pages_is_found() {
        assert_eq!(judge(|it| it.requests.push(status("one", 55.0, true))), [""; 0]);
        assert_eq!(judge(|it| it.requests.push(status("one", 60.0, true))), [WRITTEN]);
        assert_eq!(judge(|it| it.requests.push(status("one", 60.0, false))), [""; 0]);
        assert_eq!(judge(|it| it.looks.push(look(55.0, 3))), [""; 0]);
        assert_eq!(judge(|it| it.looks.push(look(60.0, 3))), [SHOWN]);
        let excused = |it: &mut Timeline| {
            it.looks.push(look(60.0, 3));
            it.disturbed.push(disturbed(Reach::Copies, 40.0, 42.0));
        };
        assert_eq!(judge(excused), [""; 0], "a copy may not have taken over yet");
    }
}
