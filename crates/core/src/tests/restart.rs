//! Properties of the history: the pruned lists answer like the full ones, and survive a restart.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use crate::{
    decide::decide,
    decision::Outcome,
    history::{History, HistoryRecord, RECORD_ENTRIES, Recommendation, ScaleEvent},
    observation::{Observation, Reading, Replica, Scale},
    policy::{Amount, MetricKind, MetricPolicy, Policy, RatePolicy, Target, Tolerances},
    profile::Profile,
    stabilize,
    tests::support::{at, policy_with_windows, ready},
    units::{Milli, Resize},
};

/// Recommendations with the seconds between them.
fn recommendations(most: usize) -> impl Strategy<Value = Vec<(i64, i32)>> {
    prop::collection::vec((0_i64..40, 0_i32..50), 1..most)
}

fn remember(policy: &Policy, list: &[(i64, i32)]) -> (History, Vec<Recommendation>, DateTime<Utc>) {
    let (mut history, mut full, mut now) = (History::default(), Vec::new(), at(0));
    for (after, replicas) in list {
        now += TimeDelta::seconds(*after);
        history.record_recommendation(policy, *replicas, now);
        full.push(Recommendation { replicas: *replicas, at: now });
    }
    (history, full, now)
}

/// Returns the stabilized sizes that a list gives for a recommendation of `desired` at `current`.
fn answer(
    policy: &Policy,
    list: &[Recommendation],
    (current, desired): (i32, i32),
    now: DateTime<Utc>,
) -> [i32; 2] {
    let behavior = policy.behavior.as_ref().unwrap();
    [
        stabilize::legacy(list, behavior.scale_down.window, desired, now),
        stabilize::with_behavior(list, behavior, current, desired, now),
    ]
}

fn highest_since(list: &[Recommendation], begin: DateTime<Utc>) -> Option<i32> {
    list.iter().filter(|past| past.at > begin).map(|past| past.replicas).max()
}

fn lowest_since(list: &[Recommendation], begin: DateTime<Utc>) -> Option<i32> {
    list.iter().filter(|past| past.at > begin).map(|past| past.replicas).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn two_staircases_answer_like_the_full_list(
        list in recommendations(60),
        (up, down) in (0_i64..400, 0_i64..400),
        question in (0_i32..50, 0_i32..50),
        later in 0_i64..500,
    ) {
        let policy = policy_with_windows(Profile::Default, up, down);
        let (history, full, now) = remember(&policy, &list);
        let small = history.recommendations().unwrap();
        let now = now + TimeDelta::seconds(later);
        let [small, full] = [small, &full].map(|list| answer(&policy, list, question, now));
        prop_assert_eq!(small, full);
    }

    #[test]
    fn a_record_is_small_and_only_lengthens_windows(
        list in recommendations(300),
        age in 0_i64..4000,
    ) {
        let policy = policy_with_windows(Profile::Default, 3600, 3600);
        let (history, _, now) = remember(&policy, &list);
        let full = history.recommendations().unwrap();
        let record = history.snapshot().recommendations;
        prop_assert!(record.len() <= RECORD_ENTRIES / 2);
        let begin = now - TimeDelta::seconds(age);
        prop_assert!(highest_since(&record, begin) >= highest_since(full, begin));
        let lowest = lowest_since(&record, begin);
        prop_assert!(lowest <= lowest_since(full, begin) || record.is_empty());
        // No entry outlives the window after its recommendation.
        prop_assert!(record.iter().all(|past| past.at <= now));
    }

    #[test]
    fn the_current_size_stands_for_unknown_recommendations(
        list in recommendations(60),
        current in 0_i32..50,
        gap in 0_i64..1000,
        after in recommendations(60),
    ) {
        let window = TimeDelta::seconds(300);
        let policy = policy_with_windows(Profile::Default, 300, 300);
        let (mut unbroken, _, now) = remember(&policy, &list);
        let restart = now + TimeDelta::seconds(gap);
        let mut restored = History::restore(&unbroken.snapshot(), &policy, current, restart);
        let mut now = restart;
        for (seconds, replicas) in after {
            now += TimeDelta::seconds(seconds);
            for history in [&mut unbroken, &mut restored] {
                history.record_recommendation(&policy, replicas, now);
            }
            let [unbroken, restored] = [&unbroken, &restored].map(|history| {
                let list = history.recommendations().unwrap();
                (highest_since(list, now - window), lowest_since(list, now - window))
            });
            if now < restart + window {
                prop_assert!(restored.0 >= unbroken.0.max(Some(current)));
                prop_assert!(restored.1 <= unbroken.1.min(Some(current)));
            } else {
                prop_assert_eq!(restored, unbroken);
            }
        }
    }
}

/// A run of the whole step on readings that do not depend on the size.
struct Run {
    policy: Policy,
    history: History,
    replicas: i32,
}

/// The point at which the process dies: after a step, or between the write of the scale and that of
/// the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Not,
    Between,
    InStep,
}

const TICK: i64 = 15;

impl Run {
    fn new(policy: &Policy, replicas: i32) -> Self {
        Self { policy: policy.clone(), history: History::default(), replicas }
    }

    fn step(&mut self, wanted: i32, now: DateTime<Utc>, kill: Kill) {
        let observation = Observation {
            scale: Scale { current: self.replicas, status: self.replicas },
            replicas: vec![Replica::READY; self.replicas as usize],
            readings: vec![Reading::Object(Milli::whole(wanted.into()))],
            ..Observation::default()
        };
        let decision = decide(&self.policy, &self.history, &observation, now);
        self.history.record(&self.policy, &decision, now);
        let written = self.history.snapshot();
        if let Some(replicas) = decision.rescale() {
            self.history.record_scale(&self.policy, self.replicas, replicas, now);
            self.replicas = replicas;
        }
        match kill {
            Kill::Not => {}
            Kill::Between => self.restart(&self.history.snapshot(), now + TimeDelta::seconds(TICK)),
            Kill::InStep => self.restart(&written, now + TimeDelta::seconds(TICK)),
        }
    }

    fn restart(&mut self, record: &HistoryRecord, now: DateTime<Utc>) {
        self.history = History::restore(record, &self.policy, self.replicas, now);
    }
}

/// Returns a policy with a metric that proposes its own value as the number of replicas.
fn direct(down_window: i64, rates: Option<(Amount, Amount)>) -> Policy {
    let mut policy = policy_with_windows(Profile::Default, 0, down_window);
    policy.max_replicas = 50;
    policy.tolerance = Tolerances { down: 0.0, up: 0.0 };
    policy.metrics = vec![MetricPolicy {
        kind: MetricKind::Object,
        target: Target::AverageValue(Milli::whole(1)),
    }];
    if let (Some(behavior), Some((up, down))) = (&mut policy.behavior, rates) {
        let rate =
            |amount, seconds| vec![RatePolicy { amount, period: TimeDelta::seconds(seconds) }];
        behavior.scale_up.policies = rate(up, 60);
        behavior.scale_down.policies = rate(down, 120);
    }
    policy
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(1..10).prop_map(Amount::Replicas), (1..100).prop_map(Amount::Percent)]
}

fn kills() -> impl Strategy<Value = Vec<(i32, Kill)>> {
    let kill = prop_oneof![8 => Just(Kill::Not), 1 => Just(Kill::Between), 1 => Just(Kill::InStep)];
    prop::collection::vec((1_i32..50, kill), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_restart_never_makes_a_target_smaller(
        timeline in kills(),
        down_window in 0_i64..600,
        rates in prop::option::of((amount(), amount())),
    ) {
        let policy = direct(down_window, rates);
        let (mut unbroken, mut killed) = (Run::new(&policy, 5), Run::new(&policy, 5));
        for (tick, (wanted, kill)) in timeline.into_iter().enumerate() {
            let now = at(tick as i64 * TICK);
            unbroken.step(wanted, now, Kill::Not);
            killed.step(wanted, now, kill);
            let (killed, unbroken) = (killed.replicas, unbroken.replicas);
            prop_assert!(killed >= unbroken, "at {tick}: {killed} < {unbroken}");
        }
    }

    #[test]
    fn a_restart_has_no_effect_after_one_window(
        timeline in kills(),
        down_window in 0_i64..600,
    ) {
        let policy = direct(down_window, None);
        let (mut unbroken, mut killed) = (Run::new(&policy, 5), Run::new(&policy, 5));
        let mut settled = at(0);
        for (tick, (wanted, kill)) in timeline.into_iter().enumerate() {
            let now = at(tick as i64 * TICK);
            unbroken.step(wanted, now, Kill::Not);
            killed.step(wanted, now, kill);
            if kill != Kill::Not {
                settled = now + TimeDelta::seconds(TICK + down_window);
            }
            prop_assert!(killed.replicas >= unbroken.replicas);
            prop_assert!(now < settled || killed.replicas == unbroken.replicas, "at {tick}");
        }
    }
}

#[test]
fn the_history_stays_small_however_long_it_runs() {
    let policy = direct(3600, Some((Amount::Replicas(1), Amount::Replicas(1))));
    let mut run = Run::new(&policy, 5);
    for tick in 0..20_000_i64 {
        // Long slow decreases give the longest staircases.
        let wanted = 45 - (tick % 4000) / 100;
        run.step(wanted as i32, at(tick), Kill::Not);
    }
    for size in 0..20_000 {
        run.history.record_scale(&policy, size, size + 1, at(20_000 + i64::from(size) / 100));
        run.history.record_recommendation(
            &policy,
            1_000_000 - size,
            at(20_000 + i64::from(size) / 100),
        );
    }
    assert!(run.history.recommendations().unwrap().len() <= 256);
    assert!(run.history.scale_ups().len() <= 256);
    let record = run.history.snapshot();
    let entries = record.recommendations.len() + record.scale_ups.len() + record.scale_downs.len();
    assert!(entries <= RECORD_ENTRIES, "{entries}");
}

#[test]
fn times_in_the_future_count_as_now() {
    let policy = policy_with_windows(Profile::Default, 0, 300);
    let record = HistoryRecord {
        recommendations: vec![Recommendation { replicas: 9, at: at(1_000_000) }],
        scale_ups: vec![ScaleEvent { change: 2, at: at(1_000_000), outdated: false }],
        ..HistoryRecord::default()
    };
    let history = History::restore(&record, &policy, 5, at(0));
    assert_eq!(history.scale_ups(), [ScaleEvent { change: 2, at: at(0), outdated: false }]);
    let list = history.recommendations().unwrap();
    assert_eq!(highest_since(list, at(-1)), Some(9));
    assert_eq!(highest_since(list, at(0)), None);
}

#[test]
fn an_unrecorded_scale_down_counts_as_a_scale_event() {
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let record = HistoryRecord { replicas: Some(5), ..HistoryRecord::default() };
    for (current, changes) in [(3, vec![2]), (5, vec![]), (8, vec![])] {
        let history = History::restore(&record, &policy, current, at(0));
        let found: Vec<_> = history.scale_downs().iter().map(|event| event.change).collect();
        assert_eq!(found, changes, "{current}");
        assert!(history.scale_ups().is_empty());
        assert_eq!(history.snapshot().replicas, Some(current));
    }
}

#[test]
fn a_recorded_time_is_not_earlier_than_the_remembered_one() {
    let policy = policy_with_windows(Profile::Default, 0, 300);
    let moment = at(0) + TimeDelta::nanoseconds(1001);
    let mut history = History::default();
    history.record_recommendation(&policy, 3, moment);
    history.record_scale(&policy, 3, 2, moment);
    history.record_scale(&policy, 2, 4, moment);
    let record = history.snapshot();
    assert_eq!(record.recommendations[0].at, at(0) + TimeDelta::microseconds(2));
    assert_eq!(record.scale_downs[0].at, at(0) + TimeDelta::microseconds(2));
    assert_eq!(record.scale_ups[0].at, at(0) + TimeDelta::microseconds(1));
}

#[test]
fn the_first_size_is_the_first_recommendation() {
    let policy = policy_with_windows(Profile::Default, 0, 300);
    let idle = ready(&[Some(0), Some(0), Some(0)]);
    let mut history = History::default();
    let first = decide(&policy, &history, &idle, at(0));
    assert_eq!(first.rescale(), None);
    history.record(&policy, &first, at(0));
    assert_eq!(decide(&policy, &history, &idle, at(299)).rescale(), None);
    assert_eq!(decide(&policy, &history, &idle, at(300)).rescale(), Some(1));
    assert!(matches!(first.outcome, Outcome::Computed(_)));
}

proptest! {
    #[test]
    fn merged_events_never_allow_a_faster_scale_down(
        list in prop::collection::vec((0_i64..60, 1_i32..10), 0..40),
        age in 0_i64..2400,
    ) {
        let mut policy = policy_with_windows(Profile::Default, 0, 0);
        policy.behavior.as_mut().unwrap().scale_up.policies[0].period = TimeDelta::seconds(3600);
        let (mut history, mut now) = (History::default(), at(0));
        for (after, change) in list {
            now += TimeDelta::seconds(after);
            history.record_scale(&policy, 0, change, now);
            history.record_scale(&policy, change, 0, now);
        }
        let record = history.snapshot();
        let begin = now - TimeDelta::seconds(age);
        let since = |events: &[ScaleEvent]| -> i32 {
            events.iter().filter(|event| event.at > begin).map(|event| event.change).sum()
        };
        prop_assert!(since(&record.scale_ups) <= since(history.scale_ups()));
        prop_assert!(since(&record.scale_downs) >= since(history.scale_downs()));
    }
}

#[test]
fn a_scale_down_under_way_goes_on_after_a_restart() {
    let policy = policy_with_windows(Profile::Default, 0, 300);
    let mut history = History::default();
    history.record_recommendation(&policy, 3, at(0));
    let record = history.snapshot();
    let desired = |history: &History| {
        let list = history.recommendations().unwrap();
        stabilize::with_behavior(list, policy.behavior.as_ref().unwrap(), 5, 3, at(400))
    };
    assert_eq!(
        desired(&History::restore(&record, &policy, 5, at(400))),
        5,
        "the recommendations since the record are unknown"
    );
    assert_eq!(
        desired(&History::resume(&record, &policy, Resize { current: 5, desired: 3 }, at(400))),
        3,
        "the victims are out of service, so the scale-down goes on"
    );
}
