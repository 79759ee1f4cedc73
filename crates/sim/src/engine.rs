use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::{
    config::EngineConfig,
    histogram::Histogram,
    metrics::{Gauges, Metrics, TIME_PER_OUTPUT_TOKEN_BOUNDS},
    request::Request,
    sequence::Sequence,
};

/// An event of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The time since the engine's start.
    pub at: Duration,
    /// The ID of the request.
    pub id: u64,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kind of an event of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The first token has been generated.
    FirstToken,
    /// A further token has been generated.
    Token,
    /// The request is complete. This follows the event of its last token.
    Finished,
}

/// The request can never run: its context needs more KV blocks than the engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTooLong {
    /// The number of blocks that the whole context needs.
    pub needed_blocks: u32,
    /// The number of blocks that sequences can use.
    pub usable_blocks: u32,
}

impl fmt::Display for RequestTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "prompt and answer need {} KV blocks, the engine has {}: shorten the request or configure more blocks",
            self.needed_blocks, self.usable_blocks
        )
    }
}

impl std::error::Error for RequestTooLong {}

/// A replica of an engine.
///
/// All times are counted from its start; the caller must never go backwards.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    waiting: VecDeque<Sequence>,
    /// The running sequences in the order of admission: the last one is preempted first.
    running: Vec<Sequence>,
    free_blocks: u32,
    step_ends_at: Option<Duration>,
    events: Vec<Event>,
    metrics: Metrics,
    steps: u64,
    time_per_output_token: Histogram,
}

impl Engine {
    /// Creates an idle engine.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            free_blocks: config.usable_blocks(),
            config,
            waiting: VecDeque::new(),
            running: Vec::new(),
            step_ends_at: None,
            events: Vec::new(),
            metrics: Metrics::default(),
            steps: 0,
            time_per_output_token: Histogram::new(TIME_PER_OUTPUT_TOKEN_BOUNDS),
        }
    }

    /// Queues a request; an idle engine begins a step at once.
    ///
    /// # Errors
    /// Fails with [`RequestTooLong`] if the context does not fit into an empty KV cache.
    pub fn submit(&mut self, now: Duration, request: Request) -> Result<(), RequestTooLong> {
        let request = Request {
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            ..request
        };
        let needed_blocks =
            self.config.blocks_for(request.prompt_tokens.saturating_add(request.output_tokens));
        let usable_blocks = self.config.usable_blocks();
        if needed_blocks > usable_blocks {
            return Err(RequestTooLong { needed_blocks, usable_blocks });
        }
        self.run_until(now);
        self.waiting.push_back(Sequence::new(request, now));
        if self.step_ends_at.is_none() {
            self.start_step(now);
        }
        Ok(())
    }

    /// Drops a request after its client has disconnected. Returns true if the request existed.
    pub fn abort(&mut self, now: Duration, id: u64) -> bool {
        self.run_until(now);
        let matches = |sequence: &Sequence| sequence.request.id == id;
        if let Some(index) = self.running.iter().position(matches) {
            self.free_blocks += self.running.remove(index).blocks;
        } else if let Some(index) = self.waiting.iter().position(matches) {
            self.waiting.remove(index);
        } else {
            return false;
        }
        self.metrics.finished_abort += 1;
        true
    }

    /// Runs until `now`, and returns the events since the last call in order of time.
    pub fn advance(&mut self, now: Duration) -> Vec<Event> {
        self.run_until(now);
        std::mem::take(&mut self.events)
    }

    /// Returns the end of the current step, before which no event happens; `None` while idle.
    pub fn next_event_at(&self) -> Option<Duration> {
        self.step_ends_at
    }

    /// Returns the engine's gauges as of the last call with a time.
    pub fn gauges(&self) -> Gauges {
        let usable = self.config.usable_blocks();
        Gauges {
            running: self.running.len() as u64,
            waiting: self.waiting.len() as u64,
            kv_usage: f64::from(usable - self.free_blocks) / f64::from(usable.max(1)),
        }
    }

    /// Returns the engine's counters and histograms.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the number of steps that have ended.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the mean times between two tokens of the finished requests, in seconds. An answer of
    /// one token has none.
    pub fn time_per_output_token(&self) -> &Histogram {
        &self.time_per_output_token
    }

    /// Returns the engine's configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    fn run_until(&mut self, now: Duration) {
        while let Some(at) = self.step_ends_at.filter(|at| *at <= now) {
            self.finish_step(at);
            self.start_step(at);
        }
    }

    fn start_step(&mut self, now: Duration) {
        let (mut budget, preempted) = self.schedule_running();
        // A sequence that has just been preempted must not be admitted in the same step.
        while !preempted && budget > 0 && self.admit_next(now, &mut budget) {}
        let scheduled = self.running.iter().filter(|s| s.is_scheduled());
        let sequences = scheduled.clone().count() as u32;
        let prefill: u32 = scheduled.map(Sequence::scheduled_prefill).sum();
        self.step_ends_at =
            (sequences > 0).then(|| now + self.config.step_time(sequences, prefill));
    }

    /// Gives each running sequence its tokens of the next step. If blocks run out, the youngest
    /// sequences go back to the queue. Returns the remaining budget, and true if any sequence was
    /// preempted.
    fn schedule_running(&mut self) -> (u32, bool) {
        let mut budget = self.config.max_batched_tokens.max(1);
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && budget > 0 {
            let tokens = self.running[index].wanted(budget);
            let missing = self.running[index].missing_blocks(&self.config, tokens);
            if missing > self.free_blocks {
                self.preempt_youngest();
                preempted = true;
                continue;
            }
            self.free_blocks -= missing;
            self.running[index].blocks += missing;
            self.running[index].schedule(tokens);
            budget -= tokens;
            index += 1;
        }
        (budget, preempted)
    }

    fn preempt_youngest(&mut self) {
        if let Some(mut sequence) = self.running.pop() {
            self.free_blocks += sequence.preempt();
            self.metrics.preemptions += 1;
            self.waiting.push_front(sequence);
        }
    }

    /// Moves the head of the queue into the batch. Returns false if the queue is empty, or if no
    /// slot or too few blocks are free.
    fn admit_next(&mut self, now: Duration, budget: &mut u32) -> bool {
        let Some(head) = self.waiting.front() else {
            return false;
        };
        // Blocks are taken for the whole context, though prefill may take several steps: half a
        // prompt in the cache is of no use.
        let blocks = self.config.blocks_for(head.context());
        if self.running.len() >= self.config.max_num_seqs || blocks > self.free_blocks {
            return false;
        }
        let Some(mut sequence) = self.waiting.pop_front() else {
            return false;
        };
        self.free_blocks -= blocks;
        sequence.blocks = blocks;
        sequence.admit(now);
        let tokens = sequence.wanted(*budget);
        sequence.schedule(tokens);
        *budget -= tokens;
        self.running.push(sequence);
        true
    }

    fn finish_step(&mut self, at: Duration) {
        self.steps += 1;
        for sequence in self.running.iter_mut().filter(|s| s.is_scheduled()) {
            if !sequence.complete_step(at, &mut self.metrics) {
                continue;
            }
            let id = sequence.request.id;
            let kind =
                if sequence.is_first_token() { EventKind::FirstToken } else { EventKind::Token };
            self.events.push(Event { at, id, kind });
            if sequence.is_finished() {
                if let Some(latency) = sequence.time_per_output_token(at) {
                    self.time_per_output_token.observe(latency.as_secs_f64());
                }
                let kind = EventKind::Finished;
                self.events.push(Event { at, id, kind });
                self.free_blocks += std::mem::take(&mut sequence.blocks);
            }
        }
        self.running.retain(|s| !s.is_finished());
    }
}
