//! Changes of a target's size by other writers: which they are, how long they are respected, and
//! whether another writer contests the operator's sizes.
//!
//! Pure: the caller passes the observed size, the time, and the writer named in `managedFields`.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{ChangeRecord, managers, memory::Remembered};

use crate::{
    ownership::{
        contest::{Contest, ContestTracker, OwnWrite},
        repeated_changes::RepeatedChanges,
        size_change::SizeChange,
    },
    scale::metadata::Author,
};

/// The size of one object, and its latest writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SizeTracker {
    /// The object's UID.
    pub uid: String,
    /// The size that was last observed or written.
    known: Option<i32>,
    /// The write of that size, if the operator has made it.
    own_write: Option<OwnWrite>,
    /// The size of a write that may have been carried out: it had no answer.
    attempted: Option<i32>,
    /// The latest change by another writer, unless the operator has written since.
    change: Option<SizeChange>,
    /// The changes of sizes that the operator had written.
    contests: ContestTracker,
    /// The changes that other writers repeat over days.
    repeated: RepeatedChanges,
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
    /// Another writer sets the same size again and again over days, and it is time to report that.
    Repeated(SizeChange, ChangeRecord),
}

impl SizeTracker {
    /// Creates a tracker from the status, as far as it remembers this very object.
    pub(crate) fn restored(uid: &str, remembered: Option<&Remembered>) -> Self {
        let known = remembered.and_then(Remembered::replicas);
        let change = remembered.and_then(|remembered| remembered.manual_change.as_ref());
        let change = change.map(SizeChange::restored);
        let change = change.filter(|change| known == Some(change.to));
        let changes = remembered.map(|remembered| remembered.changes.as_slice());
        let repeated = RepeatedChanges::restored(changes.unwrap_or_default());
        Self { uid: uid.to_owned(), known, change, repeated, ..Self::default() }
    }

    /// Creates a tracker for an object that another autoscaler drives. The size that it has set so
    /// far is no change to respect.
    pub(crate) fn driven(uid: &str, current: i32) -> Self {
        Self { uid: uid.to_owned(), known: Some(current), ..Self::default() }
    }

    /// Returns the changes that other writers repeat over days.
    pub(crate) fn repeated(&self) -> &RepeatedChanges {
        &self.repeated
    }

    /// Records an observed size. Returns whether it differs from the known one, so that its writer
    /// is to be found out for [`attribute`](Self::attribute).
    pub(crate) fn observe_size(&mut self, current: i32, now: DateTime<Utc>) -> bool {
        if self.attempted.take() == Some(current) && self.known != Some(current) {
            self.record_write(current, now);
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
            self.record_write(current, now);
            return Attribution::Ours;
        }
        let from = self.known.replace(current).unwrap_or(current);
        let undone = self.own_write.take();
        let at = author.at.map_or(now, |at| at.min(now));
        let change = SizeChange { from, to: current, by: author.name, at };
        self.change = Some(change.clone());
        let repeated = self.repeated.record(&change, now);
        if undone.is_some_and(|undone| self.contests.record(&change, undone, now)) {
            Attribution::Contested(change)
        } else if let Some(record) = repeated.filter(|_| self.contest(now).is_none()) {
            Attribution::Repeated(change, record)
        } else {
            Attribution::Changed(change)
        }
    }

    /// Records that the operator has written a size.
    pub(crate) fn record_write(&mut self, size: i32, now: DateTime<Utc>) {
        self.contests.record_write(self.own_write.is_some(), now);
        self.own_write = Some(OwnWrite { at: now, before: self.known.replace(size) });
        self.change = None;
        self.attempted = None;
    }

    /// Returns whether the operator has written this size, and no one has changed it since.
    pub(crate) fn is_own(&self, size: i32) -> bool {
        self.known == Some(size) && self.own_write.is_some()
    }

    /// Returns the time of the latest change by another writer that is known.
    pub(crate) fn changed_at(&self) -> Option<DateTime<Utc>> {
        let recorded = self.repeated.records().iter().flat_map(|record| &record.times);
        recorded.copied().chain(self.change.as_ref().map(|change| change.at)).max()
    }

    /// Records a write without an answer, which may have been carried out.
    pub(crate) fn record_attempt(&mut self, size: i32) {
        self.attempted = Some(size);
    }

    /// Returns the contest of another writer that goes on.
    pub(crate) fn contest(&self, now: DateTime<Utc>) -> Option<Contest> {
        self.contests.contest(self.own_write.is_some(), now)
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
        sizes
            .observe_size(current, at(second))
            .then(|| sizes.attribute(current, by(author), at(second)))
    }

    fn change(from: i32, to: i32, name: &str, second: i64) -> SizeChange {
        SizeChange { from, to, by: Some(name.to_owned()), at: at(second) }
    }

    #[test]
    fn a_change_is_by_another_writer_than_the_operator() {
        let mut sizes = SizeTracker::default();
        assert_eq!(read(&mut sizes, 2, "kubectl", 0), None, "the first size is no change");
        assert_eq!(read(&mut sizes, 2, "kubectl", 1), None);
        sizes.record_write(3, at(1));
        assert_eq!(read(&mut sizes, 3, "kubectl", 2), None);
        assert_eq!(
            read(&mut sizes, 1, "kubectl", 3),
            Some(Attribution::Changed(change(3, 1, "kubectl", 3)))
        );
        assert_eq!(read(&mut sizes, 1, "kubectl", 4), None);
        // A write without an answer, observed by the next read, or by a later one.
        sizes.record_attempt(4);
        assert!(!sizes.is_own(1) && sizes.changed_at() == Some(at(3)));
        assert_eq!(read(&mut sizes, 4, "kubectl", 5), None);
        assert!(sizes.is_own(4), "it was carried out");
        sizes.record_attempt(5);
        assert_eq!(read(&mut sizes, 4, "kubectl", 6), None);
        assert_eq!(read(&mut sizes, 5, managers::SCALE, 7), Some(Attribution::Ours));
        assert!(sizes.is_own(5) && !sizes.is_own(4));
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
        sizes.record_write(3, at(61));
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
        assert!(sizes.observe_size(5, at(50)));
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
                sizes.record_write(3, at(*second));
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
    #[test]
    fn an_owner_that_restores_its_size_is_answered_more_and_more_seldom() {
        let mut sizes = SizeTracker::default();
        let mut size = 2;
        let mut writes = Vec::new();
        for second in (0..1800).step_by(15) {
            read(&mut sizes, size, "model-operator", second);
            let waits = sizes.contest(at(second)).and_then(|contest| contest.waits_until());
            assert_eq!(writes.len() >= 3, sizes.contest(at(second)).is_some(), "at {second}");
            if waits.is_none() {
                sizes.record_write(5, at(second));
                writes.push(second);
                // The owner restores its size before the next step.
                size = 2;
            }
        }
        assert_eq!(writes, [0, 15, 30, 60, 120, 240, 480, 780, 1080, 1380, 1680]);
    }
    #[test]
    fn a_size_that_is_set_every_day_is_named_over_restarts() {
        let mut remembered =
            Remembered { history: Some(HistoryRecord::default()), ..Remembered::default() };
        for day in 0..3 {
            remembered.history.iter_mut().for_each(|history| history.replicas = Some(5));
            let mut sizes = SizeTracker::restored("u", Some(&remembered));
            let change = change(5, 2, "helm", day * 86_400);
            let found = read(&mut sizes, 2, "helm", day * 86_400).unwrap();
            if day < 2 {
                assert_eq!(found, Attribution::Changed(change));
            } else {
                assert!(
                    matches!(&found, Attribution::Repeated(now, record)
                        if *now == change && record.by == "helm" && record.times.len() == 3),
                    "{found:?}"
                );
            }
            remembered.changes = sizes.repeated().records().to_vec();
        }
    }
}
