//! Properties of the coordinated sizes, and of the order in which they are written.

use proptest::prelude::*;

use super::sizes;
use crate::{
    coordinate::{Ratio, RoleDemand, SharedLimits, next_write},
    units::Milli,
};

prop_compose! {
    fn any_role()(
        bounds in (1_i32..4, 0_i32..30),
        fraction in (0.0..1.0, 0.0..1.0),
        gpus in 0_i64..9,
    ) -> RoleDemand {
        let (min, max) = (bounds.0, bounds.0 + bounds.1);
        let within = |fraction: f64| min + (fraction * f64::from(max - min)) as i32;
        let (current, demand) = (within(fraction.0), within(fraction.1));
        RoleDemand {
            current,
            demand,
            floor: min,
            ceiling: max,
            max,
            existing: current,
            lagging: 0,
            gpus,
            fixed: false,
        }
    }
}

prop_compose! {
    fn any_limits()(
        range in prop::option::of((0_i64..4000, 0_i64..4000)),
        max_replicas in 3_i64..80,
        max_gpus in prop::option::of(10_i64..200),
    ) -> SharedLimits {
        let ratio = range.map(|(min, more)| Ratio {
            between: [0, 1],
            min: Some(Milli(min)),
            max: Some(Milli((min + more).max(1))),
        });
        SharedLimits { ratio, max_replicas, max_gpus }
    }
}

fn total(sizes: &[i32]) -> i64 {
    sizes.iter().map(|size| i64::from(*size)).sum()
}

fn gpus(roles: &[RoleDemand], sizes: &[i32]) -> i64 {
    roles.iter().zip(sizes).map(|(role, size)| role.gpus * i64::from(*size)).sum()
}

fn fits(limits: &SharedLimits, roles: &[RoleDemand], sizes: &[i32]) -> bool {
    total(sizes) <= limits.max_replicas
        && limits.max_gpus.is_none_or(|max| gpus(roles, sizes) <= max)
}

fn error(limits: &SharedLimits, sizes: &[i32]) -> f64 {
    limits.ratio.map_or(0.0, |ratio| ratio.error(sizes))
}

/// Returns the sizes after many steps with the same demands.
fn settled(limits: &SharedLimits, roles: &mut [RoleDemand]) -> Vec<i32> {
    for _ in 0..50 {
        for (role, size) in sizes(limits, roles).0.into_iter().enumerate() {
            (roles[role].current, roles[role].existing) = (size, size);
        }
    }
    roles.iter().map(|role| role.current).collect()
}

/// Returns all combinations of sizes from `min` to `max`.
fn between(min: &[i32], max: &[i32]) -> Vec<Vec<i32>> {
    min.iter().zip(max).fold(vec![Vec::new()], |all, (min, max)| {
        all.iter()
            .flat_map(|sizes| (*min..=*max).map(|size| [&sizes[..], &[size]].concat()))
            .collect()
    })
}

prop_compose! {
    /// A role with so few replicas that all combinations of sizes can be tried.
    fn small_role()(
        bounds in (1_i32..3, 0_i32..9),
        fraction in (0.0..1.0, 0.0..1.0),
        gpus in 0_i64..5,
    ) -> RoleDemand {
        let (min, max) = (bounds.0, bounds.0 + bounds.1);
        let within = |fraction: f64| min + (fraction * f64::from(max - min + 1)) as i32;
        let (current, demand) = (within(fraction.0), within(fraction.1));
        RoleDemand {
            current,
            demand,
            floor: min,
            ceiling: max,
            max,
            existing: current,
            lagging: 0,
            gpus,
            fixed: false,
        }
    }
}

prop_compose! {
    /// Limits with a ratio between any two of three roles that is wide enough for whole numbers.
    fn wide_limits()(
        between in prop::sample::select(vec![[0, 1], [1, 0], [2, 0]]),
        min in 100_i64..3000,
        more in 3000_i64..6000,
        max_replicas in 3_i64..30,
        max_gpus in prop::option::of(10_i64..60),
    ) -> SharedLimits {
        let ratio = Ratio { between, min: Some(Milli(min)), max: Some(Milli(min + more)) };
        SharedLimits { ratio: Some(ratio), max_replicas, max_gpus }
    }
}

proptest! {
    /// Compared with all combinations of sizes: none grants more demand within the limits, and no
    /// role has a replica that neither its demand nor the ratio needs.
    #[test]
    fn no_other_sizes_are_better(
        limits in wide_limits(),
        roles in prop::collection::vec(small_role(), 3),
    ) {
        let mut roles = roles;
        let sizes = settled(&limits, &mut roles);
        let granted = |sizes: &[i32]| {
            sizes.iter().zip(&roles).map(|(size, role)| role.demand.min(*size)).sum::<i32>()
        };
        let max: Vec<i32> = roles.iter().map(|role| role.max).collect();
        if fits(&limits, &roles, &sizes) {
            for other in between(&sizes, &max).iter().filter(|other| fits(&limits, &roles, other)) {
                let is_better = granted(other) > granted(&sizes)
                    && error(&limits, other) <= error(&limits, &sizes);
                prop_assert!(!is_better, "{sizes:?} {other:?}");
            }
        }
        for role in (0..3).filter(|role| sizes[*role] > roles[*role].demand) {
            let mut fewer = sizes.clone();
            fewer[role] -= 1;
            prop_assert!(error(&limits, &fewer) > error(&limits, &sizes), "{sizes:?} {fewer:?}");
        }
    }

    /// Demands change all the time, scale-downs are written in parts, and replicas start and
    /// terminate late. Existing and requested replicas never exceed the limit.
    #[test]
    fn a_limit_holds_over_time(
        limits in any_limits(),
        roles in prop::collection::vec(any_role(), 3),
        course in prop::collection::vec((prop::collection::vec(0.0..1.0, 3), 0_u8..64), 1..60),
    ) {
        let mut roles: Vec<RoleDemand> =
            roles.iter().map(|role| RoleDemand { current: role.floor, ..*role }).collect();
        let floors: Vec<i32> = roles.iter().map(|role| role.floor).collect();
        let limits = SharedLimits {
            max_replicas: limits.max_replicas.max(total(&floors)),
            max_gpus: limits.max_gpus.map(|max| max.max(gpus(&roles, &floors))),
            ..limits
        };
        // For each role, the replicas that exist, and those that are terminating.
        let mut replicas: Vec<(i32, i32)> = roles.iter().map(|role| (role.current, 0)).collect();
        for (demands, events) in course {
            let parts = roles.iter_mut().zip(demands).zip(&replicas);
            for ((role, fraction), (alive, ending)) in parts {
                role.demand = role.floor + (fraction * f64::from(role.max - role.floor)) as i32;
                role.existing = role.current.max(*alive) + ending;
            }
            for (index, size) in sizes(&limits, &roles).0.into_iter().enumerate() {
                let (role, (alive, ending)) = (&mut roles[index], &mut replicas[index]);
                let is_partial = events & 1 << index != 0 && size < role.current;
                role.current = if is_partial { role.current.midpoint(size) } else { size };
                // The target's controller follows, or is late.
                if events & 8 << index != 0 {
                    let going = (*alive - role.current).max(0);
                    (*alive, *ending) = (role.current, going + *ending / 2);
                }
            }
            let all: Vec<i32> = roles
                .iter()
                .zip(&replicas)
                .map(|(role, (alive, ending))| role.current.max(*alive) + ending)
                .collect();
            prop_assert!(fits(&limits, &roles, &all), "{all:?}");
        }
    }

    #[test]
    fn a_limit_holds_or_nothing_grows(
        limits in any_limits(),
        roles in prop::collection::vec(any_role(), 2..4),
        extra in prop::collection::vec(0_i32..4, 4),
    ) {
        // Some replicas are terminating.
        let roles: Vec<RoleDemand> = roles
            .iter()
            .zip(extra)
            .map(|(role, more)| RoleDemand { existing: role.current + more, ..*role })
            .collect();
        let (sizes, _) = sizes(&limits, &roles);
        let occupied: Vec<i32> = roles
            .iter()
            .zip(&sizes)
            .map(|(role, size)| role.existing + (size - role.current).max(0))
            .collect();
        if roles.iter().zip(&sizes).any(|(role, size)| *size > role.current) {
            prop_assert!(total(&occupied) <= limits.max_replicas);
            prop_assert!(limits.max_gpus.is_none_or(|max| gpus(&roles, &occupied) <= max));
        }
    }

    #[test]
    fn a_role_stays_within_its_own_bounds(
        limits in any_limits(),
        roles in prop::collection::vec(any_role(), 2..4),
    ) {
        for (role, size) in roles.iter().zip(sizes(&limits, &roles).0) {
            prop_assert!((role.floor..=role.ceiling).contains(&size), "{role:?} {size}");
        }
    }

    #[test]
    fn a_role_loses_no_replica_to_another_while_nothing_is_violated(
        limits in any_limits(),
        roles in prop::collection::vec(any_role(), 2..4),
    ) {
        let current: Vec<i32> = roles.iter().map(|role| role.current).collect();
        if fits(&limits, &roles, &current) && error(&limits, &current) <= 0.0 {
            for (role, size) in roles.iter().zip(sizes(&limits, &roles).0) {
                prop_assert!(size >= role.current.min(role.demand), "{role:?} {size}");
            }
        }
    }

    /// With unchanged demands the sizes stop moving.
    #[test]
    fn sizes_settle(limits in any_limits(), roles in prop::collection::vec(any_role(), 2..4)) {
        let mut roles = roles;
        let mut before = Vec::new();
        for _ in 0..50 {
            let (sizes, _) = sizes(&limits, &roles);
            for (role, size) in roles.iter_mut().zip(&sizes) {
                (role.current, role.existing) = (*size, *size);
            }
            if sizes == before {
                return Ok(());
            }
            before = sizes;
        }
        prop_assert!(false, "still moving after 50 steps: {roles:?}");
    }

    /// Whichever role is late, all sizes are written once every role can be written.
    #[test]
    fn no_write_waits_for_ever(
        limits in any_limits(),
        roles in prop::collection::vec(any_role(), 2..4),
        late in 0_usize..4,
    ) {
        let goal = sizes(&limits, &roles).0;
        let mut sizes: Vec<i32> = roles.iter().map(|role| role.current).collect();
        let all: Vec<Option<i32>> = goal.iter().map(|size| Some(*size)).collect();
        let mut writable = all.clone();
        writable[late % roles.len()] = None;
        for _ in 0..2 {
            while let Some(role) = next_write(&limits, &sizes, &goal, &writable) {
                prop_assert!(writable[role].is_some_and(|to| to != sizes[role]));
                sizes[role] = goal[role];
            }
            writable.clone_from(&all);
        }
        prop_assert_eq!(sizes, goal);
    }
}
