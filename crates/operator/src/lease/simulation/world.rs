//! The time, and what happens in its order.

mod invariants;
mod network;
mod outcome;

use std::{collections::BTreeMap, env, time::Duration};

use fastrand::Rng;

pub(super) use outcome::Outcome;

use super::{
    copy::{Copy, Nudge},
    plan::{Fault, MOST_BUCKETS, NAMESPACES, Plan, Trouble},
    server::Server,
};
use crate::lease::steps::{Answer, Request, Step};

const MILLI: u64 = 1_000;
const GUARD: u64 = 250 * MILLI;

/// A check at the end of a phase.
type Check = fn(&mut World);

/// Something that a process does.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most of them are calls")]
enum Act {
    Step {
        bucket: usize,
        turn: u64,
    },
    Send {
        bucket: usize,
        turn: u64,
        request: Request,
    },
    Answer {
        bucket: usize,
        turn: u64,
        request: Request,
        answer: Answer,
    },
    Nudge {
        bucket: usize,
        nudge: Nudge,
    },
    Guard,
    Decide {
        namespace: usize,
    },
    Write {
        namespace: usize,
        version: u64,
    },
    Written {
        id: u64,
    },
    /// A copy that is to end gives its Leases up, once its writes are answered.
    GiveUp {
        since: u64,
    },
    Exit,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most of them are calls")]
enum Event {
    Trouble(Trouble),
    Resume(usize),
    Act { copy: usize, start: u32, act: Act },
    Arrival { copy: usize, start: u32, bucket: usize, turn: u64, request: Request },
    WriteArrival { copy: usize, start: u32, namespace: usize, version: u64, id: u64, sent: u64 },
}

/// A simulation.
pub(super) struct World {
    plan: Plan,
    rng: Rng,
    time: u64,
    number: u64,
    events: BTreeMap<(u64, u64), Event>,
    copies: Vec<Copy>,
    server: Server,
    outcome: Outcome,
    is_traced: bool,
    /// The time since which a holder is missing on purpose.
    gap_since: Option<u64>,
    /// The time since which each namespace has had no writer.
    unserved_since: [Option<u64>; NAMESPACES],
    /// The troubles have been over for long enough for each namespace to have a writer.
    has_recovered: bool,
    /// The number of times that a Lease got another holder, until the latest check.
    taken_before: usize,
    /// That number at the end of the troubles.
    taken_at_calm: usize,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        // The machine under test draws from the thread's generator.
        fastrand::seed(plan.seed);
        let duration = Duration::from_micros(plan.duration);
        let copies = plan.copies.iter().cloned().enumerate();
        let copies = copies.map(|(number, copy)| Copy::new(number, copy, duration, plan.fault));
        let mut server = Server::new(MOST_BUCKETS, NAMESPACES);
        server.ignores_versions = plan.fault == Fault::NoVersion;
        server.ignores_uids = plan.fault == Fault::NoUid;
        let mut world = Self {
            copies: copies.collect(),
            rng: Rng::with_seed(plan.seed ^ 0x5eed),
            time: 0,
            number: 0,
            events: BTreeMap::new(),
            server,
            outcome: Outcome::default(),
            is_traced: env::var("LEASE_SEED").is_ok(),
            gap_since: None,
            unserved_since: [None; NAMESPACES],
            has_recovered: false,
            taken_before: 0,
            taken_at_calm: 0,
            plan,
        };
        for (at, trouble) in world.plan.troubles.clone() {
            world.push(at, Event::Trouble(trouble));
        }
        world
    }

    /// Records what happens.
    pub(super) fn traced(mut self) -> Self {
        self.is_traced = true;
        self
    }

    pub(super) fn run(mut self) -> Outcome {
        let Plan { calm_from, recovery, evening, stillness, .. } = self.plan;
        let phases: [(u64, Check); 4] = [
            (calm_from, Self::begin_calm),
            (recovery, Self::check_recovery),
            (evening, Self::check_shares),
            (stillness, Self::check_stillness),
        ];
        let mut end = 0;
        for (time, check) in phases {
            end += time;
            self.run_until(end);
            if self.outcome.violation.is_some() {
                break;
            }
            self.time = end;
            check(&mut self);
        }
        let held = |copy: &Copy| copy.board.held().iter().filter(|held| **held).count();
        self.outcome.held = self.copies.iter().map(held).collect();
        self.outcome.taken = self.server.taken;
        self.outcome
    }

    fn run_until(&mut self, end: u64) {
        while self.outcome.violation.is_none()
            && let Some(first) = self.events.first_entry()
            && first.key().0 <= end
        {
            let ((time, _), event) = first.remove_entry();
            self.time = time;
            // A copy begins to believe that it may write at these events only.
            let may_begin = matches!(
                event,
                Event::Trouble(_)
                    | Event::Resume(_)
                    | Event::Act { act: Act::Answer { .. } | Act::Guard, .. }
            );
            self.handle(event);
            if may_begin {
                self.check_writers();
            }
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn act(&mut self, at: u64, copy: usize, act: Act) {
        let start = self.copies[copy].start;
        self.push(at, Event::Act { copy, start, act });
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>12} {}", self.time, text());
            self.outcome.trace.push(line);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Trouble(trouble) => self.trouble(trouble),
            Event::Resume(copy) => self.resume(copy),
            Event::Act { copy, start, act } => {
                let process = &self.copies[copy];
                if !process.is_alive || process.start != start {
                    return;
                }
                if process.paused_until > self.time {
                    // In any order: each of them is due.
                    let at = process.paused_until + self.rng.u64(1..300);
                    return self.push(at, Event::Act { copy, start, act });
                }
                self.process(copy, act);
            }
            Event::Arrival { copy, start, bucket, turn, request } => {
                self.arrive(copy, start, bucket, turn, request);
            }
            Event::WriteArrival { copy, start, namespace, version, id, sent } => {
                self.write_arrives(copy, start, namespace, version, sent);
                let at = self.time + self.rng.u64(1..20) * MILLI;
                self.push(at, Event::Act { copy, start, act: Act::Written { id } });
            }
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.trace(|| format!("{trouble:?}"));
        match trouble {
            Trouble::Start(copy) if !self.copies[copy].is_alive => self.start(copy),
            Trouble::Start(_) => {}
            Trouble::Kill(copy) => self.kill(copy),
            Trouble::Release(copy) => self.release(copy),
            Trouble::KillHolder | Trouble::ReleaseHolder => {
                let holder = (0..self.copies.len()).find(|copy| self.may_write(*copy, 0));
                let Some(holder) = holder else { return };
                self.gap_since = Some(self.time);
                match trouble {
                    Trouble::KillHolder => self.kill(holder),
                    _ => self.release(holder),
                }
            }
            Trouble::Pause { copy, until, is_suspended } => {
                let (time, process) = (self.time, &mut self.copies[copy]);
                if process.paused_until < time {
                    process.paused_until = until;
                    process.clocks.suspended_since = is_suspended.then_some(time);
                    process.clocks.is_unread |= is_suspended;
                    self.push(until, Event::Resume(copy));
                }
            }
            Trouble::ClockSet { copy, by } => {
                let clocks = &mut self.copies[copy].clocks;
                // A clock that is set back during a suspension hides it, which is not promised.
                clocks.offset += if clocks.is_unread { by.max(0) } else { by };
            }
            Trouble::Delete(bucket) => self.server.leases[bucket] = None,
            Trouble::Label(bucket) => self.server.label(bucket),
        }
    }

    /// Lets a copy stand still right after a decision, by a chance of the plan.
    fn stop_at_times(&mut self, copy: usize) {
        let is_trouble = self.time < self.plan.calm_from;
        if is_trouble && self.rng.f64() < self.plan.pause_at_send {
            let until = self.time + self.rng.u64(0..self.plan.duration * 2);
            let (until, is_suspended) = (until.min(self.plan.calm_from), self.rng.bool());
            self.trouble(Trouble::Pause { copy, until, is_suspended });
        }
    }

    fn start(&mut self, copy: usize) {
        self.copies[copy].boot(self.time);
        for bucket in 0..self.copies[copy].buckets {
            self.copies[copy].turns[bucket] += 1;
            let turn = self.copies[copy].turns[bucket];
            self.act(self.time + 1, copy, Act::Step { bucket, turn });
        }
        for namespace in 0..NAMESPACES {
            self.act(self.time + 1, copy, Act::Decide { namespace });
        }
        self.act(self.time + GUARD, copy, Act::Guard);
    }

    fn resume(&mut self, copy: usize) {
        let clocks = &mut self.copies[copy].clocks;
        if let Some(since) = clocks.suspended_since.take() {
            clocks.suspended += self.time - since;
        }
    }

    fn kill(&mut self, copy: usize) {
        self.resume(copy);
        self.copies[copy].paused_until = 0;
        self.copies[copy].is_alive = false;
    }

    fn release(&mut self, copy: usize) {
        let (time, process) = (self.time, &mut self.copies[copy]);
        if process.is_alive && !process.is_ending && process.paused_until < time {
            process.is_ending = true;
            let now = process.clocks.read(time);
            process.board.close(now);
            self.act(time, copy, Act::GiveUp { since: time });
            self.act(time + 2_000 * MILLI, copy, Act::Exit);
        }
    }

    fn process(&mut self, copy: usize, act: Act) {
        let time = self.time;
        match act {
            Act::Step { bucket, turn } => {
                if self.copies[copy].turns[bucket] == turn {
                    self.step(copy, bucket);
                }
            }
            Act::Send { bucket, turn, request } => self.send(copy, bucket, turn, request),
            Act::Answer { bucket, turn, request, answer } => {
                if self.copies[copy].turns[bucket] == turn {
                    self.trace(|| format!("{copy} has {answer:?}"));
                    if self.copies[copy].answer(bucket, &request, answer, time) {
                        (1..self.copies[copy].buckets).for_each(|bucket| {
                            self.act(time, copy, Act::Nudge { bucket, nudge: None });
                        });
                    }
                    self.step(copy, bucket);
                }
            }
            Act::Nudge { bucket, nudge } => {
                // A nudge during a call is kept until the next wait.
                let process = &mut self.copies[copy];
                if bucket < process.buckets && !process.is_waiting[bucket] {
                    process.nudges[bucket] = Some(nudge);
                } else if bucket < process.buckets && process.nudge(bucket, &nudge) {
                    self.step(copy, bucket);
                }
            }
            Act::Guard => {
                self.copies[copy].guard(time);
                self.act(time + GUARD, copy, Act::Guard);
            }
            Act::Decide { namespace } => {
                let next = time + self.rng.u64(1..=self.plan.write_every);
                self.act(next, copy, Act::Decide { namespace });
                if self.copies[copy].may_write(namespace, time) {
                    let version = self.server.targets[namespace];
                    let at = time + self.rng.u64(0..50 * MILLI);
                    self.stop_at_times(copy);
                    self.act(at, copy, Act::Write { namespace, version });
                }
            }
            Act::Write { namespace, version } => self.write(copy, namespace, version),
            Act::Written { id } => {
                self.copies[copy].unanswered.retain(|write| write.id != id);
            }
            Act::GiveUp { since } => self.give_up(copy, since),
            Act::Exit => self.kill(copy),
        }
    }

    /// Does the next thing of an election. A wait that a nudge has ended goes on by a new one.
    fn step(&mut self, copy: usize, bucket: usize) {
        let longest_way = self.longest_way();
        let process = &mut self.copies[copy];
        let step = process.step(bucket, self.time, longest_way);
        process.turns[bucket] += 1;
        let turn = process.turns[bucket];
        process.is_waiting[bucket] = matches!(step, Step::Wait(_));
        match step {
            Step::Wait(_)
                if let Some(nudge) = process.nudges[bucket].take()
                    && process.nudge(bucket, &nudge) =>
            {
                self.act(self.time, copy, Act::Step { bucket, turn });
            }
            Step::Wait(wait) => {
                let at = self.time + process.clocks.wait(wait);
                self.act(at, copy, Act::Step { bucket, turn });
            }
            Step::Call(request) => {
                let at = self.time + self.rng.u64(0..30);
                self.stop_at_times(copy);
                self.act(at, copy, Act::Send { bucket, turn, request: *request });
            }
            Step::Done => {}
        }
    }

    fn give_up(&mut self, copy: usize, since: u64) {
        let (time, longest) = (self.time, self.longest_way());
        let is_too_early = self.plan.fault == Fault::ReleasedTooEarly;
        let process = &mut self.copies[copy];
        if process.has_unanswered(time, longest) && !is_too_early {
            if time < since + 700 * MILLI {
                self.act(time + 5 * MILLI, copy, Act::GiveUp { since });
            }
            return;
        }
        for bucket in 0..process.electors.len() {
            self.copies[copy].electors[bucket].release();
            self.step(copy, bucket);
        }
    }
}
