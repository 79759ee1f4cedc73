//! The smallest number of replicas that keeps the promise at a rate of arrivals, in closed form.
//!
//! At n replicas each gets λ/n requests per second. With p computed and g generated tokens per
//! second of a replica, a time of a step as in [`StepTime`], and a mean context of the prompt and
//! half of the answer,
//!
//! ```text
//! utilization = p·per_prompt_token + g·per_sequence
//! ITL         = base / (1 - utilization - per_kv_token·context·g)
//! running     = g·ITL                                              (Little's law)
//! ```
//!
//! An ITL is the time of a step, in which steps with prompts are spread over all tokens. The
//! promise is one to slow requests, and an answer is the slower the more prompts are computed
//! meanwhile. Prompts arrive at random, so that the number of them that a short answer of `tokens`
//! meets has the root of its mean as its standard deviation:
//!
//! ```text
//! slow ITL = ITL + 2.33·√(λ/n·tokens·ITL·(1 + variation))·prompt·per_prompt_token / tokens
//! ```

use super::{Promise, fit::StepTime, lengths::Lengths};

/// Square-root staffing (Halfin and Whitt): n replicas may be used up to 1 - β/√n of their time.
const STAFFING: f64 = 0.35;
/// The standard deviations by which a slow request of a hundred is above the mean.
const SLOW: f64 = 2.33;
/// The length of an answer in which few prompts make a difference, as a share of the mean one.
const SHORT: f64 = 0.3;
/// The squared coefficient of variation of the prompts.
const VARIATION: f64 = 1.0;
/// The largest share of the time above `base` that is kept for slow requests: a promise that any
/// prompt breaks, since answers are that short, does not grow a target without end.
const MOST_SPREAD: f64 = 0.8;
/// The share of the KV cache that may be used, and of the sequences of a batch.
const KV_SHARE: f64 = 0.85;
const BATCH_SHARE: f64 = 0.85;
/// A prompt may take this many times its own prefill on an idle replica, if that is longer than the
/// promise.
const OWN_PREFILL: f64 = 4.0;
/// The largest number that is searched for.
const MOST: u32 = 10_000;

/// The part of each request that the replicas of a target do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SloRole {
    /// All of it.
    #[default]
    Both,
    /// The prompt, up to the first token: sized by the computed tokens and the time to first token.
    Prefill,
    /// The tokens after the first, with a KV cache that was transferred: sized by the time between
    /// tokens and the KV cache.
    Decode,
}

impl Lengths {
    /// Returns the lengths as far as replicas of a role work on them.
    pub(super) fn of(self, role: SloRole) -> Self {
        match role {
            SloRole::Both => self,
            SloRole::Prefill => Self { output: 0.0, ..self },
            SloRole::Decode => Self { computed: 0.0, ..self },
        }
    }
}

/// The largest shares that a size may use: what the feedback moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margins {
    /// The inter-token latency of a slow request as a share of the promised one.
    pub latency: f64,
    /// The utilization.
    pub utilization: f64,
}

/// The requirement that a number of replicas fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binding {
    /// The inter-token latency of a slow request, one in a hundred, is above the limit in seconds.
    InterTokenLatency {
        /// The predicted one.
        predicted: f64,
        /// The limit.
        limit: f64,
        /// The predicted one of all requests in the mean.
        mean: f64,
    },
    /// The time to first token of a mean prompt in seconds is above the limit.
    TimeToFirstToken {
        /// The predicted one.
        predicted: f64,
        /// The limit.
        limit: f64,
    },
    /// The utilization is above the limit.
    Utilization {
        /// The predicted one.
        predicted: f64,
        /// The limit.
        limit: f64,
    },
    /// The tokens in the KV cache of a replica are above the limit.
    KvCache {
        /// The predicted ones.
        predicted: f64,
        /// The limit.
        limit: f64,
    },
    /// The sequences in the batch of a replica are above the limit.
    Sequences {
        /// The predicted ones.
        predicted: f64,
        /// The limit.
        limit: f64,
    },
    /// There is no smaller number.
    Fewest,
}

/// Everything that a size is computed from but the rate of arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizing {
    pub(super) model: StepTime,
    pub(super) lengths: Lengths,
    pub(super) kv_capacity: Option<f64>,
    /// The sequences that a batch can have, if it has been seen full.
    pub(super) sequences: Option<f64>,
    pub(super) promise: Promise,
    pub(super) margins: Margins,
    pub(super) role: SloRole,
}

/// The smallest number of replicas, and the requirement that one fewer fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sized {
    pub(super) replicas: u32,
    pub(super) binding: Binding,
}

impl Sizing {
    /// Returns the seconds of a replica that a request needs, steps' bases excluded.
    pub(super) fn work(&self) -> f64 {
        let (model, Lengths { computed, output, .. }) = (&self.model, self.lengths);
        model.per_prompt_token * computed
            + (model.per_sequence + model.per_kv_token * self.context()) * output
    }

    fn context(&self) -> f64 {
        self.lengths.prompt + self.lengths.output / 2.0
    }

    /// Returns the smallest number of replicas that fails no requirement. More replicas never fail
    /// what fewer ones do not, so that it is found by bisection.
    pub(super) fn smallest(&self, rate: f64) -> Sized {
        let (mut fails, mut keeps) = (0, MOST);
        let mut binding = Binding::Fewest;
        while keeps - fails > 1 {
            let middle = u32::midpoint(fails, keeps);
            match self.failed(rate, middle) {
                Some(failed) => (fails, binding) = (middle, failed),
                None => keeps = middle,
            }
        }
        Sized { replicas: keeps, binding }
    }

    /// Returns by how much the mean time between the tokens of a slow request is above that of all:
    /// while it is generated, more prompts than the mean are computed, and longer ones.
    fn spread(&self, rate: f64, latency: f64) -> f64 {
        if self.lengths.output < 2.0 {
            // There is no time between the tokens of one token.
            return 0.0;
        }
        let tokens = (self.lengths.output * SHORT).max(1.0);
        let own = self.model.per_prompt_token * self.lengths.computed;
        let prompts = rate * tokens * latency;
        SLOW * (prompts * (1.0 + VARIATION)).sqrt() * own / tokens
    }

    /// Returns the time in the queue that one prompt of a hundred exceeds, if prompts arrive at
    /// random and are computed one after the other: the mean time of Pollaczek and Khinchine, with
    /// an exponential tail.
    fn slow_wait(own: f64, utilization: f64) -> f64 {
        let beyond = (utilization * 100.0).ln();
        let mean_of_those = own * (1.0 + VARIATION) / 2.0 / (1.0 - utilization);
        mean_of_those * beyond.max(0.0)
    }

    /// Returns the requirement that this many replicas fail.
    pub(super) fn failed(&self, rate: f64, replicas: u32) -> Option<Binding> {
        let (model, count) = (&self.model, f64::from(replicas));
        let generated = rate * self.lengths.output / count;
        let computed = rate * self.lengths.computed / count;
        let predicted = model.per_prompt_token * computed + model.per_sequence * generated;
        let limit = self.margins.utilization.min(1.0 - STAFFING / count.sqrt());
        if predicted > limit {
            return Some(Binding::Utilization { predicted, limit });
        }
        let idle = 1.0 - predicted - model.per_kv_token * self.context() * generated;
        if idle <= 0.0 {
            return Some(Binding::Utilization { predicted: 1.0 - idle, limit: 1.0 });
        }
        let latency = model.base / idle;
        let limit = self.margins.latency * self.promise.inter_token_latency;
        let most = MOST_SPREAD * (limit - model.base);
        let slow = latency + self.spread(rate / count, latency).min(most);
        // A replica that prefills generates one token of each request: none is between two.
        let has_latency = self.role != SloRole::Prefill;
        if has_latency && slow > limit && model.base < limit {
            return Some(Binding::InterTokenLatency { predicted: slow, limit, mean: latency });
        }
        let own = model.per_prompt_token * self.lengths.computed;
        let limit = self.promise.time_to_first_token.max(OWN_PREFILL * own);
        let predicted = match self.role {
            SloRole::Prefill => model.base + own + Self::slow_wait(own, 1.0 - idle),
            SloRole::Both | SloRole::Decode => latency + own / idle,
        };
        if predicted > limit && model.base + own < limit {
            return Some(Binding::TimeToFirstToken { predicted, limit });
        }
        // By Little's law, with the time of a prompt's own steps.
        let running = generated * latency + rate / count * (latency + own / idle);
        self.full_batch(running).or_else(|| self.full_cache(generated * latency))
    }

    /// Returns the limit of the sequences, if so many are above it.
    fn full_batch(&self, predicted: f64) -> Option<Binding> {
        let limit = BATCH_SHARE * self.sequences?;
        (predicted > limit && limit >= 1.0).then_some(Binding::Sequences { predicted, limit })
    }

    /// Returns the limit of the KV cache, if so many sequences are above it.
    fn full_cache(&self, running: f64) -> Option<Binding> {
        let (limit, predicted) = (KV_SHARE * self.kv_capacity?, running * self.context());
        (predicted > limit && self.context() < limit)
            .then_some(Binding::KvCache { predicted, limit })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const H100: StepTime = StepTime {
        base: 0.017,
        per_prompt_token: 0.066e-3,
        per_sequence: 0.08e-3,
        per_kv_token: 0.05e-6,
    };

    fn sizing(prompt: f64, output: f64) -> Sizing {
        Sizing {
            model: H100,
            lengths: Lengths { prompt, computed: prompt, output },
            kv_capacity: Some(284_000.0),
            sequences: None,
            promise: Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 },
            margins: Margins { latency: 0.88, utilization: 0.8 },
            role: SloRole::Both,
        }
    }

    #[test]
    fn the_smallest_size_and_what_binds_it() {
        use Binding::{
            Fewest, InterTokenLatency, KvCache, Sequences, TimeToFirstToken, Utilization,
        };
        let is = |binding: Binding, expected: &str| match binding {
            Fewest => expected == "fewest",
            Sequences { .. } => expected == "sequences",
            InterTokenLatency { .. } => expected == "itl",
            TimeToFirstToken { .. } => expected == "ttft",
            Utilization { .. } => expected == "utilization",
            KvCache { .. } => expected == "kv",
        };
        // prompt, output, requests per second, promised ITL; replicas, what binds
        let table = [
            (1_155.0, 211.0, 0.0, 0.1, 1, "fewest"),
            (1_155.0, 211.0, 6.0, 0.1, 1, "fewest"),
            (1_155.0, 211.0, 66.0, 0.1, 10, "itl"),
            // Short answers between long prompts: some meet several of these.
            (2_048.0, 28.0, 42.0, 0.1, 12, "itl"),
            (8_000.0, 100.0, 4.0, 0.1, 5, "itl"),
            (12_000.0, 50.0, 4.0, 2.0, 5, "ttft"),
            (2_000.0, 4_000.0, 4.0, 0.1, 10, "kv"),
        ];
        for (prompt, output, rate, promised, replicas, binding) in table {
            let mut sizing = sizing(prompt, output);
            sizing.promise.inter_token_latency = promised;
            let found = sizing.smallest(rate);
            assert!(
                found.replicas == replicas && is(found.binding, binding),
                "{prompt} {output} {rate}: {found:?}",
            );
        }
    }

    #[test]
    fn roles_are_sized_by_their_part_of_the_requests() {
        let role = |role, prompt: f64, output: f64| {
            let whole = sizing(prompt, output);
            Sizing { lengths: whole.lengths.of(role), role, ..whole }
        };
        // prompt, output, requests per second; replicas that prefill, that decode, that do both
        let table = [
            (1_155.0, 211.0, 66.0, 7, 4, 10),
            (4_000.0, 50.0, 20.0, 13, 1, 12),
            (500.0, 1_000.0, 20.0, 2, 5, 5),
        ];
        for (prompt, output, rate, prefill, decode, both) in table {
            let size = |it| role(it, prompt, output).smallest(rate).replicas;
            let found = (size(SloRole::Prefill), size(SloRole::Decode), size(SloRole::Both));
            assert_eq!(found, (prefill, decode, both), "{prompt} {output}");
        }
        let mut strict = role(SloRole::Prefill, 1_155.0, 211.0);
        strict.promise.time_to_first_token = 0.4;
        let found = strict.smallest(66.0);
        assert!(found.replicas > 7, "{found:?}");
        assert!(matches!(found.binding, Binding::TimeToFirstToken { .. }), "{found:?}");
    }

    #[test]
    fn short_answers_need_more_and_single_tokens_have_no_latency_between_them() {
        let size = |output: f64| sizing(2_048.0, output).smallest(42.0).replicas;
        assert!(size(14.0) > size(28.0) && size(28.0) > size(56.0));
        assert!(size(1.0) < size(14.0), "{}", size(1.0));
        // Any prompt makes such an answer late: at half of the time the replicas are idle.
        let found = sizing(24_550.0, 5.8).smallest(436.0).replicas;
        assert!(found < 1_800, "{found}");
    }

    #[test]
    fn a_batch_with_a_limit_needs_more_replicas() {
        let size = |sequences| Sizing { sequences, ..sizing(1_155.0, 211.0) }.smallest(66.0);
        let (free, loose, tight) = (size(None), size(Some(1_000.0)), size(Some(32.0)));
        assert_eq!(free, loose);
        assert!(tight.replicas > free.replicas, "{tight:?}");
        let Binding::Sequences { predicted, limit } = tight.binding else { panic!("{tight:?}") };
        assert!(predicted > limit && (limit - 0.85 * 32.0).abs() < 1e-9, "{tight:?}");
    }

    #[test]
    fn a_promise_that_no_size_keeps_does_not_grow_the_target() {
        let mut slow = sizing(1_155.0, 211.0);
        slow.promise = Promise { time_to_first_token: 0.01, inter_token_latency: 0.01 };
        assert!(slow.smallest(66.0).replicas <= 12, "{:?}", slow.smallest(66.0));
    }

    proptest! {
        /// The found size fails nothing, one fewer fails, and more load never needs fewer.
        #[test]
        fn the_found_size_is_the_smallest(
            prompt in 10.0f64..30_000.0, output in 1.0f64..4_000.0, rate in 0.0f64..500.0,
        ) {
            let sizing = sizing(prompt, output);
            let found = sizing.smallest(rate).replicas;
            prop_assert_eq!(sizing.failed(rate, found), None);
            prop_assert!(found == 1 || sizing.failed(rate, found - 1).is_some());
            prop_assert!(sizing.smallest(rate * 1.1).replicas >= found);
        }
    }
}
