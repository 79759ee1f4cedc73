//! One copy of the operator: the product's elections and permits, with clocks of its own.

use std::time::Duration;

use super::{
    clocks::Clocks,
    plan::{CopyPlan, Fault, NAMESPACES, Version},
    server::name,
};
use crate::lease::{
    board::Board,
    bucket::bucket,
    elector::Elector,
    steps::{Answer, Call, Evening, Request, Settings, Step},
};

/// A write without an answer so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub id: u64,
    pub namespace: usize,
    /// The time at which it was sent.
    pub sent: u64,
}

/// What a watch has told: a version of the Lease; `None` if the election is to look anyway.
pub(super) type Nudge = Option<String>;

/// One copy of the operator.
#[derive(Debug)]
pub(super) struct Copy {
    pub clocks: Clocks,
    pub is_alive: bool,
    /// The number of starts.
    pub start: u32,
    /// Everything that the process does waits until then.
    pub paused_until: u64,
    /// The writes without an answer so far.
    pub unanswered: Vec<Unanswered>,
    pub is_ending: bool,
    pub is_watched: bool,
    pub buckets: usize,
    /// The buckets of the namespaces.
    bucket_of: Vec<usize>,
    pub electors: Vec<Elector>,
    pub board: Board,
    /// The number of the wait or call of each election; older ones have no effect.
    pub turns: Vec<u64>,
    /// The election waits, and does not call.
    pub is_waiting: Vec<bool>,
    /// The nudges during calls.
    pub nudges: Vec<Option<Nudge>>,
    pub version: Version,
    fault: Fault,
    number: usize,
    duration: Duration,
}

impl Copy {
    pub(super) fn new(number: usize, plan: CopyPlan, duration: Duration, fault: Fault) -> Self {
        let CopyPlan { mut clocks, buckets, is_watched, version } = plan;
        clocks.ignores_wall = fault == Fault::NoWallClock;
        clocks.sums_up = fault == Fault::ClockSetBackRevives;
        Self {
            clocks,
            is_alive: false,
            start: 0,
            paused_until: 0,
            unanswered: Vec::new(),
            is_ending: false,
            is_watched,
            buckets,
            bucket_of: (0..NAMESPACES).map(|space| bucket(&name(space), buckets)).collect(),
            electors: Vec::new(),
            board: Board::new(String::new(), buckets, duration),
            turns: vec![0; buckets],
            is_waiting: vec![false; buckets],
            nudges: vec![None; buckets],
            version,
            fault,
            number,
            duration,
        }
    }

    /// Starts the process.
    pub(super) fn boot(&mut self, time: u64) {
        self.clocks.boot(time);
        (self.is_alive, self.is_ending, self.paused_until) = (true, false, 0);
        self.start += 1;
        self.unanswered.clear();
        self.is_waiting.fill(false);
        self.nudges.fill(None);
        self.board = Board::new(self.identity(), self.buckets, self.duration);
        if self.fault == Fault::GivenToAndFro {
            self.board.even_out_by_one();
        }
        let settings = |bucket| Settings {
            me: self.identity(),
            duration: self.duration,
            buckets: self.buckets,
            is_anchor: bucket == 0,
        };
        self.electors = (0..self.buckets).map(|bucket| Elector::new(settings(bucket))).collect();
    }

    pub(super) fn identity(&self) -> String {
        format!("{}-{}", self.number, self.start)
    }

    pub(super) fn step(&mut self, bucket: usize, time: u64, longest_way: u64) -> Step {
        let now = self.clocks.read(time);
        let mut around = self.board.surroundings(bucket, self.is_watched, now);
        around.is_idle =
            self.fault == Fault::GivenTooEarly || self.is_idle(bucket, time, longest_way);
        if self.version == Version::WithoutWishes {
            around.evening = Evening::Nothing;
        }
        let elector = &mut self.electors[bucket];
        match self.fault {
            Fault::BelievesRenewTime => elector.believe_renew_time(now),
            Fault::NoQuarantine => elector.skip_quarantine(),
            _ => {}
        }
        let (renewed, known) = (elector.renewed(), elector.record().cloned());
        let mut step = self.board.step(bucket, elector, around, now);
        if self.fault == Fault::PermitOutlivesTheGift {
            elector.revive(renewed);
            self.board.record(bucket, elector, now);
            self.board.permit(bucket).set_closed(false);
        }
        if let Step::Call(request) = &mut step
            && let Call::Update(record) = &mut request.call
            && self.version == Version::WithoutWishes
        {
            // It keeps the annotation, as those of others.
            record.wanted_by = known.and_then(|record| record.wanted_by);
        }
        self.board.refresh(now);
        step
    }

    /// Tells an election what a watch has told. Returns true if it is news.
    pub(super) fn nudge(&mut self, bucket: usize, nudge: &Nudge) -> bool {
        let elector = &mut self.electors[bucket];
        let known = elector.record().map(|record| &record.version);
        let is_news = known.is_none() || nudge.as_ref() != known;
        if is_news {
            elector.nudge();
        }
        is_news
    }

    /// Takes an answer. Returns true if the other elections are to look at once.
    pub(super) fn answer(
        &mut self,
        bucket: usize,
        request: &Request,
        answer: Answer,
        time: u64,
    ) -> bool {
        let now = self.clocks.read(time);
        let answer = match (&answer, &request.call) {
            (Answer::Unknown(_), Call::Update(record)) if self.fault == Fault::AmbiguousCounts => {
                Answer::Found(record.clone())
            }
            _ => answer,
        };
        let mut request = request.clone();
        if self.fault == Fault::CountedFromTheAnswer {
            request.sent = now;
        }
        self.electors[bucket].answer(&request, answer, now);
        let is_news = self.board.record(bucket, &self.electors[bucket], now);
        self.board.refresh(now);
        is_news
    }

    /// Returns true if the process believes that it may write.
    pub(super) fn may_write(&self, namespace: usize, time: u64) -> bool {
        if !self.is_alive {
            return false;
        }
        let (bucket, now) = (self.bucket_of[namespace], self.clocks.peek(time));
        self.board.permit(bucket).deadline(now.monotonic).is_some()
            && self.board.left(bucket, now).is_some()
    }

    /// Brings the permits up to date, as the operator does a few times each second.
    pub(super) fn guard(&mut self, time: u64) {
        let now = self.clocks.read(time);
        self.board.refresh(now);
    }

    /// Forgets the writes that have been on their way for so long that they count no more.
    pub(super) fn has_unanswered(&mut self, time: u64, longest: u64) -> bool {
        self.unanswered.retain(|write| time < write.sent + longest);
        !self.unanswered.is_empty()
    }

    /// Returns true if no write of a bucket is on its way.
    fn is_idle(&mut self, bucket: usize, time: u64, longest: u64) -> bool {
        let is_of = |write: &Unanswered| self.bucket_of[write.namespace] == bucket;
        self.unanswered.retain(|write| time < write.sent + longest);
        !self.unanswered.iter().any(is_of)
    }
}
