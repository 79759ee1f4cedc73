//! Changes of a target's size by other writers: which they are, how long they are respected, and
//! whether another writer contests the operator's sizes.
//!
//! Pure: the caller passes the observed size, the time, and the writer named in `managedFields`.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{ManualChangeStatus, managers, memory::Remembered, time};

use crate::scale::metadata::Author;

/// A writer contests the operator's sizes by changing them this often within [`CONTESTED_WITHIN`].
const CONTESTED_COUNT: usize = 3;
/// The time in which changes are counted, and the shortest time between two reports of a contest.
const CONTESTED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// The size of one object, and its latest writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SizeTracker {
    /// The object's UID.
    pub uid: String,
    /// The size that was last observed or written.
    known: Option<i32>,
    /// True if the operator has written that size.
    is_own_write: bool,
    /// The size of a write that may have been carried out: it had no answer.
    attempted: Option<i32>,
    /// The latest change by another writer, unless the operator has written since.
    change: Option<SizeChange>,
    /// The latest changes of sizes that the operator had written.
    contests: Vec<Contest>,
    /// The time at which a contest was last reported.
    contest_reported_at: Option<DateTime<Utc>>,
}

/// A change of a size that the operator had written.
#[derive(Clone, Debug)]
struct Contest {
    at: DateTime<Utc>,
    by: Option<String>,
}

/// A change of size by another writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SizeChange {
    /// The size before.
    pub from: i32,
    /// The size that was set.
    pub to: i32,
    /// The field manager of the writer; `None` where it is not known.
    pub by: Option<String>,
    /// The time of the change.
    pub at: DateTime<Utc>,
}

/// A change that is respected: nothing is written meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RespectedChange {
    /// The change.
    pub change: SizeChange,
    /// The time until which it is respected.
    pub until: DateTime<Utc>,
}

/// The explanation of a size that was not expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribution {
    /// The operator has written it, before a restart or in a write without an answer.
    Ours,
    /// Another writer has changed it.
    Changed(SizeChange),
    /// Another writer changes the operator's sizes repeatedly, and it is time to report that.
    Contested(SizeChange),
}

impl SizeTracker {
    /// Creates a tracker from the status, as far as it remembers this very object.
    pub(crate) fn restored(uid: &str, remembered: Option<&Remembered>) -> Self {
        let known = remembered.and_then(Remembered::replicas);
        let change = remembered.and_then(|remembered| remembered.manual_change.as_ref());
        let change = change.map(SizeChange::restored);
        let change = change.filter(|change| known == Some(change.to));
        Self { uid: uid.to_owned(), known, change, ..Self::default() }
    }

    /// Creates a tracker for an object that another autoscaler drives. The size that it has set so
    /// far is no change to respect.
    pub(crate) fn driven(uid: &str, current: i32) -> Self {
        Self { uid: uid.to_owned(), known: Some(current), ..Self::default() }
    }

    /// Records an observed size. Returns whether it differs from the known one, so that its writer
    /// is to be found out for [`attribute`](Self::attribute).
    pub(crate) fn observe_size(&mut self, current: i32) -> bool {
        if self.attempted.take() == Some(current) && self.known != Some(current) {
            self.record_write(current);
        }
        let differs = self.known.is_some_and(|known| known != current);
        self.known.get_or_insert(current);
        differs
    }

    /// Records the writer of a size for which [`observe_size`](Self::observe_size) returned true.
    /// Returns the explanation of the size.
    pub(crate) fn attribute(
        &mut self,
        current: i32,
        author: Author,
        now: DateTime<Utc>,
    ) -> Attribution {
        if author.name.as_deref() == Some(managers::SCALE) {
            self.record_write(current);
            return Attribution::Ours;
        }
        let from = self.known.replace(current).unwrap_or(current);
        let was_own_write = std::mem::take(&mut self.is_own_write);
        let at = author.at.map_or(now, |at| at.min(now));
        let change = SizeChange { from, to: current, by: author.name, at };
        self.change = Some(change.clone());
        if was_own_write && self.record_and_check_contested(&change, now) {
            self.contest_reported_at = Some(now);
            Attribution::Contested(change)
        } else {
            Attribution::Changed(change)
        }
    }

    /// Records a change of the operator's size. Returns whether a contest is to be reported.
    fn record_and_check_contested(&mut self, change: &SizeChange, now: DateTime<Utc>) -> bool {
        let is_recent = |at: DateTime<Utc>| now - at < CONTESTED_WITHIN;
        self.contests.retain(|contest| is_recent(contest.at));
        self.contests.push(Contest { at: now, by: change.by.clone() });
        let count = self.contests.iter().filter(|contest| contest.by == change.by).count();
        count >= CONTESTED_COUNT && !self.contest_reported_at.is_some_and(is_recent)
    }

    /// Records that the operator has written a size.
    pub(crate) fn record_write(&mut self, size: i32) {
        self.known = Some(size);
        self.is_own_write = true;
        self.change = None;
        self.attempted = None;
    }

    /// Records a write without an answer, which may have been carried out.
    pub(crate) fn record_attempt(&mut self, size: i32) {
        self.attempted = Some(size);
    }

    /// Returns the change by another writer that is respected now, if changes are respected for
    /// this long. Zero replicas are never respected as a size: as with the HPA, they switch scaling
    /// off.
    pub(crate) fn respected(
        &self,
        respect: TimeDelta,
        now: DateTime<Utc>,
    ) -> Option<RespectedChange> {
        let change = self.change.as_ref().filter(|change| change.to != 0)?;
        let until = change.at + respect;
        (now < until).then(|| RespectedChange { change: change.clone(), until })
    }
}

impl SizeChange {
    fn restored(status: &ManualChangeStatus) -> Self {
        let ManualChangeStatus { from, to, by, time } = status.clone();
        Self { from, to, by, at: time::from_kubernetes(&time) }
    }

    /// Returns the change as the status keeps it.
    pub(crate) fn status(&self) -> ManualChangeStatus {
        let Self { from, to, by, at } = self.clone();
        ManualChangeStatus { from, to, by, time: time::to_kubernetes(at) }
    }

    /// Returns the writer, as the subject of a sentence.
    pub(crate) fn author(&self) -> &str {
        self.by.as_deref().unwrap_or("another writer")
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::HistoryRecord;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
    }

    fn by(name: &str) -> Author {
        Author { name: Some(name.to_owned()), at: None }
    }

    /// Observes a size, and attributes it to `author` if it was not expected.
    fn read(
        sizes: &mut SizeTracker,
        current: i32,
        author: &str,
        second: i64,
    ) -> Option<Attribution> {
        sizes.observe_size(current).then(|| sizes.attribute(current, by(author), at(second)))
    }

    fn change(from: i32, to: i32, name: &str, second: i64) -> SizeChange {
        SizeChange { from, to, by: Some(name.to_owned()), at: at(second) }
    }

    #[test]
    fn a_change_is_by_another_writer_than_the_operator() {
        let mut sizes = SizeTracker::default();
        assert_eq!(read(&mut sizes, 2, "kubectl", 0), None, "the first size is no change");
        assert_eq!(read(&mut sizes, 2, "kubectl", 1), None);
        sizes.record_write(3);
        assert_eq!(read(&mut sizes, 3, "kubectl", 2), None);
        assert_eq!(
            read(&mut sizes, 1, "kubectl", 3),
            Some(Attribution::Changed(change(3, 1, "kubectl", 3)))
        );
        assert_eq!(read(&mut sizes, 1, "kubectl", 4), None);
        // A write without an answer, observed by the next read, or by a later one.
        sizes.record_attempt(4);
        assert_eq!(read(&mut sizes, 4, "kubectl", 5), None);
        sizes.record_attempt(5);
        assert_eq!(read(&mut sizes, 4, "kubectl", 6), None);
        assert_eq!(read(&mut sizes, 5, managers::SCALE, 7), Some(Attribution::Ours));
    }

    #[test]
    fn a_change_is_respected_for_a_time() {
        let respect = TimeDelta::seconds(60);
        let mut sizes = SizeTracker::default();
        read(&mut sizes, 3, "kubectl", 0);
        assert_eq!(sizes.respected(respect, at(0)), None, "nothing has changed the size");
        read(&mut sizes, 2, "kubectl", 10);
        let respected =
            |until| Some(RespectedChange { change: change(3, 2, "kubectl", 10), until });
        assert_eq!(sizes.respected(respect, at(69)), respected(at(70)));
        assert_eq!(sizes.respected(respect, at(70)), None);
        assert_eq!(sizes.respected(TimeDelta::zero(), at(10)), None);
        // Each change is respected anew, a write of the operator ends that, and zero never is.
        read(&mut sizes, 4, "kubectl", 60);
        assert_eq!(
            sizes.respected(respect, at(119)).map(|respected| respected.until),
            Some(at(120))
        );
        sizes.record_write(3);
        assert_eq!(sizes.respected(respect, at(61)), None);
        read(&mut sizes, 0, "kubectl", 62);
        assert_eq!(sizes.respected(respect, at(63)), None);
    }

    #[test]
    fn the_size_of_a_former_hpa_is_not_respected() {
        let mut sizes = SizeTracker::driven("u", 3);
        assert_eq!(read(&mut sizes, 3, "kube-controller-manager", 10), None);
        assert_eq!(sizes.respected(TimeDelta::seconds(60), at(10)), None);
    }

    #[test]
    fn a_respected_change_survives_a_restart() {
        let manual_change = change(3, 2, "kubectl", 10).status();
        let history = HistoryRecord { replicas: Some(2), ..HistoryRecord::default() };
        let remembered = Remembered {
            manual_change: Some(manual_change),
            history: Some(history),
            ..Remembered::default()
        };
        let respect = TimeDelta::seconds(60);
        let mut sizes = SizeTracker::restored("u", Some(&remembered));
        assert_eq!(read(&mut sizes, 2, "x", 20), None);
        assert_eq!(sizes.respected(respect, at(20)).map(|respected| respected.until), Some(at(70)));
        let other = SizeTracker::restored("v", None);
        assert_eq!(other.respected(respect, at(20)), None, "another object");

        // A change while no operator ran counts from its own time.
        let remembered = Remembered { manual_change: None, ..remembered };
        let mut sizes = SizeTracker::restored("u", Some(&remembered));
        assert!(sizes.observe_size(5));
        let author = Author { name: Some("kubectl".to_owned()), at: Some(at(0)) };
        assert_eq!(
            sizes.attribute(5, author, at(50)),
            Attribution::Changed(change(2, 5, "kubectl", 0))
        );
    }

    #[test]
    fn three_changes_of_our_sizes_by_one_writer_are_a_contest() {
        // the second and the writer of each change; whether a contest is reported
        let table: &[&[(i64, &str, bool)]] = &[
            &[
                (0, "helm", false),
                (60, "helm", false),
                (120, "helm", true),
                (180, "helm", false),
                (730, "helm", false),
            ],
            &[(0, "helm", false), (60, "helm", false), (601, "helm", false), (640, "helm", true)],
            &[
                (0, "helm", false),
                (60, "kubectl", false),
                (120, "argocd", false),
                (130, "helm", false),
                (140, "helm", true),
            ],
        ];
        for row in table {
            let mut sizes = SizeTracker::default();
            for (second, author, expected) in *row {
                sizes.record_write(3);
                let meaning = read(&mut sizes, 1, author, *second);
                assert_eq!(
                    matches!(meaning, Some(Attribution::Contested(_))),
                    *expected,
                    "{row:?} at {second}"
                );
            }
        }
        // A writer that changes its own size contests none of ours.
        let mut sizes = SizeTracker::default();
        for size in 0..10 {
            assert!(!matches!(
                read(&mut sizes, size, "kubectl", 0),
                Some(Attribution::Contested(_))
            ));
        }
    }
}
