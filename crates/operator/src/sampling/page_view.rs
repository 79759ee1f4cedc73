//! The pages of some pods, as one autoscaler sees them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use llm_autoscaler_api::{Access, Port, ScrapeConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Engine, Measure, exposition::Value};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::{Lookup, Sample},
};
use tokio::sync::Notify;

use crate::sampling::{
    connection::Address,
    scrape_loop::{Probe, ProbeKey, STALE_INTERVALS, Subscription},
    scrape_pool::Sampler,
};

/// How much more often pages are read near a target.
const CLOSER: u32 = 4;
/// But no more often than this.
const CLOSEST: Duration = Duration::from_millis(500);

/// How near the metrics are to their targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Not near: as often as the spec says.
    #[default]
    Usual,
    /// So near that the next sample may change the answer.
    Close,
}

/// Subscriptions to the pages of some pods.
pub struct Pages {
    owner: u64,
    sampler: Sampler,
    wake: Arc<Notify>,
    measures: Arc<[Arc<Measure>]>,
    plan: ScrapeConfig,
    access: Arc<Access>,
    pace: Pace,
    /// One entry per pod that is followed, in their order.
    places: Vec<Place>,
    followed: Option<Members>,
}

/// A pod that is followed; without a subscription if there is nowhere to read.
struct Place {
    name: String,
    subscribed: Option<Subscribed>,
}

struct Subscribed {
    probe: Arc<Probe>,
    since: Monotonic,
}

impl Pages {
    /// None yet.
    pub fn new(
        sampler: Sampler,
        wake: Arc<Notify>,
        measures: Arc<[Arc<Measure>]>,
        plan: ScrapeConfig,
    ) -> Self {
        Self {
            owner: sampler.new_owner(),
            sampler,
            wake,
            measures,
            access: Arc::new(plan.access.clone()),
            plan,
            pace: Pace::default(),
            places: Vec::new(),
            followed: None,
        }
    }

    /// Subscribes to the running pods, and to no others.
    pub fn follow(&mut self, members: &Members, now: Monotonic) {
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, members)) {
            return;
        }
        self.followed = Some(members.clone());
        let mut before: HashMap<String, Subscribed> = std::mem::take(&mut self.places)
            .into_iter()
            .filter_map(|place| Some((place.name, place.subscribed?)))
            .collect();
        for pod in members.values() {
            let known = before.remove(&pod.name);
            let subscribed = match (self.key(pod), known) {
                (Some(key), Some(known)) if known.probe.key == key => Some(known),
                (key, known) => {
                    self.end(known);
                    key.map(|key| self.begin(&key, now))
                }
            };
            self.places.push(Place { name: pod.name.clone(), subscribed });
        }
        for gone in before.into_values() {
            self.end(Some(gone));
        }
    }

    fn begin(&self, key: &ProbeKey, now: Monotonic) -> Subscribed {
        let probe = self.sampler.subscribe(self.owner, key, self.subscription());
        Subscribed { probe, since: now }
    }

    fn end(&self, subscribed: Option<Subscribed>) {
        if let Some(Subscribed { probe, .. }) = subscribed {
            self.sampler.unsubscribe(self.owner, &probe.key);
        }
    }

    /// How many pods are followed.
    pub fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// Follows nobody.
    pub fn stop(&mut self) {
        for place in std::mem::take(&mut self.places) {
            self.end(place.subscribed);
        }
        self.followed = None;
    }

    /// Reads more often, or as often as the spec says.
    pub fn pace(&mut self, pace: Pace) {
        if self.pace == pace {
            return;
        }
        self.pace = pace;
        for subscribed in self.places.iter().filter_map(|place| place.subscribed.as_ref()) {
            self.sampler.subscribe(self.owner, &subscribed.probe.key, self.subscription());
        }
    }

    fn subscription(&self) -> Subscription {
        let usual = self.plan.interval;
        let interval = match self.pace {
            Pace::Usual => usual,
            Pace::Close => (usual / CLOSER).max(CLOSEST).min(usual),
        };
        Subscription {
            interval,
            // A page that is slow does not fail for being asked more often.
            timeout: self.plan.timeout.min(usual),
            measures: self.measures.clone(),
            wake: self.wake.clone(),
        }
    }

    fn key(&self, pod: &Pod) -> Option<ProbeKey> {
        if !pod.is_running() {
            return None;
        }
        let (_, port) = pod.first_port(&self.plan.ports)?;
        let address =
            Address { ip: pod.ip?, port, tls: self.plan.tls, path: self.plan.path.clone() };
        let (namespace, pod_uid) = (pod.namespace.clone(), pod.uid.clone());
        Some(ProbeKey { namespace, pod_uid, address, access: self.access.clone() })
    }

    /// The subscription to a pod's page. `place` is where the pod stands among those that are followed, as far as the caller
    /// knows.
    fn subscribed(&self, place: usize, pod: &Pod) -> Option<&Subscribed> {
        let found = match self.places.get(place) {
            Some(at) if at.name == pod.name => at,
            _ => &self.places[self.places.binary_search_by(|at| at.name.cmp(&pod.name)).ok()?],
        };
        found.subscribed.as_ref()
    }

    /// The answers of the pages of these pods about one measure, in their order.
    pub fn lookups(
        &self,
        pods: &Members,
        measure: &Arc<Measure>,
        engine: Engine,
        now: Monotonic,
    ) -> Vec<Lookup> {
        let pods = pods.values().enumerate();
        pods.map(|(place, pod)| self.lookup(place, pod, measure, engine, now)).collect()
    }

    /// The answer of one pod's page. `place` is where the pod stands among those that are scraped, as far as the caller knows.
    fn lookup(
        &self,
        place: usize,
        pod: &Pod,
        measure: &Arc<Measure>,
        engine: Engine,
        now: Monotonic,
    ) -> Lookup {
        if !pod.is_running() {
            return Lookup::Missing("it does not run".to_owned());
        }
        let Some(Subscribed { probe, since }) = self.subscribed(place, pod) else {
            return Lookup::Missing(self.unreachable(pod));
        };
        let url = || probe.key.address.url();
        let waited = now.since(*since);
        let state = probe.lock();
        let age = state.at().map(|at| now.since(at));
        let usable = age.filter(|age| *age <= self.stale_after());
        let (Some(age), Some((track, found))) = (usable, state.look(measure)) else {
            return match state.error() {
                Some(error) => Lookup::Missing(error.to_string()),
                // Subscribed a moment ago: the answer is on its way.
                None if !state.has_tried(measure) && waited < self.patience() => {
                    Lookup::Pending { error: None }
                }
                None => Lookup::Missing(format!("{}: no sample yet", url())),
            };
        };
        let failed = (!state.is_latest()).then(|| match state.error() {
            Some(error) => error.to_string(),
            None => format!("{}: no sample yet", url()),
        });
        if track.is_pending() {
            // A rate needs two reads.
            let is_early = waited < self.patience() + 2 * self.plan.interval;
            if is_early {
                return Lookup::Pending { error: failed };
            }
            let reason = failed.unwrap_or_else(|| format!("{}: only one sample yet", url()));
            return Lookup::Missing(reason);
        }
        match track.value() {
            Value::Absent => {
                // A line that could not be read says more than its absence.
                let error = state.error().map(ToString::to_string);
                Lookup::Missing(
                    error.unwrap_or_else(|| absent(&url(), measure, state.looks_like(), engine)),
                )
            }
            value => {
                let young = || format!("{}: too few samples yet to shrink by", url());
                let doubt = failed.or_else(|| track.is_young().then(young));
                Lookup::Sample(Sample { value, age, doubt, found, copies: 1 })
            }
        }
    }

    /// Why a running pod is not asked at all.
    fn unreachable(&self, pod: &Pod) -> String {
        if pod.ip.is_none() {
            return "it has no address yet".to_owned();
        }
        let known: Vec<String> =
            pod.ports.iter().map(|(name, number)| format!("{name} ({number})")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let wanted: Vec<String> = self.plan.ports.iter().map(Port::to_string).collect();
        format!("no container port is named {}; named ports: {known}", wanted.join(" or "))
    }

    fn stale_after(&self) -> Duration {
        self.plan.interval * STALE_INTERVALS + self.plan.timeout
    }

    /// How long the first answer may take before its absence means something.
    fn patience(&self) -> Duration {
        self.plan.timeout + Duration::from_secs(1)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is said of a page that does not have what is wanted.
fn absent(url: &str, measure: &Measure, looks_like: Option<Engine>, engine: Engine) -> String {
    let hint = match looks_like {
        Some(other) if other != engine => {
            format!("; it looks like a page of {}: is engine right?", other.profile().display)
        }
        None if engine != Engine::Custom => {
            format!(", nor anything else of {}", engine.profile().display)
        }
        _ => String::new(),
    };
    format!("{url} has no {}{hint}", measure.recipe.accepted_names())
}
