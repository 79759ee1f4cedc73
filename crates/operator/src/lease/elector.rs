//! The election for one Lease, as a pure machine: moments and answers go in, calls and waits come
//! out. The operator drives it with its clock and the API server, the simulation with its own.
//!
//! Why no two copies write at the same time, if D is the duration of the Lease:
//! - A renewal counts from *before* it was sent, for two thirds of D. Another copy takes the Lease
//!   no earlier than D after it has *seen* that renewal, which is later. A third of D is left for
//!   the writes in flight, for clocks that run at different rates, and for nothing else.
//! - Each write names the version that was decided by. What was decided before a pause of any
//!   length, or arrives late, is refused if anything has happened since.
//! - A renewal without an answer is none. The Lease is read back before it is written again.
//! - A copy's identity is new with each start of the process, so no process takes the Lease of an
//!   earlier one, or of a second process of the same name, for its own.
//! - A Lease is given to another copy only when no write is on its way, and the renewals before
//!   permit nothing from then on. See [`handover`].
//! - A Lease that was not there, or had another number of buckets, permits nothing for one D after
//!   it was written: its deletion told its holder nothing, and holders by another number of buckets
//!   hold other Leases. See [`Layout`].

#[cfg(test)]
mod faults;
mod handover;
mod renewal;

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

use crate::{
    backoff::Backoff,
    clock::Readings,
    lease::{
        evaluate::{Standing, evaluate},
        record::{Layout, Record},
        steps::{Answer, Call, Request, Settings, Step, Surroundings, term},
    },
};

/// The longest time between two looks at a Lease of another copy that is not watched.
const POLL: Duration = Duration::from_millis(500);
/// The waits after a failure.
const WAITS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(600));
/// The deadline of a call, which doubles while calls take longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The state of the Lease at the latest look.
#[derive(Clone, Debug)]
struct Seen {
    /// The record; `None` if there was no Lease.
    record: Option<Record>,
    /// The moment since which it has been seen like this.
    since: Monotonic,
    /// The moment of the latest look.
    at: Monotonic,
    /// The record was seen to change, and another look was not long before.
    is_fresh: bool,
}

/// The election for one Lease.
#[derive(Debug)]
pub(super) struct Elector {
    settings: Settings,
    seen: Option<Seen>,
    /// No write has been sent since the latest look.
    is_current: bool,
    is_nudged: bool,
    /// The moment before the latest accepted renewal was sent.
    renewed: Option<Readings>,
    /// The time between two renewals.
    interval: Duration,
    /// The moment since which this copy has been seen to announce its number of buckets.
    announced: Option<Monotonic>,
    /// The longest duration of all records so far.
    longest: Duration,
    /// The moment since which the Lease may be taken.
    free: Option<Monotonic>,
    /// The moment before the latest answer was asked for that had this copy's number of buckets.
    layout_read: Option<Readings>,
    /// The moment since which it is being given to another copy.
    giving: Option<Readings>,
    /// The moment until which it is not given again: the latest gift took too long.
    keeps_until: Monotonic,
    /// A wish of this copy was sent, and no look since then has told what has become of it.
    has_asked: bool,
    not_before: Monotonic,
    backoff: Backoff,
    timeouts: u32,
    stage: Stage,
}

/// The stage of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    TakesPart,
    /// The Lease is to be given up.
    Releases,
    Done,
}

impl Elector {
    /// Begins with a look at the Lease.
    pub(super) fn new(settings: Settings) -> Self {
        let (interval, longest) = (settings.duration / 3, settings.duration);
        Self {
            settings,
            seen: None,
            is_current: false,
            is_nudged: false,
            renewed: None,
            interval,
            announced: None,
            longest,
            free: None,
            layout_read: None,
            giving: None,
            keeps_until: Monotonic(Duration::ZERO),
            has_asked: false,
            not_before: Monotonic(Duration::ZERO),
            backoff: WAITS,
            timeouts: 0,
            stage: Stage::TakesPart,
        }
    }

    /// Returns the next thing to do. It can be asked again at any time: a call without an answer
    /// counts as one with an unknown outcome.
    pub(super) fn step(&mut self, now: Readings, around: Surroundings) -> Step {
        let at = now.monotonic;
        if self.stage == Stage::Done {
            return Step::Done;
        }
        if at < self.not_before {
            return Step::Wait(self.not_before.since(at));
        }
        let Some(seen) = self.seen.as_ref().filter(|_| self.is_current) else {
            return self.call(Call::Get, now);
        };
        let look = if self.is_nudged { at } else { seen.at.after(self.poll(around)) };
        let Some(record) = &seen.record else { return self.step_without(now, look, around) };
        let Settings { me, duration, .. } = &self.settings;
        let standing = evaluate(record, me, *duration, seen.since, at);
        if standing != Standing::Free {
            self.free = None;
        }
        match standing {
            Standing::Mine if self.stage == Stage::Releases => self.give_up(now),
            Standing::Free | Standing::Held { .. } if self.stage == Stage::Releases => Step::Done,
            _ if !self.may_act(around) => self.look(look, look, now),
            Standing::Mine => self.give(around, now).unwrap_or_else(|| self.keep(now)),
            Standing::Free => {
                let courtesy = self.courtesy(record, around);
                let taken = self.renewal(record, now);
                self.take(Call::Update(taken), courtesy, look, now)
            }
            Standing::Held { until } => {
                let wish = self.wish(around, now);
                wish.unwrap_or_else(|| self.look(look, until, now))
            }
        }
    }

    /// Takes the answer to a call.
    pub(super) fn answer(&mut self, request: &Request, answer: Answer, now: Readings) {
        let is_write = !matches!(request.call, Call::Get);
        match answer {
            Answer::Found(record) => {
                let (is_mine, is_released) = (self.is_mine(&record), record.holder.is_empty());
                let is_news = self.record() != Some(&record);
                let is_layout = record.layout == Some(self.settled());
                self.layout_read = is_layout.then_some(request.sent);
                let since = self.unchanged_since().filter(|_| is_write && self.is_wish(&record));
                self.observe(Some(record), now);
                self.keep_waiting(since);
                self.record_speed(request, now);
                if is_write || is_news {
                    self.backoff.reset();
                }
                if is_write && is_mine {
                    self.renewed = Some(request.sent);
                    self.interval = self.settings.duration.mul_f64(0.3 + fastrand::f64() / 30.0);
                }
                if is_write && is_released && self.stage == Stage::Releases {
                    self.stage = Stage::Done;
                }
            }
            Answer::Absent => {
                self.layout_read = None;
                self.observe(None, now);
                self.record_speed(request, now);
            }
            Answer::Conflict => {
                self.is_current = false;
                self.delay(None, now);
            }
            Answer::Refused(asked) => {
                // Without a look yet it is asked again by itself.
                self.is_current = self.seen.is_some() && (is_write || self.is_current);
                self.has_asked &= !is_write;
                self.delay(asked, now);
            }
            Answer::Unknown(asked) => {
                self.record_speed(request, now);
                self.delay(asked, now);
            }
        }
    }

    /// Looks at the Lease soon: it may have changed.
    pub(super) fn nudge(&mut self) {
        self.is_nudged = true;
    }

    /// Returns true if the next look follows a nudge.
    pub(super) fn is_nudged(&self) -> bool {
        self.is_nudged
    }

    /// Returns the number of buckets of another copy that holds the Lease by another one.
    pub(super) fn other_layout(&self) -> Option<usize> {
        let record = self.record().filter(|record| !record.holder.is_empty())?;
        let buckets = record.layout?.buckets();
        (buckets != self.settings.buckets).then_some(buckets)
    }

    /// Gives the Lease up. The permit has ended before, and no write is in flight.
    pub(super) fn release(&mut self) {
        self.stage = Stage::Releases;
        self.not_before = Monotonic(Duration::ZERO);
    }

    /// Returns the moment from which the latest renewal counts; `None` if it permits nothing.
    pub(super) fn held_from(&self) -> Option<Readings> {
        let record = self.record().filter(|record| self.is_mine(record))?;
        let is_settled = record.layout == Some(self.settled());
        self.renewed.filter(|_| is_settled && self.stage == Stage::TakesPart)
    }

    /// Returns true if this copy is the holder as last seen, whether or not it may write.
    pub(super) fn is_holder(&self) -> bool {
        self.record().is_some_and(|record| self.is_mine(record))
    }

    /// Returns the moment from which the latest answer counts that had this copy's number of
    /// buckets; `None` if it had another one.
    pub(super) fn layout_read(&self) -> Option<Readings> {
        self.layout_read
    }

    /// Returns true if the Lease has this copy's number of buckets, settled or announced.
    pub(super) fn is_layout_own(&self) -> bool {
        let layout = self.record().and_then(|record| record.layout);
        layout.is_some_and(|layout| layout.buckets() == self.settings.buckets)
    }

    /// Returns the record as last seen.
    pub(super) fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.record.as_ref()
    }

    /// Returns the moment since which the record has been seen like this.
    pub(super) fn unchanged_since(&self) -> Option<Monotonic> {
        self.seen.as_ref().map(|seen| seen.since)
    }

    fn settled(&self) -> Layout {
        Layout::Settled(self.settings.buckets)
    }

    fn is_mine(&self, record: &Record) -> bool {
        record.holder == self.settings.me
    }

    fn may_act(&self, around: Surroundings) -> bool {
        self.settings.is_anchor || around.is_layout_own
    }

    /// Returns the time between two looks at the Lease of another copy.
    fn poll(&self, around: Surroundings) -> Duration {
        let seldom = self.settings.duration / 5;
        if around.is_watched { seldom } else { seldom.min(POLL) }
    }

    fn step_without(&mut self, now: Readings, look: Monotonic, around: Surroundings) -> Step {
        if self.stage == Stage::Releases {
            return Step::Done;
        }
        if !self.may_act(around) {
            return self.look(look, look, now);
        }
        let record = Record::default();
        let (courtesy, taken) = (self.courtesy(&record, around), self.renewal(&record, now));
        self.take(Call::Create(taken), courtesy, look, now)
    }

    /// Takes a Lease that has been free for some time, and looks at it until then.
    fn take(&mut self, call: Call, courtesy: Duration, look: Monotonic, now: Readings) -> Step {
        let turn = self.free.get_or_insert(now.monotonic).after(courtesy);
        if now.monotonic >= turn { self.call(call, now) } else { self.look(look, turn, now) }
    }

    fn observe(&mut self, record: Option<Record>, now: Readings) {
        let at = now.monotonic;
        let (since, is_fresh) = match &self.seen {
            Some(seen) if seen.record == record => (seen.since, seen.is_fresh),
            Some(seen) => (at, at.since(seen.at) <= self.settings.duration / 4),
            None => (at, false),
        };
        self.seen = Some(Seen { record, since, at, is_fresh });
        (self.is_current, self.is_nudged, self.has_asked) = (true, false, false);
        let record = self.record();
        let longest = record.map(|record| record.duration(self.settings.duration));
        let is_mine = record.is_some_and(|record| self.is_mine(record));
        self.longest = self.longest.max(longest.unwrap_or_default());
        self.renewed = self.renewed.filter(|_| is_mine);
        self.giving = self.giving.filter(|_| is_mine);
        self.announced = (is_mine && self.announces()).then(|| self.announced.unwrap_or(at));
    }

    fn look(&mut self, look: Monotonic, until: Monotonic, now: Readings) -> Step {
        if now.monotonic >= look {
            return self.call(Call::Get, now);
        }
        Step::Wait(look.min(until).since(now.monotonic))
    }

    fn at(&mut self, moment: Monotonic, call: Call, now: Readings) -> Step {
        match moment.since(now.monotonic) {
            Duration::ZERO => self.call(call, now),
            wait => Step::Wait(wait),
        }
    }

    fn call(&mut self, call: Call, now: Readings) -> Step {
        self.is_current &= matches!(call, Call::Get);
        let duration = self.settings.duration;
        let patience = PATIENCE.min(duration / 5) * 2_u32.pow(self.timeouts.min(8));
        let patience = patience.min(duration / 3);
        let left = self.held_from().map(|from| term(duration).saturating_sub(now.since(from)));
        let left = left.filter(|left| !left.is_zero());
        let deadline = left.map_or(patience, |left| left.min(patience));
        Step::Call(Box::new(Request { call, sent: now, deadline }))
    }

    /// Adapts the deadline of calls to an API server that has become slower, or faster again.
    fn record_speed(&mut self, request: &Request, now: Readings) {
        let taken = now.monotonic.since(request.sent.monotonic);
        if taken >= request.deadline {
            self.timeouts = (self.timeouts + 1).min(8);
        } else if taken < request.deadline / 2 {
            self.timeouts = self.timeouts.saturating_sub(1);
        }
    }

    fn delay(&mut self, asked: Option<Duration>, now: Readings) {
        let asked = asked.unwrap_or_default().min(self.settings.duration / 3);
        self.not_before = now.monotonic.after(self.backoff.next().max(asked));
    }
}

#[cfg(test)]
mod tests;
