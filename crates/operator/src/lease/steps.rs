//! The steps of an election: the calls that it asks for, and their answers.

use std::time::Duration;

use crate::{clock::Readings, lease::record::Record};

/// Returns the time for which a renewal permits writes, for a Lease of this duration.
pub(super) fn term(duration: Duration) -> Duration {
    duration * 2 / 3
}

/// Returns the time for which a write may be on its way, for a Lease of this duration.
pub(super) fn longest_way(duration: Duration) -> Duration {
    duration / 3
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
    /// The number of Leases that this copy holds, or has asked to hold.
    pub held: u32,
    /// A watch tells of changes, so the Lease is looked at seldom.
    pub is_watched: bool,
    /// The first Lease has this copy's number of buckets, settled or announced.
    pub is_layout_own: bool,
    /// What makes the shares of the copies more even.
    pub evening: Evening,
    /// No write of the bucket is on its way.
    pub is_idle: bool,
}

/// What makes the shares of the copies more even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evening {
    /// Nothing, as far as this Lease is concerned.
    Nothing,
    /// This copy holds too few Leases, and may wish for this one.
    Wish,
    /// The copy that wishes for this one holds too few, and may be given it.
    Give,
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

impl Step {
    /// Returns true if it writes the wish of this copy.
    pub(super) fn is_wish_of(&self, me: &str) -> bool {
        self.written().is_some_and(|record| record.wanted_by.as_deref() == Some(me))
    }

    /// Returns true if it makes this copy the holder, or keeps it so.
    pub(super) fn takes_for(&self, me: &str) -> bool {
        self.written().is_some_and(|record| record.holder == me)
    }

    /// Returns the record that it writes.
    fn written(&self) -> Option<&Record> {
        let Self::Call(request) = self else { return None };
        match &request.call {
            Call::Get => None,
            Call::Create(record) | Call::Update(record) => Some(record),
        }
    }
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
