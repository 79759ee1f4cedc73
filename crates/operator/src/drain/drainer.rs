//! Scale-downs that drain: out of service first, then watched, then removed.
//!
//! Who goes, and when the size may be written, is the core's to say. Here is what it is asked with, and what is done about the
//! answer: gates are closed and opened, victims are marked, a rollout is waited for. What is remembered between steps is on
//! the pods, so a restart goes on with it; without the gate it is here.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{
    DrainPlan, ScaleTargetRef,
    workloads::{self, Victims},
};
use llm_autoscaler_core::{Candidate, DrainStep, Draining, Removal, Resize, Verdict, drain};
use tracing::{info, warn};

use crate::drain::victim::{Leaving, has_gate, key, name, ordinal};
use crate::drain::{progress::{BestEffort, Ended, How, Left, Told, Waiting}, rollout::Rollouts};
use llm_autoscaler_observe::{pod::{Pod, service::Gate}, replicas::{Group, Replicas}, requests::Requests, workload::Workload};
use crate::{drain::pod_gates::InService, reconcile::context::Context};

/// For how long a replica whose removal has been written is expected to go.
const GOES_WITHIN: Duration = Duration::from_mins(1);

/// The draining of one target.
#[derive(Default)]
pub struct Drainer {
    /// The replicas that are on their way out, by the UID of their first pods.
    leaving: HashMap<String, Leaving>,
    rollouts: Rollouts,
    /// The size that is being written, and what is to be said of it.
    writing: Option<Writing>,
    /// Whom a smaller size removes, as far as that is known.
    removal: Option<Removal>,
    told: Told,
}

struct Writing {
    leaving: Vec<String>,
    ended: Ended,
}

/// What a step looks at.
pub struct Scene<'a> {
    /// The target's namespace.
    pub namespace: &'a str,
    /// The target.
    pub target: &'a ScaleTargetRef,
    /// How its scale-downs drain.
    pub plan: &'a DrainPlan,
    /// Its replicas.
    pub replicas: &'a Replicas,
    /// What each of them has still to do.
    pub requests: &'a [Option<Requests>],
    /// The size that was asked for last, and the one that is wanted.
    pub sizes: (i32, i32),
    /// The time.
    pub now: DateTime<Utc>,
}

/// Replicas that could be removed, in the order of the candidates.
type Alive<'a> = Vec<(usize, &'a Group)>;

impl Drainer {
    /// What there is to tell.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// How far a scale-down goes by one write, when all who go by it are drained.
    pub fn aim(&self, (current, wanted): (i32, i32)) -> i32 {
        self.removal.map_or(wanted, |removal| removal.size_after_one_write(Resize { current, desired: wanted }))
    }

    /// Whether somebody is on the way out.
    pub fn is_under_way(&self, replicas: &Replicas) -> bool {
        !self.leaving.is_empty() || replicas.list.iter().any(Group::is_closed)
    }

    /// Puts pods in service that have just come.
    pub fn greet(writer: &InService, replicas: &Replicas) {
        for pod in replicas.list.iter().flat_map(|group| &group.pods) {
            if pod.service.gate == Gate::Unset {
                writer.set(pod, true);
            }
        }
    }

    /// Puts everybody in service: nothing is drained.
    pub fn give_back(&mut self, writer: &InService, namespace: &str, replicas: &Replicas) {
        for group in &replicas.list {
            open(writer, group);
        }
        *self = Self {
            told: Told { gate: gate_problem(writer, namespace, replicas), ..Told::default() },
            rollouts: std::mem::take(&mut self.rollouts),
            ..Self::default()
        };
    }

    /// The same for a drain that nobody decides about any more and whose deadline has passed.
    pub fn give_back_late(
        &mut self,
        writer: &InService,
        namespace: &str,
        replicas: &Replicas,
        deadline: TimeDelta,
    ) {
        let now = Utc::now();
        if self.leaving.values().any(|leaving| now - leaving.since >= deadline) {
            self.give_back(writer, namespace, replicas);
        }
    }

    /// Goes on with what is wanted now. Returns the size to write, where one is to be written.
    pub async fn step(&mut self, context: &Context, scene: &Scene<'_>) -> Option<i32> {
        // A size that was not written, because another role was waited for or the write failed, is void.
        self.writing = None;
        let (current, wanted) = scene.sizes;
        let shrinks = wanted < current;
        let object = match self.rollouts.look(context, scene, shrinks).await {
            Ok(object) => object,
            Err(error) => {
                warn!(namespace = scene.namespace, target = scene.target.name, %error, "the target's object could not be read, so it does not shrink now");
                return None;
            }
        };
        let held = shrinks && self.rollouts.holds(scene.now);
        let sizes = (current, if held { current } else { wanted });
        let alive: Alive =
            scene.replicas.list.iter().enumerate().filter(|(_, group)| group.is_alive()).collect();
        self.follow(scene, &alive);
        let Some((order, candidates)) = self.candidates(context, scene, &alive, &object) else {
            self.give_back(&context.in_service, scene.namespace, scene.replicas);
            self.told.is_on = true;
            self.told.best_effort = Some(BestEffort::UnknownVictims);
            return (wanted != current).then_some(wanted);
        };
        let removal = removal(order, &object);
        self.removal = Some(removal);
        let step = drain(removal, Resize { current: sizes.0, desired: sizes.1 }, scene.plan.deadline, &candidates, scene.now);
        self.carry_out(context, scene, &alive, &step);
        self.tell(context, scene, &alive, &step, held);
        let (to, going, late) = match step.verdict {
            Verdict::Write { to, leaving, late } => (to, &step.victims[..leaving], late),
            Verdict::Wait { .. } => return None,
            Verdict::Idle => return (wanted > current).then_some(wanted),
        };
        let going: Vec<&Group> = going.iter().map(|index| alive[*index].1).collect();
        if !self.mark(context, order, &going).await {
            return None;
        }
        self.writing = Some(self.writing(
            scene,
            (current, to),
            &going,
            &late.iter().map(|index| alive[*index]).collect::<Vec<_>>(),
        ));
        Some(to)
    }

    /// The size is not written yet, because the ratio to another role would suffer.
    pub fn waits_for_role(&mut self, (from, to): (i32, i32)) {
        if to < from {
            self.told.for_role = Some((from, to));
        }
    }

    /// The size has been written. Returns what there is to say about it.
    pub fn written(&mut self, context: &Context) -> Option<&Ended> {
        let Writing { leaving, ended } = self.writing.take()?;
        for key in leaving {
            if let Some(leaving) = self.leaving.get_mut(&key) {
                leaving.written = Some(Instant::now());
            }
        }
        context.telemetry.drained(if matches!(ended.how, How::Late(_)) {
            "deadline"
        } else {
            "drained"
        });
        self.told.waiting = None;
        self.told.ended = Some(ended);
        self.told.ended.as_ref()
    }

    /// Takes over who is on the way out, as the pods have it, and forgets who is gone.
    fn follow(&mut self, scene: &Scene<'_>, alive: &Alive<'_>) {
        let keys: Vec<&str> = alive.iter().map(|(_, group)| key(group)).collect();
        self.leaving.retain(|key, leaving| {
            keys.contains(&key.as_str())
                && leaving.written.is_none_or(|at| at.elapsed() < GOES_WITHIN)
        });
        for (_, group) in alive {
            let closed = group.pods.iter().filter_map(|pod| match pod.service.gate {
                Gate::Closed { since } => Some(since),
                _ => None,
            });
            if let Some(since) = closed.min() {
                let begun = Leaving { since: since.min(scene.now), out_since: None, written: None };
                self.leaving.entry(key(group).to_owned()).or_insert(begun);
            }
        }
    }

    /// What the core has to know; `None` where nobody can say whom a smaller size removes.
    fn candidates(
        &mut self,
        context: &Context,
        scene: &Scene<'_>,
        alive: &Alive<'_>,
        object: &Object,
    ) -> Option<(Victims, Vec<Candidate>)> {
        let order = object.victims.or_else(|| workloads::victims(scene.target))?;
        let ordinals: Option<Vec<i32>> =
            alive.iter().map(|(_, group)| ordinal(group, order)).collect();
        let ordinals = ordinals?;
        let first = match order {
            Victims::PodOrdinals => {
                object.first_ordinal.or(ordinals.iter().min().copied()).unwrap_or(0)
            }
            Victims::LabelOrdinals(_) | Victims::DeletionCost | Victims::InstanceCost => 0,
        };
        let forbidden =
            context.in_service.failure(scene.namespace).is_some_and(|failure| failure.is_forbidden);
        let candidates = alive.iter().zip(ordinals).map(|((place, group), ordinal)| {
            let requests = scene.requests.get(*place).copied().flatten();
            let draining = self.leaving.get_mut(key(group)).map(|leaving| {
                let gated = has_gate(group) && !forbidden;
                leaving.look(gated, group, scene.now);
                Draining {
                    since: leaving.since,
                    is_empty: leaving.is_empty(gated, requests),
                    is_written: leaving.written.is_some(),
                }
            });
            let requests = requests.map(|requests| requests.count);
            Candidate { ordinal: ordinal - first, requests, ready: group.state().ready, draining }
        });
        Some((order, candidates.collect()))
    }

    /// Closes and opens gates.
    fn carry_out(
        &mut self,
        context: &Context,
        scene: &Scene<'_>,
        alive: &Alive<'_>,
        step: &DrainStep,
    ) {
        for index in &step.begin {
            let begun = Leaving { since: scene.now, out_since: None, written: None };
            self.leaving.insert(key(alive[*index].1).to_owned(), begun);
        }
        for (index, (_, group)) in alive.iter().enumerate() {
            if step.victims.contains(&index) {
                group.pods.iter().for_each(|pod| context.in_service.set(pod, false));
            } else {
                open(&context.in_service, group);
            }
        }
        let (current, wanted) = scene.sizes;
        if !step.begin.is_empty() {
            let pods: Vec<&str> = step.begin.iter().map(|index| name(alive[*index].1)).collect();
            info!(
                namespace = scene.namespace,
                target = scene.target.name,
                current,
                wanted,
                ?pods,
                "draining"
            );
        }
        let mut cancelled = false;
        for index in &step.cancel {
            let leaving = self.leaving.remove(key(alive[*index].1));
            cancelled |= leaving.is_some_and(|leaving| leaving.written.is_none());
        }
        if cancelled && step.victims.is_empty() {
            info!(namespace = scene.namespace, target = scene.target.name, "draining is cancelled");
            context.telemetry.drained("cancelled");
            self.told.ended = Some(Ended { from: current, to: current, how: How::Cancelled });
        }
    }

    /// Marks those that go, where that is how they are chosen; whether the size may be written.
    async fn mark(&mut self, context: &Context, order: Victims, going: &[&Group]) -> bool {
        let pods: Vec<Arc<Pod>> =
            going.iter().flat_map(|group| group.pods.iter().cloned()).collect();
        let (marked, role) = match order {
            Victims::PodOrdinals | Victims::LabelOrdinals(_) => return true,
            Victims::DeletionCost => {
                (context.in_service.mark(&pods).await, "llm-autoscaler-deletion-cost")
            }
            Victims::InstanceCost => (
                context.in_service.mark_instances(&pods).await,
                "llm-autoscaler-instance-deletion-cost",
            ),
        };
        match marked {
            Ok(()) => true,
            Err(failure) if failure.is_forbidden => {
                self.told
                    .best_effort
                    .get_or_insert(BestEffort::NotMarked { role, error: failure.text });
                true
            }
            Err(failure) => {
                warn!(
                    error = failure.text,
                    "replicas could not be marked for removal; trying again"
                );
                false
            }
        }
    }

    fn writing(
        &self,
        scene: &Scene<'_>,
        (from, to): (i32, i32),
        going: &[&Group],
        late: &[(usize, &Group)],
    ) -> Writing {
        let since = going
            .iter()
            .filter_map(|group| self.leaving.get(key(group)))
            .map(|leaving| leaving.since);
        let seconds = since.min().map_or(0, |since| (scene.now - since).num_seconds());
        let how = if late.is_empty() {
            How::Drained { seconds }
        } else {
            How::Late(late.iter().map(|(place, group)| left(scene, *place, group)).collect())
        };
        let leaving = going.iter().map(|group| key(group).to_owned()).collect();
        Writing { leaving, ended: Ended { from, to, how } }
    }

    /// Notes what there is to say.
    fn tell(
        &mut self,
        context: &Context,
        scene: &Scene<'_>,
        alive: &Alive<'_>,
        step: &DrainStep,
        held: bool,
    ) {
        let waiting = match step.verdict {
            Verdict::Wait { until } => {
                let victims =
                    step.victims.iter().map(|index| left(scene, alive[*index].0, alive[*index].1));
                Some(Waiting {
                    from: scene.sizes.0,
                    to: scene.sizes.1,
                    victims: victims.collect(),
                    until,
                })
            }
            _ => None,
        };
        let marks_failed = matches!(self.told.best_effort, Some(BestEffort::NotMarked { .. }));
        let kept = self.told.best_effort.take().filter(|_| marks_failed);
        self.told = Told {
            is_on: true,
            waiting,
            for_role: None,
            held: if held { self.rollouts.seen(scene.now) } else { None },
            stuck: self.rollouts.seen(scene.now).filter(|_| !held),
            ended: self.told.ended.take(),
            best_effort: best_effort(scene, alive, context).or(kept),
            gate: gate_problem(&context.in_service, scene.namespace, scene.replicas),
        };
    }
}

fn removal(order: Victims, object: &Object) -> Removal {
    match order {
        Victims::PodOrdinals | Victims::LabelOrdinals(_) if object.is_ordered => {
            Removal::OrderedReady
        }
        Victims::PodOrdinals | Victims::LabelOrdinals(_) => Removal::HighestOrdinals,
        Victims::DeletionCost | Victims::InstanceCost => Removal::Marked,
    }
}

fn open(writer: &InService, group: &Group) {
    for pod in &group.pods {
        writer.set(pod, true);
        writer.unmark(pod);
    }
}

fn left(scene: &Scene<'_>, place: usize, group: &Group) -> Left {
    let requests = scene.requests.get(place).copied().flatten().map(|requests| requests.count);
    Left { name: name(group).to_owned(), requests }
}

fn best_effort(scene: &Scene<'_>, alive: &Alive<'_>, context: &Context) -> Option<BestEffort> {
    let without =
        alive.iter().filter(|(_, group)| !has_gate(group)).map(|(_, group)| name(group).to_owned());
    let without: Vec<String> = without.collect();
    if !without.is_empty() {
        return Some(BestEffort::NoGate(without));
    }
    let failure =
        context.in_service.failure(scene.namespace).filter(|failure| failure.is_forbidden);
    if failure.is_some() {
        return Some(BestEffort::NotPermitted);
    }
    scene.plan.requests.is_none().then_some(BestEffort::RequestsUnknown)
}

/// What keeps pods from being put in service, where some depend on it.
fn gate_problem(
    writer: &InService,
    namespace: &str,
    replicas: &Replicas,
) -> Option<(bool, String)> {
    if !replicas.list.iter().any(has_gate) {
        return None;
    }
    writer.failure(namespace).map(|failure| (failure.is_forbidden, failure.text))
}
