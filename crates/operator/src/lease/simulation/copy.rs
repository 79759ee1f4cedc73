//! One copy of the operator: the product's elections and permits, with clocks of its own.

use std::time::Duration;

use super::{
    clocks::Clocks,
    plan::{CopyPlan, Fault, NAMESPACES},
    server::name,
};
use crate::lease::{
    board::Board,
    bucket::bucket,
    elector::Elector,
    steps::{Answer, Call, Request, Settings, Step},
};

/// One copy of the operator.
#[derive(Debug)]
pub(super) struct Copy {
    pub clocks: Clocks,
    pub is_alive: bool,
    /// The number of starts.
    pub start: u32,
    /// Everything that the process does waits until then.
    pub paused_until: u64,
    /// The writes without an answer so far, and the times at which they were sent.
    pub unanswered: Vec<(u64, u64)>,
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
    /// It was nudged during a call.
    pub is_nudged: Vec<bool>,
    fault: Fault,
    number: usize,
    duration: Duration,
}

impl Copy {
    pub(super) fn new(number: usize, plan: CopyPlan, duration: Duration, fault: Fault) -> Self {
        let CopyPlan { mut clocks, buckets, is_watched } = plan;
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
            board: Board::new(buckets, duration),
            turns: vec![0; buckets],
            is_waiting: vec![false; buckets],
            is_nudged: vec![false; buckets],
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
        self.is_nudged.fill(false);
        self.board = Board::new(self.buckets, self.duration);
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

    pub(super) fn step(&mut self, bucket: usize, time: u64) -> Step {
        let now = self.clocks.read(time);
        let around = self.board.surroundings(self.is_watched);
        let elector = &mut self.electors[bucket];
        match self.fault {
            Fault::BelievesRenewTime => elector.believe_renew_time(now),
            Fault::NoQuarantine => elector.skip_quarantine(),
            _ => {}
        }
        elector.step(now, around)
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
        let is_news = self.board.record(bucket, &self.electors[bucket]);
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
        self.unanswered.retain(|(_, sent)| time < sent + longest);
        !self.unanswered.is_empty()
    }
}
