//! The permission to write to the API server, and the writes that are on their way by it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use llm_autoscaler_core::Monotonic;

use crate::{clock::Clock, kube_api::DEADLINE};

/// The permission to write to the API server until a moment, which the holder of a Lease moves on
/// with each renewal. Clones are the same permission. [`Writes`](super::writes::Writes) asks for
/// it.
#[derive(Clone, Debug)]
pub(crate) struct WritePermit(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The end in nanoseconds of the monotonic clock; 0 means none, and the largest number no end.
    until: AtomicU64,
    /// The number of times that the permission has been taken away.
    endings: AtomicU64,
    /// No further write begins.
    is_closed: AtomicBool,
    /// The writes that have begun and not ended.
    under_way: AtomicUsize,
    /// The end of the latest write that may still arrive, in nanoseconds of the monotonic clock;
    /// 0 if there was none.
    unanswered: AtomicU64,
}

/// A write that is under way, until dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    state: &'a State,
    clock: Clock,
    may_arrive: bool,
}

impl UnderWay<'_> {
    /// Records that the write may have been sent.
    pub(crate) fn record_send(&mut self) {
        self.may_arrive = true;
    }

    /// Records that the write was carried out, or never will be.
    pub(crate) fn record_answer(&mut self) {
        self.may_arrive = false;
    }

    /// Returns true if the write has been sent, and no answer recorded.
    pub(crate) fn may_arrive(&self) -> bool {
        self.may_arrive
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.may_arrive {
            self.state.unanswered.fetch_max(nanoseconds(self.clock.monotonic()), SeqCst);
        }
        self.state.under_way.fetch_sub(1, SeqCst);
    }
}

impl WritePermit {
    /// Returns a permit that does not end.
    pub(crate) fn unlimited() -> Self {
        Self(Arc::new(State { until: AtomicU64::new(u64::MAX), ..State::default() }))
    }

    /// Returns a permit that permits nothing yet.
    pub(crate) fn none() -> Self {
        Self(Arc::default())
    }

    /// Moves the end.
    pub(crate) fn set_until(&self, until: Monotonic) {
        self.0.until.store(nanoseconds(until), SeqCst);
    }

    /// Takes the permission away.
    pub(crate) fn end(&self) {
        if self.0.until.swap(0, SeqCst) != 0 {
            self.0.endings.fetch_add(1, SeqCst);
        }
    }

    /// Lets no further write begin, or lets them begin again. Those that are under way go on.
    pub(crate) fn set_closed(&self, is_closed: bool) {
        self.0.is_closed.store(is_closed, SeqCst);
    }

    /// Returns the deadline of a write that begins now; `None` once the permit has ended, or while
    /// it is closed.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Duration> {
        self.left(now).filter(|_| !self.0.is_closed.load(SeqCst))
    }

    /// Returns true until the permit ends: a write that has begun may be sent.
    pub(crate) fn is_valid(&self, now: Monotonic) -> bool {
        self.left(now).is_some()
    }

    fn left(&self, now: Monotonic) -> Option<Duration> {
        let until = self.0.until.load(SeqCst);
        if until == u64::MAX {
            return Some(DEADLINE);
        }
        let left = Monotonic(Duration::from_nanos(until)).since(now);
        (!left.is_zero()).then(|| left.min(DEADLINE))
    }

    /// Returns the number of times that the permission has been taken away: work that began under
    /// another number belongs to an earlier term, even if the permit is valid again.
    pub(crate) fn endings(&self) -> u64 {
        self.0.endings.load(SeqCst)
    }

    /// Counts a write as under way. This comes before the look at the [deadline](Self::deadline),
    /// so that nothing begins unseen once the permit is closed.
    pub(crate) fn begin(&self, clock: Clock) -> UnderWay<'_> {
        self.0.under_way.fetch_add(1, SeqCst);
        UnderWay { state: &self.0, clock, may_arrive: false }
    }

    /// Returns true if no write is on its way: none is under way, and what was given up without an
    /// answer was given up at least this long ago.
    pub(crate) fn is_idle(&self, now: Monotonic, longest_way: Duration) -> bool {
        if self.0.under_way.load(SeqCst) > 0 {
            return false;
        }
        let unanswered = self.0.unanswered.load(SeqCst);
        unanswered == 0 || now >= Monotonic(Duration::from_nanos(unanswered)).after(longest_way)
    }
}

/// Returns a moment as a number, which is not that of a permit without an end.
fn nanoseconds(moment: Monotonic) -> u64 {
    u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_takes_no_longer_than_its_permit_lasts() {
        let at = |second| Monotonic(Duration::from_secs(second));
        let permit = |until| {
            let permit = WritePermit::none();
            permit.set_until(at(until));
            permit
        };
        // the permit's end, the time, the deadline in seconds
        let table = [(100, 0, Some(10)), (100, 95, Some(5)), (100, 100, None), (100, 101, None)];
        for (until, now, expected) in table {
            let deadline = permit(until).deadline(at(now)).map(|deadline| deadline.as_secs());
            assert_eq!(deadline, expected, "until {until} at {now}");
        }
        assert_eq!(WritePermit::unlimited().deadline(at(1)), Some(DEADLINE));
        assert_eq!(WritePermit::none().deadline(at(0)), None);
        let (held, copy) = (permit(100), permit(100));
        let clone = held.clone();
        held.end();
        held.end();
        assert_eq!(clone.deadline(at(0)), None, "clones are one permission");
        assert_eq!((clone.endings(), copy.endings()), (1, 0));
    }

    #[test]
    fn a_closed_permit_lets_what_has_begun_go_on_and_knows_when_nothing_is_on_its_way() {
        let (clock, way) = (Clock::start(), Duration::from_mins(1));
        let permit = WritePermit::unlimited();
        let now = || clock.monotonic();
        let (mut answered, mut given_up) = (permit.begin(clock), permit.begin(clock));
        permit.set_closed(true);
        assert_eq!(permit.deadline(now()), None);
        assert!(permit.is_valid(now()) && !permit.is_idle(now(), Duration::ZERO));
        answered.record_send();
        answered.record_answer();
        drop(answered);
        given_up.record_send();
        assert!(!permit.is_idle(now(), Duration::ZERO), "one is under way still");
        drop(given_up);
        assert!(!permit.is_idle(now(), way), "it may still arrive");
        assert!(permit.is_idle(now().after(way), way));
        drop(permit.begin(clock));
        assert!(permit.is_idle(now(), Duration::ZERO), "it was not sent");
        permit.set_closed(false);
        assert!(permit.deadline(now()).is_some());
    }
}
