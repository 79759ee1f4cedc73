//! The promise of a spec (`slo`): engines are learned from their pages, step by step, and the size
//! follows that keeps the promise.
//!
//! ```text
//! Replicas, Samples ──pages──> core::slo::Slo ──> Verdict ──> PromisedSize, for a decision
//!                                                    └──────> conditions and status
//! ```

mod pages;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LearnedRecord, SloConfig};
use llm_autoscaler_core::{
    Monotonic, Now, PromisedSize, Replica,
    slo::{
        Learned, NoSize, ServingState, Slo, SloHold, SloObservation, SloPolicy, SloReplica,
        SloRole, SloSize, Unfit,
    },
};
use llm_autoscaler_engines::Engine;

use self::pages::{Page, Pages};
use crate::{
    replicas::{ReplicaPods, Replicas},
    samples::Samples,
};

/// The share by which the KV caches of two starts of one engine may differ: it takes the memory
/// that is left then. Another size is another model, another GPU, or other limits.
const SAME_CACHE: f64 = 0.05;
/// The time between two records of what is learned: it changes slowly, and each is a write.
const RECORD_EVERY: Duration = Duration::from_mins(1);

/// The memory of a promise, for one target. Most targets have no promise, and nothing to remember.
#[derive(Clone, Debug, Default)]
pub struct PromiseTracker(Option<Box<Promise>>);

/// The memory of a promise that there is.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// What has been learned. It takes 9 kB.
    slo: Option<Box<Slo>>,
    /// The engine that has been learned.
    engine: Option<Engine>,
    /// The part of each request that it was seen to do, since the operator started.
    role: Option<SloRole>,
    /// The tokens of the KV cache of a replica of that engine.
    kv_capacity: Option<f64>,
    /// The engines of each replica.
    engines: Option<u32>,
    /// True if there has been a model since the last change of the engine.
    was_sized: bool,
    /// The numbers of the replicas, by their keys.
    ids: HashMap<String, u64>,
    next_id: u64,
    observation: SloObservation,
    /// True if enough of the serving replicas have a page.
    has_quorum: bool,
    verdict: Option<Verdict>,
    attained: Attained,
    recorded: Option<Recorded>,
}

/// What was learned at some time.
#[derive(Clone, Debug)]
struct Recorded {
    record: LearnedRecord,
    at: Monotonic,
    /// The rows of the fit by then.
    rows: u64,
}

/// The result of one observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The size that keeps the promise.
    Sized(SloSize),
    /// There is no model of the engine yet, after so many seconds of busy replicas.
    Learning(f64),
    /// The model is off by this share of what replicas did.
    PoorFit(f64),
    /// The engine has no series by which it can be learned.
    NoSeries,
    /// A page is of several API servers, each of which counts the steps of the engine.
    SeveralServers {
        /// The name of the pod.
        pod: String,
    },
    /// The pages lack a series that is needed.
    Missing {
        /// The name of a pod.
        pod: String,
        /// The name of the series.
        series: String,
    },
    /// There has been no new sample for a while.
    Stale,
    /// A target is below the first bucket of the histogram that it is compared with.
    NotMeasurable {
        /// The target.
        target: PromiseTarget,
        /// The shortest target that can be measured, in seconds.
        shortest: f64,
    },
    /// One request alone, on an idle replica, takes longer than a target.
    BelowEngine {
        /// The target.
        target: PromiseTarget,
        /// The time that it takes, in seconds.
        alone: f64,
    },
}

/// A target of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseTarget {
    /// The time to first token.
    TimeToFirstToken,
    /// The mean time between two tokens of a request.
    InterTokenLatency,
}

/// The times of the last minute that the promised share of the requests did not exceed, in seconds;
/// `None` with too few requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attained {
    /// The time to first token.
    pub time_to_first_token: Option<f64>,
    /// The mean time between two tokens of a request.
    pub inter_token_latency: Option<f64>,
}

impl PromiseTracker {
    /// Goes on with what a status remembers.
    pub fn restored(record: &LearnedRecord, now: Monotonic) -> Self {
        Self(Some(Box::new(Promise::restored(record, now))))
    }

    /// Returns what has been learned up to a minute ago, as a status remembers it; `None` before
    /// there has been a size.
    pub fn record(&self) -> Option<&LearnedRecord> {
        self.0.as_ref()?.recorded.as_ref().map(|recorded| &recorded.record)
    }

    /// Takes over the samples of a moment. `observed` has the states of the replicas, in their
    /// order; `requested` is the size that the decision starts from, which stays where samples are
    /// missing: that of the shadow where nothing is written.
    pub fn observe(
        &mut self,
        config: Option<(&SloConfig, Engine)>,
        replicas: &Replicas,
        observed: &[Replica],
        samples: &Samples,
        requested: i32,
        now: Now,
    ) {
        match config {
            Some((config, engine)) => {
                let promise = self.0.get_or_insert_default();
                promise.observe((config, engine), replicas, observed, samples, requested, now);
            }
            None => self.0 = None,
        }
    }

    /// Returns the size for a decision. Where the promise was kept before and nothing tells any
    /// more what it needs, nothing is removed.
    pub fn promised(&self) -> Option<PromisedSize> {
        self.0.as_ref()?.promised()
    }

    /// Returns the result of the latest observation; `None` without a promise.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.0.as_ref()?.verdict.as_ref()
    }

    /// Returns the size that keeps the promise, if it is known.
    pub fn size(&self) -> Option<&SloSize> {
        match self.verdict() {
            Some(Verdict::Sized(size)) => Some(size),
            _ => None,
        }
    }

    /// Returns the times that were attained.
    pub fn attained(&self) -> Attained {
        self.0.as_ref().map(|promise| promise.attained).unwrap_or_default()
    }

    /// Returns true if there has been a size before, or a status has remembered a model.
    pub fn was_sized(&self) -> bool {
        self.0.as_ref().is_some_and(|promise| promise.was_sized)
    }
}

impl Promise {
    fn restored(record: &LearnedRecord, now: Monotonic) -> Self {
        let LearnedRecord { engine, learned } = record;
        let engine = Engine::ALL.into_iter().find(|known| known.profile().name == engine);
        Self {
            slo: Some(Box::new(Slo::restored(learned, now.0.as_secs_f64()))),
            engine,
            kv_capacity: learned.kv_capacity,
            was_sized: true,
            recorded: Some(Recorded { record: record.clone(), at: now, rows: 0 }),
            ..Self::default()
        }
    }

    fn observe(
        &mut self,
        (config, engine): (&SloConfig, Engine),
        replicas: &Replicas,
        observed: &[Replica],
        samples: &Samples,
        requested: i32,
        now: Now,
    ) {
        let role = config.policy.role;
        let is_other_role = self.role.replace(role).is_some_and(|before| before != role);
        if self.engine.replace(engine).is_some_and(|before| before != engine) || is_other_role {
            self.forget_engine(now);
        }
        let Some(measures) = &config.measures else {
            self.verdict = Some(Verdict::NoSeries);
            return;
        };
        let mut pages = Pages::read(config, measures, replicas, samples, now.monotonic);
        self.attained = pages.attained;
        self.follow_engine(&mut pages.list, now);
        self.observation.now = now.monotonic.0.as_secs_f64();
        self.observation.requested = u32::try_from(requested).unwrap_or_default();
        self.observation.queued = pages::queued(samples);
        self.set_replicas(replicas, observed, &pages.list, now.wall);
        self.has_quorum = has_quorum(&self.observation.replicas);
        let slo = self.slo.get_or_insert_default();
        let size = slo.step(&self.observation, &config.policy);
        self.was_sized |= size.is_ok();
        self.verdict = Some(self.judge(size, pages, &config.policy));
        self.remember(engine, now.monotonic);
    }

    /// Records what has been learned, if there is something new.
    fn remember(&mut self, engine: Engine, now: Monotonic) {
        let Some(slo) = &self.slo else { return };
        let rows = slo.rows();
        let is_due = self
            .recorded
            .as_ref()
            .is_none_or(|last| last.rows != rows && now.since(last.at) >= RECORD_EVERY);
        if !is_due || !self.was_sized {
            return;
        }
        if let Some(learned) = slo.learned() {
            let engine = engine.profile().name.to_owned();
            let record = LearnedRecord { engine, learned };
            self.recorded = Some(Recorded { record, at: now, rows });
        }
    }

    fn promised(&self) -> Option<PromisedSize> {
        match self.verdict.as_ref()? {
            Verdict::Sized(size) => Some(PromisedSize {
                replicas: Some(i32::try_from(size.replicas).unwrap_or(i32::MAX)),
                may_shrink: self.has_quorum && size.held != Some(SloHold::Samples),
            }),
            Verdict::Missing { .. } | Verdict::Stale if self.was_sized => {
                Some(PromisedSize { replicas: None, may_shrink: false })
            }
            _ => None,
        }
    }

    /// Forgets the model, and keeps how long replicas take to start.
    fn forget_engine(&mut self, now: Now) {
        let learned = self.slo.as_ref().and_then(|slo| slo.learned());
        let starts = learned.map(|learned| learned.starts).unwrap_or_default();
        let learned = Learned { starts, ..Learned::default() };
        self.slo = Some(Box::new(Slo::restored(&learned, now.monotonic.0.as_secs_f64())));
        (self.kv_capacity, self.engines, self.was_sized, self.recorded) = (None, None, false, None);
    }

    /// Forgets the model if all replicas have another KV cache than before, or another number of
    /// engines: a rollout has replaced the model, its limits or the GPUs. While some have another
    /// number of engines, their pages are left out: they share the load in another way.
    fn follow_engine(&mut self, pages: &mut [Option<Page>], now: Now) {
        let capacities = pages.iter().flatten().filter_map(|page| page.sample.kv_capacity);
        let Some(smallest) = capacities.clone().reduce(f64::min) else { return };
        let is_other = |before: f64| {
            capacities.clone().all(|capacity| (capacity / before - 1.0).abs() > SAME_CACHE)
        };
        let mut counts = pages.iter().flatten().map(|page| page.engines);
        let first = counts.next();
        if self.kv_capacity.is_some_and(is_other)
            || self
                .engines
                .is_some_and(|before| Some(before) != first && counts.all(|it| it != before))
        {
            self.forget_engine(now);
        }
        self.kv_capacity.get_or_insert(smallest);
        self.engines = self.engines.or(first);
        for page in pages {
            *page = page.filter(|page| Some(page.engines) == self.engines);
        }
    }

    /// Returns the verdict of a size, with the requests of all engines of the replicas.
    fn sized(&self, size: SloSize) -> Verdict {
        let engines = f64::from(self.engines.unwrap_or(1));
        Verdict::Sized(SloSize { arrivals: engines * size.arrivals, ..size })
    }

    /// Takes over the replicas, with the latest page of each.
    fn set_replicas(
        &mut self,
        replicas: &Replicas,
        observed: &[Replica],
        pages: &[Option<Page>],
        now: DateTime<Utc>,
    ) {
        let mut known = std::mem::take(&mut self.ids);
        self.observation.replicas.clear();
        for ((group, replica), page) in replicas.list.iter().zip(observed).zip(pages) {
            let key = group.key();
            let (key, id) = known.remove_entry(key).unwrap_or_else(|| {
                self.next_id += 1;
                (key.to_owned(), self.next_id)
            });
            self.ids.insert(key, id);
            let created = group.pods.iter().map(|pod| pod.created).min();
            let age = created.map_or(0.0, |created| (now - created).as_seconds_f64());
            self.observation.replicas.push(SloReplica {
                id,
                age: age.max(0.0),
                state: state(group, *replica),
                sample: page.as_ref().map(|page| page.sample),
            });
        }
    }

    fn judge(&self, size: Result<SloSize, NoSize>, pages: Pages, policy: &SloPolicy) -> Verdict {
        if let Some(pod) = pages.several_servers {
            return Verdict::SeveralServers { pod };
        }
        if let Some((target, shortest)) = pages.not_measurable {
            return Verdict::NotMeasurable { target, shortest };
        }
        if let Some((pod, series)) = pages.missing
            && pages.list.iter().all(Option::is_none)
        {
            return Verdict::Missing { pod, series };
        }
        match size {
            Err(NoSize::Samples) if self.was_sized => Verdict::Stale,
            Err(NoSize::Samples | NoSize::Arrivals) => Verdict::Learning(0.0),
            Err(NoSize::Model(Unfit::TooFewRows(seconds))) => Verdict::Learning(seconds),
            Err(NoSize::Model(Unfit::LargeError(error))) => Verdict::PoorFit(error),
            Ok(size) => below(&size, policy).unwrap_or_else(|| self.sized(size)),
        }
    }
}

/// Returns the verdict about a promise that no number of replicas keeps.
fn below(size: &SloSize, policy: &SloPolicy) -> Option<Verdict> {
    let (alone, promise, role) = (size.alone(), policy.promise, policy.role);
    let of = |target, alone: f64, promised: f64, other_role| {
        (alone > promised && role != other_role).then_some(Verdict::BelowEngine { target, alone })
    };
    let latency = (alone.inter_token_latency, promise.inter_token_latency);
    let first = (alone.time_to_first_token, promise.time_to_first_token);
    of(PromiseTarget::InterTokenLatency, latency.0, latency.1, SloRole::Prefill)
        .or_else(|| of(PromiseTarget::TimeToFirstToken, first.0, first.1, SloRole::Decode))
}

/// Returns true if at least four fifths of the serving replicas have a page, as every decision
/// needs to shrink a target.
fn has_quorum(replicas: &[SloReplica]) -> bool {
    let serving = replicas.iter().filter(|replica| replica.state == ServingState::Serving);
    let with_page = serving.clone().filter(|replica| replica.sample.is_some()).count();
    5 * with_page >= 4 * serving.count()
}

/// Returns the state of a replica towards requests. A replica that is out of service, asleep,
/// wedged or stuck serves none.
fn state(group: &ReplicaPods, replica: Replica) -> ServingState {
    if replica.deleting || replica.has_ended() {
        ServingState::Terminating
    } else if replica.stuck || replica.is_halted() || group.is_closed() {
        ServingState::Unready
    } else if replica.ready {
        ServingState::Serving
    } else if group.was_ready() {
        ServingState::Unready
    } else {
        ServingState::Starting
    }
}

#[cfg(test)]
mod tests;
