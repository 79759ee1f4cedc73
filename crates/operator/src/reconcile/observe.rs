//! The observation of one role: its pods and samples as they are now, in the form that the plan
//! takes.

use std::time::Duration;

use llm_autoscaler_core::{DrainObservation, Now};
use llm_autoscaler_observe::{
    advice,
    observer::{TargetSnapshot, observe},
    requests::{requests, slowest_request},
    samples::Samples,
};

use crate::{
    drain::drainer::DrainScene,
    reconcile::{role::Role, sight::RoleSight, step_log},
};

/// How often the time that pods have to end is compared with how long requests take.
const GRACE_EVERY: Duration = Duration::from_secs(15);

impl Role {
    /// Observes the target; `None` where it is not known, or its first samples are on their way.
    pub(super) fn observe(&mut self, now: Now) -> Option<RoleSight> {
        let block = self.write_block(now);
        // Whatever scales the target to zero does what this autoscaler might have done.
        let shadow_at_zero = self.recommends() && self.config.policy.to_zero.is_some();
        let scaled_to_zero = shadow_at_zero || self.status.is_scaled_to_zero();
        let ownership_advice = self.ownership_advice(&block, now);
        let (target, config) = (self.target.as_mut()?, self.config.clone());
        // A pod that is let in meanwhile counts as held out until the next step.
        let was_held_out = target.is_held_out();
        if target.follow_pods(&config, now) {
            self.want_claims(now);
        }
        let target = self.target.as_mut()?;
        target.begin_step(&config, self.context.period, now);
        let with_latency = config.drain.is_some()
            && target
                .grace
                .as_ref()
                .is_none_or(|grace| now.monotonic.since(grace.0) >= GRACE_EVERY);
        let samples =
            target.sources.samples(&target.replicas.reporting_pods, with_latency, now.monotonic);
        target.engines.observe(config.vitals.as_deref(), &target.replicas, &samples, now.monotonic);
        let startup_timeout = target.memory.startup_times.startup_timeout();
        target.observe_settling(startup_timeout, now);
        let woken = target.observe_wake_call(&config, now.monotonic);
        let snapshot = TargetSnapshot {
            config: &config,
            replicas: &target.replicas,
            samples: &samples,
            scale: target.view.scale,
            selector: target.observed_selector(was_held_out),
            scaled_to_zero,
            woken,
            progress: &target.engines,
            startup_timeout,
            now: now.wall,
        };
        self.case = step_log::case(self.name.as_deref(), &snapshot, &block).map(Box::new);
        let mut observed = observe(&snapshot);
        // A promise holds the size that the decision starts from.
        let actual = target.view.scale.current;
        let size = target.memory.size_before(config.mode, &config.policy, actual);
        target.promise.observe(
            config.slo.as_deref().map(|slo| (slo, config.engine)),
            &target.replicas,
            &observed.usable.observation.replicas,
            &samples,
            size,
            now,
        );
        observed.set_promised(target.promise.promised());
        // A source that was found to be needed is scraped or queried from now on.
        target.sources.renew(&observed.usable.findings.needed_sources, now.monotonic);
        target.sources.update_subscriptions(&target.replicas.reporting_pods, now.monotonic);
        if observed.usable.findings.warming_up && target.awaits_samples(&config) {
            target.memory.await_samples();
            return None;
        }
        target.decided = true;
        let mut sight = RoleSight {
            states: observed.usable.states(),
            counts: target.replicas.counts(&observed.usable.observation.replicas),
            observed,
            block,
            drain: DrainScene::default(),
            drain_observation: DrainObservation::default(),
            advice: ownership_advice,
            is_left_alone: false,
            unsettled: target.settling.overdue(now.wall).cloned(),
        };
        if config.drain.is_some() {
            self.observe_drain(&mut sight, &samples, with_latency, now);
        }
        Some(sight)
    }

    /// Adds what a scale-down that drains has to know.
    fn observe_drain(
        &mut self,
        sight: &mut RoleSight,
        samples: &Samples,
        with_latency: bool,
        now: Now,
    ) {
        let permission = self.gate_permission();
        let Some(target) = &mut self.target else { return };
        if with_latency {
            let pods = target.replicas.list.iter().flat_map(|group| &group.pods);
            let slowest = slowest_request(&target.replicas, samples);
            let advice = slowest.and_then(|slowest| advice::short_grace_period(pods, slowest));
            target.grace = Some(Box::new((now.monotonic, advice)));
        }
        sight.advice.extend(target.grace.as_ref().and_then(|grace| grace.1.clone()));
        target.drain.observe(&target.replicas, permission, now.wall);
        let is_measured = target.sources.measures_requests();
        sight.drain.requests = requests(&target.replicas, samples, is_measured, now.wall);
        self.observe_candidates(sight, now);
    }

    /// Adds the replicas that could be removed, by the order in which the target's object has them
    /// removed.
    fn observe_candidates(&self, sight: &mut RoleSight, now: Now) {
        let Some(target) = &self.target else { return };
        let order = target.drain.order(&self.config.target);
        let requests = &sight.drain.requests;
        let candidates = order.and_then(|order| {
            target.drain.candidates(order, &target.replicas, requests, self.gate_permission())
        });
        sight.drain.order = order.filter(|_| candidates.is_some());
        let (places, candidates) = candidates.unwrap_or_default().into_iter().unzip();
        sight.drain.places = places;
        sight.drain_observation = DrainObservation {
            removal: sight.drain.order.and_then(|_| target.drain.removal(&self.config.target)),
            candidates,
            workload: target.workload.state(&target.drain, now),
        };
    }

    /// Reads the target's own object for a scale-down, and observes again what depends on it.
    pub(super) async fn read_workload(&mut self, sight: &mut RoleSight, now: Now) {
        let (context, config, namespace) =
            (self.context.clone(), self.config.clone(), self.namespace());
        let Some(target) = &mut self.target else { return };
        let (reader, memory) = (&mut target.workload, &mut target.drain);
        reader.read(&context.scales, &namespace, &config.target, memory, now).await;
        self.observe_candidates(sight, now);
    }

    /// Reads the target's own object once, where only it tells which replicas a smaller size
    /// removes.
    pub(super) async fn read_workload_modes(&mut self, now: Now) {
        let (context, config, namespace) =
            (self.context.clone(), self.config.clone(), self.namespace());
        let Some(target) = self.target.as_mut().filter(|_| config.drain.is_some()) else { return };
        let (reader, memory) = (&mut target.workload, &mut target.drain);
        reader.read_modes(&context.scales, &namespace, &config.target, memory, now).await;
    }

    /// Records how many requested replicas do not come.
    pub(super) fn record_lag(&mut self, sight: &RoleSight, now: Now) {
        let Some(target) = &mut self.target else { return };
        let requested = sight.observed.usable.observation.scale.current;
        target.memory.lag.observe(sight.counts.missing(requested), now.wall);
    }
}
