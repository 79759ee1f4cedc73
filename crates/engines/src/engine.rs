//! The engines: one table each.

mod custom;
mod vllm;

use crate::{Signal, SignalDef};

/// An inference engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// vLLM.
    Vllm,
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
    /// The signals that it gives.
    pub signals: &'static [SignalDef],
}

impl Engine {
    /// Every engine, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Vllm, Self::Custom];

    /// What is known of it.
    pub const fn profile(self) -> &'static EngineProfile {
        match self {
            Self::Vllm => &vllm::PROFILE,
            Self::Custom => &custom::PROFILE,
        }
    }
}

impl EngineProfile {
    /// How the engine gives `signal`, if it does.
    pub fn signal(&self, signal: Signal) -> Option<&'static SignalDef> {
        self.signals.iter().find(|def| def.signal == signal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tables_are_sound() {
        for engine in Engine::ALL {
            let profile = engine.profile();
            assert!(profile.metrics_path.starts_with('/'), "{engine:?}");
            assert!(!profile.port_names.is_empty(), "{engine:?}");
            let names: BTreeSet<_> = profile.signals.iter().map(|def| def.name).collect();
            assert_eq!(names.len(), profile.signals.len(), "{engine:?} names a signal twice");
            for def in profile.signals {
                assert!(!def.terms.is_empty() && !def.targets.is_empty(), "{engine:?} {}", def.name);
                assert!(def.terms.iter().all(|term| !term.0.is_empty()), "{engine:?} {}", def.name);
            }
        }
    }

    #[test]
    fn custom_has_no_signals() {
        assert_eq!(Engine::Custom.profile().signal(Signal::WaitingRequests), None);
    }
}
