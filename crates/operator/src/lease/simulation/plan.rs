//! The troubles of a simulation, drawn from its seed.

use fastrand::Rng;

use super::clocks::Clocks;

/// A second, in the simulation's microseconds.
pub(super) const SECOND: u64 = 1_000_000;
const MILLI: u64 = 1_000;
/// The number of namespaces.
pub(super) const NAMESPACES: usize = 4;
/// The most buckets of a copy.
pub(super) const MOST_BUCKETS: usize = 6;

/// A fault that is put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// A renewal counts from its answer instead of its sending.
    CountedFromTheAnswer,
    /// Another copy's `renewTime` is believed.
    BelievesRenewTime,
    /// Updates do not name the version.
    NoVersion,
    /// Updates do not name the UID, so that they create a Lease that was deleted.
    NoUid,
    /// A Lease that was created, or has another number of buckets, permits writes at once.
    NoQuarantine,
    /// Leases are released while writes are in flight.
    ReleasedTooEarly,
    /// Writes that were decided before a pause are not checked after it.
    NotCheckedBeforeTheSend,
    /// Only the monotonic clock ends a permit.
    NoWallClock,
    /// A wall clock that is set back revives a permit that has ended by it. The simulation found
    /// this one by itself (seed 419 at that time).
    ClockSetBackRevives,
    /// A renewal without an answer counts.
    AmbiguousCounts,
    /// Leases are given to other copies while writes are in flight.
    GivenTooEarly,
    /// A Lease is given to another copy, and the permit goes on.
    PermitOutlivesTheGift,
    /// A Lease is given to a copy that holds one fewer.
    GivenToAndFro,
}

impl Fault {
    pub(super) const ALL: [Self; 13] = [
        Self::CountedFromTheAnswer,
        Self::BelievesRenewTime,
        Self::NoVersion,
        Self::NoUid,
        Self::NoQuarantine,
        Self::ReleasedTooEarly,
        Self::NotCheckedBeforeTheSend,
        Self::NoWallClock,
        Self::ClockSetBackRevives,
        Self::AmbiguousCounts,
        Self::GivenTooEarly,
        Self::PermitOutlivesTheGift,
        Self::GivenToAndFro,
    ];
}

/// Something that happens to a copy, or to the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Start(usize),
    Kill(usize),
    Release(usize),
    /// A copy stands still until this time. If the machine is suspended, so does its monotonic
    /// clock.
    Pause {
        copy: usize,
        until: u64,
        is_suspended: bool,
    },
    /// A copy's wall clock is set, by this many microseconds.
    ClockSet {
        copy: usize,
        by: i64,
    },
    /// A Lease is deleted, or labelled by a person.
    Delete(usize),
    Label(usize),
    /// The holder of the first Lease is killed, or told to end.
    KillHolder,
    ReleaseHolder,
}

/// A time of bad network, or of an API server in trouble. The numbers are probabilities.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub from: u64,
    pub until: u64,
    /// The copy that is concerned; all if absent.
    pub copy: Option<usize>,
    pub request_is_lost: f64,
    /// A lost request arrives after all, when the weather is over.
    pub lost_arrives: f64,
    pub response_is_lost: f64,
    pub server_fails: f64,
    /// The longest delay of a request and of its answer.
    pub delay: u64,
}

/// The version of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Newest,
    /// An older one, which keeps the wish of a Lease as the annotation of others.
    WithoutWishes,
}

/// One copy of the operator.
#[derive(Clone, Debug)]
pub(super) struct CopyPlan {
    pub clocks: Clocks,
    pub buckets: usize,
    /// It has a watch, which tells of changes.
    pub is_watched: bool,
    pub version: Version,
}

/// All that happens in a simulation.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub fault: Fault,
    /// The duration of the Leases.
    pub duration: u64,
    pub copies: Vec<CopyPlan>,
    /// The share of writes that are on their way for seconds.
    pub slow_writes: f64,
    pub troubles: Vec<(u64, Trouble)>,
    pub weather: Vec<Weather>,
    /// The end of all troubles.
    pub calm_from: u64,
    /// The time from then in which all buckets get a holder.
    pub recovery: u64,
    /// The time after that in which the shares of the copies become even.
    pub evening: u64,
    /// The time after that in which no Lease changes hands.
    pub stillness: u64,
    /// The time between two writes of a copy to a namespace, at most.
    pub write_every: u64,
    /// The probability that a copy stands still between the decision on a call and its sending.
    pub pause_at_send: f64,
}

impl Plan {
    /// Troubles of all kinds.
    pub(super) fn trouble(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut plan = Self::base(seed, rng);
        let (duration, copies) = (plan.duration, plan.copies.len());
        plan.calm_from = duration * rng.u64(6..14);
        // Deletions, and copies with other numbers of buckets, cost a wait of one duration each.
        let is_odd = rng.f64() < 0.3;
        if is_odd && rng.bool() {
            plan.copies.iter_mut().for_each(|copy| copy.buckets = rng.usize(1..4));
        }
        for copy in &mut plan.copies {
            copy.version = if rng.f64() < 0.1 { Version::WithoutWishes } else { Version::Newest };
        }
        plan.pause_at_send = if rng.f64() < 0.3 { 0.02 } else { 0.0 };
        for copy in 0..copies {
            plan.troubles.push((rng.u64(0..duration), Trouble::Start(copy)));
        }
        for _ in 0..rng.usize(1..9) {
            let at = rng.u64(0..plan.calm_from);
            plan.add(at, is_odd, rng);
        }
        for _ in 0..rng.usize(0..5) {
            let weather = Weather::draw(&plan, rng);
            plan.weather.push(weather);
        }
        for copy in 0..copies {
            plan.troubles.push((plan.calm_from, Trouble::Start(copy)));
        }
        // A call may have been sent before the troubles ended, and is waited for. A Lease may have
        // been created at the last moment, so it is announced, and taken by a copy that lets others
        // go first; all of it comes twice where the number of buckets changes.
        let durations = if is_odd { 4 } else { 2 };
        plan.recovery = duration * durations * 102 / 100 + 2 * SECOND + duration / 3;
        // A copy that was killed may start three durations after the troubles, and takes part for
        // two more before it wishes.
        if rng.f64() < 0.4 {
            (plan.evening, plan.stillness) = (duration * 6, duration * 3);
        }
        plan
    }

    /// Troubles, and Leases that are deleted again and again.
    pub(super) fn deletions(seed: u64) -> Self {
        let (mut plan, rng) = (Self::trouble(seed), &mut Rng::with_seed(seed ^ 0xde1));
        for _ in 0..12 {
            let deletion = Trouble::Delete(rng.usize(0..2));
            plan.troubles.push((rng.u64(0..plan.calm_from), deletion));
        }
        plan.recovery *= 2;
        (plan.evening, plan.stillness) = (0, 0);
        plan
    }

    /// A kill of the holder, in good weather.
    pub(super) fn kill(seed: u64) -> Self {
        Self::with(seed, Trouble::KillHolder)
    }

    /// A release by the holder, in good weather.
    pub(super) fn release(seed: u64) -> Self {
        Self::with(seed, Trouble::ReleaseHolder)
    }

    /// No troubles at all.
    pub(super) fn calm(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut plan = Self::base(seed, rng);
        plan.start_all();
        plan.calm_from = plan.duration * 3;
        (plan.recovery, plan.evening) = (plan.duration, plan.duration);
        plan.stillness = plan.duration * 5;
        plan
    }

    /// A copy starts when the others have divided the buckets among themselves.
    pub(super) fn newcomer(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut plan = Self::base(seed, rng);
        let buckets = rng.usize(2..=MOST_BUCKETS);
        plan.copies.iter_mut().for_each(|copy| copy.buckets = buckets);
        plan.start_all();
        plan.calm_from = plan.duration * 6 + rng.u64(0..plan.duration);
        if let Some((at, _)) = plan.troubles.last_mut() {
            *at = plan.calm_from;
        }
        (plan.evening, plan.stillness) = (plan.duration * 4, plan.duration * 5);
        plan
    }

    /// A holder is killed while a copy that has come gets its share.
    pub(super) fn kill_among_several(seed: u64) -> Self {
        let mut plan = Self::newcomer(seed);
        let rng = &mut Rng::with_seed(seed ^ 0x0c1);
        let killed = plan.calm_from + plan.duration * 2 + rng.u64(0..plan.duration);
        plan.troubles.push((killed, Trouble::KillHolder));
        plan.copies.iter_mut().for_each(|copy| copy.clocks.rate = 1.0);
        plan.slow_writes = 0.0;
        plan.calm_from = killed;
        (plan.recovery, plan.evening) = (plan.duration * 3, plan.duration * 4);
        plan
    }

    fn with(seed: u64, trouble: Trouble) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut plan = Self::base(seed, rng);
        plan.copies.iter_mut().for_each(|copy| copy.buckets = 1);
        plan.slow_writes = 0.0;
        plan.start_all();
        plan.calm_from = plan.duration * 3 + rng.u64(0..plan.duration);
        plan.troubles.push((plan.calm_from, trouble));
        plan.recovery = plan.duration + 3 * SECOND;
        // The duration and a second are by a clock that is right.
        plan.copies.iter_mut().for_each(|copy| copy.clocks.rate = 1.0);
        plan
    }

    fn start_all(&mut self) {
        for copy in 0..self.copies.len() {
            self.troubles.push((copy as u64 * 20 * MILLI, Trouble::Start(copy)));
        }
    }

    fn base(seed: u64, rng: &mut Rng) -> Self {
        let duration = [2, 2, 2, 5, 5, 15][rng.usize(0..6)] * SECOND;
        let (count, is_watched) = (rng.usize(2..4), rng.bool());
        let buckets = if rng.bool() { rng.usize(1..4) } else { rng.usize(2..=MOST_BUCKETS) };
        let rate = |rng: &mut Rng| 0.99 + rng.f64() / 50.0;
        let mut copy = || {
            let (rate, wall_rate) = (rate(rng), rate(rng));
            let offset = rng.i64(-3_600_000_000..3_600_000_000);
            let clocks = Clocks { rate, wall_rate, offset, ..Clocks::default() };
            CopyPlan { clocks, buckets, is_watched, version: Version::Newest }
        };
        let copies = (0..count).map(|_| copy()).collect();
        Self {
            seed,
            fault: Fault::None,
            duration,
            copies,
            slow_writes: 0.1,
            troubles: Vec::new(),
            weather: Vec::new(),
            calm_from: 0,
            recovery: 0,
            evening: 0,
            stillness: 0,
            write_every: duration / 5,
            pause_at_send: 0.0,
        }
    }

    fn add(&mut self, at: u64, is_odd: bool, rng: &mut Rng) {
        let copy = rng.usize(0..self.copies.len());
        let long = rng.u64(0..self.duration * 3);
        let until = (at + long).min(self.calm_from);
        let trouble = match rng.u32(0..10) {
            0 | 1 => Trouble::Kill(copy),
            2 => Trouble::Release(copy),
            3..=5 => Trouble::Pause { copy, until, is_suspended: false },
            6 => Trouble::Pause { copy, until, is_suspended: true },
            7 => Trouble::ClockSet { copy, by: rng.i64(-30..30) * 1_000_000 },
            8 if is_odd => Trouble::Delete(rng.usize(0..MOST_BUCKETS)),
            _ => Trouble::Label(rng.usize(0..MOST_BUCKETS)),
        };
        self.troubles.push((at, trouble));
        if matches!(trouble, Trouble::Kill(_) | Trouble::Release(_)) {
            self.troubles.push((at + long, Trouble::Start(copy)));
        }
    }
}

impl Weather {
    fn draw(plan: &Plan, rng: &mut Rng) -> Self {
        let from = rng.u64(0..plan.calm_from);
        let until = (from + rng.u64(0..plan.duration * 3)).min(plan.calm_from);
        let copy = rng.bool().then(|| rng.usize(0..plan.copies.len()));
        let mut often =
            |least: f64| if rng.bool() { 0.0 } else { least + rng.f64() * (1.0 - least) };
        let request_is_lost = if often(0.0) > 0.5 { 1.0 } else { often(0.0) };
        Self {
            from,
            until,
            copy,
            request_is_lost,
            lost_arrives: often(0.0),
            response_is_lost: often(0.0),
            server_fails: often(0.0),
            delay: rng.u64(0..plan.duration * 2),
        }
    }
}
