//! The steps of an election: the calls that it asks for, and their answers.

use std::time::Duration;

use crate::{clock::Readings, lease::record::Record};

/// Returns the time for which a renewal permits writes, for a Lease of this duration.
pub(super) fn term(duration: Duration) -> Duration {
    duration * 2 / 3
}

/// The configuration of an election.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The identity of this copy.
    pub me: String,
    /// The duration of the Lease.
    pub duration: Duration,
    /// The number of buckets, and of Leases.
    pub buckets: usize,
    /// This Lease is the first one, which decides on the number of buckets.
    pub is_anchor: bool,
}

/// The state of this copy beside the Lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// The number of Leases that this copy holds.
    pub held: u32,
    /// A watch tells of changes, so the Lease is looked at seldom.
    pub is_watched: bool,
    /// The first Lease has this copy's number of buckets, settled or announced.
    pub is_layout_own: bool,
}

/// A call to the API server.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Reads the Lease.
    Get,
    /// Creates the Lease.
    Create(Record),
    /// Replaces the Lease, on the condition that its version and UID are those of the record.
    Update(Record),
}

/// A call that is to be made now.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The call.
    pub call: Call,
    /// The moment before it was sent.
    pub sent: Readings,
    /// The time to wait for the answer.
    pub deadline: Duration,
}

/// The next thing to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Wait for this long, and ask again.
    Wait(Duration),
    /// Make a call, and pass on its answer.
    Call(Box<Request>),
    /// Nothing: the Lease is given up.
    Done,
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The Lease as it was read or written.
    Found(Record),
    /// There is no such Lease.
    Absent,
    /// The Lease has changed, or exists.
    Conflict,
    /// The call was refused, and not carried out. The API server may ask to wait.
    Refused(Option<Duration>),
    /// None in time, or a server error: a write may have been carried out, or still be.
    Unknown(Option<Duration>),
}
