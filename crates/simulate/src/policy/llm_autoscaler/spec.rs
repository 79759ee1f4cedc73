//! A spec, as far as it is simulated.

use std::time::Duration;

use llm_autoscaler_api::{
    Asked, LLMAutoscalerSpec, Name, ParsedRole, ScrapeSpec, SourceConfig, SourceSpec, TargetConfig,
    parse_spec,
};
use llm_autoscaler_core::{Config, Profile};
use llm_autoscaler_engines::{Engine, Gateway};

use crate::error::SimulateError;

/// The part of a spec that is simulated.
pub(super) struct Simulated {
    /// The spec as it is simulated.
    pub(super) spec: LLMAutoscalerSpec,
    pub(super) config: Config,
    /// The roles prefill and decode, or one without a name.
    pub(super) roles: Vec<SimulatedRole>,
    /// The interval and the timeout of scrapes.
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// Sentences on what is simulated in another way.
    pub(super) notes: Vec<String>,
}

/// A role of a spec.
pub(super) struct SimulatedRole {
    pub(super) name: Option<String>,
    pub(super) target: TargetConfig,
}

/// The names of the roles that a service may have, in the order of their pools.
const ROLES: [&str; 2] = ["prefill", "decode"];

/// Returns the part of a spec that is simulated.
pub(super) fn simulated(
    spec: &LLMAutoscalerSpec,
    profile: Profile,
) -> Result<Simulated, SimulateError> {
    let mut spec = spec.clone();
    let mut notes = Vec::new();
    order_roles(&mut spec)?;
    if spec.min_replicas == 0 {
        return Err(SimulateError::new(
            "spec.minReplicas: scaling to zero is not simulated; set it to 1 or more",
        ));
    }
    replace_engines(&mut spec, &mut notes);
    let parsed = parse(&spec, profile)?;
    for metric in parsed.1.iter().flat_map(|role| &role.target.metrics) {
        let is_signal = matches!(metric.asked, Asked::Measure { signal: Some(_), .. });
        if !is_signal {
            return Err(SimulateError::new(format!(
                "spec.metrics: {} is no signal of the engine, and other metrics are not simulated; \
                 use a signal such as InFlightRequests",
                metric.name
            )));
        }
    }
    let first = parsed.1.first().and_then(|role| role.target.sources.first());
    let (interval, timeout) = match first {
        Some(SourceConfig::Scrape(scrape)) => (scrape.interval, scrape.timeout),
        Some(SourceConfig::Prometheus(prometheus)) => (prometheus.interval, prometheus.timeout),
        None => (Duration::from_secs(2), Duration::from_secs(2)),
    };
    spec.sources = simulated_sources(&spec, &mut notes)?;
    let (config, roles) = parse(&spec, profile)?;
    Ok(Simulated { spec, config, roles, interval, timeout, notes })
}

/// Puts prefill before decode, as their pools are.
fn order_roles(spec: &mut LLMAutoscalerSpec) -> Result<(), SimulateError> {
    let Some(roles) = &mut spec.roles else { return Ok(()) };
    roles.sort_by_key(|role| ROLES.iter().position(|name| *name == role.name));
    if !roles.iter().map(|role| &*role.name).eq(ROLES) {
        return Err(SimulateError::new(
            "spec.roles: a service with roles is simulated as one of prefill and decode; give two \
             roles of these names",
        ));
    }
    Ok(())
}

/// Replaces the engines by vLLM.
fn replace_engines(spec: &mut LLMAutoscalerSpec, notes: &mut Vec<String>) {
    let roles = spec.roles.iter_mut().flatten().filter_map(|role| role.engine.as_mut());
    for engine in std::iter::once(&mut spec.engine).chain(roles) {
        if engine.0 != Engine::Vllm {
            let note = format!(
                "the pages are those of vLLM, from which the same signals are read as from {}",
                engine.0.profile().display
            );
            engine.0 = Engine::Vllm;
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
}

/// Returns the sources as they are simulated; `None` for the default. The pages of the pods stand
/// for a Prometheus server, and an endpoint picker for another gateway.
fn simulated_sources(
    spec: &LLMAutoscalerSpec,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<SourceSpec>>, SimulateError> {
    let Some(sources) = &spec.sources else { return Ok(None) };
    let (mut simulated, mut has_own, mut has_others) = (Vec::new(), false, false);
    for source in sources {
        let of_pods = source.scrape.as_ref().filter(|scrape| scrape.pod_selector.is_none());
        let of_gateway = source.scrape.as_ref().filter(|scrape| scrape.gateway.is_some());
        if let Some(scrape) = of_gateway {
            simulated.push(SourceSpec {
                scrape: Some(endpoint_picker(scrape, notes)),
                ..source.clone()
            });
            continue;
        }
        has_others |= of_pods.is_none();
        if !std::mem::replace(&mut has_own, true) {
            let scrape = of_pods.cloned().unwrap_or_default();
            simulated.push(SourceSpec { roles: None, scrape: Some(scrape), prometheus: None });
        }
    }
    if has_others {
        notes.push(
            "the sources are simulated as scrapes of the target's pods at the first one's \
             interval; a delay stands for a Prometheus server between them"
                .to_owned(),
        );
    }
    if spec.roles.is_some() && simulated.len() > usize::from(has_own) {
        return Err(SimulateError::new(
            "spec.sources: the gateway of a service with roles is not simulated; leave it out",
        ));
    }
    Ok(Some(simulated))
}

/// Returns the source of an endpoint picker in place of a gateway.
fn endpoint_picker(scrape: &ScrapeSpec, notes: &mut Vec<String>) -> ScrapeSpec {
    let picker = Name(Gateway::EndpointPicker);
    if let Some(gateway) = scrape.gateway.filter(|gateway| gateway.0 != picker.0) {
        notes.push(format!(
            "the page of the gateway is that of an endpoint picker, from which the same signals \
             are read as from {}",
            gateway.0.profile().table.display
        ));
    }
    ScrapeSpec { gateway: Some(picker), ..scrape.clone() }
}

fn parse(
    spec: &LLMAutoscalerSpec,
    profile: Profile,
) -> Result<(Config, Vec<SimulatedRole>), SimulateError> {
    let parsed = parse_spec(spec, profile)
        .map_err(|error| SimulateError::new(format!("spec.{}: {}", error.field, error.problem)))?;
    let config = parsed.config();
    let role = |role: ParsedRole| SimulatedRole { name: role.name, target: role.config };
    Ok((config, parsed.roles.into_iter().map(role).collect()))
}
