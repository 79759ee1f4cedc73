//! Pods and their samples → observation. Also notes, for people, what is missing and why.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use llm_autoscaler_api::{Plan, ScrapePlan};
use llm_autoscaler_core::{Milli, Observation, Reading as MetricReading, Selector};
use llm_autoscaler_engines::Recipe;
use tokio::sync::Notify;

use crate::{
    pods::{Members, Pod},
    sampler::{Found, ProbeKey, Reading, Sampler, Subscription},
    scrape::Address,
    target::ScaleView,
};

/// A sample older than this many intervals (and a timeout) is no sample.
const STALE_INTERVALS: u32 = 3;

/// The subscriptions of one autoscaler to its pods' pages.
pub struct Subscriptions {
    owner: u64,
    sampler: Sampler,
    wake: Arc<Notify>,
    recipes: Arc<[Recipe]>,
    scrape: ScrapePlan,
    by_pod: BTreeMap<String, Subscribed>,
    followed: Option<Members>,
}

struct Subscribed {
    key: ProbeKey,
    since: Instant,
}

/// A replica without a usable sample, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The pod's name.
    pub pod: String,
    /// What is wrong with it.
    pub text: String,
}

/// What was seen.
pub struct Seen {
    /// For the decision.
    pub observation: Observation,
    /// How many replicas serve.
    pub ready: i32,
    /// What is missing.
    pub problems: Vec<Problem>,
    /// Some sample is not from the latest read, which failed.
    pub doubtful: bool,
    /// Some pod has not been asked yet: it is too early to say that something is missing.
    pub warming_up: bool,
}

impl Subscriptions {
    /// None yet.
    pub fn new(sampler: Sampler, wake: Arc<Notify>, plan: &Plan) -> Self {
        let recipes = plan.metrics.iter().map(|metric| metric.recipe.clone()).collect();
        Self {
            owner: sampler.new_owner(),
            sampler,
            wake,
            recipes,
            scrape: plan.scrape.clone(),
            by_pod: BTreeMap::new(),
            followed: None,
        }
    }

    /// Subscribes to the running pods, and to no others.
    pub fn follow(&mut self, members: &Members) {
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, members)) {
            return;
        }
        self.followed = Some(members.clone());
        let Self { owner, sampler, scrape, by_pod, .. } = self;
        by_pod.retain(|name, subscribed| {
            let keep = members.get(name).and_then(|pod| key(pod, scrape)).as_ref() == Some(&subscribed.key);
            if !keep {
                sampler.unsubscribe(*owner, &subscribed.key);
            }
            keep
        });
        for (name, pod) in members.iter() {
            if self.by_pod.contains_key(name) {
                continue;
            }
            let Some(key) = key(pod, &self.scrape) else { continue };
            self.sampler.subscribe(self.owner, &key, self.subscription());
            self.by_pod.insert(name.clone(), Subscribed { key, since: Instant::now() });
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            interval: self.scrape.interval,
            timeout: self.scrape.timeout,
            recipes: self.recipes.clone(),
            wake: self.wake.clone(),
        }
    }

    /// What is to be seen of the target now. Samples of pods that missed their latest reads are good enough to grow
    /// by, or to stay; `strict` leaves them out.
    pub fn observe(&self, view: &ScaleView, scaled_to_zero: bool, members: &Members, strict: bool) -> Seen {
        let mut seen = Seen {
            observation: Observation {
                scale: view.scale,
                selector: Selector::Valid,
                scaled_to_zero,
                replicas: members.values().map(|pod| pod.replica).collect(),
                readings: Vec::with_capacity(self.recipes.len()),
            },
            ready: 0,
            problems: Vec::new(),
            doubtful: false,
            warming_up: false,
        };
        let mut samples = vec![Vec::with_capacity(members.len()); self.recipes.len()];
        for pod in members.values() {
            seen.ready += i32::from(pod.replica.ready && !pod.replica.deleting);
            let values = if pod.is_running() { self.look(pod, strict, &mut seen) } else { None };
            for (index, samples) in samples.iter_mut().enumerate() {
                samples.push(values.as_ref().and_then(|values| values[index]));
            }
        }
        let readings = samples.into_iter().map(|samples| {
            // Where nobody answered, the problems say more than "no samples" would.
            let nothing = samples.iter().all(Option::is_none) && !seen.problems.is_empty();
            if nothing {
                MetricReading::Failed
            } else {
                MetricReading::PerReplica { samples, strays: Vec::new() }
            }
        });
        seen.observation.readings.extend(readings);
        seen
    }

    /// The samples of one running pod, if there are usable ones; else the reason goes to the problems.
    fn look(&self, pod: &Pod, strict: bool, seen: &mut Seen) -> Option<Vec<Option<Milli>>> {
        let mut problem = |text: String| seen.problems.push(Problem { pod: pod.name.clone(), text });
        let Some(subscribed) = self.by_pod.get(&pod.name) else {
            problem(self.unreachable(pod));
            return None;
        };
        let url = || subscribed.key.address.url();
        let Reading { page, error, tried } = self.sampler.reading(&subscribed.key, &self.recipes);
        let usable = page.filter(|page| page.latest || !strict && page.at.elapsed() <= self.stale_after());
        let Some(Found { latest, values, .. }) = usable else {
            match error {
                Some(error) => problem(error.to_string()),
                // Subscribed a moment ago: the answer is on its way.
                None if !tried && subscribed.since.elapsed() < self.patience() => seen.warming_up = true,
                None => problem(format!("{}: no sample yet", url())),
            }
            return None;
        };
        let absent = self.recipes.iter().zip(&values).filter(|(_, value)| value.is_none());
        let absent: Vec<&str> = absent.map(|(recipe, _)| recipe.series_name()).collect();
        if !absent.is_empty() {
            let none = || format!("{} has no {}", url(), absent.join(", "));
            problem(error.map_or_else(none, |error| error.to_string()));
        }
        seen.doubtful |= !latest;
        Some(values)
    }

    /// Why a running pod is not asked at all.
    fn unreachable(&self, pod: &Pod) -> String {
        if pod.ip.is_none() {
            return "it has no address yet".to_owned();
        }
        let known: Vec<String> =
            pod.ports.iter().map(|(name, number)| format!("{name} ({number})")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("no container port is named {}; named ports: {known}", self.scrape.port)
    }

    fn stale_after(&self) -> Duration {
        self.scrape.interval * STALE_INTERVALS + self.scrape.timeout
    }

    /// How long the first answer may take before its absence means something.
    fn patience(&self) -> Duration {
        self.scrape.timeout + Duration::from_secs(1)
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for subscribed in self.by_pod.values() {
            self.sampler.unsubscribe(self.owner, &subscribed.key);
        }
    }
}

fn key(pod: &Pod, scrape: &ScrapePlan) -> Option<ProbeKey> {
    if !pod.is_running() {
        return None;
    }
    let address =
        Address { ip: pod.ip?, port: pod.port(&scrape.port)?, tls: scrape.tls, path: scrape.path.clone() };
    Some(ProbeKey { namespace: pod.namespace.clone(), pod_uid: pod.uid.clone(), address })
}
