//! The standing of one copy of the operator to a Lease. Pure.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

use crate::lease::record::Record;

/// The standing to a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// This copy is its holder.
    Mine,
    /// It may be taken: it was released, or its holder has not renewed it for its duration.
    Free,
    /// Another copy holds it, at least until this moment if it does not renew it before.
    Held { until: Monotonic },
}

/// Returns the standing of `me` to a Lease, if its record was first seen at `observed_at`.
///
/// That a holder is gone is judged by the time since *this copy* has seen its record change, on
/// this copy's monotonic clock. `renewTime` is a word of another machine's clock, which may be set
/// wrong by any amount, and has no influence. The duration is that of the record, since the holder
/// may be configured with another one.
pub(super) fn evaluate(
    record: &Record,
    me: &str,
    usual: Duration,
    observed_at: Monotonic,
    now: Monotonic,
) -> Standing {
    if record.holder == me {
        return Standing::Mine;
    }
    let until = observed_at.after(record.duration(usual));
    if record.holder.is_empty() || now >= until {
        return Standing::Free;
    }
    Standing::Held { until }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_lease_is_held_for_its_duration_after_it_was_seen_to_change() {
        let at = |second| Monotonic(Duration::from_secs(second));
        let held = |second| Standing::Held { until: at(second) };
        let record = |holder: &str, seconds| Record {
            holder: holder.to_owned(),
            seconds,
            ..Record::default()
        };
        // the record, the second now, the standing; observed at second 100, 15 s are usual
        let table = [
            (record("b", Some(15)), 100, held(115)),
            (record("b", Some(15)), 114, held(115)),
            (record("b", Some(15)), 115, Standing::Free),
            // Of a copy with another configuration.
            (record("b", Some(60)), 159, held(160)),
            (record("b", Some(60)), 160, Standing::Free),
            (record("b", Some(5)), 105, Standing::Free),
            // Odd contents.
            (record("b", None), 114, held(115)),
            (record("b", Some(-5)), 114, held(115)),
            (record("b", Some(0)), 115, Standing::Free),
            (record("b", Some(i32::MAX)), 699, held(700)),
            (record("b", Some(i32::MAX)), 700, Standing::Free),
            (record(" ", Some(15)), 114, held(115)),
            (record("A", Some(15)), 114, held(115)),
            // Released.
            (record("", Some(15)), 100, Standing::Free),
            (record("", None), 100, Standing::Free),
            // The own one, however old it is.
            (record("a", Some(15)), 100, Standing::Mine),
            (record("a", Some(15)), 9_000, Standing::Mine),
            // This copy's clock was read before the observation.
            (record("b", Some(15)), 99, held(115)),
        ];
        for (row, (record, now, expected)) in table.into_iter().enumerate() {
            for second in [None, Some(0), Some(1_700_000_000), Some(9_000_000_000)] {
                let renewed = second.and_then(|second| DateTime::from_timestamp(second, 0));
                let record = Record { renewed, ..record.clone() };
                let standing = evaluate(&record, "a", Duration::from_secs(15), at(100), at(now));
                assert_eq!(standing, expected, "row {row}, renewed {renewed:?}");
            }
        }
    }
}
