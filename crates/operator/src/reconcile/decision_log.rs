//! The lines of the log about decisions: one for each that differs from the last one.

use std::time::Duration;

use llm_autoscaler_api::conditions::Reason;
use llm_autoscaler_core::Monotonic;

/// The target of the lines, by which a filter selects them. It is public.
pub(super) const TARGET: &str = "llm_autoscaler::decisions";
/// The least time between two lines about one target: decisions may change with each sample.
const PACE: Duration = Duration::from_secs(1);

/// The action that followed a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The size is as desired.
    None,
    /// The size was written.
    Written,
    /// The write failed.
    Failed,
    /// The size waits for a drain, or for another role.
    Waiting,
    /// The size is recommended and not written, by `mode: Recommend`.
    Recommended,
    /// The size is not written, for this reason.
    Withheld(&'static str),
}

impl Action {
    /// Returns the value of the field `action`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Written => "written",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Recommended => "recommended",
            Self::Withheld(reason) => reason,
        }
    }
}

/// The part of a decision that makes it another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The result, as the metrics name it.
    pub result: &'static str,
    /// The replicas of the target.
    pub current: i32,
    /// The desired replicas; `None` where no number was computed.
    pub desired: Option<i32>,
    /// The rule that limits the number.
    pub limited_by: Option<Reason>,
    /// The action that followed.
    pub action: Action,
}

/// The decisions of one target as they were last logged.
#[derive(Debug, Default)]
pub(super) struct DecisionLog {
    logged: Option<(Entry, Monotonic)>,
    latest: Option<Entry>,
    /// The changes since the last line that came too fast for a line of their own.
    left_out: u32,
}

impl DecisionLog {
    /// Records a decision. If it is to be logged, returns the number of changes before it that were
    /// left out.
    pub(super) fn next(&mut self, entry: Entry, now: Monotonic) -> Option<u32> {
        let previous = self.latest.replace(entry);
        let Some((logged, at)) = self.logged else {
            self.logged = Some((entry, now));
            return Some(0);
        };
        // Writes have a pace of their own, and each has its line.
        let is_write = matches!(entry.action, Action::Written | Action::Failed);
        if now.since(at) < PACE && !is_write {
            let is_news = previous.is_none_or(|previous| entry.is_news(&previous));
            self.left_out += u32::from(is_news);
            return None;
        }
        if !entry.is_news(&logged) {
            return None;
        }
        let left_out = std::mem::take(&mut self.left_out);
        // The change itself may have been counted when it came.
        let is_counted = previous == Some(entry) && left_out > 0;
        self.logged = Some((entry, now));
        Some(left_out - u32::from(is_counted))
    }

    /// Returns whether the latest decision was left out so far, and has a line of its own coming.
    pub(super) fn has_more(&self) -> bool {
        let both = self.latest.zip(self.logged);
        both.is_some_and(|(latest, (logged, _))| latest.is_news(&logged))
    }

    /// Returns the latest decision in a few words, after the name of the role.
    pub(super) fn latest(&self, role: Option<&str>) -> Option<String> {
        let Entry { result, current, desired, .. } = self.latest?;
        let of = role.map(|role| format!("{role}: ")).unwrap_or_default();
        Some(match desired {
            Some(desired) => format!("{of}{result} {current} -> {desired}"),
            None => format!("{of}{result} {current}"),
        })
    }
}

impl Entry {
    /// Returns whether this decision differs from an earlier one. That a target has reached the
    /// desired size is no other decision.
    fn is_news(&self, earlier: &Self) -> bool {
        let of = |entry: &Self| (entry.result, entry.desired, entry.limited_by);
        of(self) != of(earlier) || (self.action != Action::None && self.action != earlier.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(current: i32, desired: i32, action: Action) -> Entry {
        Entry { result: "computed", current, desired: Some(desired), limited_by: None, action }
    }

    #[test]
    fn only_a_changed_decision_is_logged() {
        let (written, held) = (Action::Written, "held");
        let paused = Action::Withheld("paused");
        let mut log = DecisionLog::default();
        // second, decision, what is logged
        let table = [
            (0, entry(1, 1, Action::None), Some(0)),
            (2, entry(1, 1, Action::None), None),
            (4, entry(1, 3, written), Some(0)),
            (6, entry(3, 3, Action::None), None),
            (8, Entry { result: held, ..entry(3, 3, Action::None) }, Some(0)),
            (10, entry(3, 2, paused), Some(0)),
            (12, entry(3, 2, paused), None),
            (14, entry(3, 2, written), Some(0)),
        ];
        for (second, entry, expected) in table {
            let now = Monotonic(Duration::from_secs(second));
            assert_eq!(log.next(entry, now), expected, "{second}");
        }
    }

    #[test]
    fn a_decision_that_changes_back_and_forth_has_one_line_a_second() {
        let mut log = DecisionLog::default();
        let at = |millis| Monotonic(Duration::from_millis(millis));
        let lines: Vec<_> = (0_u64..40)
            .filter_map(|step| {
                let desired = 1 + i32::from(step % 2 == 0);
                log.next(entry(3, desired, Action::Waiting), at(step * 110))
            })
            .collect();
        assert_eq!((lines.len(), lines[0]), (4, 0), "{lines:?}");
        assert!(lines[1..].iter().all(|left_out| *left_out >= 8), "{lines:?}");
    }

    #[test]
    fn a_change_within_the_second_is_logged_after_it_if_it_lasts() {
        let mut log = DecisionLog::default();
        let at = |millis| Monotonic(Duration::from_millis(millis));
        assert_eq!(log.next(entry(1, 1, Action::None), at(0)), Some(0));
        assert_eq!(log.next(entry(1, 3, Action::Waiting), at(400)), None);
        assert_eq!(log.next(entry(1, 2, Action::Waiting), at(800)), None);
        assert!(log.has_more());
        assert_eq!(log.next(entry(1, 2, Action::Waiting), at(1500)), Some(1));
        assert!(!log.has_more());
        assert_eq!(log.next(entry(1, 2, Action::Written), at(1600)), Some(0), "a write is logged");
        assert_eq!(log.next(entry(2, 2, Action::None), at(3000)), None);
        assert_eq!(log.latest(Some("decode")).unwrap(), "decode: computed 2 -> 2");
    }
}
