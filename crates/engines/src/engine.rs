//! The engines, with one table for each.

mod custom;
mod dynamo;
mod lmdeploy;
mod max;
mod sglang;
mod tensorrt_llm;
mod tgi;
mod vllm;

use std::collections::BTreeSet;

use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term, recipe},
    kind::{Fold, Kind},
    recipe::{Absence, Recipe},
    signal::Signal,
};

/// An inference engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// NVIDIA Dynamo.
    Dynamo,
    /// TensorRT-LLM.
    TensorRtLlm,
    /// LMDeploy.
    LmDeploy,
    /// Text Generation Inference.
    Tgi,
    /// Modular MAX.
    Max,
    /// Any other program that publishes metrics in Prometheus's text format.
    Custom,
}

/// The facts about an engine that this project relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineProfile {
    /// The name in a spec, such as `VLLM`.
    pub name: &'static str,
    /// The name in a sentence, such as `vLLM`.
    pub display: &'static str,
    /// The path of its metrics page.
    pub metrics_path: &'static str,
    /// The usual names of the container port that serves the page, the likeliest first.
    pub port_names: &'static [&'static str],
    /// The port number that it listens on by default.
    pub port: Option<u16>,
    /// A sentence on what makes it publish metrics; empty if it always does.
    pub enabling: &'static str,
    /// The prefixes of its own families' names.
    pub prefixes: &'static [&'static str],
    /// Labels by which it repeats a series, because each rank publishes the same value. All other
    /// labels distinguish parts of a whole.
    pub repeat_labels: &'static [&'static str],
    /// The series that tell if it sleeps, where it has them.
    pub sleep: Option<SleepDef>,
    /// The counters that tell if it makes progress, where it has them.
    pub progress: Option<ProgressDef>,
    /// The histograms of the lengths of its requests, where it has them.
    pub lengths: Option<LengthsDef>,
    /// The series by which the time of its step is learned; of an engine that lacks some, which
    /// these are, as the end of a sentence.
    pub step: Result<StepDef, &'static str>,
    /// The signals that it reports.
    pub signals: &'static [SignalDef],
    /// The pages that prove that it has had no request yet.
    pub idle_rules: &'static [IdleRule],
}

/// The series by which an engine tells how many of its processes are awake, and how many sleep.
///
/// Both are needed: before the first request an engine may expose neither as 1, and of several
/// processes in one pod some may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepDef {
    /// The number of processes that are awake.
    pub awake: &'static [Term],
    /// The number of processes that sleep.
    pub asleep: &'static [Term],
}

/// The counters by which an engine shows that it works on its requests.
///
/// They stand still if the engine has no work, or does none. An engine with requests whose counters
/// stand still for minutes is wedged, so a counter belongs here only if it grows, at the latest
/// every few seconds, while a single long request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressDef {
    /// The counters, which are added up. One that a page lacks is left out, as long as another one
    /// is there.
    pub counters: &'static [Term],
    /// True if the counters grow only when a request ends. Then the engine can be called wedged
    /// only while its page has the usage of the KV cache, which grows with each block of tokens.
    pub at_end: bool,
    /// A sentence about the versions and pages without the counters, of which an engine is never
    /// called wedged; empty if there are none.
    pub missing: &'static str,
}

/// The histograms by which an engine tells the lengths of its requests, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthsDef {
    /// The lengths of prompts.
    pub prompts: Term,
    /// The lengths of answers.
    pub answers: Term,
}

impl LengthsDef {
    /// Returns the lengths by these two families, in all versions.
    const fn of(prompts: &'static [Alternative], answers: &'static [Alternative]) -> Self {
        Self { prompts: Term(prompts), answers: Term(answers) }
    }
}

/// The series by which the time of an engine's step is learned, beside the signals for its running
/// and waiting requests, its KV cache and its times in the queue and to the first token.
///
/// All of them are counted since the start of the process. Counters of tokens and requests have to
/// be of the same requests: those that the engine has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDef {
    /// The steps.
    pub steps: Term,
    /// The prompt tokens of requests with a first token.
    pub prompt_tokens: Term,
    /// Those of them that a prefix cache had; a page without them has none.
    pub cached_tokens: Term,
    /// The generated tokens.
    pub generated_tokens: Term,
    /// The requests with a first token.
    pub first_tokens: Term,
    /// The requests that ended, for any reason.
    pub finished: Term,
    /// The mean time between two tokens of each finished request: a histogram.
    pub time_per_token: Term,
    /// The tokens that the KV cache of an engine holds: a gauge.
    pub kv_capacity: Term,
    /// The number of engines on the page: a gauge.
    pub engines: Term,
    /// A gauge of any value on the page of a single API server: where several count the steps of an
    /// engine, each counts those that have a token of one of its requests.
    pub single_server: Term,
}

/// The recipes of a [`StepDef`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecipes {
    /// The steps.
    pub steps: Recipe,
    /// The prompt tokens of requests with a first token.
    pub prompt_tokens: Recipe,
    /// Those of them that a prefix cache had.
    pub cached_tokens: Recipe,
    /// The generated tokens.
    pub generated_tokens: Recipe,
    /// The requests with a first token.
    pub first_tokens: Recipe,
    /// The requests that ended.
    pub finished: Recipe,
    /// The mean time between two tokens of each finished request.
    pub time_per_token: Recipe,
    /// The tokens that the KV cache of an engine holds.
    pub kv_capacity: Recipe,
    /// The number of engines on the page.
    pub engines: Recipe,
    /// A number that only the page of a single API server has.
    pub single_server: Recipe,
}

impl StepDef {
    /// Returns the recipes of the series. Those of the prefix cache may be absent without a text.
    pub fn recipes(&self) -> StepRecipes {
        let counter = |term: &Term| recipe(Kind::Counter, &[*term], Fold::Sum);
        let gauge = |term: &Term| recipe(Kind::Gauge, &[*term], Fold::Sum);
        StepRecipes {
            steps: counter(&self.steps),
            prompt_tokens: counter(&self.prompt_tokens),
            cached_tokens: counter(&self.cached_tokens).with_absence(Absence::Usual),
            generated_tokens: counter(&self.generated_tokens),
            first_tokens: counter(&self.first_tokens),
            finished: counter(&self.finished),
            time_per_token: recipe(Kind::Histogram, &[self.time_per_token], Fold::Sum),
            kv_capacity: gauge(&self.kv_capacity).with_absence(Absence::Usual),
            engines: gauge(&self.engines).with_absence(Absence::Usual),
            single_server: gauge(&self.single_server).with_absence(Absence::Usual),
        }
    }
}

impl SleepDef {
    /// Returns the recipes of the two numbers: awake, and asleep.
    pub fn recipes(&self) -> [Recipe; 2] {
        [self.awake, self.asleep]
            .map(|terms| recipe(Kind::Gauge, terms, Fold::Sum).with_absence(Absence::Usual))
    }
}

impl Engine {
    /// Every engine, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Vllm,
        Self::Sglang,
        Self::Dynamo,
        Self::TensorRtLlm,
        Self::LmDeploy,
        Self::Tgi,
        Self::Max,
        Self::Custom,
    ];

    /// Returns the engine's table.
    pub const fn profile(self) -> &'static EngineProfile {
        match self {
            Self::Vllm => &vllm::PROFILE,
            Self::Sglang => &sglang::PROFILE,
            Self::Dynamo => &dynamo::PROFILE,
            Self::TensorRtLlm => &tensorrt_llm::PROFILE,
            Self::LmDeploy => &lmdeploy::PROFILE,
            Self::Tgi => &tgi::PROFILE,
            Self::Max => &max::PROFILE,
            Self::Custom => &custom::PROFILE,
        }
    }
}

impl EngineProfile {
    /// Returns how the engine reports `signal`; `None` if it does not.
    pub fn signal(&self, signal: Signal) -> Option<&'static SignalDef> {
        self.signals.iter().find(|def| def.signal == signal)
    }

    /// Returns the recipe of `signal` for the engine's page; `None` if the engine does not report
    /// it.
    pub fn recipe(&self, signal: Signal) -> Option<Recipe> {
        self.signal(signal).map(|def| self.recipe_of(def))
    }

    /// Returns the recipe of a signal of this engine.
    pub fn recipe_of(&self, def: &SignalDef) -> Recipe {
        def.recipe(self.repeat_labels, self.idle_rules)
    }

    /// Returns the recipes of the lengths of prompts and of answers; `None` if it has no histograms
    /// of them. Some pages lack them, so that a page without them needs no explanation.
    pub fn length_recipes(&self) -> Option<[Recipe; 2]> {
        let lengths = self.lengths?;
        let recipe = |term| {
            let repeats = self.repeat_labels.iter().map(|label| (*label).to_owned());
            let recipe = recipe(Kind::Histogram, &[term], Fold::Sum);
            recipe.with_repeat_labels(repeats).with_absence(Absence::Usual)
        };
        Some([recipe(lengths.prompts), recipe(lengths.answers)])
    }

    /// Returns the names of the gauges that its signals read, each once.
    pub fn gauges(&self) -> BTreeSet<&'static str> {
        let gauges = self.signals.iter().filter(|def| def.signal.info().kind == Kind::Gauge);
        gauges.flat_map(|def| def.terms).flat_map(|term| term.0).map(|name| name.series).collect()
    }

    /// Returns the recipe that reads one of these gauges by its name, as its signal does: repeats
    /// count once. `None` if no signal reads it. The recipe of a signal that reads nothing else is
    /// preferred, because only its page may prove that the engine has had no request.
    pub fn gauge_recipe(&self, series: &str) -> Option<Recipe> {
        let gauges = self.signals.iter().filter(|def| def.signal.info().kind == Kind::Gauge);
        let recipe =
            |def: &SignalDef| def.recipe_of_series(series, self.repeat_labels, self.idle_rules);
        let (alone, sums): (Vec<_>, Vec<_>) = gauges.partition(|def| def.terms.len() == 1);
        alone.into_iter().chain(sums).find_map(recipe)
    }

    /// Returns the recipe of the counters that tell if the engine makes progress; `None` if it has
    /// none. Some versions lack them, so that a page without them needs no explanation.
    pub fn progress_recipe(&self) -> Option<Recipe> {
        let progress = self.progress?;
        let repeats = self.repeat_labels.iter().map(|label| (*label).to_owned());
        let recipe = recipe(Kind::Counter, progress.counters, Fold::Sum);
        Some(recipe.with_repeat_labels(repeats).with_absence(Absence::LeftOut))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        kind::{Fold, Kind},
        recipe::Standing,
    };

    #[test]
    fn tables_are_sound() {
        for engine in Engine::ALL {
            let profile = engine.profile();
            assert!(profile.metrics_path.starts_with('/'), "{engine:?}");
            assert!(!profile.port_names.is_empty(), "{engine:?}");
            let signals: HashSet<_> = profile.signals.iter().map(|def| def.signal).collect();
            assert_eq!(signals.len(), profile.signals.len(), "{engine:?} defines a signal twice");
            for def in profile.signals {
                let SignalDef { signal, terms, fold } = def;
                assert!(
                    !terms.is_empty() && terms.iter().all(|term| !term.0.is_empty()),
                    "{engine:?} {signal:?}"
                );
                // Buckets are counts of events, so they are summed, and a quantile needs one
                // family.
                let histogram = signal.info().kind == Kind::Histogram;
                assert!(
                    !histogram || (terms.len() == 1 && *fold == Fold::Sum),
                    "{engine:?} {signal:?}"
                );
                let firsts = terms.iter().map(|term| term.0[0].standing);
                assert!(
                    firsts.into_iter().all(|first| first == Standing::Current),
                    "{engine:?} {signal:?}"
                );
            }
        }
    }

    #[test]
    fn custom_has_no_signals() {
        assert_eq!(Engine::Custom.profile().signal(Signal::WaitingRequests), None);
    }
}
