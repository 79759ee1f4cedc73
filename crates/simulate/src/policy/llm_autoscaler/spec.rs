//! A spec, as far as it is simulated.

use std::time::Duration;

use llm_autoscaler_api::{Asked, LLMAutoscalerSpec, SourceConfig, TargetConfig, parse_spec};
use llm_autoscaler_core::{Config, Profile};
use llm_autoscaler_engines::Engine;

use crate::error::SimulateError;

/// The part of a spec that is simulated.
pub(super) struct Simulated {
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
    let is_own = |source: &SourceConfig| matches!(source, SourceConfig::Scrape(scrape) if scrape.pods.is_none());
    let parsed = parse(&spec, profile)?;
    for metric in &parsed.1.metrics {
        let is_signal = matches!(metric.asked, Asked::Measure { signal: Some(_), .. });
        if !is_signal {
            return Err(SimulateError::new(format!(
                "spec.metrics: {} is no signal of the engine, and other metrics are not simulated; \
                 use a signal such as InFlightRequests",
                metric.name
            )));
        }
    }
    let (interval, timeout) = match parsed.1.sources.first() {
        Some(SourceConfig::Scrape(scrape)) => (scrape.interval, scrape.timeout),
        Some(SourceConfig::Prometheus(prometheus)) => (prometheus.interval, prometheus.timeout),
        None => (Duration::from_secs(2), Duration::from_secs(2)),
    };
    let (config, target) = if parsed.1.sources.iter().all(is_own) {
        parsed
    } else {
        notes.push(
            "the sources are simulated as scrapes of the target's pods at the first one's \
             interval; a delay stands for a Prometheus server between them"
                .to_owned(),
        );
        spec.sources = None;
        parse(&spec, profile)?
    };
    Ok(Simulated { config, target, interval, timeout, notes })
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
