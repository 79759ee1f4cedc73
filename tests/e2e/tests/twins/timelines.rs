//! The timelines of the twins.
//!
//! The whole queue is at pod 0 and the target is 5 requests per replica, so the recommendation is a
//! fifth of the queue, however many of the new pods a sync has seen. So the sequence of sizes does
//! not depend on the time of syncs. For the same reason pages change one at a time where two of
//! them would give another recommendation than both: ours reads each pod's page at a different
//! moment.

use std::time::Duration;

use serde_json::{Value, json};

/// A sequence of changes with expected sizes.
pub(crate) struct Timeline {
    /// The name of the timeline and of its namespace.
    pub name: &'static str,
    /// The fields of both specs.
    pub spec: Value,
    /// The ordinals of the pods that stay pending.
    pub pending: Vec<u32>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A change of both, and the state to wait for.
pub(crate) struct Step {
    /// A description.
    pub what: &'static str,
    /// The change.
    pub change: Change,
    /// The state to wait for.
    pub then: Then,
}

/// A change.
pub(crate) enum Change {
    /// This many requests wait at pod 0.
    Queue(u64),
    /// This pod stops answering.
    Silent(u32),
    /// All pods stop answering.
    AllSilent,
    /// All pods except pod 0 answer, and are idle.
    OthersIdle,
    /// This pod becomes ready or unready; it answers all the same.
    Ready(u32, bool),
    /// The spec gets these fields.
    Spec(Value),
    /// A person sets the size.
    ByHand(i32),
    /// The StatefulSet is deleted.
    TargetGone,
    /// The StatefulSet is created again, with one replica.
    TargetBack,
}

/// The state to wait for.
pub(crate) enum Then {
    /// This time passes; both are still changing.
    For(Duration),
    /// Both reach this size, have equal conditions, and stay so.
    Rest {
        /// The size.
        size: i32,
        /// The time for which they must stay so.
        calm: Duration,
    },
}

/// A time that exceeds two periods, and a second between two scrapes of a page.
const CALM: Duration = Duration::from_secs(3);

fn rest(what: &'static str, change: Change, size: i32) -> Step {
    calm(what, change, size, CALM)
}

fn calm(what: &'static str, change: Change, size: i32, calm: Duration) -> Step {
    Step { what, change, then: Then::Rest { size, calm } }
}

fn brief(what: &'static str, change: Change, seconds: u64) -> Step {
    Step { what, change, then: Then::For(Duration::from_secs(seconds)) }
}

/// Returns all timelines, which run side by side.
pub(crate) fn all() -> Vec<Timeline> {
    vec![
        no_behavior(),
        rate_policies(),
        windows(),
        samples_missing(),
        pods_pending(),
        bounds_and_tolerances(),
        target_goes(),
    ]
}

/// Returns a behavior without windows and policies.
fn at_once() -> Value {
    let rules = json!({
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}],
    });
    json!({"scaleUp": rules, "scaleDown": rules})
}

/// The rules without behavior: at most the double or four, and a window that restores a size that a
/// person lowered.
fn no_behavior() -> Timeline {
    Timeline {
        name: "no_behavior",
        spec: json!({}),
        pending: vec![],
        steps: vec![
            rest("a queue of 45", Change::Queue(45), 9),
            rest("the queue is gone", Change::Queue(0), 9),
            rest("3 replicas by hand", Change::ByHand(3), 9),
            rest("no more than 5", Change::Spec(json!({"maxReplicas": 5})), 5),
            rest("from 6 to 8", Change::Spec(json!({"minReplicas": 6, "maxReplicas": 8})), 8),
        ],
    }
}

/// Policies by number, by percentage, both and none.
fn rate_policies() -> Timeline {
    let rules = |policies: Value| json!({"stabilizationWindowSeconds": 0, "policies": policies});
    let pods = |value: u32| json!({"type": "Pods", "value": value, "periodSeconds": 3});
    let percent = |value: u32| json!({"type": "Percent", "value": value, "periodSeconds": 3});
    let by_number =
        json!({"scaleUp": rules(json!([pods(2)])), "scaleDown": rules(json!([pods(2)]))});
    let by_both = json!({
        "scaleUp": rules(json!([percent(100), pods(1)])),
        "scaleDown": {"selectPolicy": "Disabled"},
    });
    // Recent changes count for the next limit, so a period must pass before the next step.
    let over = Duration::from_secs(5);
    Timeline {
        name: "rate_policies",
        spec: json!({"maxReplicas": 7, "behavior": by_number}),
        pending: vec![],
        steps: vec![
            calm("a queue of 35, two at a time", Change::Queue(35), 7, over),
            rest("37: within the tolerance", Change::Queue(37), 7),
            rest("32: within the tolerance", Change::Queue(32), 7),
            calm("5, two at a time", Change::Queue(5), 1, over),
            rest("other policies", Change::Spec(json!({"behavior": by_both})), 1),
            calm("35 again, doubling", Change::Queue(35), 7, over),
            rest("nothing waits; shrinking is disabled", Change::Queue(0), 7),
        ],
    }
}

/// A peak that is too short, a peak that lasts, and a valley with a step.
fn windows() -> Timeline {
    let rules = |seconds: u32| {
        json!({
            "stabilizationWindowSeconds": seconds,
            "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}],
        })
    };
    Timeline {
        name: "windows",
        spec: json!({"behavior": {"scaleUp": rules(15), "scaleDown": rules(8)}}),
        pending: vec![],
        steps: vec![
            rest("a queue of 5", Change::Queue(5), 1),
            brief("15 for a moment", Change::Queue(15), 2),
            rest("5 again", Change::Queue(5), 1),
            calm("20: the window holds", Change::Queue(20), 1, Duration::from_secs(6)),
            rest("20 still", Change::Queue(20), 4),
            brief("10 for a while", Change::Queue(10), 4),
            rest("5", Change::Queue(5), 1),
        ],
    }
}

/// Pods that do not answer, and an unready pod that answers.
fn samples_missing() -> Timeline {
    Timeline {
        name: "samples_missing",
        spec: json!({"behavior": at_once()}),
        pending: vec![],
        steps: vec![
            rest("a queue of 15", Change::Queue(15), 3),
            rest("pod 1 is not ready", Change::Ready(1, false), 3),
            rest("20", Change::Queue(20), 4),
            rest("15", Change::Queue(15), 3),
            rest("pod 1 is ready", Change::Ready(1, true), 3),
            calm("pod 1 is silent", Change::Silent(1), 3, Duration::from_secs(6)),
            rest("3", Change::Queue(3), 2),
            rest("20", Change::Queue(20), 4),
            calm("all are silent", Change::AllSilent, 4, Duration::from_secs(6)),
            rest("pod 0 answers: 20", Change::Queue(20), 4),
            rest("all answer", Change::OthersIdle, 4),
            rest("3", Change::Queue(3), 1),
        ],
    }
}

/// Pending pods count as idle for growth, and do not count for shrinking.
fn pods_pending() -> Timeline {
    Timeline {
        name: "pods_pending",
        spec: json!({"behavior": at_once()}),
        pending: (3..10).collect(),
        steps: vec![
            rest("a queue of 15", Change::Queue(15), 3),
            rest("20: a pod stays pending", Change::Queue(20), 4),
            rest("30: three do", Change::Queue(30), 6),
            rest("12", Change::Queue(12), 3),
            rest("35", Change::Queue(35), 7),
            rest("nothing waits", Change::Queue(0), 1),
        ],
    }
}

/// Changing bounds, a tolerance for each direction, and a size of zero set by hand.
fn bounds_and_tolerances() -> Timeline {
    let mut behavior = at_once();
    behavior["scaleUp"]["tolerance"] = json!("0.5");
    behavior["scaleDown"]["tolerance"] = json!("0");
    Timeline {
        name: "bounds_and_tolerances",
        spec: json!({"behavior": behavior}),
        pending: vec![],
        steps: vec![
            rest("a queue of 10", Change::Queue(10), 2),
            rest("14: within the tolerance", Change::Queue(14), 2),
            rest("16", Change::Queue(16), 4),
            rest("19: rounds up to what there is", Change::Queue(19), 4),
            rest("14: outside of the other tolerance", Change::Queue(14), 3),
            rest("no less than 5", Change::Spec(json!({"minReplicas": 5})), 5),
            rest("none by hand", Change::ByHand(0), 0),
            rest("2 by hand", Change::ByHand(2), 5),
        ],
    }
}

/// The target is deleted, and created again.
fn target_goes() -> Timeline {
    Timeline {
        name: "target_goes",
        spec: json!({"behavior": at_once()}),
        pending: vec![],
        steps: vec![
            rest("a queue of 10", Change::Queue(10), 2),
            calm("the target is deleted", Change::TargetGone, 2, Duration::from_secs(6)),
            rest("it is there again", Change::TargetBack, 2),
            rest("15", Change::Queue(15), 3),
        ],
    }
}
