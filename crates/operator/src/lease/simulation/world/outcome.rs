//! What a simulation ends with.

/// The end of a simulation.
#[derive(Debug, Default)]
pub(in crate::lease::simulation) struct Outcome {
    /// An invariant that did not hold.
    pub violation: Option<String>,
    /// What happened, in the order of time; empty unless asked for.
    pub trace: Vec<String>,
    /// The writes that were accepted.
    pub accepted: usize,
    /// The number of times that a Lease got another holder.
    pub taken: usize,
    /// The accepted writes that were on their way for longer than a permit allows for.
    pub late_writes: usize,
    /// The buckets that each copy held at the end.
    pub held: Vec<usize>,
    /// The time from the end of the troubles until the shares were even for good.
    pub evened: Option<u64>,
    /// The number of times that a Lease got another holder since the end of the troubles.
    pub taken_since: usize,
    /// The time after a kill or a release in which a namespace had no holder.
    pub gap: Option<u64>,
}
