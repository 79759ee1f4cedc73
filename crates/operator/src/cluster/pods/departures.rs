//! The pods that have gone, for a while, so that a bill has their ends although no step saw them.
//! A copy of the operator that stands by keeps them too, and has them when it takes over.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_observe::{billing::DepartedPod, pod::Pod};

/// The time for which a pod is kept. Steps come every few seconds, and a Lease changes hands within
/// a minute or so.
const KEPT: TimeDelta = TimeDelta::minutes(5);
/// The most pods that are kept of one namespace.
const MOST: usize = 2000;

/// The pods of one namespace that have gone, in the order in which they went.
#[derive(Debug, Default)]
pub(super) struct Departures(VecDeque<DepartedPod>);

impl Departures {
    /// Records that a pod is gone.
    pub(super) fn record(&mut self, pod: Arc<Pod>, at: DateTime<Utc>) {
        let is_kept = |departed: &DepartedPod| at - departed.at <= KEPT;
        while self.0.len() >= MOST || self.0.front().is_some_and(|oldest| !is_kept(oldest)) {
            self.0.pop_front();
        }
        self.0.push_back(DepartedPod { pod, at });
    }

    /// Returns the pods that have gone after a time, latest first.
    pub(super) fn after(&self, time: DateTime<Utc>) -> impl Iterator<Item = &DepartedPod> {
        self.0.iter().rev().take_while(move |departed| departed.at > time)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn departures_are_kept_for_five_minutes() {
        let mut departures = Departures::default();
        for second in [0, 100, 300] {
            departures.record(Arc::new(Pod::serving(&second.to_string(), "a")), at(second));
        }
        let after = |departures: &Departures, second| -> Vec<String> {
            departures.after(at(second)).map(|departed| departed.pod.name.clone()).collect()
        };
        assert_eq!(after(&departures, -1), ["300", "100", "0"]);
        assert_eq!(after(&departures, 100), ["300"]);
        departures.record(Arc::new(Pod::serving("late", "a")), at(301));
        assert_eq!(after(&departures, -1), ["late", "300", "100"]);
        for pod in 0..MOST {
            departures.record(Arc::new(Pod::serving(&pod.to_string(), "a")), at(302));
        }
        assert_eq!(after(&departures, -1).len(), MOST);
    }
}
