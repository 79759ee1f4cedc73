//! Gateways in front of engines, with one table for each.
//!
//! A gateway's page tells the load of the whole target, also while the target has no replica. Its
//! signals are those of engines, where it has them, and [`Signal::ArrivalRate`].

mod endpoint_picker;
mod litellm;
mod ray_serve;
mod smg;
mod vllm_router;

use crate::{
    definition::SignalDef,
    engine::{Engine, EngineProfile},
    recipe::Recipe,
    signal::Signal,
};

/// A gateway, or another program in front of engines that reports for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// Shepherd Model Gateway, and the SGLang router.
    Smg,
    /// The router of vLLM's project.
    VllmRouter,
    /// The proxy of LiteLLM.
    LiteLlm,
    /// Ray Serve.
    RayServe,
    /// The endpoint picker of the Gateway API Inference Extension, and that of llm-d.
    EndpointPicker,
}

/// The facts about a gateway that this project relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayProfile {
    /// Its page and its signals.
    pub table: EngineProfile,
    /// True if it holds requests while no engine is there, so that its gauges count them. Others
    /// refuse them, and only a counter tells that they came.
    pub holds_requests: bool,
    /// The versions of which the names were read, and if they were run.
    pub versions: &'static str,
    /// Sentences about what makes its numbers differ from what they seem to be.
    pub notes: &'static [&'static str],
    /// Series of its page that look like a measure of load and are none.
    pub unfit: &'static [UnfitSeries],
    /// The likely reason for a signal that is not on its page.
    pub missing: &'static str,
}

/// A series that looks like a measure of load and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfitSeries {
    /// Its name.
    pub series: &'static str,
    /// The rest of a sentence about it, such as `keeps its last value when an engine dies`.
    pub why: &'static str,
    /// The signal to read instead.
    pub instead: Signal,
}

/// A program with a metrics page: an engine or a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// An engine.
    Engine(Engine),
    /// A gateway.
    Gateway(Gateway),
}

impl Gateway {
    /// Every gateway, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::Smg, Self::VllmRouter, Self::LiteLlm, Self::RayServe, Self::EndpointPicker];

    /// Returns the gateway's table.
    pub const fn profile(self) -> &'static GatewayProfile {
        match self {
            Self::Smg => &smg::PROFILE,
            Self::VllmRouter => &vllm_router::PROFILE,
            Self::LiteLlm => &litellm::PROFILE,
            Self::RayServe => &ray_serve::PROFILE,
            Self::EndpointPicker => &endpoint_picker::PROFILE,
        }
    }
}

impl GatewayProfile {
    /// Returns the gateway that has a series which is no measure of load, and the series.
    pub fn of_unfit(series: &str) -> Option<(&'static Self, UnfitSeries)> {
        let profiles = Gateway::ALL.iter().map(|gateway| gateway.profile());
        let unfit = profiles.flat_map(|profile| profile.unfit.iter().map(move |it| (profile, *it)));
        unfit.into_iter().find(|(_, unfit)| unfit.series == series)
    }
}

impl Program {
    /// Returns every program, engines first.
    pub fn all() -> impl Iterator<Item = Self> {
        let gateways = Gateway::ALL.into_iter().map(Self::Gateway);
        Engine::ALL.into_iter().map(Self::Engine).chain(gateways)
    }

    /// Returns its page and its signals.
    pub const fn profile(self) -> &'static EngineProfile {
        match self {
            Self::Engine(engine) => engine.profile(),
            Self::Gateway(gateway) => &gateway.profile().table,
        }
    }

    /// Returns how it reports `signal`; `None` if it does not.
    pub fn signal(self, signal: Signal) -> Option<&'static SignalDef> {
        self.profile().signal(signal)
    }

    /// Returns the recipe of `signal` for its page; `None` if it does not report it.
    pub fn recipe(self, signal: Signal) -> Option<Recipe> {
        self.profile().recipe(signal)
    }
}

impl From<Engine> for Program {
    fn from(engine: Engine) -> Self {
        Self::Engine(engine)
    }
}

impl From<Gateway> for Program {
    fn from(gateway: Gateway) -> Self {
        Self::Gateway(gateway)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::kind::{Fold, Kind};

    #[test]
    fn tables_are_sound() {
        for gateway in Gateway::ALL {
            let GatewayProfile { table, versions, .. } = gateway.profile();
            let signals: HashSet<_> = table.signals.iter().map(|def| def.signal).collect();
            assert_eq!(signals.len(), table.signals.len(), "{gateway:?} defines a signal twice");
            assert!(!versions.is_empty() && !table.port_names.is_empty(), "{gateway:?}");
            for SignalDef { signal, terms, fold } in table.signals {
                // Values of several gateways are summed, so none of them is a share.
                assert_eq!(*fold, Fold::Sum, "{gateway:?} {signal:?}");
                let histogram = signal.info().kind == Kind::Histogram;
                assert!(!histogram || terms.len() == 1, "{gateway:?} {signal:?}");
            }
        }
    }

    #[test]
    fn no_signal_is_read_from_an_unfit_series_as_it_is() {
        for gateway in Gateway::ALL {
            let GatewayProfile { table, unfit, .. } = gateway.profile();
            for UnfitSeries { series, instead, .. } in *unfit {
                assert!(table.signal(*instead).is_some(), "{gateway:?}: {instead:?}");
                let names = table.signals.iter().flat_map(|def| def.terms).flat_map(|term| term.0);
                let mut plain = names.filter(|name| name.series == *series && name.less == 0);
                assert_eq!(plain.next(), None, "{gateway:?}");
            }
        }
    }

    #[test]
    fn a_gateway_that_holds_no_requests_counts_those_that_arrive() {
        for gateway in Gateway::ALL {
            let GatewayProfile { table, holds_requests, .. } = gateway.profile();
            let counts = table.signal(Signal::ArrivalRate).is_some();
            assert!(*holds_requests || counts || gateway == Gateway::RayServe, "{gateway:?}");
        }
    }
}
