//! The state of a target between steps: its scale, its pods, their samples, and what is remembered.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use kube::core::Selector as PodSelector;
use llm_autoscaler_api::{
    Advice, Port, SourceConfig, TargetConfig, memory::Remembered, messages::SelectorProblem,
    selector,
};
use llm_autoscaler_core::{Mode, Monotonic, Now, Resize, RoleMemory, Selector};
use llm_autoscaler_observe::{
    draining::DrainMemory, progress::ProgressTracker, promise::PromiseTracker, replicas::Replicas,
    settling::Settling, startup_tracker::StartupTracker,
};
use tokio::sync::Notify;
use tracing::info;

use crate::{
    cluster::pods::PodView,
    drain::{progress::DrainProgress, workload_reader::WorkloadReader},
    ownership::claims::Overlapping,
    pod_monitor::plan::MonitoredPods,
    reconcile::{
        billed_step::BilledStep,
        wake_call::{EarlierCall, WakeCall},
    },
    sampling::sources::{Sampling, Sources},
    scale::{error::TargetError, view::ScaleView},
};

/// A target that has been found.
pub(super) struct TargetState {
    /// Its scale as last read or written.
    pub view: ScaleView,
    /// True where the last attempt to read or write its scale failed: nothing is decided by the old
    /// one.
    pub is_outdated: bool,
    /// Which pods are the target's, where that can be told.
    pub selector: Result<PodSelector, SelectorProblem>,
    /// The autoscalers of other targets that select some of its pods too.
    pub overlapping: Overlapping,
    /// Its pods.
    pub pods: PodView,
    /// Its replicas.
    pub replicas: Replicas,
    /// The difference between its requested replicas and those that exist.
    pub settling: Settling,
    /// The starts of its replicas.
    starts: StartupTracker,
    /// The progress of the engines.
    pub engines: ProgressTracker,
    /// The promise of the spec, and what has been learned for it.
    pub promise: PromiseTracker,
    /// The time of the last wake call.
    woken: Option<WakeCall>,
    /// The memory from step to step.
    pub memory: RoleMemory,
    /// The latest step that was billed by this process.
    pub billed: Option<BilledStep>,
    /// True once the first samples were there.
    pub decided: bool,
    /// The sources of its samples.
    pub sources: Sources,
    /// Its drains.
    pub drain: DrainMemory,
    /// The progress of its drains, for people.
    pub progress: DrainProgress,
    /// Its own object, read for scale-downs that drain.
    pub workload: WorkloadReader,
    /// The latest comparison of the pods' grace period with the slowest requests: its time, and the
    /// advice that came of it.
    pub grace: Option<Box<(Monotonic, Option<Advice>)>>,
    /// A write that may or may not have been carried out.
    unanswered: Option<Unanswered>,
}

/// A write without an answer.
#[derive(Clone, Copy)]
struct Unanswered {
    from: i32,
    to: i32,
}

/// A shorter time without a step is no gap, whatever the period.
const SHORTEST_GAP: Duration = Duration::from_secs(30);

/// The inputs of a new target's state.
pub(super) struct Beginning<'a> {
    /// The scrapes and queries that sources share.
    pub sampling: &'a Sampling,
    /// The target's namespace.
    pub namespace: &'a str,
    /// Notified at each fresh sample.
    pub fresh: &'a Arc<Notify>,
    /// The target's part of the spec.
    pub config: &'a TargetConfig,
    /// The status's memory of the object, if there is one.
    pub remembered: Option<Remembered>,
    /// The time of the last wake call that the status has.
    pub woken: Option<DateTime<Utc>>,
    /// The time of the last change of the size that is known, whoever has made it.
    pub scaled: Option<DateTime<Utc>>,
}

impl TargetState {
    /// Begins with a new target, or with a new selector of the same one. The history and the
    /// start-up times are those of `before`, or of the status, if it is still the same object.
    pub(super) fn new(
        beginning: Beginning<'_>,
        view: ScaleView,
        before: Option<Box<Self>>,
        now: Now,
    ) -> Self {
        let Beginning { sampling, namespace, fresh, config, remembered, woken, scaled } = beginning;
        let selector = match selector::parse(&view.selector) {
            _ if view.selector.is_empty() => Err(SelectorProblem::Missing),
            Ok(selector) => Ok(selector),
            Err(error) => Err(SelectorProblem::Invalid { error: error.to_string() }),
        };
        let pods = selector.clone().unwrap_or_else(|_| selector::nothing());
        let mut pods = sampling.pods.view(namespace, pods);
        pods.manage_gates(config.mode == Mode::Scale);
        let replicas = Replicas::of(&pods.members(), &config.groupings);
        let before = before.filter(|before| before.view.uid == view.uid);
        let is_at_zero = is_at_zero(config, &view);
        let call = woken.map(|at| EarlierCall { at, scaled, is_at_zero });
        let woken = match &before {
            Some(before) => before.woken,
            None => call.and_then(|call| call.resume(awake(config)?, now)),
        };
        let (mut memory, engines, promise) = match (before, remembered) {
            (Some(before), _) => (before.memory, before.engines, before.promise),
            (None, Some(remembered)) => {
                let timeout = remembered.startup_times.startup_timeout();
                let states = replicas.states_without_samples(now.wall, timeout);
                let counts = replicas.counts(&states);
                let drains = config.drain.is_some();
                let requested = view.scale.current;
                let memory =
                    remembered.restore(&config.policy, requested, counts, drains, now.wall);
                let engines = ProgressTracker::restored(&remembered.wedged, now.monotonic);
                let learned = remembered.learned.as_ref();
                let promise = learned.map(|it| PromiseTracker::restored(it, now.monotonic));
                (memory, engines, promise.unwrap_or_default())
            }
            (None, None) => Default::default(),
        };
        let mut starts = StartupTracker::default();
        starts.observe(&replicas, &mut memory.startup_times, now.wall);
        let mut sources = Sources::new(sampling, namespace, fresh, config);
        sources.update_subscriptions(&replicas.reporting_pods, now.monotonic);
        Self {
            view,
            is_outdated: false,
            billed: None,
            selector,
            overlapping: Overlapping::default(),
            pods,
            replicas,
            settling: Settling::default(),
            starts,
            engines,
            promise,
            woken,
            memory,
            decided: false,
            sources,
            drain: DrainMemory::default(),
            progress: DrainProgress::default(),
            workload: WorkloadReader::default(),
            grace: None,
            unanswered: None,
        }
    }

    /// Prepares the memory for a step. Steps come at least once a period, so longer gaps are times
    /// in which the target could not be read, or this process did not run.
    pub(super) fn begin_step(&mut self, config: &TargetConfig, period: Duration, now: Now) {
        let timeout = self.memory.startup_times.startup_timeout();
        let (replicas, current) = (&self.replicas, self.view.scale.current);
        self.memory.follow_mode(config.mode, &config.policy, current, now.wall);
        let resize = || {
            let states = replicas.states_without_samples(now.wall, timeout);
            let mut counts = replicas.counts(&states);
            if config.drain.is_none() {
                counts.closed = 0;
            }
            Resize { current, desired: counts.staying(current) }
        };
        let longest_gap = (2 * period).max(SHORTEST_GAP);
        if self.memory.begin_step(&config.policy, resize, now, longest_gap) {
            info!(target = %config.target, "nothing was decided for a while: that time counts as if the current size had been recommended");
        }
    }

    /// Returns whether a scale that was read is of this target, with these pods.
    pub(super) fn is_about(&self, view: &ScaleView) -> bool {
        self.view.uid == view.uid && self.view.selector == view.selector
    }

    /// Returns why it cannot be told which pods are the target's alone, where it cannot.
    pub(super) fn selector_problem(&self) -> Option<SelectorProblem> {
        let ambiguous = || SelectorProblem::Ambiguous {
            selector: self.view.selector.clone(),
            autoscalers: self.overlapping.names.join(", "),
        };
        let invalid = self.selector.as_ref().err().cloned();
        let ambiguous = || (!self.overlapping.names.is_empty()).then(ambiguous);
        invalid.or_else(ambiguous).or_else(|| {
            let (pod, limits) = self.held_out()?;
            Some(SelectorProblem::TooLarge { pod, limits })
        })
    }

    /// Returns a pod of the target or of its sources that is too large to be known, and the limits.
    fn held_out(&self) -> Option<(String, &'static str)> {
        self.pods.held_out().or_else(|| self.sources.held_out())
    }

    /// Returns true if a pod of the target or of its sources is too large to be known.
    pub(super) fn is_held_out(&self) -> bool {
        self.held_out().is_some()
    }

    /// The selector as the decision takes it. `was_held_out` is true if a pod was held out before
    /// the pods were taken over.
    pub(super) fn observed_selector(&self, was_held_out: bool) -> Selector {
        match self.selector {
            Ok(_) if !self.overlapping.names.is_empty() => Selector::Ambiguous,
            Ok(_) if was_held_out || self.is_held_out() => Selector::Unknown,
            Ok(_) => Selector::Valid,
            Err(SelectorProblem::Missing) => Selector::Missing,
            Err(_) => Selector::Invalid,
        }
    }

    /// Takes over a scale that was read. It tells whether a write without an answer has been
    /// carried out.
    pub(super) fn update_scale(
        &mut self,
        config: &TargetConfig,
        view: ScaleView,
        now: DateTime<Utc>,
    ) {
        if let Some(Unanswered { from, to }) = self.unanswered.take()
            && view.scale.current == to
        {
            self.memory.history.record_scale(&config.policy, from, to, now);
        }
        self.view = view;
        self.is_outdated = false;
    }

    /// Records a write that failed. One without an answer may have been carried out all the same;
    /// the next read tells.
    pub(super) fn record_failed_write(&mut self, error: &TargetError, from: i32, to: i32) {
        self.unanswered = error.is_ambiguous().then_some(Unanswered { from, to });
        self.is_outdated = true;
    }

    /// Samples what another configuration needs. The new subscriptions begin before the old ones
    /// end, so that no page is forgotten.
    pub(super) fn change_config(
        &mut self,
        sampling: &Sampling,
        namespace: &str,
        fresh: &Arc<Notify>,
        config: &TargetConfig,
    ) {
        let mut sources = Sources::new(sampling, namespace, fresh, config);
        self.pods.manage_gates(config.mode == Mode::Scale);
        self.replicas = Replicas::of(&self.pods.members(), &config.groupings);
        sources.update_subscriptions(&self.replicas.reporting_pods, sampling.clock.monotonic());
        self.sources = sources;
        self.decided = false;
    }

    /// Takes over the difference between the requested replicas and those that exist.
    pub(super) fn observe_settling(&mut self, startup_timeout: TimeDelta, now: Now) {
        let scale = self.view.counted(self.replicas.alive());
        self.settling.observe(&self.replicas, scale, startup_timeout, now.wall);
    }

    /// Takes over the pods as they are now, and samples them. Returns whether any has changed.
    pub(super) fn follow_pods(&mut self, config: &TargetConfig, now: Now) -> bool {
        let is_changed = self.replicas.update(&self.pods.members(), &config.groupings);
        if is_changed {
            self.starts.observe(&self.replicas, &mut self.memory.startup_times, now.wall);
        }
        self.sources.update_subscriptions(&self.replicas.reporting_pods, now.monotonic);
        is_changed
    }

    /// Returns when a pod of the target, or of its sources, has come, gone or changed.
    pub(super) async fn pods_changed(&mut self) {
        let Self { pods, sources, .. } = self;
        tokio::select! {
            () = pods.changed() => {}
            () = sources.other_pods_changed() => {}
        }
    }

    /// The pages that a PodMonitor publishes: those that the first source reads that reads pages.
    pub(super) fn monitored_pods(
        &mut self,
        config: &TargetConfig,
        selector: PodSelector,
    ) -> MonitoredPods {
        let scrape = config.sources.iter().find_map(|source| match source {
            SourceConfig::Scrape(scrape) => Some(scrape),
            SourceConfig::Prometheus(_) => None,
        });
        let others = self.sources.other_pods();
        let selector = match others {
            Some(_) => selector,
            None => selector.into_iter().chain(self.reporting_selector(config)).collect(),
        };
        let pods = others.unwrap_or_else(|| self.replicas.reporting_pods.clone());
        let usual = config.engine.profile();
        let usual_ports =
            || usual.port_names.iter().map(|name| Port::Name((*name).to_owned())).collect();
        let ports = scrape.map_or_else(usual_ports, |scrape| scrape.ports.clone());
        let port =
            pods.values().find_map(|pod| pod.first_port(&ports)).map(|(port, _)| port.clone());
        let usual_port = scrape.map_or(usual.port, |scrape| scrape.usual_port);
        let is_only = |number: &u16| pods.values().any(|pod| pod.has_only_port(*number));
        let port = port.or_else(|| usual_port.filter(is_only).map(Port::Number));
        let port = port.or_else(|| ports.first().cloned()).unwrap_or(Port::Name("http".to_owned()));
        let path =
            scrape.map_or_else(|| usual.metrics_path.to_owned(), |scrape| scrape.path.clone());
        MonitoredPods { selector, pods, port, path }
    }

    /// Narrows the target's selector to its reporting pods, because the others have no page.
    fn reporting_selector(&self, config: &TargetConfig) -> PodSelector {
        let narrowed = config.groupings.iter().find_map(|grouping| {
            let mut pods = self.replicas.reporting_pods.values();
            let with = pods.find(|pod| pod.labels.contains_key(&grouping.label))?;
            Some(grouping.reporting_selector(&with.labels))
        });
        narrowed.into_iter().flatten().collect()
    }

    /// Records a wake call.
    pub(super) fn wake(&mut self, now: Monotonic) {
        self.woken = Some(WakeCall::new(now));
    }

    /// Returns whether a wake call keeps the target from zero, and forgets one that does not any
    /// more.
    pub(super) fn observe_wake_call(&mut self, config: &TargetConfig, now: Monotonic) -> bool {
        let is_answered = self.decided && !is_at_zero(config, &self.view);
        let call = self.woken.zip(awake(config));
        self.woken = call.and_then(|(call, after)| call.observe(is_answered, after, now));
        self.woken.is_some()
    }

    /// Returns whether nothing is decided before the first samples. The answer to a wake call needs
    /// none.
    pub(super) fn awaits_samples(&self, config: &TargetConfig) -> bool {
        !(self.decided || self.woken.is_some() && is_at_zero(config, &self.view))
    }
}

/// Returns whether a target is scaled and has no replica.
fn is_at_zero(config: &TargetConfig, view: &ScaleView) -> bool {
    config.mode == Mode::Scale && view.scale.current == 0
}

/// The time for which a wake call keeps a target from zero.
fn awake(config: &TargetConfig) -> Option<Duration> {
    config.policy.to_zero.and_then(|to_zero| to_zero.after.to_std().ok())
}
