//! What replicas have still to do: their requests, and how long requests take.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use llm_autoscaler_engines::{Buckets, Measure, exposition::Value};

use crate::observe::observer::Observer;
use crate::{cluster::pods::Pod, sampling::page_view::Said, sampling::sources::SourceKind};

/// The requests of a replica, running and waiting, as of a sample that is beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// When the sample was taken; of several pods the oldest.
    pub at: DateTime<Utc>,
}

impl Observer<'_> {
    /// The requests of each replica, in their order; `None` where they are not known. A replica that has no pod that runs has none.
    pub fn requests(&self, measure: Option<&Arc<Measure>>) -> Vec<Option<Requests>> {
        let nothing = Requests { count: 0, at: self.now };
        let begun = |pod: &Arc<Pod>| pod.is_running();
        let idle = self.replicas.list.iter().map(|group| !group.pods.iter().any(begun));
        let mut all: Vec<Option<Requests>> = idle.map(|idle| idle.then_some(nothing)).collect();
        let mut heard = vec![0; all.len()];
        let Some(measure) = measure else { return all };
        let mut sums = vec![nothing; all.len()];
        let speakers = self.replicas.speakers.values().zip(&self.replicas.of_speaker);
        for (place, (pod, replica)) in speakers.enumerate() {
            if let Some((Value::Number(number), age)) = self.sample((place, pod), measure) {
                let sum = &mut sums[*replica];
                sum.count = sum.count.saturating_add(number.ceil().max(0.0) as u64);
                sum.at = sum.at.min(self.now - age);
                heard[*replica] += 1;
            }
        }
        for (place, group) in self.replicas.list.iter().enumerate() {
            if group.speakers > 0 && heard[place] == group.speakers {
                all[place] = Some(sums[place]);
            }
        }
        all
    }

    /// How long 99 of 100 requests take at most, in seconds, where enough have been seen to say.
    pub fn slowest(&self, measure: &Arc<Measure>) -> Option<f64> {
        let mut pool = Buckets::default();
        for (place, pod) in self.replicas.speakers.values().enumerate() {
            if let Some((Value::Buckets(buckets), _)) = self.sample((place, pod), measure) {
                pool.add(&buckets);
            }
        }
        pool.quantile_of_enough(0.99)
    }

    /// What the first source that has a sample of a pod says, and its age; where `strict`, only what is beyond doubt.
    fn sample(&self, at: (usize, &Pod), measure: &Arc<Measure>) -> Option<(Value, Duration)> {
        let own = self
            .sources
            .list
            .iter()
            .filter(|source| !matches!(source.kind, SourceKind::Others(..)));
        let mut said =
            own.filter(|source| source.is_active()).map(|source| self.look(source, at, measure));
        said.find_map(|said| match said {
            Said::Sample(sample) if sample.is_certain || !self.strict => {
                Some((sample.value, sample.age))
            }
            _ => None,
        })
    }
}
