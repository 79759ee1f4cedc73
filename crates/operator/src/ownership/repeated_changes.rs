//! Changes of size that the same writer makes again and again over days: a GitOps tool that applies
//! `spec.replicas` every ten minutes, or a daily deployment.
//!
//! Pure, and remembered over restarts. Each of them is answered at once, because a size that is
//! wrong for seconds a day is no contest; people are told, because it is seldom meant.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use llm_autoscaler_api::ChangeRecord;

use crate::ownership::{authors, size_change::SizeChange};

/// A writer repeats a change by setting the same size this often within [`REPEATED_WITHIN`].
const REPEATED_COUNT: usize = 3;
/// The time in which changes are counted.
const REPEATED_WITHIN: TimeDelta = TimeDelta::days(7);
/// The number of writers and sizes that are remembered.
const RECORDS: usize = 8;
/// The shortest time between two events about repeated changes.
const REPORTED_EVERY: TimeDelta = TimeDelta::hours(12);

/// The latest changes by other writers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RepeatedChanges {
    /// One record per writer and size, latest first.
    records: Vec<ChangeRecord>,
    reported_at: Option<DateTime<Utc>>,
}

impl RepeatedChanges {
    /// Goes on with what a status remembers.
    pub(crate) fn restored(records: &[ChangeRecord]) -> Self {
        Self { records: records.to_vec(), reported_at: None }
    }

    /// Returns what is to be remembered.
    pub(crate) fn records(&self) -> &[ChangeRecord] {
        &self.records
    }

    /// Records a change. Returns it where it is repeated, and that is to be reported. Changes by
    /// unknown writers, and by people who type a command, do not count.
    pub(crate) fn record(
        &mut self,
        change: &SizeChange,
        now: DateTime<Utc>,
    ) -> Option<ChangeRecord> {
        let by = change.by.as_deref().filter(|by| !authors::is_by_hand(by))?;
        let at = change.at.trunc_subsecs(0);
        let is_same = |record: &ChangeRecord| record.by == by && record.to == change.to;
        let known = self.records.iter().position(is_same).map(|place| self.records.remove(place));
        let mut times = known.map(|record| record.times).unwrap_or_default();
        // After a restart the latest change may be noticed a second time.
        if times.first() != Some(&at) {
            times.insert(0, at);
        }
        times.truncate(REPEATED_COUNT);
        let record = ChangeRecord { by: by.to_owned(), from: change.from, to: change.to, times };
        self.records.insert(0, record.clone());
        self.records.truncate(RECORDS);
        let is_due = self.reported_at.is_none_or(|at| now - at >= REPORTED_EVERY);
        let repeated = Some(record).filter(|record| is_due && is_repeated(record, now))?;
        self.reported_at = Some(now);
        Some(repeated)
    }

    /// Returns the changes that are repeated, latest first.
    pub(crate) fn repeated(&self, now: DateTime<Utc>) -> impl Iterator<Item = &ChangeRecord> {
        self.records.iter().filter(move |record| is_repeated(record, now))
    }
}

fn is_repeated(record: &ChangeRecord, now: DateTime<Utc>) -> bool {
    let oldest = record.times.get(REPEATED_COUNT - 1);
    oldest.is_some_and(|at| now - *at <= REPEATED_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn change(by: &str, to: i32, second: i64) -> SizeChange {
        SizeChange { from: 5, to, by: Some(by.to_owned()), at: at(second) }
    }

    /// A writer, the size that it sets, and the second of that.
    type Change = (&'static str, i32, i64);

    #[test]
    fn the_same_size_three_times_in_seven_days_is_repeated() {
        let flux = "kustomize-controller";
        // the changes; the writers that repeat theirs
        let table: &[(&[Change], &[&str])] = &[
            // Flux every ten minutes, helm upgrade every day.
            (&[(flux, 2, 0), (flux, 2, 600), (flux, 2, 1200)], &[flux]),
            (&[("helm", 2, 0), ("helm", 2, DAY), ("helm", 2, 2 * DAY)], &["helm"]),
            (&[("helm", 2, 0), ("helm", 2, DAY), ("helm", 2, 7 * DAY)], &["helm"]),
            // Too few, too seldom, different sizes.
            (&[("helm", 2, 0), ("helm", 2, DAY)], &[]),
            (&[("helm", 2, 0), ("helm", 2, 4 * DAY), ("helm", 2, 7 * DAY + 1)], &[]),
            (&[("helm", 2, 0), ("helm", 3, DAY), ("helm", 4, 2 * DAY)], &[]),
            // Different writers, and other changes in between.
            (&[("helm", 2, 0), (flux, 2, DAY), ("terraform", 2, 2 * DAY)], &[]),
            (
                &[
                    ("helm", 2, 0),
                    (flux, 3, 1),
                    ("helm", 2, DAY),
                    ("helm", 4, DAY),
                    ("helm", 2, 2 * DAY),
                ],
                &["helm"],
            ),
            // A person.
            (
                &[
                    ("kubectl-scale", 2, 0),
                    ("kubectl-scale", 2, DAY),
                    ("kubectl-scale", 2, DAY + 1),
                ],
                &[],
            ),
            (&[("kubectl-edit", 2, 0), ("kubectl-edit", 3, 1), ("kubectl-edit", 2, 2)], &[]),
            // A pipeline with kubectl apply.
            (
                &[
                    ("kubectl-client-side-apply", 2, 0),
                    ("kubectl-client-side-apply", 2, DAY),
                    ("kubectl-client-side-apply", 2, 2 * DAY),
                ],
                &["kubectl-client-side-apply"],
            ),
        ];
        for (changes, expected) in table {
            let mut repeated = RepeatedChanges::default();
            let mut last = 0;
            for (by, to, second) in *changes {
                // Each change finds an operator that was restarted.
                repeated = RepeatedChanges::restored(repeated.records());
                repeated.record(&change(by, *to, *second), at(*second));
                last = *second;
            }
            let found: Vec<&str> =
                repeated.repeated(at(last)).map(|record| record.by.as_str()).collect();
            assert_eq!(found, *expected, "{changes:?}");
        }
    }

    #[test]
    fn a_change_counts_once_and_is_forgotten_after_seven_days() {
        let mut repeated = RepeatedChanges::default();
        for second in [0, 0, 0, DAY, DAY] {
            assert_eq!(repeated.record(&change("helm", 2, second), at(second)), None);
        }
        let third = repeated.record(&change("helm", 2, 2 * DAY), at(2 * DAY)).unwrap();
        assert_eq!((third.from, third.to), (5, 2));
        assert_eq!(third.times, [at(2 * DAY), at(DAY), at(0)]);
        assert_eq!(repeated.repeated(at(7 * DAY)).count(), 1);
        assert_eq!(repeated.repeated(at(7 * DAY + 1)).count(), 0);
    }

    #[test]
    fn an_event_comes_every_twelve_hours_at_most() {
        let mut repeated = RepeatedChanges::default();
        let reported: Vec<i64> = (0..200)
            .map(|round| round * 600)
            .filter(|second| {
                repeated.record(&change("kustomize-controller", 2, *second), at(*second)).is_some()
            })
            .collect();
        assert_eq!(reported, [1200, 1200 + 12 * HOUR, 1200 + 24 * HOUR]);
    }

    #[test]
    fn only_some_writers_are_remembered() {
        let mut repeated = RepeatedChanges::default();
        for second in 0..100 {
            repeated.record(&change("helm", second, second.into()), at(second.into()));
        }
        let sizes: Vec<i32> = repeated.records().iter().map(|record| record.to).collect();
        assert_eq!(sizes, [99, 98, 97, 96, 95, 94, 93, 92]);
    }
}
