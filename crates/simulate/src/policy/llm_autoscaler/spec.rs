//! A spec, as far as it is simulated.

use std::time::Duration;

use llm_autoscaler_api::{
    Asked, LLMAutoscalerSpec, Name, ScrapeSpec, SourceConfig, SourceSpec, TargetConfig, parse_spec,
};
use llm_autoscaler_core::{Config, Profile};
use llm_autoscaler_engines::{Engine, Gateway};

use crate::error::SimulateError;

/// The part of a spec that is simulated.
pub(super) struct Simulated {
    /// The spec as it is simulated.
    pub(super) spec: LLMAutoscalerSpec,
    pub(super) config: Config,
    pub(super) target: TargetConfig,
    /// The interval and the timeout of scrapes.
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// Sentences on what is simulated in another way.
    pub(super) notes: Vec<String>,
}

/// Returns the part of a spec that is simulated.
pub(super) fn simulated(
    spec: &LLMAutoscalerSpec,
    profile: Profile,
) -> Result<Simulated, SimulateError> {
    let mut spec = spec.clone();
    let mut notes = Vec::new();
    if spec.roles.is_some() {
        return Err(SimulateError::new(
            "spec.roles: a service with roles is not simulated; give the spec of one role",
        ));
    }
    if spec.min_replicas == 0 {
        return Err(SimulateError::new(
            "spec.minReplicas: scaling to zero is not simulated; set it to 1 or more",
        ));
    }
    if spec.engine.0 != Engine::Vllm {
        notes.push(format!(
            "the pages are those of vLLM, from which the same signals are read as from {}",
            spec.engine.0.profile().display
        ));
        spec.engine.0 = Engine::Vllm;
    }
    let parsed = parse(&spec, profile)?;
    let (interval, timeout) = match parsed.1.sources.first() {
        Some(SourceConfig::Scrape(scrape)) => (scrape.interval, scrape.timeout),
        Some(SourceConfig::Prometheus(prometheus)) => (prometheus.interval, prometheus.timeout),
        None => (Duration::from_secs(2), Duration::from_secs(2)),
    };
    let (config, target) = match simulated_sources(&spec, &parsed.1, &mut notes) {
        None => parsed,
        Some(sources) => {
            spec.sources = sources;
            parse(&spec, profile)?
        }
    };
    for metric in &target.metrics {
        let is_signal = matches!(metric.asked, Asked::Measure { signal: Some(_), .. });
        if !is_signal {
            return Err(SimulateError::new(format!(
                "spec.metrics: {} is no signal of the engine, and other metrics are not simulated; \
                 use a signal such as InFlightRequests",
                metric.name
            )));
        }
    }
    Ok(Simulated { spec, config, target, interval, timeout, notes })
}

/// Returns the sources as they are simulated; `None` if that is how they are. The pages of the pods
/// stand for a Prometheus server, and an endpoint picker for another gateway.
fn simulated_sources(
    spec: &LLMAutoscalerSpec,
    target: &TargetConfig,
    notes: &mut Vec<String>,
) -> Option<Option<Vec<SourceSpec>>> {
    let is_own = |source: &SourceConfig| matches!(source, SourceConfig::Scrape(scrape) if scrape.pods.is_none());
    let gateways = || target.sources.iter().filter_map(SourceConfig::gateway);
    if target.sources.iter().all(|it| is_own(it) || it.gateway() == Some(Gateway::EndpointPicker)) {
        return None;
    }
    if target.sources.iter().any(|source| !is_own(source) && source.gateway().is_none()) {
        notes.push(
            "the sources are simulated as scrapes of the target's pods at the first one's \
             interval; a delay stands for a Prometheus server between them"
                .to_owned(),
        );
    }
    for gateway in gateways().filter(|gateway| *gateway != Gateway::EndpointPicker) {
        notes.push(format!(
            "the page of the gateway is that of an endpoint picker, from which the same signals \
             are read as from {}",
            gateway.profile().table.display
        ));
    }
    if gateways().next().is_none() {
        return Some(None);
    }
    let mut has_own = false;
    let sources =
        spec.sources.iter().flatten().zip(&target.sources).filter_map(|(spec, source)| {
            let mut scrape = spec.scrape.clone().filter(|_| source.gateway().is_some());
            match &mut scrape {
                Some(scrape) => scrape.gateway = Some(Name(Gateway::EndpointPicker)),
                None if std::mem::replace(&mut has_own, true) => return None,
                None => scrape = Some(ScrapeSpec::default()),
            }
            Some(SourceSpec { roles: None, scrape, prometheus: None })
        });
    Some(Some(sources.collect()))
}

fn parse(
    spec: &LLMAutoscalerSpec,
    profile: Profile,
) -> Result<(Config, TargetConfig), SimulateError> {
    let parsed = parse_spec(spec, profile)
        .map_err(|error| SimulateError::new(format!("spec.{}: {}", error.field, error.problem)))?;
    let config = parsed.config();
    let role = parsed.roles.into_iter().next();
    let role = role.ok_or_else(|| SimulateError::new("the spec has no target"))?;
    Ok((config, role.config))
}
