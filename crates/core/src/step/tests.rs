//! Whole steps as rows of tables: no pod, no clock, no API server.

mod pace;
mod shadow;

use chrono::TimeDelta;

use super::{
    Basis, Config, DrainAction, DrainObservation, ReplicaCounts, RoleConfig, RoleMemory,
    RoleObservation, StepPlan, WaitingOn, WorkloadState, WriteBlock, plan,
};
use crate::{
    coordinate::{Ratio, SharedLimits},
    drain::{Candidate, Draining, Removal},
    now::{Monotonic, Now},
    observation::{EngineActivity, Observation, Replica},
    profile::Profile,
    replica_reason::ReplicaReason as Reason,
    replica_state::ReplicaState,
    shadow::Mode,
    tests::support::{at, policy_with_windows, ready},
    units::Milli,
};

const DEADLINE: TimeDelta = TimeDelta::seconds(120);

fn now() -> Now {
    Now { wall: at(100), monotonic: Monotonic::default() }
}

/// One role of a row. Its policy has one metric with a target of 10 per replica, and no windows.
#[derive(Clone, Debug, Default)]
struct Role {
    usable: Observation,
    beyond_doubt: Option<Observation>,
    block: WriteBlock,
    drain: Option<DrainObservation>,
    mode: Mode,
}

/// A role of ready replicas with these samples.
fn role(samples: &[i64]) -> Role {
    let samples: Vec<Option<i64>> = samples.iter().copied().map(Some).collect();
    Role { usable: ready(&samples), ..Role::default() }
}

impl Role {
    /// Leaves only these samples beyond doubt.
    fn in_doubt(self, samples: &[Option<i64>]) -> Self {
        Self { beyond_doubt: Some(ready(samples)), ..self }
    }

    /// Lets scale-downs remove the highest ordinals once these candidates are drained.
    fn draining(self, candidates: Vec<Candidate>, workload: WorkloadState) -> Self {
        let removal = Some(Removal::HighestOrdinals);
        Self { drain: Some(DrainObservation { removal, candidates, workload }), ..self }
    }

    /// Adds reasons not to write.
    fn blocked(self, block: WriteBlock) -> Self {
        Self { block, ..self }
    }

    fn states(&self) -> Vec<ReplicaState> {
        let replicas = self.usable.replicas.iter();
        let activity = EngineActivity::Answering;
        replicas.map(|replica| ReplicaState::new(Replica { activity, ..*replica })).collect()
    }

    fn counts(&self) -> ReplicaCounts {
        let alive = self.usable.replicas.len() as i32;
        ReplicaCounts { alive, coming: alive, ..ReplicaCounts::default() }
    }
}

/// A candidate that is in service, or drains since a second.
fn candidate(ordinal: i32, requests: u64, since: Option<i64>) -> Candidate {
    let is_empty = requests == 0;
    let draining = since.map(|since| Draining { since: at(since), is_empty, is_written: false });
    Candidate { ordinal, requests: Some(requests), ready: true, draining }
}

const READ: WorkloadState = WorkloadState::Read { rollout_holds: false };
const ROLLING: WorkloadState = WorkloadState::Read { rollout_holds: true };

fn planned(roles: &[Role], shared: Option<SharedLimits>) -> StepPlan {
    let memory = RoleMemory::default();
    let memory: Vec<&RoleMemory> = roles.iter().map(|_| &memory).collect();
    planned_from(roles, shared, &memory, Profile::Default, now())
}

fn planned_from(
    roles: &[Role],
    shared: Option<SharedLimits>,
    memory: &[&RoleMemory],
    profile: Profile,
    now: Now,
) -> StepPlan {
    let config = Config {
        roles: roles
            .iter()
            .map(|role| RoleConfig {
                policy: policy_with_windows(profile, 0, 0),
                gpus: 1,
                drain_deadline: role.drain.as_ref().map(|_| DEADLINE),
                mode: role.mode,
            })
            .collect(),
        shared,
    };
    let states: Vec<Vec<ReplicaState>> = roles.iter().map(Role::states).collect();
    let observed: Vec<RoleObservation<'_>> = roles
        .iter()
        .zip(&states)
        .map(|(role, states)| RoleObservation {
            usable: &role.usable,
            beyond_doubt: role.beyond_doubt.as_ref(),
            states,
            counts: role.counts(),
            block: role.block,
            drain: role.drain.clone().unwrap_or_default(),
        })
        .collect();
    plan(&config, memory, &observed, now)
}

/// The writes of a plan in their order, where each succeeds: role and size.
fn writes(plan: &StepPlan) -> Vec<(usize, i32)> {
    let mut writes = plan.writes();
    let mut order = Vec::new();
    while let Some(write) = writes.next_write() {
        writes.record(write, true);
        order.push((write.role, write.to));
    }
    order
}

fn pair(ratio: Option<(i64, i64)>, max_replicas: i64) -> SharedLimits {
    let ratio = ratio.map(|(min, max)| Ratio {
        between: [0, 1],
        min: Some(Milli(min)),
        max: Some(Milli(max)),
    });
    SharedLimits { ratio, max_replicas, max_gpus: None }
}

#[test]
fn a_step_of_one_role() {
    const FREE: WriteBlock =
        WriteBlock { paused: false, manual_change: false, contested_until: None };
    const PAUSED: WriteBlock = WriteBlock { paused: true, ..FREE };
    const RESPECTED: WriteBlock = WriteBlock { manual_change: true, ..FREE };
    let contested = WriteBlock { contested_until: Some(at(130)), ..FREE };
    let contest = Some(WaitingOn::Contest { until: at(130) });
    let idle = [candidate(0, 1, None), candidate(1, 0, None), candidate(2, 3, None)];
    let empty = [candidate(0, 1, None), candidate(1, 0, Some(90)), candidate(2, 0, Some(90))];
    let late = [candidate(0, 1, None), candidate(1, 0, Some(90)), candidate(2, 3, Some(-30))];
    let wait = |second| Some(WaitingOn::Requests { until: at(second) });
    let low = || role(&[3, 3, 3]);
    // role; basis, demand, what it waits for, writes
    let table = [
        (role(&[10, 10]), Basis::Usable, 2, None, vec![]),
        (role(&[25, 25]), Basis::Usable, 5, None, vec![(0, 5)]),
        (low(), Basis::Usable, 1, None, vec![(0, 1)]),
        // Samples in doubt grow a target; they never shrink it.
        (role(&[25, 25]).in_doubt(&[None, None]), Basis::Usable, 5, None, vec![(0, 5)]),
        (low().in_doubt(&[Some(3), Some(3), None]), Basis::BeyondDoubt, 3, None, vec![]),
        (low().in_doubt(&[None, None, None]), Basis::InDoubt, 3, None, vec![]),
        // Nor does their absence: without the sample of 20, two replicas would do.
        (
            role(&[20, 1, 1, 1, 1]).in_doubt(&[None, Some(1), Some(1), Some(1), Some(1)]),
            Basis::Usable,
            3,
            None,
            vec![(0, 3)],
        ),
        // A block keeps the size, whatever is decided.
        (role(&[25, 25]).blocked(PAUSED), Basis::Usable, 5, Some(WaitingOn::Pause), vec![]),
        (low().blocked(RESPECTED), Basis::Usable, 1, Some(WaitingOn::ManualChange), vec![]),
        (low().blocked(contested), Basis::Usable, 1, contest, vec![]),
        (role(&[25, 25]).blocked(contested), Basis::Usable, 5, contest, vec![]),
        // A size that is the right one waits for nothing.
        (role(&[10, 10]).blocked(contested), Basis::Usable, 2, None, vec![]),
        // A scale-down that drains reads the target's object, waits for its rollout, and for
        // requests.
        (
            low().draining(idle.to_vec(), WorkloadState::Unread),
            Basis::Usable,
            1,
            Some(WaitingOn::Workload),
            vec![],
        ),
        (
            low().draining(idle.to_vec(), ROLLING),
            Basis::Usable,
            1,
            Some(WaitingOn::Rollout),
            vec![],
        ),
        (low().draining(idle.to_vec(), READ), Basis::Usable, 1, wait(220), vec![]),
        (low().draining(empty.to_vec(), READ), Basis::Usable, 1, None, vec![(0, 1)]),
        (low().draining(late.to_vec(), READ), Basis::Usable, 1, None, vec![(0, 1)]),
        // Growth waits for nothing.
        (
            role(&[25, 25]).draining(idle[..2].to_vec(), WorkloadState::Unread),
            Basis::Usable,
            5,
            None,
            vec![(0, 5)],
        ),
    ];
    for (row, (role, basis, demand, waits, expected)) in table.into_iter().enumerate() {
        let plan = planned(&[role], None);
        let found = &plan.roles[0];
        assert_eq!((found.basis, found.demand, found.waits), (basis, Some(demand), waits), "{row}");
        assert_eq!(writes(&plan), expected, "row {row}");
    }
}

#[test]
fn a_step_of_two_roles_of_which_one_is_in_doubt_and_one_drains() {
    // Prefill would shrink to 1 by a sample in doubt, and keeps 3; decode shrinks from 3 to 1, but
    // the ratio of 1 to 2 keeps 2 beside prefill's 3, and its replica 2 has requests left.
    let prefill = role(&[3, 3, 3]).in_doubt(&[None, None, None]);
    let drains = vec![candidate(0, 2, None), candidate(1, 1, None), candidate(2, 4, Some(40))];
    let decode = role(&[3, 3, 3]).draining(drains, READ);
    let plan = planned(&[prefill, decode], Some(pair(Some((1000, 2000)), 20)));
    let [prefill, decode] = &plan.roles[..] else { panic!("{plan:?}") };
    assert_eq!(
        (prefill.basis, prefill.demand, prefill.granted),
        (Basis::InDoubt, Some(3), Some(3))
    );
    assert_eq!((decode.basis, decode.demand, decode.granted), (Basis::Usable, Some(1), Some(2)));
    assert_eq!(prefill.reasons, [Reason::Needed, Reason::HeldByDoubt, Reason::HeldByDoubt]);
    assert_eq!(decode.reasons, [Reason::Needed, Reason::Ratio, Reason::Draining]);
    assert_eq!(decode.waits, Some(WaitingOn::Requests { until: at(160) }));
    let DrainAction::Step(step) = &decode.drain else { panic!("{decode:?}") };
    assert_eq!(
        (&step.victims[..], &step.begin[..], &step.cancel[..]),
        (&[2][..], &[][..], &[][..])
    );
    assert_eq!(writes(&plan), []);
}

#[test]
fn writes_keep_the_ratio_and_go_on_after_a_failure() {
    // From 4 : 2 to 8 : 4, with a ratio of up to 2: decode has to grow first.
    let roles = || [role(&[20; 4]), role(&[20; 2])];
    let limits = || Some(pair(Some((500, 2000)), 40));
    let plan = planned(&roles(), limits());
    assert_eq!(writes(&plan), [(1, 4), (0, 8)]);
    // Where decode's write fails, prefill's would break the ratio, and waits.
    let mut left = plan.writes();
    let first = left.next_write().unwrap();
    left.record(first, false);
    assert_eq!(left.next_write(), None);
    let waiting: Vec<_> = left.waiting().map(|write| (write.role, write.from, write.to)).collect();
    assert_eq!(waiting, [(0, 4, 8)]);
    // So it does where decode's victims could not be marked.
    let mut left = plan.writes();
    left.skip(1);
    assert_eq!(left.next_write(), None);
}

#[test]
fn a_shared_limit_grants_less_than_is_demanded() {
    let plan = planned(&[role(&[40, 40]), role(&[10, 10])], Some(pair(None, 6)));
    let granted: Vec<_> = plan.roles.iter().map(|role| (role.demand, role.granted)).collect();
    assert_eq!(granted, [(Some(8), Some(4)), (Some(2), Some(2))]);
    assert_eq!(writes(&plan), [(0, 4)]);
}

#[test]
fn a_contested_size_counts_as_it_is_for_the_ratio() {
    // Both would grow from 2 to 8; decode's size is undone again and again, so prefill gets no more
    // than twice as many as decode has.
    let block = WriteBlock { contested_until: Some(at(130)), ..WriteBlock::default() };
    let roles = [role(&[40, 40]), role(&[40, 40]).blocked(block)];
    let plan = planned(&roles, Some(pair(Some((500, 2000)), 40)));
    let granted: Vec<_> = plan.roles.iter().map(|role| (role.demand, role.granted)).collect();
    assert_eq!(granted[0], (Some(8), Some(4)));
    assert_eq!(writes(&plan), [(0, 4)]);
}

#[test]
fn each_replica_has_one_reason() {
    let windows = |down| policy_with_windows(Profile::Default, 0, down);
    // samples per replica, minimum, maximum; reasons
    let table = [
        (&[10, 10][..], 1, 20, vec![Reason::Needed, Reason::Needed]),
        (&[3, 3, 3], 1, 20, vec![Reason::Needed, Reason::HeldByWindow, Reason::HeldByWindow]),
        (&[1, 1], 2, 20, vec![Reason::Needed, Reason::HeldByWindow]),
        (&[1], 2, 20, vec![Reason::Floor]),
        (&[10, 10, 10], 1, 2, vec![Reason::Needed, Reason::Needed, Reason::AboveCeiling]),
    ];
    for (samples, min_replicas, max_replicas, expected) in table {
        let role = role(samples);
        let policy = crate::policy::Policy { min_replicas, max_replicas, ..windows(300) };
        let config = Config {
            roles: vec![RoleConfig { policy, gpus: 1, drain_deadline: None, mode: Mode::Scale }],
            shared: None,
        };
        let states = role.states();
        let observed = RoleObservation {
            usable: &role.usable,
            beyond_doubt: None,
            states: &states,
            counts: role.counts(),
            block: WriteBlock::default(),
            drain: DrainObservation::default(),
        };
        let plan = plan(&config, &[&RoleMemory::default()], &[observed], now());
        assert_eq!(plan.roles[0].reasons, expected, "{samples:?}");
    }
}

#[test]
fn numbers_of_replicas_are_added_up_here_and_nowhere_else() {
    // alive, ending, coming, closed, requested; existing, missing, staying
    let table = [
        ((2, 0, 2, 0), 2, (2, 0, 2)),
        ((2, 0, 1, 0), 4, (4, 3, 4)),
        ((3, 1, 3, 0), 2, (4, 0, 2)),
        ((3, 0, 3, 1), 3, (3, 0, 2)),
    ];
    for ((alive, ending, coming, closed), requested, expected) in table {
        let counts = ReplicaCounts { alive, ending, coming, closed };
        let found =
            (counts.existing(requested), counts.missing(requested), counts.staying(requested));
        assert_eq!(found, expected, "{counts:?} {requested}");
    }
}
