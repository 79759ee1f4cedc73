//! Writes that come too fast are put off.

use std::time::Duration;

use super::*;

/// The memory after tries of writes at these seconds.
fn tried(seconds: &[u64]) -> RoleMemory {
    let mut memory = RoleMemory::default();
    for second in seconds {
        memory.record_try(moment(*second));
    }
    memory
}

fn moment(second: u64) -> Monotonic {
    Monotonic(Duration::from_secs(second))
}

const FLOOD: &[u64] = &[100, 100, 100];

/// Plans with a monotonic clock that shows what the wall clock does.
fn planned_at(
    second: u64,
    profile: Profile,
    roles: &[(Role, &[u64])],
    shared: Option<SharedLimits>,
) -> StepPlan {
    let now = Now { wall: at(second.cast_signed()), monotonic: moment(second) };
    let memory: Vec<RoleMemory> = roles.iter().map(|(_, tries)| tried(tries)).collect();
    let roles: Vec<Role> = roles.iter().map(|(role, _)| role.clone()).collect();
    planned_from(&roles, shared, &memory.iter().collect::<Vec<_>>(), profile, now)
}

#[test]
fn a_fourth_write_within_two_seconds_is_put_off_and_decided_anew() {
    let pace = |second| Some(WaitingOn::Pace { until: at(second) });
    // the time, the tries before, the load per replica; the wait, the size that is written
    let table = [
        (100, &[][..], 20, None, Some(4)),
        (100, &[100, 100], 20, None, Some(4)),
        (100, FLOOD, 20, pace(102), None),
        (101, FLOOD, 3, pace(102), None),
        (101, FLOOD, 10, None, None),
        (102, FLOOD, 20, None, Some(4)),
        (102, FLOOD, 3, None, Some(1)),
        (106, FLOOD, 20, None, Some(4)),
    ];
    for (second, tries, load, waits, written) in table {
        let roles = [(role(&[load; 2]), tries)];
        let plan = planned_at(second, Profile::Default, &roles, None);
        assert_eq!((plan.roles[0].waits, plan.roles[0].write), (waits, written), "{second} {load}");
        let until = waits.is_some().then(|| at(102));
        assert_eq!(plan.next_paced_write(), until, "{second} {load}");
        assert_eq!(plan.count_writes(), u32::from(written.is_some()));
    }
}

#[test]
fn the_profile_of_the_hpa_has_no_pace_but_its_ticks() {
    let plan = planned_at(100, Profile::HpaExact, &[(role(&[20; 2]), FLOOD)], None);
    assert_eq!((plan.roles[0].waits, plan.roles[0].write), (None, Some(4)));
}

#[test]
fn a_role_waits_for_the_pace_of_the_other_one_where_the_ratio_would_suffer() {
    // From 4 : 2 to 8 : 4, with a ratio of up to 2: decode has to grow first.
    let roles = |prefill, decode| [(role(&[20; 4]), prefill), (role(&[20; 2]), decode)];
    let limits = || Some(pair(Some((500, 2000)), 40));
    // the tries of prefill and decode; the writes that are made
    let table = [
        (&[][..], &[][..], vec![(1, 4), (0, 8)]),
        (&[], FLOOD, vec![]),
        (FLOOD, &[], vec![(1, 4)]),
        (FLOOD, FLOOD, vec![]),
    ];
    for (prefill, decode, expected) in table {
        let plan = planned_at(100, Profile::Default, &roles(prefill, decode), limits());
        assert_eq!(writes(&plan), expected, "{prefill:?} {decode:?}");
        assert_eq!(writes(&plan.put_off(at(101))), []);
    }
}

#[test]
fn a_role_that_may_not_shrink_yet_gives_no_room_to_another_one() {
    // At most 6 replicas: 4 and 2 become 2 and 4 once the first two are gone.
    let roles = [(role(&[5; 4]), FLOOD), (role(&[20; 2]), &[][..])];
    let plan = planned_at(100, Profile::Default, &roles, Some(pair(None, 6)));
    assert_eq!(writes(&plan), []);
}

#[test]
fn a_drain_goes_on_while_its_write_is_put_off() {
    let drained = vec![candidate(0, 3, None), candidate(1, 0, Some(40))];
    let roles = [(role(&[3; 2]).draining(drained, READ), FLOOD)];
    let plan = planned_at(100, Profile::Default, &roles, None);
    let role = &plan.roles[0];
    assert_eq!(role.write, None);
    assert_eq!(role.drain_step().map(|step| &step.victims[..]), Some(&[1][..]));
}

#[test]
fn a_write_that_was_accepted_takes_a_token_and_a_decision_takes_none() {
    let (mut memory, mut now) = (RoleMemory::default(), now());
    now.monotonic = moment(100);
    let plan = planned_at(100, Profile::Default, &[(role(&[20; 2]), &[])], None);
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let write = plan.writes().next_write();
    for written in [None, write, None, write, write] {
        assert_eq!(memory.next_write(&policy, now), None);
        memory.record(&policy, &plan.roles[0].decision, WriteBlock::default(), written, now);
    }
    assert_eq!(memory.next_write(&policy, now), Some(now.wall + TimeDelta::seconds(2)));
}
