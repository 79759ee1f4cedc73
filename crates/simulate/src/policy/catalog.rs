//! The policies by name.

use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::Profile;
use serde_json::json;

use super::{
    Autoscaler, Fixed, Limits, Spec,
    peers::{
        aibrix::Aibrix, dynamo::Dynamo, knative::Knative, kthena::Kthena, slo_aware::SloAware,
        token_aware::TokenAware, wva::Wva,
    },
    slo::SloMode,
};
use crate::{arrivals::is_shape, error::SimulateError, profile::EngineProfile, score::Promise};

/// Everything of a scenario that a policy is configured with.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyContext {
    /// The limits of the size.
    pub limits: Limits,
    /// The promise to the users.
    pub promise: Promise,
    /// The engine, of which some policies are given measurements.
    pub engine: EngineProfile,
    /// The time that pages take to arrive, in seconds.
    pub delay: f64,
    /// True if requests wait at a gateway. Policies by requests read its page then.
    pub has_gateway: bool,
}

/// A policy by name, and what it stands for.
#[derive(Debug, Clone, Copy)]
pub struct PolicyInfo {
    /// The name, such as `hpa-in-flight`.
    pub name: &'static str,
    /// The number after `NAME=`, and its default; `None` for a policy without one.
    pub knob: Option<(&'static str, f64)>,
    /// A sentence that describes the policy.
    pub doc: &'static str,
}

/// The knob of the policies by the KV cache, a share.
const KV_USAGE: &str = "KV usage, at most 1";

/// The policy that knows the load. It is not one of [`POLICIES`], because
/// [`clairvoyant`](crate::clairvoyant) computes its sizes in advance.
pub const CLAIRVOYANT: &str = "clairvoyant";

/// Every policy that has a name.
pub const POLICIES: &[PolicyInfo] = &[
    PolicyInfo {
        name: "static",
        knob: Some(("replicas", 8.0)),
        doc: "a constant number of replicas",
    },
    PolicyInfo {
        name: "in-flight",
        knob: Some(("requests per replica", 32.0)),
        doc: "an LLMAutoscaler with defaults, by running and waiting requests",
    },
    PolicyInfo { name: "slo", knob: None, doc: "the SLO mode, by the promise of the scenario" },
    PolicyInfo {
        name: "hpa-queue",
        knob: Some(("requests per replica", 5.0)),
        doc: "a HorizontalPodAutoscaler by waiting requests, pages every 15 s",
    },
    PolicyInfo {
        name: "hpa-in-flight",
        knob: Some(("requests per replica", 50.0)),
        doc: "a HorizontalPodAutoscaler by running and waiting requests, pages every 15 s",
    },
    PolicyInfo {
        name: "kpa",
        knob: Some(("requests per replica", 28.0)),
        doc: "Knative's pod autoscaler",
    },
    PolicyInfo {
        name: "apa",
        knob: Some((KV_USAGE, 0.5)),
        doc: "AIBrix's autoscaler by the usage of the KV cache",
    },
    PolicyInfo {
        name: "apa-in-flight",
        knob: Some(("requests per replica", 40.0)),
        doc: "AIBrix's autoscaler by running and waiting requests",
    },
    PolicyInfo {
        name: "kthena",
        knob: Some(("waiting requests per replica", 5.0)),
        doc: "Kthena's autoscaler by waiting requests",
    },
    PolicyInfo {
        name: "wva",
        knob: Some((KV_USAGE, 0.8)),
        doc: "llm-d's saturation analyzer (V1), and an HPA, by the usage at which a replica is \
              saturated",
    },
    PolicyInfo {
        name: "dynamo",
        knob: Some((KV_USAGE, 0.9)),
        doc: "Dynamo's load planner, by the usage above which it adds a worker",
    },
    PolicyInfo {
        name: "slo-aware",
        knob: Some(("share of the promise", 0.55)),
        doc: "llm-d's SLO-aware recipe, by the latency above which it adds replicas",
    },
    PolicyInfo {
        name: "token-aware",
        knob: Some((KV_USAGE, 0.8)),
        doc: "llm-d's token-aware recipe, by the usage of a replica beside its prefill backlog",
    },
];

/// Returns the policy that a text names: `NAME` or `NAME=NUMBER`.
///
/// # Errors
/// Fails if there is no such policy, or if it takes no such number; the error lists those that
/// there are.
pub fn policy(text: &str, context: &PolicyContext) -> Result<Box<dyn Autoscaler>, SimulateError> {
    let limits = context.limits;
    let (info, knob) = named(text)?;
    let name = info.name;
    Ok(match name {
        "static" => Box::new(Fixed(limits.clamp(knob))),
        "in-flight" => by_signal("InFlightRequests", knob, Profile::Default, context)?,
        "hpa-queue" => by_signal("WaitingRequests", knob, Profile::HpaExact, context)?,
        "hpa-in-flight" => by_signal("InFlightRequests", knob, Profile::HpaExact, context)?,
        "slo" => Box::new(SloMode::new(context.promise, limits, context.engine.kv_tokens)),
        "kpa" => Box::new(Knative::new(knob, limits)),
        "apa" => Box::new(Aibrix::by_kv_usage(knob, limits)),
        "apa-in-flight" => Box::new(Aibrix::by_requests(knob, limits)),
        "kthena" => Box::new(Kthena::new(knob, limits)),
        "wva" => Box::new(Wva::new(knob, limits)),
        "dynamo" => Box::new(Dynamo::new(knob, limits)),
        "slo-aware" => Box::new(SloAware::new(knob, context.promise, limits)),
        _ => Box::new(TokenAware::new(knob, prefill_rate(&context.engine), limits)),
    })
}

/// Returns the policy that a text names, and its number.
fn named(text: &str) -> Result<(PolicyInfo, f64), SimulateError> {
    let name = text.split(['=', ':', ',']).next().unwrap_or_default();
    let number = text.strip_prefix(name).filter(|rest| !rest.is_empty());
    let info = POLICIES.iter().find(|info| info.name == name).ok_or_else(|| no_policy(name))?;
    let knob = match (number, info.knob) {
        (None, knob) => knob.map_or(0.0, |(_, default)| default),
        (Some(_), None) => {
            let problem =
                format!("{text}: the policy {name} has no knob; name it without a number");
            return Err(SimulateError::new(problem));
        }
        (Some(number), Some((what, default))) => {
            let number = number.strip_prefix('=').and_then(|number| number.parse().ok());
            let most = if what == KV_USAGE { 1.0 } else { f64::MAX };
            number.filter(|it: &f64| *it > 0.0 && *it <= most).ok_or_else(|| {
                SimulateError::new(format!(
                    "{text}: the only knob of the policy {name} is a number above 0, its {what}: \
                     write {name}={default}"
                ))
            })?
        }
    };
    Ok((*info, knob))
}

fn no_policy(name: &str) -> SimulateError {
    if is_shape(name) {
        let problem =
            format!("{name} is a shape of the load, and no policy; give it by --arrivals");
        return SimulateError::new(problem);
    }
    let name_and_knob = |info: &PolicyInfo| match info.knob {
        Some((what, default)) => format!("{}={default} ({what})", info.name),
        None => info.name.to_owned(),
    };
    let names = POLICIES.iter().map(name_and_knob).chain([CLAIRVOYANT.to_owned()]);
    let names: Vec<String> = names.collect();
    SimulateError::new(format!("there is no policy {name}; there are {}", names.join(", ")))
}

/// Returns the prompt tokens that a replica computes in a second, in full steps.
fn prefill_rate(engine: &EngineProfile) -> f64 {
    let replica = engine.replica();
    let tokens = replica.max_batched_tokens;
    tokens as f64 / replica.step_time(tokens, 0, 0)
}

/// Returns an autoscaler with one signal and its default behavior.
fn by_signal(
    signal: &str,
    target: f64,
    profile: Profile,
    context: &PolicyContext,
) -> Result<Box<dyn Autoscaler>, SimulateError> {
    let times = match profile {
        Profile::HpaExact => json!({"intervalSeconds": 15, "timeoutSeconds": 5}),
        _ => json!({}),
    };
    let mut gateway = times.clone();
    gateway["podSelector"] = json!({"matchLabels": {"app": "gateway"}});
    gateway["gateway"] = json!("EndpointPicker");
    let sources = match (context.has_gateway, profile) {
        (false, Profile::HpaExact) => json!([{"scrape": times}]),
        (false, _) => json!(null),
        // Its total is what the target has to serve; the pods lack what has not reached them.
        (true, Profile::HpaExact) => json!([{"scrape": gateway}]),
        (true, _) => json!([{"scrape": gateway}, {"scrape": times}]),
    };
    let Limits { min, max } = context.limits;
    let spec: LLMAutoscalerSpec = serde_json::from_value(json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
        "engine": "VLLM", "minReplicas": min, "maxReplicas": max,
        "sources": sources,
        "metrics": [{
            "signal": signal,
            "target": {"type": "AverageValue", "averageValue": target.to_string()},
        }],
    }))
    .map_err(|error| SimulateError::new(format!("the spec of a policy: {error}")))?;
    Ok(Box::new(Spec::new(&spec, profile, context.delay)?))
}
