//! No target shrinks without evidence.
//!
//! The evidence is the pages that the engines have served. At the write of a smaller size
//!
//! 1. at least 80 % of the pods that run have just served a page,
//! 2. no load that was served within the stabilization window asks for more than the new size, and
//! 3. the window has no time in which the target's pages were not served: such time counts as if
//!    the current size had been recommended.

use std::collections::BTreeMap;

use super::Violation;
use crate::evidence::{PodTrace, Reach, Request, Second, Target, Timeline, WINDOW, size_for};

const QUORUM: &str = "a scale-down rests on a quorum of pages";
const LOAD: &str = "a scale-down leaves what the window asked for";
const GAP: &str = "a scale-down has a window without gaps";

/// The age of a page that may decide: an interval, a timeout, and the time to the write.
const FRESH: Second = 3.5;
/// What a slow API server adds to the time to the write.
const SLOW: Second = 2.0;
/// The time from a page to the write that it may decide: later pages are not judged.
const LATE: Second = 0.3;
/// The time after which a new pod is to have served its first page.
const STARTED: Second = 5.0;
/// The time at the beginning of the window that is not judged: the last page with a higher load
/// was served up to an interval before the load fell.
const EDGE: Second = 1.0;
/// The longest time between two pages of a target that is no gap: a sample is good for three
/// intervals and a timeout, and a copy that takes over needs a moment.
const LONGEST: Second = 7.0;
/// The part of the replicas that must have a sample, in percent.
const PERCENT: usize = 80;

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    timeline.targets.iter().flat_map(|target| of_target(timeline, target)).collect()
}

/// Returns the writes that have made a target smaller.
pub(crate) fn scale_downs<'a>(timeline: &'a Timeline, target: &Target) -> Vec<&'a Request> {
    let first = timeline.looks.iter().find(|look| look.target == target.name);
    let mut size = first.map_or(target.max, |look| look.size);
    let mut found = Vec::new();
    for request in timeline.requests.iter().filter(|it| it.object == target.name) {
        let Some(written) = request.written_size() else { continue };
        if written < size {
            found.push(request);
        }
        size = written;
    }
    found
}

fn of_target(timeline: &Timeline, target: &Target) -> Vec<Violation> {
    let mut found = Vec::new();
    for write in scale_downs(timeline, target) {
        let Some(size) = write.size else { continue };
        let at = write.received;
        let broken = [
            quorum(timeline, target, at).map(|text| (QUORUM, text)),
            load(timeline, target, at, size).map(|text| (LOAD, text)),
            gap(timeline, target, at).map(|text| (GAP, text)),
        ];
        for (invariant, text) in broken.into_iter().flatten() {
            let evidence = format!("{} wrote {size}: {text}", write.process);
            found.push(Violation::new(invariant, at, &target.name, evidence));
        }
    }
    found
}

/// Returns the pages of a target that were served in a time, with their pods.
fn served<'a>(
    timeline: &'a Timeline,
    target: &'a Target,
    from: Second,
    until: Second,
) -> impl Iterator<Item = (Second, &'a str, u64)> {
    timeline.pods.iter().filter_map(move |event| match event.what {
        PodTrace::Served(waiting)
            if event.target == target.name && event.at >= from && event.at <= until =>
        {
            Some((event.at, event.pod.as_str(), waiting))
        }
        _ => None,
    })
}

fn quorum(timeline: &Timeline, target: &Target, at: Second) -> Option<String> {
    let fresh = FRESH + slowness(timeline, at);
    let mut running = BTreeMap::new();
    let its = timeline.pods.iter().filter(|event| event.target == target.name && event.at <= at);
    for event in its {
        match event.what {
            PodTrace::Started => drop(running.insert(event.pod.as_str(), event.at)),
            PodTrace::Ended => drop(running.remove(event.pod.as_str())),
            PodTrace::Served(_) => {}
        }
    }
    running.retain(|_, started| *started <= at - STARTED);
    let read: std::collections::BTreeSet<_> =
        served(timeline, target, at - fresh, at).map(|(_, pod, _)| pod).collect();
    let count = running.keys().filter(|pod| read.contains(*pod)).count();
    (count * 100 < running.len() * PERCENT || count == 0).then(|| {
        format!("{count} of {} pods have served a page in the {fresh} s before", running.len())
    })
}

/// Returns the time that a slow API server may have added to a write.
fn slowness(timeline: &Timeline, at: Second) -> Second {
    if timeline.is_disturbed(Reach::ApiServer, at - SLOW, at) { SLOW } else { 0.0 }
}

fn load(timeline: &Timeline, target: &Target, at: Second, size: i32) -> Option<String> {
    let mut waiting: BTreeMap<&str, u64> = BTreeMap::new();
    let mut highest = (0, 0, at);
    let decided = at - LATE - slowness(timeline, at);
    for (served_at, pod, count) in served(timeline, target, at - WINDOW - LONGEST, decided) {
        waiting.insert(pod, count);
        let total = waiting.values().sum();
        let asked = size_for(total, target);
        if served_at >= at - WINDOW + EDGE && asked > highest.0 {
            highest = (asked, total, served_at);
        }
    }
    let (asked, total, served_at) = highest;
    (asked > size).then(|| {
        let before = at - served_at;
        format!("the pages showed {total} waiting requests {before:.1} s before, for {asked}")
    })
}

fn gap(timeline: &Timeline, target: &Target, at: Second) -> Option<String> {
    let mut last: Option<Second> = None;
    for (served_at, _, _) in served(timeline, target, at - WINDOW - 3.0 * LONGEST, at) {
        if let Some(last) = last
            && served_at - last > LONGEST
            && served_at > at - WINDOW + EDGE
        {
            let (from, until) = (at - last, at - served_at);
            return Some(format!("no page was served from {from:.1} s to {until:.1} s before"));
        }
        last = Some(served_at);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::examples::{look, pod_event, scale, serve, timeline};

    const ALL: [u32; 6] = [0, 1, 2, 3, 4, 5];

    /// Judges a write of a size at second 60, of a target with six pods.
    fn judge(size: i32, serve_all: impl Fn(&mut Timeline)) -> Vec<&'static str> {
        let mut timeline = timeline(3);
        timeline.looks.push(look(0.0, 6));
        serve_all(&mut timeline);
        timeline.requests.push(scale("one", 60.0, size));
        check(&timeline).iter().map(|it| it.invariant).collect()
    }

    #[test]
    fn a_smaller_size_needs_a_quorum_a_window_and_no_gap() {
        let fell = |at: u32| {
            move |it: &mut Timeline| {
                serve(it, &ALL, 0..at, 6);
                serve(it, &ALL, at..60, 3);
            }
        };
        assert_eq!(judge(3, fell(40)), [""; 0], "the load fell 20 s before");
        assert_eq!(judge(3, fell(51)), [""; 0], "the window is over");
        assert_eq!(judge(3, fell(53)), [LOAD], "the window is not over");
        assert_eq!(judge(2, fell(40)), [LOAD], "smaller than the load asks for");
        let rose = |at: Second| {
            move |it: &mut Timeline| {
                serve(it, &ALL, 0..60, 3);
                it.pods.push(pod_event(0, at, PodTrace::Served(29)));
            }
        };
        assert_eq!(judge(3, rose(59.9)), [""; 0], "the load has risen while it was written");
        assert_eq!(judge(3, rose(59.5)), [LOAD], "the load had risen before");
        assert_eq!(judge(6, fell(53)), [""; 0], "not smaller than it was");
        let without = |pods: &'static [u32]| {
            move |it: &mut Timeline| {
                serve(it, &ALL, 0..50, 3);
                serve(it, pods, 50..60, 3);
            }
        };
        assert_eq!(judge(3, without(&[0, 1, 2, 3, 4])), [""; 0], "five of six pods");
        assert_eq!(judge(3, without(&[0, 1, 2, 3])), [QUORUM], "four of six pods");
        assert_eq!(judge(3, without(&[])), [QUORUM], "no pods");
        let silent = |until: u32| {
            move |it: &mut Timeline| {
                serve(it, &ALL, 0..40, 3);
                serve(it, &ALL, until..60, 3);
            }
        };
        assert_eq!(judge(3, silent(47)), [""; 0], "the gap is before the window");
        assert_eq!(judge(3, silent(55)), [GAP], "the gap ends in the window");
    }

    #[test]
    fn pods_that_have_just_started_or_have_ended_are_no_part_of_the_quorum() {
        let ended = |it: &mut Timeline| {
            for pod in [3, 4, 5] {
                it.pods.push(pod_event(pod, 30.0, PodTrace::Ended));
            }
            it.pods.push(pod_event(3, 58.0, PodTrace::Started));
            serve(it, &[0, 1, 2], 0..60, 3);
        };
        assert_eq!(judge(3, ended), [""; 0]);
    }
}
