//! `spec.roles` and `spec.ratio` → a configuration for each target, and the limits that they share.

use std::collections::HashMap;

use llm_autoscaler_core::{Config, Profile, Ratio, RoleConfig, SharedLimits};

use super::{SpecError, TargetConfig, metric::positive, parse_target};
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
    ("sources", |role| role.sources.is_some()),
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
        let only = ParsedRole { name: None, config: parse_target(spec, profile)?, gpus: 0 };
        return Ok(ParsedSpec { roles: vec![only], shared: None });
    };
    check(spec, roles)?;
    let mut parsed: Vec<ParsedRole> = Vec::with_capacity(roles.len());
    for (index, role) in roles.iter().enumerate() {
        let own = spec.of_role(role);
        let config = parse_target(&own, profile).map_err(|error| placed(error, role, index))?;
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

/// Moves the field of an error about a role's own spec to where it stands in the whole spec.
fn placed(error: SpecError, role: &RoleSpec, index: usize) -> SpecError {
    let SpecError { field, problem } = error;
    let inherited = INHERITED.into_iter().find(|(name, _)| field.starts_with(name));
    let is_own = inherited.is_none_or(|(_, has_its_own)| has_its_own(role));
    let field = if is_own { format!("roles[{index}].{field}") } else { field };
    SpecError { field, problem }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Milli;
    use serde_json::{Value, json};

    use super::*;

    fn role(name: &str, more: &Value) -> Value {
        let mut role = json!({
            "name": name,
            "metrics": [{"signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "8"}}],
        });
        for (key, value) in more.as_object().unwrap() {
            role[key] = value.clone();
        }
        role
    }

    fn spec(more: &Value, roles: &[Value]) -> LLMAutoscalerSpec {
        let mut spec = json!({
            "scaleTargetRef": {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": "pd"},
            "engine": "VLLM", "maxReplicas": 10, "roles": roles,
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn pair() -> [Value; 2] {
        [role("prefill", &json!({})), role("decode", &json!({}))]
    }

    #[test]
    fn unset_fields_of_a_role_are_inherited() {
        let own = json!({
            "maxReplicas": 4, "minReplicas": 2, "engine": "SGLang", "drain": {"deadlineSeconds": 9}, "gpusPerReplica": 8,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        });
        let top = json!({
            "drain": {}, "maxGPUs": 40, "ratio": {"between": ["decode", "prefill"], "min": "0.5", "max": 2},
        });
        let spec =
            spec(&top, &[role("prefill", &json!({"gpusPerReplica": 1})), role("decode", &own)]);
        let ParsedSpec { roles, shared } = parse_spec(&spec, Profile::Default).unwrap();
        let [prefill, decode] = &roles[..] else { panic!("{roles:?}") };
        assert_eq!(prefill.config.target.to_string(), "RoleBasedGroup/pd/prefill");
        assert_eq!(decode.config.target.to_string(), "Deployment/d");
        let bounds =
            |role: &ParsedRole| (role.config.policy.min_replicas, role.config.policy.max_replicas);
        assert_eq!((bounds(prefill), bounds(decode)), ((1, 10), (2, 4)));
        let deadline =
            |role: &ParsedRole| role.config.drain.as_ref().unwrap().deadline.num_seconds();
        assert_eq!((deadline(prefill), deadline(decode)), (120, 9));
        assert_eq!((prefill.gpus, decode.gpus), (1, 8));
        let ratio = Ratio { between: [1, 0], min: Some(Milli(500)), max: Some(Milli(2000)) };
        assert_eq!(
            shared.unwrap(),
            SharedLimits { ratio: Some(ratio), max_replicas: 10, max_gpus: Some(40) }
        );
        assert_eq!(spec.reference(), "RoleBasedGroup/pd/prefill, Deployment/d");
    }

    #[test]
    fn an_error_names_the_field_in_the_whole_spec() {
        let twice = [role("a", &json!({})), role("a", &json!({}))];
        let deployment =
            json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
        let same = [role("a", &deployment), role("b", &deployment)];
        let bad = json!({"metrics": [{"signal": "PrefillHandoverRequests", "target": {"type": "AverageValue", "averageValue": "8"}}]});
        let wrong = [role("a", &json!({})), role("b", &bad)];
        let tolerance = json!({"behavior": {"scaleUp": {"tolerance": "-1"}}});
        let many = [role("a", &json!({"minReplicas": 6})), role("b", &json!({"minReplicas": 6}))];
        // top level, roles, error
        let table = [
            (
                json!({}),
                twice.to_vec(),
                "spec.roles[1].name: \"a\" is already the name of roles[0]",
            ),
            (
                json!({}),
                same.to_vec(),
                "spec.roles[1].scaleTargetRef: Deployment/d is already the target of role \"a\"",
            ),
            (json!({}), wrong.to_vec(), "spec.roles[1].metrics[0].signal: "),
            (tolerance.clone(), pair().to_vec(), "spec.behavior.scaleUp.tolerance: "),
            (
                json!({}),
                vec![role("a", &tolerance), role("b", &json!({}))],
                "spec.roles[0].behavior.scaleUp.tolerance: ",
            ),
            (
                json!({"maxReplicas": 100_001}),
                pair().to_vec(),
                "spec.maxReplicas: 100001 is more than 100000, the most for roles",
            ),
            (json!({}), many.to_vec(), "spec.maxReplicas: 10 for all roles together is less than"),
            (json!({"maxGPUs": 9}), pair().to_vec(), "spec.roles[0].gpusPerReplica: "),
            (
                json!({"ratio": {"between": ["prefill", "x"], "min": "1"}}),
                pair().to_vec(),
                "spec.ratio.between[1]: ",
            ),
            (
                json!({"ratio": {"between": ["decode", "decode"], "min": "1"}}),
                pair().to_vec(),
                "spec.ratio.between: ",
            ),
            (
                json!({"ratio": {"between": ["prefill", "decode"], "min": "2", "max": "1"}}),
                pair().to_vec(),
                "spec.ratio.min: ",
            ),
            (
                json!({"ratio": {"between": ["prefill", "decode"], "max": "0"}}),
                pair().to_vec(),
                "spec.ratio.max: ",
            ),
        ];
        for (top, roles, expected) in table {
            let error = parse_spec(&spec(&top, &roles), Profile::Default).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
    }
}
