//! Who has changed a target's size, and what that means: our own writes, changes by others that are respected for a while, and fights.
//!
//! Pure: what is read and when is told, and so is who has written it, as `managedFields` say.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{ManualChangeStatus, managers, memory::Remembered, time};

use crate::scale::metadata::Author;

/// So many changes against ours are a fight, …
const CONTESTED_COUNT: usize = 3;
/// … if they come within this time. It is told of no more often than that.
const CONTESTED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// What is known of the size of one object.
#[derive(Clone, Debug, Default)]
pub struct SizeTracker {
    /// The object's UID.
    pub uid: String,
    /// The size as last seen or written.
    known: Option<i32>,
    /// That is what we have written.
    is_ours: bool,
    /// What a write asked for of which nobody knows whether it was done.
    attempted: Option<i32>,
    /// The latest change by somebody else, if it is the latest of all.
    change: Option<SizeChange>,
    /// When sizes of ours were changed by others, and by whom.
    contested: Vec<(DateTime<Utc>, Option<String>)>,
    /// When a fight was last told of.
    contested_reported_at: Option<DateTime<Utc>>,
}

/// A change of size by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeChange {
    /// The size before.
    pub from: i32,
    /// The size that was set.
    pub to: i32,
    /// The field manager; `None` where it could not be found out.
    pub by: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A change that is respected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespectedChange {
    /// The change.
    pub change: SizeChange,
    /// Until then.
    pub until: DateTime<Utc>,
}

/// What a size that was read means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// It was us, in a write whose answer was lost, or before a restart.
    Ours,
    /// Somebody else has changed it.
    Changed(SizeChange),
    /// Somebody else changes it again and again after us, and it is time to say so.
    Contested(SizeChange),
}

impl SizeTracker {
    /// Begins with what the status remembers of this very object.
    pub fn restored(uid: &str, remembered: Option<&Remembered>) -> Self {
        let known = remembered.and_then(Remembered::replicas);
        let change = remembered.and_then(|remembered| remembered.manual_change.as_ref());
        let change = change.map(SizeChange::restored);
        let change = change.filter(|change| known == Some(change.to));
        Self { uid: uid.to_owned(), known, change, ..Self::default() }
    }

    /// What whoever drives the object has made of it so far, and is no change that we would respect.
    pub fn driven(uid: &str, current: i32) -> Self {
        Self { uid: uid.to_owned(), known: Some(current), ..Self::default() }
    }

    /// Whether a size that was read is another one than expected, so that it matters who has written it.
    pub fn observe_size(&mut self, current: i32) -> bool {
        if self.attempted.take() == Some(current) && self.known != Some(current) {
            self.record_write(current);
        }
        let differs = self.known.is_some_and(|known| known != current);
        self.known.get_or_insert(current);
        differs
    }

    /// Takes over a size that [`observe_size`](Self::observe_size), and says what that means.
    pub fn attribute(&mut self, current: i32, author: Author, now: DateTime<Utc>) -> Attribution {
        if author.name.as_deref() == Some(managers::SCALE) {
            self.record_write(current);
            return Attribution::Ours;
        }
        let from = self.known.replace(current).unwrap_or(current);
        let was_ours = std::mem::take(&mut self.is_ours);
        let change = SizeChange {
            from,
            to: current,
            by: author.name,
            at: author.at.map_or(now, |at| at.min(now)),
        };
        self.change = Some(change.clone());
        if was_ours && self.record_and_check_contested(&change, now) {
            self.contested_reported_at = Some(now);
            Attribution::Contested(change)
        } else {
            Attribution::Changed(change)
        }
    }

    fn record_and_check_contested(&mut self, change: &SizeChange, now: DateTime<Utc>) -> bool {
        let recent = |at: DateTime<Utc>| now - at < CONTESTED_WITHIN;
        self.contested.retain(|(at, _)| recent(*at));
        self.contested.push((now, change.by.clone()));
        let count = self.contested.iter().filter(|(_, by)| *by == change.by).count();
        count >= CONTESTED_COUNT && !self.contested_reported_at.is_some_and(recent)
    }

    /// A size of ours was written.
    pub fn record_write(&mut self, size: i32) {
        self.known = Some(size);
        self.is_ours = true;
        self.change = None;
        self.attempted = None;
    }

    /// A size of ours was written or not: there was no answer.
    pub fn record_attempt(&mut self, size: i32) {
        self.attempted = Some(size);
    }

    /// The change by somebody else that is to be left as it is, where such changes are respected for `respect`. Zero replicas are no
    /// size to return from: who sets them switches the scaling off, as with the HPA.
    pub fn respected(&self, respect: TimeDelta, now: DateTime<Utc>) -> Option<RespectedChange> {
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

    /// As it is kept in the status.
    pub fn status(&self) -> ManualChangeStatus {
        let Self { from, to, by, at } = self.clone();
        ManualChangeStatus { from, to, by, time: time::to_kubernetes(at) }
    }

    /// Who has done it, in a sentence.
    pub fn author(&self) -> &str {
        self.by.as_deref().unwrap_or("somebody")
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

    /// A size is read; what it means, where it matters.
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
    fn only_others_change_a_size() {
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
        // A write whose answer was lost, found done at the next look, and at a later one.
        sizes.record_attempt(4);
        assert_eq!(read(&mut sizes, 4, "kubectl", 5), None);
        sizes.record_attempt(5);
        assert_eq!(read(&mut sizes, 4, "kubectl", 6), None);
        assert_eq!(read(&mut sizes, 5, managers::SCALE, 7), Some(Attribution::Ours));
    }

    #[test]
    fn respect_ends() {
        let respect = TimeDelta::seconds(60);
        let mut sizes = SizeTracker::default();
        read(&mut sizes, 3, "kubectl", 0);
        assert_eq!(sizes.respected(respect, at(0)), None, "nobody has changed anything");
        read(&mut sizes, 2, "kubectl", 10);
        let respected =
            |until| Some(RespectedChange { change: change(3, 2, "kubectl", 10), until });
        assert_eq!(sizes.respected(respect, at(69)), respected(at(70)));
        assert_eq!(sizes.respected(respect, at(70)), None);
        assert_eq!(sizes.respected(TimeDelta::zero(), at(10)), None);
        // Each change is respected anew; a write of ours ends it; zero is another matter.
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
    fn what_an_hpa_did_is_not_respected_when_it_is_gone() {
        let mut sizes = SizeTracker::driven("u", 3);
        assert_eq!(read(&mut sizes, 3, "kube-controller-manager", 10), None);
        assert_eq!(sizes.respected(TimeDelta::seconds(60), at(10)), None);
    }

    #[test]
    fn respect_survives_a_restart() {
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
        assert_eq!(other.respected(respect, at(20)), None, "of another object");

        // What was changed while nobody looked counts from when it was changed.
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
    fn three_times_against_ours_is_a_fight() {
        // when and by whom a size of ours is changed; whether that is told as a fight
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
        // Somebody who changes his own size does not fight us.
        let mut sizes = SizeTracker::default();
        for size in 0..10 {
            assert!(!matches!(
                read(&mut sizes, size, "kubectl", 0),
                Some(Attribution::Contested(_))
            ));
        }
    }
}
