//! A replica in jumps: the model of [`Engine`](crate::Engine) without its single tokens.
//!
//! ```text
//!  submit ──> waiting ──(a free slot, free KV tokens)──> prefill ──> decoding ──> Finished
//!                ^                                          │           │
//!                └──────────────(preempted: the KV cache is full)───────┘
//! ```
//!
//! While no prompt is computed, nothing happens in the steps of a replica but that each sequence
//! gets a token. Such steps are a [`Run`]: their durations rise linearly, because the KV cache
//! grows by a token for each sequence, so that the end of each of them has a closed form. A run
//! ends when a sequence finishes, when the KV cache is full, or when a request can be admitted.
//! The cost of a request is therefore a few runs, however many tokens it has.

mod costs;
#[cfg(test)]
mod reference;
mod run;
mod sequence;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use crate::{Gauges, Histogram, Metrics, metrics::TIME_PER_OUTPUT_TOKEN_BOUNDS};

pub use costs::ReplicaConfig;
use run::Run;
use sequence::Sequence;
pub use sequence::{Finished, Job};

/// The KV tokens that stay free at an admission, so that the first tokens of the answer have room.
const ADMISSION_MARGIN: u64 = 16;

/// A replica of an engine, in virtual time. Times are seconds; a caller must never go backwards.
#[derive(Debug, Clone)]
pub struct Replica {
    config: ReplicaConfig,
    waiting: VecDeque<Sequence>,
    /// The sequences with prompts that are not computed yet, in the order of admission.
    prefilling: VecDeque<Sequence>,
    /// The decoding sequences by slot; a free slot holds a finished one.
    slots: Vec<Sequence>,
    free_slots: Vec<usize>,
    /// The decoding sequences: the step after which each has its last token, and its slot.
    finishes: BinaryHeap<Reverse<(u64, usize)>>,
    /// The number of steps since the start.
    step: u64,
    /// The tokens in the KV cache, those of admitted prompts included.
    kv_tokens: u64,
    admissions: u64,
    run: Option<Run>,
    metrics: Metrics,
    /// The prompt tokens of requests with a first token that a prefix cache had.
    cached_tokens: u64,
    /// The mean time between two tokens of each finished request, in seconds.
    time_per_output_token: Histogram,
}

impl Replica {
    /// Creates an idle replica.
    pub fn new(config: ReplicaConfig) -> Self {
        Self {
            config,
            waiting: VecDeque::new(),
            prefilling: VecDeque::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            finishes: BinaryHeap::new(),
            step: 0,
            kv_tokens: 0,
            admissions: 0,
            run: None,
            time_per_output_token: Histogram::new(TIME_PER_OUTPUT_TOKEN_BOUNDS),
            cached_tokens: 0,
            metrics: Metrics::default(),
        }
    }

    /// Queues a job at a time up to which the replica has advanced. Returns false, and takes
    /// nothing, if its context does not fit into an empty KV cache.
    #[must_use]
    pub fn submit(&mut self, now: f64, job: Job) -> bool {
        if job.context_at_end() > self.config.kv_tokens {
            return false;
        }
        self.waiting.push_back(Sequence::new(job));
        if self.run.is_none() {
            self.begin_run(now);
        } else if self.waiting.len() == 1 && self.can_admit() {
            self.synchronize(now);
            if let Some(run) = &mut self.run {
                run.shorten();
            }
        }
        true
    }

    /// Returns the time before which no request is admitted, gets its first token or finishes;
    /// infinity while the replica is idle.
    pub fn next_event_at(&self) -> f64 {
        self.run.as_ref().map_or(f64::INFINITY, Run::end)
    }

    /// Runs until `now`, and adds the jobs that have finished.
    pub fn advance(&mut self, now: f64, finished: &mut Vec<Finished>) {
        while let Some(run) = self.run.take_if(|run| run.end() <= now) {
            let end = run.end();
            self.complete_steps(&run, run.steps());
            if run.has_prefill() {
                self.complete_prefill(end, finished);
            }
            self.complete_decodes(end, finished);
            self.begin_run(end);
        }
    }

    /// Accounts for the steps of the current run that have ended by `now`, so that gauges and
    /// counters are those of this moment.
    pub fn synchronize(&mut self, now: f64) {
        let Some(mut run) = self.run.take() else { return };
        let done = run.completed_by(now);
        if done > 0 {
            self.complete_steps(&run, done);
            run.skip(done);
        }
        self.run = Some(run);
    }

    /// Returns the number of requests that have not finished.
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + self.running()
    }

    /// Returns true if nothing waits and a request of usual length could be admitted at once.
    pub fn has_room(&self) -> bool {
        let kept_free = self.config.kv_tokens / 20;
        self.waiting.is_empty()
            && self.running() < self.config.max_num_seqs
            && self.kv_tokens + kept_free <= self.config.kv_tokens
    }

    /// Returns the gauges as of the last call of [`synchronize`](Self::synchronize).
    pub fn gauges(&self) -> Gauges {
        Gauges {
            running: self.running() as u64,
            waiting: self.waiting.len() as u64,
            kv_usage: self.kv_tokens as f64 / self.config.kv_tokens.max(1) as f64,
        }
    }

    /// Returns the counters and histograms as of the last call of
    /// [`synchronize`](Self::synchronize).
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the mean times between two tokens of the finished requests: each request counts
    /// once.
    pub fn time_per_output_token(&self) -> &Histogram {
        &self.time_per_output_token
    }

    /// Returns the number of steps since the start.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Returns the prompt tokens of all requests with a first token that were not computed, since a
    /// prefix cache had them.
    pub fn cached_tokens(&self) -> u64 {
        self.cached_tokens
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Returns the number of tokens in the KV cache.
    pub fn kv_tokens(&self) -> u64 {
        self.kv_tokens
    }

    /// Returns the number of prompt tokens that wait for their prefill, those of the queue
    /// included.
    pub fn pending_prefill(&self) -> u64 {
        let sequences = self.waiting.iter().chain(&self.prefilling);
        sequences.map(|sequence| sequence.prefill_left).sum()
    }

    fn running(&self) -> usize {
        self.finishes.len() + self.prefilling.len()
    }

    fn decoding(&self) -> u64 {
        self.finishes.len() as u64
    }

    /// Begins the next run: preempts where the KV cache is full, then schedules prefills.
    fn begin_run(&mut self, now: f64) {
        let mut preempted = false;
        while self.kv_tokens + self.decoding() > self.config.kv_tokens && self.running() > 1 {
            self.preempt_youngest(now);
            preempted = true;
        }
        let prefill = self.schedule_prefill(!preempted, now);
        let decoding = self.decoding();
        if prefill == 0 && decoding == 0 {
            self.run = None;
            return;
        }
        let first_step = self.config.step_time(prefill, decoding, self.kv_tokens);
        let growth = self.config.per_kv_token * decoding as f64;
        let has_prefill = prefill > 0;
        let steps = if has_prefill { 1 } else { self.uneventful_steps() };
        self.run = Some(Run::new(now, first_step, growth, steps, decoding, has_prefill));
    }

    /// Returns the number of steps until something else happens than that each sequence gets a
    /// token.
    fn uneventful_steps(&self) -> u64 {
        if self.can_admit() {
            return 1;
        }
        let until_finish = self.finishes.peek().map_or(1, |Reverse((step, _))| step - self.step);
        let room = self.config.kv_tokens.saturating_sub(self.kv_tokens);
        until_finish.min(room / self.decoding().max(1)).max(1)
    }

    /// Gives prompts their tokens of the next step, and admits from the queue while tokens of the
    /// step are left. Returns the number of prompt tokens in the step.
    fn schedule_prefill(&mut self, admits: bool, now: f64) -> u64 {
        let mut budget = self.config.max_batched_tokens.saturating_sub(self.decoding());
        let mut prefill = 0;
        for sequence in &mut self.prefilling {
            sequence.scheduled = sequence.prefill_left.min(budget);
            budget -= sequence.scheduled;
            prefill += sequence.scheduled;
        }
        while admits && budget > 0 && self.can_admit() {
            let Some(mut sequence) = self.waiting.pop_front() else { break };
            self.kv_tokens += sequence.context;
            self.admissions += 1;
            sequence.admit(self.admissions, now);
            if sequence.prefill_left == 0 {
                budget -= 1;
                self.start_decoding(sequence);
                continue;
            }
            sequence.scheduled = sequence.prefill_left.min(budget);
            budget -= sequence.scheduled;
            prefill += sequence.scheduled;
            self.prefilling.push_back(sequence);
        }
        prefill
    }

    /// Returns true if the head of the queue has a slot and room in the KV cache.
    fn can_admit(&self) -> bool {
        let Some(head) = self.waiting.front() else { return false };
        let running = self.running();
        let fits = self.kv_tokens + head.context + ADMISSION_MARGIN <= self.config.kv_tokens;
        running < self.config.max_num_seqs && (fits || running == 0)
    }

    fn start_decoding(&mut self, sequence: Sequence) {
        let finish = self.step + sequence.output_left;
        let slot = self.free_slots.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(sequence);
        } else {
            self.slots[slot] = sequence;
        }
        self.finishes.push(Reverse((finish, slot)));
    }

    /// Sends the sequence that was admitted last back to the head of the queue. Its context is
    /// computed again later.
    fn preempt_youngest(&mut self, now: f64) {
        let prefilling = self.prefilling.back().map(|sequence| sequence.admission);
        let decoding =
            self.finishes.iter().map(|Reverse((_, slot))| (self.admission(*slot), *slot));
        let youngest = decoding.max();
        let mut sequence = match youngest {
            Some((admission, slot)) if prefilling.is_none_or(|other| other < admission) => {
                self.take_decoding(slot, now)
            }
            _ => match self.prefilling.pop_back() {
                Some(sequence) => sequence,
                None => return,
            },
        };
        self.kv_tokens -= sequence.context;
        self.metrics.preemptions += 1;
        sequence.recompute();
        self.waiting.push_front(sequence);
    }

    fn admission(&self, slot: usize) -> u64 {
        self.slots[slot].admission
    }

    /// Removes a decoding sequence, with the context that it has reached.
    fn take_decoding(&mut self, slot: usize, now: f64) -> Sequence {
        let mut sequence = self.slots[slot].clone();
        let step = self.step;
        self.finishes.retain(|Reverse((finish, at))| {
            if *at == slot {
                sequence.stop_decoding(finish - step, now);
            }
            *at != slot
        });
        self.free_slots.push(slot);
        sequence
    }

    fn complete_steps(&mut self, run: &Run, steps: u64) {
        self.step += steps;
        self.kv_tokens += run.sequences() * steps;
        self.metrics.generation_tokens += run.sequences() * steps;
        run.observe_latencies(steps, &mut self.metrics.inter_token_latency);
    }

    /// Ends a step for the prompts: those that are complete have their first token.
    fn complete_prefill(&mut self, now: f64, finished: &mut Vec<Finished>) {
        for _ in 0..self.prefilling.len() {
            let Some(mut sequence) = self.prefilling.pop_front() else { break };
            sequence.prefill_left -= std::mem::take(&mut sequence.scheduled);
            if sequence.prefill_left > 0 {
                self.prefilling.push_back(sequence);
                continue;
            }
            self.metrics.generation_tokens += 1;
            self.cached_tokens += sequence.cached_tokens();
            sequence.yield_token(now, &mut self.metrics);
            if sequence.output_left == 0 {
                self.kv_tokens -= sequence.context;
                let ended = sequence.finish(now, &mut self.metrics);
                self.conclude(ended, finished);
            } else {
                self.start_decoding(sequence);
            }
        }
    }

    fn complete_decodes(&mut self, now: f64, finished: &mut Vec<Finished>) {
        while let Some(Reverse((_, slot))) =
            self.finishes.peek().copied().filter(|Reverse((finish, _))| *finish == self.step)
        {
            self.finishes.pop();
            self.free_slots.push(slot);
            let sequence = &mut self.slots[slot];
            sequence.stop_decoding(0, now);
            self.kv_tokens -= sequence.context;
            let ended = sequence.finish(now, &mut self.metrics);
            self.conclude(ended, finished);
        }
    }

    fn conclude(&mut self, ended: Finished, finished: &mut Vec<Finished>) {
        if let Some(latency) = ended.inter_token_latency() {
            self.time_per_output_token.observe(latency);
        }
        finished.push(ended);
    }
}
