//! Wake calls of one target: until when each counts, also one that came before this process served
//! the target.

use std::time::Duration;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LLMAutoscaler, time};
use llm_autoscaler_core::{Monotonic, Now};

/// The age up to which a call without an answer counts. A takeover takes five minutes and a little
/// with the longest Lease.
const UNANSWERED_FOR: Duration = Duration::from_mins(15);

/// A wake call that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct WakeCall {
    /// The time at which it came.
    came: Monotonic,
    /// The time from which it keeps the target from zero.
    counts_from: Monotonic,
}

impl WakeCall {
    /// Returns a call that comes now.
    pub(super) fn new(now: Monotonic) -> Self {
        Self { came: now, counts_from: now }
    }

    /// Returns the call as it is now; `None` if it has kept the target from zero for long enough.
    /// It begins to do so when it has its answer, which is a replica.
    pub(super) fn observe(
        self,
        is_answered: bool,
        awake: Duration,
        now: Monotonic,
    ) -> Option<Self> {
        let waits = !is_answered && now.since(self.came) < UNANSWERED_FOR;
        let call = if waits { Self { counts_from: now, ..self } } else { self };
        (now.since(call.counts_from) < awake).then_some(call)
    }
}

/// A wake call that came before this process served the target.
pub(super) struct EarlierCall {
    /// Its time, as the status has it.
    pub at: DateTime<Utc>,
    /// The time of the last change of the size.
    pub scaled: Option<DateTime<Utc>>,
    /// True if the target is scaled and has no replica.
    pub is_at_zero: bool,
}

impl EarlierCall {
    /// Returns the call, if it counts still. A moment before the start of the process is taken for
    /// the start.
    pub(super) fn resume(&self, awake: Duration, now: Now) -> Option<WakeCall> {
        let age = (now.wall - self.at).to_std().unwrap_or_default();
        let came = Monotonic(now.monotonic.0.saturating_sub(age));
        // A call that comes while the target is at zero is answered by a replica, unless the copy
        // in charge was paused or dead. Both times are those of the status, in seconds.
        let is_unanswered = self.is_at_zero && self.scaled.is_none_or(|scaled| self.at >= scaled);
        if is_unanswered && age < UNANSWERED_FOR {
            return Some(WakeCall { came, counts_from: now.monotonic });
        }
        (age < awake).then_some(WakeCall { came, counts_from: came })
    }
}

/// The time of the last wake call, as the copy of the operator has recorded it that got the call.
pub(super) fn last_wake_time(object: &LLMAutoscaler) -> Option<DateTime<Utc>> {
    let time = object.status.as_ref()?.last_wake_time.as_ref()?;
    Some(time::from_kubernetes(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_has_answered_counts_from_the_takeover() {
        const AWAKE: Duration = Duration::from_secs(6);
        let wall = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let now = Now { wall, monotonic: Monotonic(Duration::from_secs(500)) };
        let before = |seconds| wall - Duration::from_secs(seconds);
        let counts_from = |called, scaled: Option<u64>, is_at_zero| {
            let scaled = scaled.map(before);
            let call = EarlierCall { at: before(called), scaled, is_at_zero };
            call.resume(AWAKE, now).map(|call| call.counts_from.0.as_secs())
        };
        let cases = [
            ("answered, and counts still", 5, Some(4), false, Some(495)),
            ("by a clock that is ahead", 0, Some(4), false, Some(500)),
            ("answered, and has ended", 6, Some(5), false, None),
            ("answered, and the target went to zero afterwards", 20, Some(10), true, None),
            ("while the target was at zero", 20, Some(30), true, Some(500)),
            ("a moment ago, at zero", 1, Some(30), true, Some(500)),
            ("in the second in which it went to zero", 20, Some(20), true, Some(500)),
            ("to a target that was never scaled", 20, None, true, Some(500)),
            ("before long", 899, Some(1000), true, Some(500)),
            ("too long ago", 900, Some(1000), true, None),
        ];
        for (case, called, scaled, is_at_zero, expected) in cases {
            assert_eq!(counts_from(called, scaled, is_at_zero), expected, "{case}");
        }
    }

    #[test]
    fn a_call_keeps_the_target_from_zero_from_its_answer_on() {
        let at = |second| Monotonic(Duration::from_secs(second));
        let awake = Duration::from_secs(6);
        let counts = |answered: u64, until: u64| {
            let mut call = Some(WakeCall::new(at(100)));
            for second in 100..=until {
                call = call.and_then(|it| it.observe(second >= answered, awake, at(second)));
            }
            call.is_some()
        };
        for (answered, last) in [(100, 105), (102, 106), (161, 165), (999, 1003)] {
            let found = (counts(answered, last), counts(answered, last + 1));
            assert_eq!(found, (true, false), "answered at {answered} s");
        }
        assert!(counts(2000, 1004) && !counts(2000, 1005), "without an answer it ends too");
    }
}
