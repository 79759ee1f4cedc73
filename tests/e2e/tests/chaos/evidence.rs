//! The recorded timeline of a run: all that the invariants are judged by.
//!
//! Times are seconds since the run began. Nothing here is what the operator says of itself, except
//! for its statuses and its memory: loads are those that the test set, pages those that the engines
//! served, and writes those in the API server's audit log.

use std::collections::BTreeMap;

/// A moment, in seconds since the run began.
pub(crate) type Second = f64;

/// The requests that wait in a replica at its target.
pub(crate) const PER_REPLICA: u64 = 5;
/// The stabilization window of scale-downs.
pub(crate) const WINDOW: Second = 10.0;
/// The time for which a Lease lasts.
pub(crate) const LEASE: Second = 5.0;

/// The name of the disturbance in which the API server loses lines of its log.
pub(crate) const KILLED: &str = "API server killed";
/// The name of the disturbance in which statuses are refused.
pub(crate) const STATUSES_REFUSED: &str = "webhook refuses statuses";

/// A target and its autoscaler, which have one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The name, as `namespace/name`.
    pub name: String,
    /// The least size. This many of the first pods share the load.
    pub min: i32,
    /// The largest size.
    pub max: i32,
    /// True in the namespace that no disturbance is aimed at.
    pub is_neighbour: bool,
}

/// Parts of the world that a disturbance disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The API server, for all copies and targets.
    ApiServer,
    /// A copy of the operator.
    Copies,
    /// The pages or the writes of the namespace that is disturbed.
    Namespace,
    /// The clock of the copies.
    Clock,
    /// A tenant that attacks, in a namespace of its own.
    Tenant,
}

/// A disturbance as it took place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disturbed {
    pub what: String,
    pub reach: Reach,
    pub from: Second,
    pub until: Second,
    /// The time after its end in which the operator may find its way back.
    pub recovery: Second,
}

/// A load that was set, by the size that it asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub target: String,
    pub at: Second,
    pub size: i32,
}

/// An event of an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PodTrace {
    Started,
    /// A whole page with this number of waiting requests was served.
    Served(u64),
    Ended,
}

/// An event of the engine of a target's pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodEvent {
    pub target: String,
    pub pod: String,
    pub at: Second,
    pub what: PodTrace,
}

/// A request of a copy that the API server has answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// The process that sent it: the name of the copy, and a suffix for each start.
    pub process: String,
    pub verb: String,
    /// The resource, and its subresource after a slash.
    pub resource: String,
    /// The object, as `namespace/name`.
    pub object: String,
    pub code: i64,
    pub received: Second,
    pub answered: Second,
    /// The size that it writes.
    pub size: Option<i32>,
    /// The version that it names.
    pub version: Option<String>,
    /// The status of the condition `Ready` that it writes.
    pub ready: Option<bool>,
}

impl Request {
    /// Returns true for a write that the API server has accepted, to anything but a Lease.
    pub(crate) fn is_accepted_write(&self) -> bool {
        let writes = ["create", "update", "patch", "delete"];
        writes.contains(&&*self.verb)
            && (200..300).contains(&self.code)
            && self.resource != "leases"
            && !self.resource.ends_with("reviews")
    }

    /// Returns true for an accepted write of the Lease.
    pub(crate) fn takes_lease(&self) -> bool {
        self.resource == "leases"
            && self.verb != "get"
            && self.verb != "watch"
            && self.verb != "list"
            && (200..300).contains(&self.code)
    }

    /// Returns the size that it has set, if it has.
    pub(crate) fn written_size(&self) -> Option<i32> {
        (self.is_accepted_write() && self.resource.ends_with("/scale")).then_some(self.size?)
    }
}

/// A target and its status as the API server showed them to the test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    pub target: String,
    pub at: Second,
    pub size: i32,
    pub generation: i64,
    pub status: StatusSeen,
}

/// The parts of a status that are judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StatusSeen {
    pub observed_generation: Option<i64>,
    pub desired: Option<i32>,
    pub current: Option<i32>,
    /// The status of each condition by its type: `True` or `False`.
    pub conditions: BTreeMap<String, String>,
}

/// A copy of the operator at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyLook {
    /// The copy and its start, such as `copy-0 start 3`.
    pub life: String,
    pub at: Second,
    /// Its resident memory in MB; `None` if it runs no more although nothing has ended it.
    pub memory_mb: Option<u64>,
    /// Its tasks that have panicked.
    pub panics: u64,
}

/// All that was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timeline {
    pub seconds: Second,
    pub targets: Vec<Target>,
    pub disturbed: Vec<Disturbed>,
    pub loads: Vec<Load>,
    pub pods: Vec<PodEvent>,
    /// By the time of the answer.
    pub requests: Vec<Request>,
    pub looks: Vec<Look>,
    pub copies: Vec<CopyLook>,
}

impl Timeline {
    /// Returns the size that the load of a target asked for at a moment.
    pub(crate) fn wanted(&self, target: &str, at: Second) -> Option<i32> {
        let its = self.loads.iter().filter(|load| load.target == target && load.at <= at);
        its.max_by(|a, b| a.at.total_cmp(&b.at)).map(|load| load.size)
    }

    /// Returns true if a disturbance of this reach overlaps a time.
    pub(crate) fn is_disturbed(&self, reach: Reach, from: Second, until: Second) -> bool {
        let overlaps = |it: &&Disturbed| it.from <= until && it.until >= from;
        self.disturbed.iter().filter(|it| it.reach == reach).any(|it| overlaps(&it))
    }

    /// Returns true if the API server was killed in a time, and has lost the last lines of its log.
    pub(crate) fn has_lost_lines(&self, from: Second, until: Second) -> bool {
        self.has(KILLED, from, until)
    }

    /// Returns true if the statuses of a target were refused in a time.
    pub(crate) fn refuses_statuses(&self, target: &Target, from: Second, until: Second) -> bool {
        !target.is_neighbour && self.has(STATUSES_REFUSED, from, until)
    }

    fn has(&self, what: &str, from: Second, until: Second) -> bool {
        self.disturbed.iter().any(|it| it.what == what && it.from <= until && it.until >= from)
    }

    /// Returns the size of a target before a moment, as it was seen or written last.
    pub(crate) fn size_before(&self, target: &str, at: Second) -> Option<i32> {
        let seen = self.looks.iter().rfind(|look| look.target == target && look.at < at);
        let written = self
            .requests
            .iter()
            .rfind(|it| it.object == target && it.answered < at && it.written_size().is_some());
        match (seen, written) {
            (Some(seen), Some(written)) if written.answered > seen.at => written.size,
            (Some(seen), _) => Some(seen.size),
            (None, written) => written.and_then(|it| it.size),
        }
    }

    /// Returns the disturbances at a moment, and those that ended less than 10 s before.
    pub(crate) fn disturbed_at(&self, at: Second) -> String {
        let near = self.disturbed.iter().filter(|it| it.from <= at && it.until + 10.0 >= at);
        let names: Vec<_> =
            near.map(|it| format!("{} ({:.1} s to {:.1} s)", it.what, it.from, it.until)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// Returns the load in waiting requests that asks for this size, and for no other one by the HPA's
/// tolerance of a tenth.
pub(crate) fn load_for(size: i32) -> u64 {
    (PER_REPLICA * u64::from(size.unsigned_abs())).saturating_sub(1)
}

/// Returns the size for a number of waiting requests.
pub(crate) fn size_for(waiting: u64, target: &Target) -> i32 {
    let size = i32::try_from(waiting.div_ceil(PER_REPLICA)).unwrap_or(i32::MAX);
    size.clamp(target.min, target.max)
}
