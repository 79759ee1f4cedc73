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
//! - A Lease that was not there, or had another number of buckets, permits nothing for one D after
//!   it was written: its deletion told its holder nothing, and holders by another number of buckets
//!   hold other Leases. See [`Layout`].

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
/// The time by which a copy that holds a Lease lets others go first: longer than it takes them to
/// look.
const COURTESY: Duration = Duration::from_millis(500);
/// The additional time for each Lease that it holds.
const COURTESY_EACH: Duration = Duration::from_millis(100);
/// The longest time by which a copy lets others go first.
const MOST_COURTESY: Duration = Duration::from_millis(800);
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
            Standing::Mine => {
                let record = self.renewal(record, now);
                self.at(self.renewal_due(now), Call::Update(record), now)
            }
            Standing::Free => {
                let turn = self.free.get_or_insert(at).after(courtesy(around.held));
                let record = self.renewal(record, now);
                self.at(turn, Call::Update(record), now)
            }
            Standing::Held { until } => self.look(look, until, now),
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
                self.observe(Some(record), now);
                self.record_speed(request, now);
                if is_write || is_news {
                    self.backoff.reset();
                }
                if is_write && is_mine {
                    self.renewed = Some(request.sent);
                    self.interval = self.settings.duration.mul_f64(0.3 + fastrand::f64() / 30.0);
                }
                if is_write && is_released {
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
        let turn = self.free.get_or_insert(now.monotonic).after(courtesy(around.held));
        let record = self.renewal(&Record::default(), now);
        self.at(turn, Call::Create(record), now)
    }

    /// Releases the Lease, if its release lets no other copy write too early.
    fn give_up(&mut self, now: Readings) -> Step {
        let released = self.record().filter(|record| record.layout == Some(self.settled()));
        let released = released.map(|record| Record { holder: String::new(), ..record.clone() });
        released.map_or(Step::Done, |record| self.call(Call::Update(record), now))
    }

    fn renewal_due(&self, now: Readings) -> Monotonic {
        let Some(renewed) = self.renewed else { return now.monotonic };
        if now.since(renewed) >= self.interval {
            return now.monotonic;
        }
        let due = renewed.monotonic.after(self.interval);
        match self.announced {
            Some(since) if self.announces() => due.min(since.after(self.longest)),
            _ => due,
        }
    }

    fn announces(&self) -> bool {
        let announced = Layout::Announced(self.settings.buckets);
        self.record().is_some_and(|record| record.layout == Some(announced))
    }

    /// Returns the record that makes this copy the holder, or keeps it so.
    fn renewal(&self, record: &Record, now: Readings) -> Record {
        let Settings { me, duration, buckets, .. } = &self.settings;
        let is_over = |since: Monotonic| now.monotonic >= since.after(self.longest);
        let is_settled = record.layout == Some(self.settled());
        let is_announced = self.is_mine(record) && self.announced.is_some_and(is_over);
        let is_settled = is_settled || is_announced;
        let layout = if is_settled { self.settled() } else { Layout::Announced(*buckets) };
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        let is_taken = !self.is_mine(record);
        Record {
            holder: me.clone(),
            seconds: i32::try_from(seconds).ok(),
            transitions: record.transitions.saturating_add(i32::from(is_taken)),
            acquired: if is_taken { Some(now.system) } else { record.acquired },
            renewed: Some(now.system),
            layout: Some(layout),
            ..record.clone()
        }
    }

    fn observe(&mut self, record: Option<Record>, now: Readings) {
        let at = now.monotonic;
        let since = self.seen.as_ref().filter(|seen| seen.record == record);
        let since = since.map_or(at, |seen| seen.since);
        self.seen = Some(Seen { record, since, at });
        (self.is_current, self.is_nudged) = (true, false);
        let record = self.record();
        let longest = record.map(|record| record.duration(self.settings.duration));
        let is_mine = record.is_some_and(|record| self.is_mine(record));
        self.longest = self.longest.max(longest.unwrap_or_default());
        self.renewed = self.renewed.filter(|_| is_mine);
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

/// Returns the time by which a copy that holds some Leases lets others go first, so that copies
/// that begin together share the buckets.
fn courtesy(held: u32) -> Duration {
    let courtesy = (COURTESY + COURTESY_EACH.saturating_mul(held)).min(MOST_COURTESY);
    if held > 0 { courtesy } else { Duration::ZERO }
}

/// Faults for the simulation, which has to find them.
#[cfg(test)]
impl Elector {
    /// Takes the time since the record's `renewTime` for the time since it was seen.
    pub(super) fn believe_renew_time(&mut self, now: Readings) {
        let Some(seen) = &mut self.seen else { return };
        let renewed = seen.record.as_ref().and_then(|record| record.renewed);
        let age = renewed.and_then(|renewed| (now.system - renewed).to_std().ok());
        seen.since = Monotonic(now.monotonic.0.saturating_sub(age.unwrap_or_default()));
    }

    /// Lets a new Lease, or number of buckets, permit writes at once.
    pub(super) fn skip_quarantine(&mut self) {
        self.longest = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
