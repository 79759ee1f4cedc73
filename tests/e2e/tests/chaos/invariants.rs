//! The invariants of a run, each a pure function of the recorded timeline.

pub(crate) mod convergence;
pub(crate) mod neighbours;
pub(crate) mod processes;
pub(crate) mod scale_downs;
pub(crate) mod sizes;
pub(crate) mod statuses;
pub(crate) mod writers;

use crate::evidence::{Second, Timeline};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    pub at: Second,
    /// The target, or the process.
    pub subject: String,
    pub evidence: String,
}

impl Violation {
    pub(crate) fn new(
        invariant: &'static str,
        at: Second,
        subject: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        Self { invariant, at, subject: subject.into(), evidence: evidence.into() }
    }
}

/// Returns all violations, by time.
pub(crate) fn violations(timeline: &Timeline) -> Vec<Violation> {
    let checks = [
        sizes::check,
        scale_downs::check,
        writers::check,
        convergence::check,
        statuses::check,
        processes::check,
        neighbours::check,
    ];
    let mut all: Vec<_> = checks.iter().flat_map(|check| check(timeline)).collect();
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    all
}

/// Timelines for the tests of the invariants.
#[cfg(test)]
pub(crate) mod examples {
    use crate::evidence::{
        Disturbed, Load, Look, PodEvent, PodTrace, Reach, Request, Second, StatusSeen, Target,
        Timeline, load_for,
    };

    /// The only target.
    pub(crate) const TARGET: &str = "a/b";

    /// Returns a target with two to six replicas, of which a copy holds the Lease, that wants this
    /// size from the start, and has six pods.
    pub(crate) fn timeline(size: i32) -> Timeline {
        let mut timeline = Timeline {
            seconds: 100.0,
            targets: vec![Target { name: TARGET.to_owned(), min: 2, max: 6, is_neighbour: true }],
            loads: vec![Load { target: TARGET.to_owned(), at: 0.0, size }],
            requests: vec![lease("one", 0.0)],
            ..Timeline::default()
        };
        for ordinal in 0..6 {
            timeline.pods.push(pod_event(ordinal, 0.0, PodTrace::Started));
        }
        timeline
    }

    pub(crate) fn pod_event(ordinal: u32, at: Second, what: PodTrace) -> PodEvent {
        PodEvent { target: TARGET.to_owned(), pod: format!("{TARGET}-{ordinal}"), at, what }
    }

    /// Serves the pages of some pods each second, while the first one has the whole load of a size.
    pub(crate) fn serve(
        timeline: &mut Timeline,
        pods: &[u32],
        seconds: std::ops::Range<u32>,
        size: i32,
    ) {
        for second in seconds {
            for pod in pods {
                let waiting = if *pod == 0 { load_for(size) } else { 0 };
                let at = Second::from(second);
                timeline.pods.push(pod_event(*pod, at, PodTrace::Served(waiting)));
            }
        }
        timeline.pods.sort_by(|a, b| a.at.total_cmp(&b.at));
    }

    fn request(process: &str, resource: &str, at: Second) -> Request {
        Request {
            process: process.to_owned(),
            verb: "patch".to_owned(),
            resource: resource.to_owned(),
            object: TARGET.to_owned(),
            code: 200,
            received: at,
            answered: at + 0.01,
            size: None,
            version: Some("1".to_owned()),
            ready: None,
        }
    }

    pub(crate) fn lease(process: &str, at: Second) -> Request {
        request(process, "leases", at)
    }

    pub(crate) fn scale(process: &str, at: Second, size: i32) -> Request {
        Request { size: Some(size), ..request(process, "statefulsets/scale", at) }
    }

    pub(crate) fn status(process: &str, at: Second, ready: bool) -> Request {
        Request { ready: Some(ready), ..request(process, "llmautoscalers/status", at) }
    }

    pub(crate) fn disturbed(reach: Reach, from: Second, until: Second) -> Disturbed {
        Disturbed { what: "test".to_owned(), reach, from, until, recovery: 6.0 }
    }

    /// Returns a target that is at rest with a status that says so.
    pub(crate) fn look(at: Second, size: i32) -> Look {
        let conditions = [("Ready", "True"), ("SamplesComplete", "True"), ("AbleToScale", "True")];
        let conditions = conditions.map(|(type_, status)| (type_.to_owned(), status.to_owned()));
        let status = StatusSeen {
            observed_generation: Some(1),
            desired: Some(size),
            current: Some(size),
            conditions: conditions.into(),
        };
        Look { target: TARGET.to_owned(), at, size, generation: 1, status }
    }
}
