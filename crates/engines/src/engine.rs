//! The engines: one table each.

mod custom;
mod dynamo;
mod lmdeploy;
mod sglang;
mod tensorrt_llm;
mod tgi;
mod vllm;

use crate::{Recipe, Signal, SignalDef};

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
    /// Any other program that publishes metrics in Prometheus's text format.
    Custom,
}

/// What is known of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineProfile {
    /// Its name in a spec, such as `VLLM`.
    pub name: &'static str,
    /// Its name in a sentence, such as `vLLM`.
    pub display: &'static str,
    /// The path of its metrics page.
    pub metrics_path: &'static str,
    /// What the container port that serves the page is usually called, the likeliest first.
    pub port_names: &'static [&'static str],
    /// The port number that it listens on unless told otherwise.
    pub port: Option<u16>,
    /// What has to be done for it to publish metrics; empty if it always does.
    pub enabling: &'static str,
    /// What the names of its own families begin with.
    pub prefixes: &'static [&'static str],
    /// Labels by which it repeats a series: each rank says the same. All other labels tell parts apart.
    pub repeats: &'static [&'static str],
    /// The signals that it gives.
    pub signals: &'static [SignalDef],
}

impl Engine {
    /// Every engine, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Vllm,
        Self::Sglang,
        Self::Dynamo,
        Self::TensorRtLlm,
        Self::LmDeploy,
        Self::Tgi,
        Self::Custom,
    ];

    /// What is known of it.
    pub const fn profile(self) -> &'static EngineProfile {
        match self {
            Self::Vllm => &vllm::PROFILE,
            Self::Sglang => &sglang::PROFILE,
            Self::Dynamo => &dynamo::PROFILE,
            Self::TensorRtLlm => &tensorrt_llm::PROFILE,
            Self::LmDeploy => &lmdeploy::PROFILE,
            Self::Tgi => &tgi::PROFILE,
            Self::Custom => &custom::PROFILE,
        }
    }
}

impl EngineProfile {
    /// How the engine gives `signal`, if it does.
    pub fn signal(&self, signal: Signal) -> Option<&'static SignalDef> {
        self.signals.iter().find(|def| def.signal == signal)
    }

    /// How the number of `signal` comes out of the engine's page, if it gives it.
    pub fn recipe(&self, signal: Signal) -> Option<Recipe> {
        self.signal(signal).map(|def| def.recipe(self.repeats))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Fold, Kind, Standing};

    #[test]
    fn tables_are_sound() {
        for engine in Engine::ALL {
            let profile = engine.profile();
            assert!(profile.metrics_path.starts_with('/'), "{engine:?}");
            assert!(!profile.port_names.is_empty(), "{engine:?}");
            let signals: HashSet<_> = profile.signals.iter().map(|def| def.signal).collect();
            assert_eq!(signals.len(), profile.signals.len(), "{engine:?} gives a signal twice");
            for def in profile.signals {
                let SignalDef { signal, terms, fold } = def;
                assert!(
                    !terms.is_empty() && terms.iter().all(|term| !term.0.is_empty()),
                    "{engine:?} {signal:?}"
                );
                // Buckets are counts of events, and a quantile is made of one family.
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
