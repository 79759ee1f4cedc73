//! `spec.roles` and `spec.ratio` → a configuration for each target, and the limits that they share.

use std::collections::HashMap;

use llm_autoscaler_core::{Config, Profile, Ratio, RoleConfig, SharedLimits, slo::SloRole};

use super::{SpecError, TargetConfig, metric::positive, parse_part, parse_target, slo};
use crate::{
    quantity::Quantity,
    spec::{LLMAutoscalerSpec, RatioSpec, RoleSpec},
};

/// A parsed spec: a configuration for each target, and the limits that the targets share.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedSpec {
    /// The targets, in the order of the spec; there is at least one.
    pub roles: Vec<ParsedRole>,
    /// The limits that the roles share; `None` if there is only one target.
    pub shared: Option<SharedLimits>,
}

impl ParsedSpec {
    /// Returns the part of the spec that a step is planned by.
    pub fn config(&self) -> Config {
        let role = |role: &ParsedRole| RoleConfig {
            policy: role.config.policy.clone(),
            gpus: role.gpus,
            drain_deadline: role.config.drain.as_ref().map(|drain| drain.deadline),
            mode: role.config.mode,
        };
        Config { roles: self.roles.iter().map(role).collect(), shared: self.shared.clone() }
    }
}

/// One parsed target.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRole {
    /// The role's name; `None` for the only target of a spec without roles.
    pub name: Option<String>,
    /// The configuration of the target.
    pub config: TargetConfig,
    /// The number of GPUs that one replica takes; 0 if the spec does not limit GPUs.
    pub gpus: i64,
}

/// The fields that a role may inherit from the top level of the spec.
const INHERITED: [Inherited; 5] = [
    // All sources are at the top level, so that a policy finds every URL there.
    ("sources", |_| false),
    ("behavior", |role| role.behavior.is_some()),
    ("fallback", |role| role.fallback.is_some()),
    ("drain", |role| role.drain.is_some()),
    ("replicaPods", |role| role.replica_pods.is_some()),
];

/// A field, and a function that returns whether a role sets it.
type Inherited = (&'static str, fn(&RoleSpec) -> bool);

/// Parses a spec, with all of its roles.
///
/// ```
/// use llm_autoscaler_api::{LLMAutoscalerSpec, parse_spec};
/// use llm_autoscaler_core::Profile;
/// use serde_json::{from_value, json};
///
/// let spec: LLMAutoscalerSpec = from_value(json!({
///     "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen3"},
///     "engine": "VLLM", "minReplicas": 2, "maxReplicas": 8,
///     "metrics": [{
///         "signal": "WaitingRequests",
///         "target": {"type": "AverageValue", "averageValue": "5"},
///     }],
/// }))?;
/// let parsed = parse_spec(&spec, Profile::Default)?;
/// assert_eq!(parsed.roles[0].config.policy.min_replicas, 2);
/// assert_eq!(parsed.roles[0].config.metrics[0].series, "vllm:num_requests_waiting");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`parse_target`].
pub fn parse_spec(spec: &LLMAutoscalerSpec, profile: Profile) -> Result<ParsedSpec, SpecError> {
    let Some(roles) = &spec.roles else {
        check_sources(spec, &[])?;
        let only = ParsedRole { name: None, config: parse_target(spec, profile)?, gpus: 0 };
        return Ok(ParsedSpec { roles: vec![only], shared: None });
    };
    check(spec, roles)?;
    check_sources(spec, roles)?;
    let mut parsed: Vec<ParsedRole> = Vec::with_capacity(roles.len());
    for (index, role) in roles.iter().enumerate() {
        let own = spec.of_role(role);
        let part = role.slo.as_ref().map_or(SloRole::Both, |slo| slo::role(slo.phase));
        let config = parse_part(&own, part, profile);
        let config =
            config.map_err(|error| placed(source_placed(error, spec, role), role, index))?;
        if let Some(other) = parsed.iter().find(|other| other.config.target == config.target) {
            let problem = format!(
                "{} is already the target of role {:?}: give each role a different target",
                config.target,
                other.name.as_deref().unwrap_or_default()
            );
            return Err(SpecError::new(format!("roles[{index}].scaleTargetRef"), problem));
        }
        let gpus = role.gpus_per_replica.unwrap_or_default().into();
        parsed.push(ParsedRole { name: Some(role.name.clone()), config, gpus });
    }
    let shared = SharedLimits {
        ratio: spec.ratio.as_ref().map(|ratio| between(ratio, roles)).transpose()?,
        max_replicas: spec.max_replicas.into(),
        max_gpus: spec.max_gpus.map(i64::from),
    };
    Ok(ParsedSpec { roles: parsed, shared: Some(shared) })
}

/// The largest `maxReplicas` of a spec with roles, as in the schema, which objects that were never
/// in a cluster have not seen. Sizes that share a limit are found replica by replica, so an absurd
/// number would take minutes.
const MOST_TOGETHER: i32 = 100_000;

/// Checks the roles together. The API server checks most of this too; objects that are older than
/// its checks, and the sums, are left.
fn check(spec: &LLMAutoscalerSpec, roles: &[RoleSpec]) -> Result<(), SpecError> {
    let has_part = roles.iter().any(|role| role.slo.is_some());
    if spec.slo.is_some() != has_part {
        let problem = "with roles it is the promise, and slo of a role says which phase of it the \
                       role keeps: set both or neither";
        return Err(SpecError::new("slo", problem));
    }
    if !spec.metrics.is_empty() {
        return Err(SpecError::new(
            "metrics",
            "each role has metrics of its own: set either metrics or roles",
        ));
    }
    let mut names = HashMap::new();
    for (index, role) in roles.iter().enumerate() {
        if let Some(other) = names.insert(&role.name, index) {
            let problem = format!(
                "{:?} is already the name of roles[{other}]: give each role a different name",
                role.name
            );
            return Err(SpecError::new(format!("roles[{index}].name"), problem));
        }
        if role.metrics.is_empty() && role.slo.is_none() {
            let problem = "there are none: a role needs metrics, or slo with its phase";
            return Err(SpecError::new(format!("roles[{index}].metrics"), problem));
        }
        if spec.max_gpus.is_some() && role.gpus_per_replica.is_none() {
            let problem =
                "it is missing: maxGPUs is set, so each role needs the GPUs of one replica";
            return Err(SpecError::new(format!("roles[{index}].gpusPerReplica"), problem));
        }
    }
    let most = roles.iter().enumerate().filter_map(|(index, role)| {
        Some((format!("roles[{index}].maxReplicas"), role.max_replicas?))
    });
    let mut most = most.chain([("maxReplicas".to_owned(), spec.max_replicas)]);
    if let Some((field, most)) = most.find(|(_, most)| *most > MOST_TOGETHER) {
        let problem = format!("{most} is more than {MOST_TOGETHER}, the most for roles");
        return Err(SpecError::new(field, problem));
    }
    let least: i64 = roles.iter().map(|role| i64::from(role.min_replicas)).sum();
    if least > spec.max_replicas.into() {
        let problem = format!(
            "{} for all roles together is less than the sum of their minReplicas, {least}: raise it, \
             or lower minReplicas",
            spec.max_replicas
        );
        return Err(SpecError::new("maxReplicas", problem));
    }
    let gpus = |role: &RoleSpec| {
        i64::from(role.min_replicas) * i64::from(role.gpus_per_replica.unwrap_or_default())
    };
    let least: i64 = roles.iter().map(gpus).sum();
    if let Some(most) = spec.max_gpus.filter(|most| i64::from(*most) < least) {
        let problem = format!(
            "{most} for all roles together is less than what their minReplicas take, {least}: raise \
             it, or lower minReplicas"
        );
        return Err(SpecError::new("maxGPUs", problem));
    }
    Ok(())
}

/// The most sources of one role.
const MOST_SOURCES: usize = 4;

/// Checks the roles that the sources name.
fn check_sources(spec: &LLMAutoscalerSpec, roles: &[RoleSpec]) -> Result<(), SpecError> {
    let sources = || spec.sources.iter().flatten();
    for (index, source) in sources().enumerate() {
        let unknown = source.roles.iter().flatten().enumerate();
        let mut unknown = unknown.filter(|(_, name)| !roles.iter().any(|role| role.name == **name));
        if let Some((place, name)) = unknown.next() {
            let field = format!("sources[{index}].roles[{place}]");
            return Err(SpecError::new(field, format!("{name:?} is not the name of a role")));
        }
    }
    for role in roles {
        let count = sources().filter(|source| source.is_of(&role.name)).count();
        if count == 0 && spec.sources.is_some() {
            let problem = format!(
                "role {:?} has no source: name it in the roles of one, or add a source for it",
                role.name
            );
            return Err(SpecError::new("sources", problem));
        }
        if count > MOST_SOURCES {
            let problem = format!(
                "role {:?} has {count} sources: {MOST_SOURCES} are the most; name the others' \
                 roles in them",
                role.name
            );
            return Err(SpecError::new("sources", problem));
        }
    }
    if roles.is_empty() && sources().count() > MOST_SOURCES {
        let problem = format!("{MOST_SOURCES} are the most: remove some");
        return Err(SpecError::new("sources", problem));
    }
    Ok(())
}

fn between(spec: &RatioSpec, roles: &[RoleSpec]) -> Result<Ratio, SpecError> {
    let place = |index: usize| {
        let name = spec.between.get(index);
        let found = roles.iter().position(|role| Some(&role.name) == name);
        found.ok_or_else(|| {
            SpecError::new(
                format!("ratio.between[{index}]"),
                format!("{:?} is not the name of a role", name.map_or("", String::as_str)),
            )
        })
    };
    let end =
        |quantity: Option<&Quantity>, field| quantity.map(|end| positive(end, field)).transpose();
    let between = [place(0)?, place(1)?];
    let (min, max) = (end(spec.min.as_ref(), "ratio.min")?, end(spec.max.as_ref(), "ratio.max")?);
    if between[0] == between[1] {
        return Err(SpecError::new(
            "ratio.between",
            "both names are the same: name two different roles",
        ));
    }
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        return Err(SpecError::new(
            "ratio.min",
            "it is greater than ratio.max: lower it, or raise max",
        ));
    }
    Ok(Ratio { between, min, max })
}

/// Gives a source its place among those of all roles, in the field of an error.
fn source_placed(error: SpecError, spec: &LLMAutoscalerSpec, role: &RoleSpec) -> SpecError {
    let Some(rest) = error.field.strip_prefix("sources[") else { return error };
    let place = rest.split_once(']').and_then(|(place, rest)| Some((place.parse().ok()?, rest)));
    let Some((place, rest)) = place else { return error };
    let all = spec.sources.iter().flatten().enumerate();
    match all.filter(|(_, source)| source.is_of(&role.name)).nth(place) {
        Some((index, _)) => SpecError { field: format!("sources[{index}]{rest}"), ..error },
        None => error,
    }
}

/// Moves the field of an error about a role's own spec to where it stands in the whole spec.
fn placed(error: SpecError, role: &RoleSpec, index: usize) -> SpecError {
    let SpecError { field, problem } = error;
    let inherited = INHERITED.into_iter().find(|(name, _)| field.starts_with(name));
    let is_own = inherited.is_none_or(|(_, has_its_own)| has_its_own(role));
    let field = if is_own { format!("roles[{index}].{field}") } else { field };
    SpecError { field, problem }
}

#[cfg(test)]
mod tests;
