//! Wake calls that came before this process served their target.

use std::time::Duration;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LLMAutoscaler, time};
use llm_autoscaler_core::{Monotonic, Now};

/// The age up to which a call without an answer counts. A takeover takes five minutes and a little
/// with the longest Lease.
const UNANSWERED_FOR: Duration = Duration::from_mins(15);

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
    /// Returns the moment from which the call keeps the target from zero; `None` if it does not any
    /// more. A moment before the start of the process is taken for the start.
    pub(super) fn counts_from(&self, awake: Duration, now: Now) -> Option<Monotonic> {
        let age = (now.wall - self.at).to_std().unwrap_or_default();
        // A call that comes while the target is at zero is answered by a replica, unless the copy
        // in charge was paused or dead. Both times are those of the status, in seconds.
        let is_unanswered = self.is_at_zero && self.scaled.is_none_or(|scaled| self.at >= scaled);
        if is_unanswered && age < UNANSWERED_FOR {
            return Some(now.monotonic);
        }
        (age < awake).then(|| Monotonic(now.monotonic.0.saturating_sub(age)))
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
            call.counts_from(AWAKE, now).map(|from| from.0.as_secs())
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
}
