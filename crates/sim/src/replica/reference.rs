//! The reference of [`Replica`](super::Replica): each step by itself, and no cleverness.

use super::{ADMISSION_MARGIN, Finished, Job, ReplicaConfig};

struct Item {
    job: Job,
    context: u64,
    prefill_left: u64,
    scheduled: u64,
    output_left: u64,
    first_token_at: Option<f64>,
}

/// A replica that makes one step after another.
pub(super) struct Reference {
    config: ReplicaConfig,
    waiting: Vec<Item>,
    /// In the order of admission.
    running: Vec<Item>,
    step_ends_at: Option<f64>,
    pub(super) finished: Vec<Finished>,
    pub(super) tokens: u64,
    pub(super) preemptions: u64,
}

impl Reference {
    pub(super) fn new(config: ReplicaConfig) -> Self {
        Self {
            config,
            waiting: Vec::new(),
            running: Vec::new(),
            step_ends_at: None,
            finished: Vec::new(),
            tokens: 0,
            preemptions: 0,
        }
    }

    pub(super) fn submit(&mut self, now: f64, job: Job) {
        self.advance(now);
        self.waiting.push(Item {
            job,
            context: u64::from(job.prompt_tokens),
            prefill_left: u64::from(job.prefill_tokens),
            scheduled: 0,
            output_left: u64::from(job.output_tokens),
            first_token_at: None,
        });
        if self.step_ends_at.is_none() {
            self.begin_step(now);
        }
    }

    pub(super) fn advance(&mut self, now: f64) {
        while let Some(at) = self.step_ends_at.filter(|at| *at <= now) {
            self.end_step(at);
            self.begin_step(at);
        }
    }

    fn kv_tokens(&self) -> u64 {
        self.running.iter().map(|item| item.context).sum()
    }

    fn decoding(&self) -> u64 {
        self.running.iter().filter(|item| item.prefill_left == 0).count() as u64
    }

    fn begin_step(&mut self, now: f64) {
        let mut preempted = false;
        while self.kv_tokens() + self.decoding() > self.config.kv_tokens && self.running.len() > 1 {
            let mut item = self.running.pop().unwrap();
            item.prefill_left = item.context;
            item.scheduled = 0;
            self.waiting.insert(0, item);
            self.preemptions += 1;
            preempted = true;
        }
        let mut budget = self.config.max_batched_tokens - self.decoding();
        let mut prefill = 0;
        for item in &mut self.running {
            item.scheduled = item.prefill_left.min(budget);
            budget -= item.scheduled;
            prefill += item.scheduled;
        }
        while !preempted && budget > 0 && !self.waiting.is_empty() {
            let context = self.waiting[0].context;
            let fits = self.kv_tokens() + context + ADMISSION_MARGIN <= self.config.kv_tokens;
            let has_slot = self.running.len() < self.config.max_num_seqs;
            if !has_slot || !(fits || self.running.is_empty()) {
                break;
            }
            let mut item = self.waiting.remove(0);
            item.scheduled = item.prefill_left.min(budget);
            budget -= item.scheduled;
            prefill += item.scheduled;
            self.running.push(item);
        }
        let step = self.config.step_time(prefill, self.decoding(), self.kv_tokens());
        self.step_ends_at = (!self.running.is_empty()).then_some(now + step);
    }

    fn end_step(&mut self, now: f64) {
        for item in &mut self.running {
            let was_decoding = item.prefill_left == 0;
            item.prefill_left -= std::mem::take(&mut item.scheduled);
            if item.prefill_left > 0 {
                continue;
            }
            item.context += u64::from(was_decoding);
            item.output_left -= 1;
            item.first_token_at.get_or_insert(now);
            self.tokens += 1;
        }
        for item in self.running.extract_if(.., |item| item.output_left == 0) {
            let first_token_at = item.first_token_at.unwrap();
            self.finished.push(Finished { job: item.job, first_token_at, finished_at: now });
        }
    }
}
