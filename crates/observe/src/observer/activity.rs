//! What the engines of a target's replicas do, and which replicas are stuck.

use llm_autoscaler_core::{Deviation, EngineActivity};
use llm_autoscaler_engines::exposition::Value;

use super::TargetSnapshot;
use crate::{
    pod::{Pod, TroubleKind},
    progress::Progress,
    replicas::{ReplicaPods, Replicas},
    samples::{Lookup, Sample, SourceSamples},
};

impl TargetSnapshot<'_> {
    pub(super) fn stuck_replicas(
        &self,
        activities: &[EngineActivity],
    ) -> Vec<(String, TroubleKind)> {
        let groups = self.replicas.list.iter().zip(activities);
        let stuck = groups.filter_map(|(group, activity)| self.stuck_pod(group, *activity));
        stuck.map(|(pod, kind)| (pod.name.clone(), kind)).collect()
    }

    /// Returns the pod that makes a replica stuck, and its trouble. A replica that answers is
    /// saturated instead: a busy engine lets its probes time out.
    pub(super) fn stuck_pod<'g>(
        &self,
        group: &'g ReplicaPods,
        activity: EngineActivity,
    ) -> Option<(&'g Pod, TroubleKind)> {
        let may_be_stuck = matches!(activity, EngineActivity::Unknown | EngineActivity::Warming);
        if !may_be_stuck || group.state().has_ended() {
            return None;
        }
        group.stuck(self.now, self.startup_timeout).map(|(pod, kind)| (&**pod, kind))
    }

    /// Returns the activity of each replica's engine. It answers if one of its reporting pods does,
    /// because a dead engine answers nothing at all; it sleeps if the engines of all of them do; it
    /// is wedged if the engine of one of them is, and those of the others are, or have no requests.
    pub(super) fn activities(&self) -> Vec<EngineActivity> {
        let Replicas { list, replica_of_reporting_pod, .. } = self.replicas;
        let mut asleep: Vec<bool> = list.iter().map(|group| group.reporting_pods > 0).collect();
        let mut answers = vec![false; list.len()];
        let (mut works, mut wedged) = (vec![false; list.len()], vec![false; list.len()]);
        let pods = self.replicas.reporting_pods.values();
        for ((at, place), pod) in replica_of_reporting_pod.iter().enumerate().zip(pods) {
            answers[*place] |= self.answers(at, pod);
            asleep[*place] &= self.is_asleep(at);
            match self.progress.of(at) {
                Progress::Idle => {}
                Progress::Unknown | Progress::Working => works[*place] = true,
                Progress::Wedged(_) => wedged[*place] = true,
            }
        }
        let activity = |(place, group): (usize, &ReplicaPods)| {
            if asleep[place] {
                EngineActivity::Asleep
            } else if wedged[place] && !works[place] {
                EngineActivity::Wedged
            } else if !answers[place] {
                EngineActivity::Unknown
            } else if group.was_ready() {
                EngineActivity::Answering
            } else {
                EngineActivity::Warming
            }
        };
        list.iter().enumerate().map(activity).collect()
    }

    /// Returns the pods with wedged engines, and the requests of each.
    pub(super) fn wedged_pods(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        let pods = self.replicas.reporting_pods.values().enumerate();
        pods.filter_map(|(at, pod)| match self.progress.of(at) {
            Progress::Wedged(requests) => Some((&*pod.name, requests)),
            Progress::Unknown | Progress::Idle | Progress::Working => None,
        })
    }

    /// Returns true if the first source that tells says that all engine processes of the reporting
    /// pod at a place sleep.
    fn is_asleep(&self, at: usize) -> bool {
        let number = |lookups: &Vec<Lookup>| match lookups.get(at) {
            Some(Lookup::Sample(Sample { value: Value::Number(number), .. })) => Some(*number),
            _ => None,
        };
        let mut sources = self.samples.sources.iter();
        let told = sources.find_map(|SourceSamples { sleep: [awake, asleep], .. }| {
            Some((number(awake)?, number(asleep)?))
        });
        told.is_some_and(|(awake, asleep)| awake == 0.0 && asleep > 0.0)
    }

    /// Returns true if an active source has an answer about the reporting pod at a place, with or
    /// without a number that is asked for. Where no source reads the target's own pods, one that
    /// was ready is taken for saturated: nothing tells that it is dead.
    fn answers(&self, at: usize, pod: &Pod) -> bool {
        let mut own = self.samples.sources.iter().filter(|source| source.kind.is_per_pod());
        if !own.clone().any(SourceSamples::reads_pods) {
            let crashes = |kind| matches!(kind, TroubleKind::Crashing | TroubleKind::Unschedulable);
            let is_broken = pod.trouble.as_ref().is_some_and(|trouble| crashes(trouble.kind));
            return pod.was_ready && pod.is_running() && !is_broken;
        }
        let is_answer = |lookups: &Vec<Lookup>| lookups.get(at).is_some_and(Lookup::is_answer);
        own.any(|source| source.lookups().any(is_answer))
    }

    /// Returns true if the reporting pod at a place should have a sample: it runs, and its replica
    /// is not stuck by it. The HPA has no stuck pods, so under its profile every running pod should
    /// have one.
    pub(super) fn should_report(&self, at: usize, pod: &Pod) -> bool {
        let knows_stuck = self.config.policy.profile.has(Deviation::StuckReplicas);
        let is_stuck = || {
            let is_late = pod.stuck(self.now, self.startup_timeout).is_some();
            is_late && !(pod.was_ready && self.any_answers(at, pod))
        };
        pod.is_running() && !(knows_stuck && is_stuck())
    }

    /// Returns true if a reporting pod of the same replica as this one, which is at a place,
    /// answers.
    fn any_answers(&self, at: usize, pod: &Pod) -> bool {
        let Replicas { list, replica_of_reporting_pod: places, reporting_pods, .. } = self.replicas;
        let own = places.get(at);
        let is_alone =
            own.and_then(|place| list.get(*place)).is_none_or(|group| group.reporting_pods == 1);
        if is_alone {
            return self.answers(at, pod);
        }
        let pods = reporting_pods.values().enumerate();
        pods.filter(|(other, _)| places.get(*other) == own)
            .any(|(other, pod)| self.answers(other, pod))
    }
}
