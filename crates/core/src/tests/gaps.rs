//! Properties of time that was not observed: gaps between steps, and a wall clock that is set.

use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;

use crate::{
    decide::decide,
    history::History,
    now::{Monotonic, Now},
    policy::Policy,
    profile::Profile,
    step::{RoleMemory, WriteBlock},
    tests::support::{at, policy_with_windows, ready},
    units::Resize,
};

const LONGEST_GAP: Duration = Duration::from_secs(30);

/// A target with its size and memory, which is stepped with loads.
struct Target {
    policy: Policy,
    memory: RoleMemory,
    size: i32,
}

impl Target {
    fn new(window: i64, size: i32) -> Self {
        let policy = policy_with_windows(Profile::Default, 0, window);
        Self { policy, memory: RoleMemory::default(), size }
    }

    fn begin_step(&mut self, monotonic: i64, set_by: i64) -> Now {
        let now = Now {
            wall: at(monotonic) + TimeDelta::seconds(set_by),
            monotonic: Monotonic(Duration::from_secs(monotonic.unsigned_abs())),
        };
        let resize = || Resize { current: self.size, desired: self.size };
        self.memory.begin_step(&self.policy, resize, now, LONGEST_GAP);
        now
    }

    /// Takes a step with this load per replica, and carries it out. Returns the new size.
    fn step(&mut self, load: i64, monotonic: i64, set_by: i64) -> i32 {
        let now = self.begin_step(monotonic, set_by);
        let samples = vec![Some(load); self.size as usize];
        let decision = decide(&self.policy, &self.memory.history, &ready(&samples), now.wall);
        self.memory.record(&self.policy, &decision, WriteBlock::default(), None, now);
        if let Some(size) = decision.rescale() {
            self.memory.history.record_scale(&self.policy, self.size, size, now.wall);
            self.size = size;
        }
        self.size
    }
}

/// Seconds between steps, and loads per replica at a target of 10.
fn steps(most: usize) -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((1_i64..30, prop_oneof![Just(0), Just(10), Just(15)]), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_gap_never_makes_a_target_smaller_earlier_than_a_restart_at_its_end(
        before in steps(20),
        gap in 31_i64..2000,
        after in steps(40),
        window in 0_i64..400,
    ) {
        let mut target = Target::new(window, 4);
        let mut now = 0;
        for (seconds, load) in before {
            now += seconds;
            target.step(load, now, 0);
        }
        now += gap;
        let mut restarted = Target::new(window, target.size);
        restarted.memory.history =
            History::restore(&target.memory.history.snapshot(), &target.policy, target.size, at(now));
        for (seconds, load) in after {
            let sizes = [target.step(load, now, 0), restarted.step(load, now, 0)];
            prop_assert!(sizes[0] >= sizes[1], "{:?} at {}", sizes, now);
            now += seconds;
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_changes_no_decision(
        list in steps(60),
        place in 0_usize..60,
        set_by in prop_oneof![-4000_i64..-3, 3_i64..4000],
        window in 0_i64..400,
    ) {
        let [mut steady, mut set] = [4, 4].map(|size| Target::new(window, size));
        let mut now = 0;
        for (index, (seconds, load)) in list.into_iter().enumerate() {
            now += seconds;
            let by = if index < place { 0 } else { set_by };
            prop_assert_eq!(set.step(load, now, by), steady.step(load, now, 0));
        }
    }
}

#[test]
fn the_window_begins_with_the_first_samples_after_a_restart() {
    // Four replicas are needed until a restart at 10 s, and the samples come at 13 s.
    let mut target = Target::new(60, 4);
    target.step(10, 0, 0);
    target.step(10, 10, 0);
    target.memory.history =
        History::restore(&target.memory.history.snapshot(), &target.policy, 4, at(10));
    for second in 10..13 {
        target.begin_step(second, 0);
        target.memory.await_samples();
    }
    for second in 13..73 {
        assert_eq!(target.step(0, second, 0), 4, "at {second} s");
    }
    assert!(target.step(0, 74, 0) < 4, "the window is over");
}

#[test]
fn the_load_in_a_gap_is_unknown() {
    // Five replicas are needed until an outage that is longer than the window of 300 s.
    let mut target = Target::new(300, 5);
    target.step(10, 0, 0);
    assert_eq!(target.step(0, 400, 0), 5, "nothing is known of the load since 0 s");
    assert_eq!(target.step(0, 429, 0), 5);
    for second in (440..700).step_by(10) {
        assert_eq!(target.step(0, second, 0), 5, "at {second} s");
    }
    assert_eq!(target.step(0, 701, 0), 1);
}

#[test]
fn an_idle_target_is_not_idle_in_a_gap() {
    let mut target = Target::new(0, 1);
    target.policy.min_replicas = 0;
    target.step(0, 0, 0);
    assert!(target.memory.history.idle_since().is_some());
    let resize = || Resize { current: 1, desired: 1 };
    let now = |second| Now { wall: at(second), monotonic: Monotonic(Duration::from_secs(45)) };
    assert!(target.memory.begin_step(&target.policy, resize, now(45), LONGEST_GAP));
    assert_eq!(target.memory.history.idle_since(), None);
}
