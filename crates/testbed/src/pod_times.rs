//! The times between which pods exist, by a watch of its own: a second opinion on a bill.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use crate::{task::Task, wait};

/// Watches the pods of one selector until it is dropped.
#[derive(Debug)]
pub struct PodTimes {
    seen: Arc<Mutex<Seen>>,
    _task: Task,
}

#[derive(Debug, Default)]
struct Seen {
    is_listed: bool,
    /// By UID.
    pods: BTreeMap<String, Existence>,
}

/// The time between which one pod exists.
#[derive(Clone, Copy, Debug)]
struct Existence {
    begin: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
}

impl PodTimes {
    /// Begins to watch, and returns once the pods are listed.
    ///
    /// # Errors
    /// They are not listed in time.
    pub async fn watch(client: Client, namespace: &str, labels: &str) -> Result<Self> {
        let api: Api<Pod> = Api::namespaced(client, namespace);
        let seen = Arc::<Mutex<Seen>>::default();
        let config = watcher::Config::default().labels(labels);
        let record = seen.clone();
        let task = Task::spawn(async move {
            let mut events = watcher::watcher(api, config).default_backoff().boxed();
            while let Some(event) = events.next().await {
                if let Ok(event) = event {
                    lock(&record).record(&event, Utc::now());
                }
            }
        });
        let times = Self { seen, _task: task };
        wait::until("the pods to be listed", Duration::from_secs(30), async || {
            Ok(lock(&times.seen).is_listed.then_some(()))
        })
        .await?;
        Ok(times)
    }

    /// Returns the sum of the times of all pods between two moments, in seconds.
    pub fn seconds(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> f64 {
        let seen = lock(&self.seen);
        let times = seen.pods.values().map(|pod| pod.within(since, until));
        times.map(|time| time.num_milliseconds() as f64 / 1000.0).sum()
    }

    /// Returns the number of pods that existed between two moments.
    pub fn count(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> usize {
        let seen = lock(&self.seen);
        seen.pods.values().filter(|pod| pod.within(since, until) > TimeDelta::zero()).count()
    }

    /// Returns when a pod has last come or gone.
    pub fn last_change(&self) -> DateTime<Utc> {
        let seen = lock(&self.seen);
        let changes = seen.pods.values().map(|pod| pod.end.unwrap_or(pod.begin));
        changes.max().unwrap_or_default()
    }
}

impl Seen {
    fn record(&mut self, event: &Event<Pod>, now: DateTime<Utc>) {
        match event {
            Event::Init => {}
            Event::InitDone => self.is_listed = true,
            Event::InitApply(pod) | Event::Apply(pod) => {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
                // A pod that was there before the watch began is taken to be as old as the watch.
                let uid = pod.uid().unwrap_or_default();
                let pod = self.pods.entry(uid).or_insert(Existence { begin: now, end: None });
                if has_ended {
                    pod.end.get_or_insert(now);
                }
            }
            Event::Delete(pod) => {
                if let Some(pod) = self.pods.get_mut(&pod.uid().unwrap_or_default()) {
                    pod.end.get_or_insert(now);
                }
            }
        }
    }
}

impl Existence {
    fn within(self, since: DateTime<Utc>, until: DateTime<Utc>) -> TimeDelta {
        let end = self.end.unwrap_or(until).min(until);
        (end - self.begin.max(since)).max(TimeDelta::zero())
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_exists_until_it_has_ended_or_is_gone() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let pod = |uid: &str, phase: &str| -> Pod {
            let pod = json!({"metadata": {"name": "a", "uid": uid}, "status": {"phase": phase}});
            serde_json::from_value(pod).unwrap()
        };
        let mut seen = Seen::default();
        seen.record(&Event::InitApply(pod("a", "Running")), at(0));
        seen.record(&Event::Apply(pod("b", "Pending")), at(10));
        seen.record(&Event::Apply(pod("a", "Failed")), at(20));
        seen.record(&Event::Delete(pod("a", "Failed")), at(25));
        seen.record(&Event::Delete(pod("b", "Running")), at(40));
        let times = |since, until| -> Vec<i64> {
            let within = seen.pods.values().map(|pod| pod.within(at(since), at(until)));
            within.map(|time| time.num_seconds()).collect()
        };
        assert_eq!(times(0, 100), [20, 30]);
        assert_eq!(times(15, 35), [5, 20]);
        assert_eq!(times(50, 60), [0, 0]);
    }
}
