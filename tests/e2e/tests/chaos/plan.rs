//! The schedule of loads and disturbances, as a pure function of the seed.
//!
//! A run is a row of rounds. In the first part of a round the loads change and disturbances take
//! place, two or three at a time; in the rest nothing happens, so that everything has to settle.

use crate::evidence::{KILLED, LEASE, Reach, STATUSES_REFUSED, Second, Target, WINDOW};

/// The length of a round.
pub(crate) const ROUND: Second = 70.0;
/// The time in a round by which the last disturbance begins.
const LAST_BEGIN: Second = 9.0;
/// The time in a round by which the last load is set.
const LAST_LOAD: Second = 22.0;
/// The time before a copy that was paused goes on, in which all loads go up: it would write first.
const WAKE: Second = 0.15;
/// The time before the first round, in which the first loads are followed.
const FIRST: Second = 5.0;

/// Kinds of disturbances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ApiServerKilled,
    EtcdStalls,
    Conflicts,
    TooManyRequests,
    WatchesExpire,
    SlowAnswers,
    LostAnswers,
    SizesRefused,
    StatusesRefused,
    HalfUnreachable,
    AllUnreachable,
    HolderKilled,
    HolderTerminated,
    HolderPaused,
    HolderCutOff,
    RenewalsHang,
    StandbyKilled,
    StandbyPaused,
    ClockForward,
    ClockBack,
    EndlessPages,
    SwingingPages,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 22] = [
        Self::ApiServerKilled,
        Self::EtcdStalls,
        Self::Conflicts,
        Self::TooManyRequests,
        Self::WatchesExpire,
        Self::SlowAnswers,
        Self::LostAnswers,
        Self::SizesRefused,
        Self::StatusesRefused,
        Self::HalfUnreachable,
        Self::AllUnreachable,
        Self::HolderKilled,
        Self::HolderTerminated,
        Self::HolderPaused,
        Self::HolderCutOff,
        Self::RenewalsHang,
        Self::StandbyKilled,
        Self::StandbyPaused,
        Self::ClockForward,
        Self::ClockBack,
        Self::EndlessPages,
        Self::SwingingPages,
    ];

    /// Returns the name for reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ApiServerKilled => KILLED,
            Self::EtcdStalls => "etcd stalls",
            Self::Conflicts => "409 for every patch",
            Self::TooManyRequests => "429 for reads and writes",
            Self::WatchesExpire => "410 for watches",
            Self::SlowAnswers => "slow API server",
            Self::LostAnswers => "answers of writes lost",
            Self::SizesRefused => "admission policy refuses sizes",
            Self::StatusesRefused => STATUSES_REFUSED,
            Self::HalfUnreachable => "half of the pods unreachable",
            Self::AllUnreachable => "all pods unreachable",
            Self::HolderKilled => "holder killed",
            Self::HolderTerminated => "holder terminated",
            Self::HolderPaused => "holder paused",
            Self::HolderCutOff => "holder cut off from the API server",
            Self::RenewalsHang => "the holder's renewals hang",
            Self::StandbyKilled => "standby killed",
            Self::StandbyPaused => "standby paused",
            Self::ClockForward => "clocks set forward",
            Self::ClockBack => "clocks set back",
            Self::EndlessPages => "a tenant's pages do not end",
            Self::SwingingPages => "a tenant's pages swing",
        }
    }

    /// Returns the time after its end in which the operator may find its way back.
    pub(crate) fn recovery(self) -> Second {
        match self {
            // Watches and listings are tried again after 1, 2, 4 and 8 s, by a quarter more.
            Self::ApiServerKilled
            | Self::TooManyRequests
            | Self::WatchesExpire
            | Self::HolderCutOff => 20.0,
            // The Lease and a second.
            Self::HolderKilled
            | Self::HolderTerminated
            | Self::HolderPaused
            | Self::RenewalsHang
            | Self::StandbyKilled
            | Self::StandbyPaused => LEASE + 1.0,
            // Calls are tried again, samples are scraped again.
            _ => 6.0,
        }
    }

    /// Returns the part of the world that it disturbs.
    pub(crate) fn reach(self) -> Reach {
        match self {
            Self::ApiServerKilled
            | Self::EtcdStalls
            | Self::Conflicts
            | Self::TooManyRequests
            | Self::WatchesExpire
            | Self::SlowAnswers
            | Self::LostAnswers => Reach::ApiServer,
            Self::SizesRefused
            | Self::StatusesRefused
            | Self::HalfUnreachable
            | Self::AllUnreachable => Reach::Namespace,
            Self::HolderKilled
            | Self::HolderTerminated
            | Self::HolderPaused
            | Self::HolderCutOff
            | Self::RenewalsHang
            | Self::StandbyKilled
            | Self::StandbyPaused => Reach::Copies,
            Self::ClockForward | Self::ClockBack => Reach::Clock,
            Self::EndlessPages | Self::SwingingPages => Reach::Tenant,
        }
    }
}

/// A disturbance to come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disturbance {
    pub kind: Kind,
    pub at: Second,
    pub lasts: Second,
    /// A number that chooses a variant, such as the fault of pages.
    pub variant: u64,
}

/// A load to come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoadStep {
    /// The index of the target.
    pub target: usize,
    pub at: Second,
    /// The size that it asks for, which may be above the largest one.
    pub size: i32,
}

/// All that happens in a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub seed: String,
    pub seconds: Second,
    /// By time.
    pub disturbances: Vec<Disturbance>,
    /// By time.
    pub loads: Vec<LoadStep>,
}

impl Plan {
    /// Returns the plan of a seed. The kinds come in an order that the seed shuffles, and none
    /// comes again before all have been.
    pub(crate) fn of(seed: u64, minutes: u64, targets: &[Target]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let seconds = minutes as Second * 60.0;
        let (mut disturbances, mut deck) = (Vec::new(), Vec::new());
        let mut loads = first_loads(targets);
        for round in rounds(seconds) {
            let mut kinds: Vec<Kind> = Vec::new();
            for _ in 0..random.usize(2..=3) {
                if deck.is_empty() {
                    deck = Kind::ALL.to_vec();
                    random.shuffle(&mut deck);
                }
                // Two disturbances of the same part would end each other.
                let fits = |kind: &Kind| kinds.iter().all(|other| other.reach() != kind.reach());
                if let Some(index) = deck.iter().rposition(fits) {
                    kinds.push(deck.remove(index));
                }
            }
            for kind in kinds {
                let at = round + random.f64() * LAST_BEGIN;
                let lasts = length(kind, &mut random);
                if matches!(kind, Kind::HolderPaused | Kind::RenewalsHang) {
                    loads.extend(all_to_more(targets, at + lasts - WAKE));
                }
                disturbances.push(Disturbance { kind, at, lasts, variant: random.u64(..) });
            }
            for (index, target) in targets.iter().enumerate() {
                for part in [0.0, 0.5] {
                    let at = round + (part + random.f64() / 2.0) * LAST_LOAD;
                    let size = random.i32(target.min..=target.max + 1);
                    loads.push(LoadStep { target: index, at, size });
                }
            }
        }
        disturbances.sort_by(|a, b| a.at.total_cmp(&b.at));
        loads.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self { seed: seed.to_string(), seconds, disturbances, loads }
    }

    /// Returns a minute with fixed disturbances.
    ///
    /// The holder cannot renew while loads go up, and is killed just after loads fell; pages are
    /// unreachable while those that answer report less, and clocks are set in the middle of the
    /// window. In the end everything shrinks, and a neighbour grows.
    pub(crate) fn short(targets: &[Target]) -> Self {
        let rows = [
            (Kind::RenewalsHang, 5.0, LEASE + 2.0),
            (Kind::HalfUnreachable, 15.0, 13.0),
            (Kind::AllUnreachable, 15.0, 12.0),
            (Kind::SwingingPages, 16.0, 10.0),
            (Kind::ClockForward, 18.0, 4.0),
            (Kind::HolderKilled, 30.0, 2.0),
            (Kind::Conflicts, 32.0, 3.0),
        ];
        // The variant sets the clocks of both copies forward by 320 s.
        let disturbances =
            rows.map(|(kind, at, lasts)| Disturbance { kind, at, lasts, variant: 300 }).to_vec();
        let mut loads = first_loads(targets);
        loads.extend(all_to_more(targets, 5.0 + LEASE + 2.0 - WAKE));
        for (index, target) in targets.iter().enumerate() {
            let at = if target.is_neighbour { 28.8 } else { 16.5 };
            loads.push(LoadStep { target: index, at, size: target.min });
        }
        loads.extend(all_to_more(targets, 48.0).pop());
        loads.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self { seed: "short".to_owned(), seconds: 66.0, disturbances, loads }
    }
}

/// Returns the beginnings of the rounds that fit.
fn rounds(seconds: Second) -> impl Iterator<Item = Second> {
    (0_u32..)
        .map(|round| FIRST + Second::from(round) * ROUND)
        .take_while(move |begin| begin + ROUND * 0.8 <= seconds)
}

/// Returns loads for more than the largest size, of all targets.
fn all_to_more(targets: &[Target], at: Second) -> Vec<LoadStep> {
    let load =
        |(index, target): (usize, &Target)| LoadStep { target: index, at, size: target.max + 1 };
    targets.iter().enumerate().map(load).collect()
}

/// Returns the loads at the beginning, of half the largest size.
fn first_loads(targets: &[Target]) -> Vec<LoadStep> {
    let size = |target: &Target| i32::midpoint(target.min, target.max);
    let load = |(index, target)| LoadStep { target: index, at: 0.0, size: size(target) };
    targets.iter().enumerate().map(load).collect()
}

/// Returns the length of a disturbance; for a process that is killed it is the time until it is
/// started again.
fn length(kind: Kind, random: &mut fastrand::Rng) -> Second {
    let (least, most) = match kind {
        Kind::ApiServerKilled => (0.5, 3.0),
        Kind::HolderKilled | Kind::HolderTerminated | Kind::StandbyKilled => (0.5, 5.0),
        Kind::HolderPaused | Kind::RenewalsHang => (LEASE + 1.0, 9.0),
        Kind::StandbyPaused | Kind::HolderCutOff => (1.0, 9.0),
        // Longer than the window, so that a load that is not known could shrink a target.
        Kind::HalfUnreachable | Kind::AllUnreachable => (WINDOW + 1.5, 13.0),
        Kind::EndlessPages => (9.0, 12.0),
        _ => (3.0, 9.0),
    };
    least + random.f64() * (most - least)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn targets() -> Vec<Target> {
        let target = |(min, max)| Target { name: "a/b".to_owned(), min, max, is_neighbour: false };
        [(1, 4), (2, 6), (2, 5)].map(target).to_vec()
    }

    #[test]
    fn a_seed_has_one_plan() {
        let targets = targets();
        assert_eq!(Plan::of(7, 20, &targets), Plan::of(7, 20, &targets));
        assert_ne!(Plan::of(7, 20, &targets), Plan::of(8, 20, &targets));
    }

    #[test]
    fn twenty_minutes_have_every_kind_and_time_to_settle() {
        for seed in 0..50 {
            let plan = Plan::of(seed, 20, &targets());
            let kinds: BTreeSet<_> = plan.disturbances.iter().map(|it| it.kind).collect();
            assert_eq!(kinds.len(), Kind::ALL.len(), "seed {seed}");
            for it in &plan.disturbances {
                let in_round = (it.at - FIRST) % ROUND + it.lasts;
                assert!(in_round <= LAST_LOAD, "seed {seed}: {it:?}");
            }
            for load in &plan.loads {
                let target = &targets()[load.target];
                assert!(
                    (target.min..=target.max + 1).contains(&load.size),
                    "seed {seed}: {load:?}"
                );
            }
        }
    }

    #[test]
    fn no_two_disturbances_of_a_round_are_of_one_part() {
        for seed in 0..50 {
            let plan = Plan::of(seed, 20, &targets());
            for (index, it) in plan.disturbances.iter().enumerate() {
                for other in &plan.disturbances[index + 1..] {
                    let same = it.kind.reach() == other.kind.reach();
                    assert!(!same || other.at - it.at > LAST_LOAD, "seed {seed}: {it:?} {other:?}");
                }
            }
        }
    }
}
