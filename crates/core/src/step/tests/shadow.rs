//! Roles that only recommend.

use proptest::prelude::*;

use super::*;
use crate::{policy::Policy, shadow::Shadow, tests::support::observed};

/// A role that only recommends, with a window of scale-downs, from step to step.
struct Recommender {
    policy: Policy,
    memory: RoleMemory,
    second: i64,
}

impl Recommender {
    fn new(window: i64) -> Self {
        let policy = policy_with_windows(Profile::Default, 0, window);
        Self { policy, memory: RoleMemory::default(), second: 0 }
    }

    fn now(&self) -> Now {
        let monotonic = Monotonic(std::time::Duration::from_secs(self.second.unsigned_abs()));
        Now { wall: at(self.second), monotonic }
    }

    /// Makes a step a minute later, with the total load on so many replicas. Returns the size that
    /// is recommended, or written in [`Mode::Scale`].
    fn step(&mut self, mode: Mode, load: i64, actual: i64) -> i32 {
        self.second += 60;
        let now = self.now();
        let usable = ready(&vec![Some(load / actual); actual as usize]);
        let role = Role { usable, ..Role::default() };
        self.memory.follow_mode(mode, &self.policy, actual as i32, now.wall);
        let states = role.states();
        let observed = RoleObservation {
            usable: &role.usable,
            beyond_doubt: None,
            states: &states,
            counts: role.counts(),
            block: role.block,
            drain: DrainObservation::default(),
        };
        let policy = self.policy.clone();
        let role = RoleConfig { policy, gpus: 1, drain_deadline: None, mode };
        let config = Config { roles: vec![role], shared: None };
        let plan = plan(&config, &[&self.memory], &[observed], now);
        let role = &plan.roles[0];
        match mode {
            Mode::Recommend => {
                assert_eq!((role.write, plan.count_writes()), (None, 0));
                self.memory.record_recommended(&self.policy, role, actual as i32, now);
                self.memory.shadow.as_ref().map_or(-1, Shadow::replicas)
            }
            Mode::Scale => {
                let write = plan.writes().next_write();
                self.memory.record(&self.policy, &role.decision, WriteBlock::default(), write, now);
                write.map_or(actual as i32, |write| write.to)
            }
        }
    }
}

#[test]
fn the_shadow_moves_by_its_own_window_whatever_the_target_does() {
    let mut shadow = Recommender::new(150);
    // load, size of the target; recommended size. The target for a replica is 10.
    let table = [
        (40, 4, 4),
        // The target stays behind and is overtaken, and the recommendation is the load's.
        (80, 4, 8),
        (80, 6, 8),
        // The load falls: the window of the shadow keeps its own size, and not the target's.
        (20, 12, 8),
        (20, 2, 8),
        (20, 5, 2),
        // Within the tolerance of its own size it stays, though the target's would stay too.
        (30, 3, 3),
        (28, 4, 3),
    ];
    for (load, actual, expected) in table {
        assert_eq!(shadow.step(Mode::Recommend, load, actual), expected, "{load} on {actual}");
    }
}

#[test]
fn a_switch_of_the_mode_jumps_in_no_direction() {
    let mut role = Recommender::new(150);
    for _ in 0..10 {
        role.step(Mode::Recommend, 20, 10);
    }
    assert_eq!(role.memory.shadow.as_ref().map(Shadow::replicas), Some(2));
    // The target keeps its ten replicas for a whole window.
    for _ in 0..3 {
        assert_eq!(role.step(Mode::Scale, 20, 10), 10);
    }
    assert_eq!(role.memory.shadow, None);
    assert_eq!(role.step(Mode::Scale, 20, 10), 2);
    // Back: the shadow begins with the size that the target has, and with the window so far.
    assert_eq!(role.step(Mode::Recommend, 60, 2), 6);
    assert_eq!(role.step(Mode::Recommend, 20, 2), 6);
    // The window of the shadow is history: what it had recommended still holds.
    assert_eq!(role.step(Mode::Scale, 20, 8), 8);
}

#[test]
fn a_gap_holds_the_size_of_the_shadow_and_not_that_of_the_target() {
    let mut role = Recommender::new(150);
    assert_eq!(role.step(Mode::Recommend, 80, 3), 8);
    let resize = || panic!("the target's size does not matter to the shadow");
    role.memory.latest = Some(role.now());
    role.second += 10_000;
    let gap = std::time::Duration::from_mins(1);
    assert!(role.memory.begin_step(&role.policy, resize, role.now(), gap));
    assert_eq!(role.step(Mode::Recommend, 20, 3), 8);
    assert_eq!(role.memory.history.scale_downs(), []);
    assert_eq!(role.memory.history.snapshot().replicas, Some(3), "a record has the target's size");
}

#[test]
fn replicas_of_the_target_without_a_sample_are_no_reason_to_follow_its_size() {
    const NEW: Replica = Replica::PENDING;
    // One replica has all of the load, 25, and the others of the target's five have no sample yet.
    for (others, what) in [(Replica::READY, "ready"), (NEW, "starting")] {
        let mut replicas = vec![(others, None); 5];
        replicas[0] = (Replica::READY, Some(25));
        for size in [3, 8] {
            let role =
                Role { usable: observed(5, &replicas), mode: Mode::Recommend, ..Role::default() };
            let shadow = Some(Shadow::new(size));
            let memory = RoleMemory { shadow, ..RoleMemory::default() };
            let plan = planned_from(&[role], None, &[&memory], Profile::Default, now());
            assert_eq!(plan.roles[0].recommended(), size, "{size}, the others are {what}");
        }
    }
}

#[test]
fn a_decision_starts_from_the_shadow_only_while_nothing_is_written() {
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let with = |shadow| RoleMemory { shadow, ..RoleMemory::default() };
    // mode, shadow, size of the target; size that the decision and its promise start from
    let table = [
        (Mode::Recommend, Some(3), 5, 3),
        (Mode::Recommend, Some(8), 5, 8),
        (Mode::Recommend, Some(3), 0, 0),
        (Mode::Recommend, None, 5, 5),
        (Mode::Scale, Some(3), 5, 5),
    ];
    for (mode, shadow, actual, expected) in table {
        let memory = with(shadow.map(Shadow::new));
        let found = memory.size_before(mode, &policy, actual);
        assert_eq!(found, expected, "{mode:?} {shadow:?} {actual}");
    }
}

fn a_role() -> impl Strategy<Value = Role> {
    let samples = proptest::collection::vec(0_i64..60, 1..6);
    let block = (any::<bool>(), any::<bool>());
    (samples, block, any::<bool>(), 0..6_usize, 0..3_u64).prop_map(
        |(samples, (paused, manual_change), drains, from, requests)| {
            let block = WriteBlock { paused, manual_change, contested_until: None };
            let candidates = (0..samples.len().min(from))
                .map(|ordinal| candidate(ordinal as i32, requests, None))
                .collect();
            let role = role(&samples).blocked(block);
            let role = if drains { role.draining(candidates, READ) } else { role };
            Role { mode: Mode::Recommend, ..role }
        },
    )
}

proptest! {
    #[test]
    fn a_recommendation_writes_no_size_and_touches_no_pod(
        roles in proptest::collection::vec(a_role(), 2),
        sizes in proptest::collection::vec(0..20_i32, 2),
        shared in any::<bool>(),
    ) {
        let memory: Vec<RoleMemory> = sizes
            .iter()
            .map(|size| RoleMemory { shadow: Some(Shadow::new(*size)), ..RoleMemory::default() })
            .collect();
        let memory: Vec<&RoleMemory> = memory.iter().collect();
        let limits = SharedLimits { ratio: None, max_replicas: 12, max_gpus: None };
        let plan = planned_from(&roles, shared.then_some(limits), &memory, Profile::Default, now());
        prop_assert_eq!(plan.count_writes(), 0);
        prop_assert_eq!(plan.writes().next_write(), None);
        prop_assert_eq!(plan.writes().waiting().count(), 0);
        for role in &plan.roles {
            prop_assert_eq!(&role.drain, &DrainAction::Keep);
            prop_assert!(role.recommended() >= 0);
        }
        if shared {
            let total: i32 = plan.roles.iter().map(super::super::RolePlan::recommended).sum();
            let before: i32 = plan.roles.iter().map(|role| role.decision.current).sum();
            prop_assert!(total <= before.max(12), "{total} of {before}");
        }
    }
}
