//! `spec.roles` and `spec.ratio` → a plan for each target, and what they have in common.

use std::collections::HashMap;

use llm_autoscaler_core::{Profile, Ratio, Terms};

use super::{Plan, SpecError, metric::positive, plan};
use crate::{
    quantity::Quantity,
    spec::{LLMAutoscalerSpec, RatioSpec, RoleSpec},
};

/// What an autoscaler is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plans {
    /// For each of its targets, at least one.
    pub roles: Vec<RolePlan>,
    /// What they have in common, where there are several.
    pub terms: Option<Terms>,
}

/// What is to be done with one target.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePlan {
    /// The role's name; `None` for the only target of a spec without roles.
    pub name: Option<String>,
    /// The spec that it would have by itself.
    pub spec: LLMAutoscalerSpec,
    /// That spec, understood.
    pub plan: Plan,
    /// How many GPUs one replica takes, where that counts.
    pub gpus: i64,
}

/// What a role may leave to the top of the spec.
const INHERITED: [Inherited; 5] = [
    ("sources", |role| role.sources.is_some()),
    ("behavior", |role| role.behavior.is_some()),
    ("fallback", |role| role.fallback.is_some()),
    ("drain", |role| role.drain.is_some()),
    ("replicaPods", |role| role.replica_pods.is_some()),
];

/// A field, and whether a role has one of its own.
type Inherited = (&'static str, fn(&RoleSpec) -> bool);

/// Understands a spec, with all of its roles.
///
/// # Errors
/// As [`plan`].
pub fn plans(spec: &LLMAutoscalerSpec, profile: Profile) -> Result<Plans, SpecError> {
    let Some(roles) = &spec.roles else {
        let only = RolePlan { name: None, spec: spec.clone(), plan: plan(spec, profile)?, gpus: 0 };
        return Ok(Plans { roles: vec![only], terms: None });
    };
    checked(spec, roles)?;
    let mut plans: Vec<RolePlan> = Vec::with_capacity(roles.len());
    for (index, role) in roles.iter().enumerate() {
        let own = spec.of_role(role);
        let plan = plan(&own, profile).map_err(|error| placed(error, role, index))?;
        if let Some(other) = plans.iter().find(|other| other.plan.target == plan.target) {
            let problem = format!(
                "{} is what {:?} scales already",
                plan.target,
                other.name.as_deref().unwrap_or_default()
            );
            return Err(SpecError::new(format!("roles[{index}].scaleTargetRef"), problem));
        }
        let gpus = role.gpus_per_replica.unwrap_or_default().into();
        plans.push(RolePlan { name: Some(role.name.clone()), spec: own, plan, gpus });
    }
    let terms = Terms {
        ratio: spec.ratio.as_ref().map(|ratio| between(ratio, roles)).transpose()?,
        max_replicas: spec.max_replicas.into(),
        max_gpus: spec.max_gpus.map(i64::from),
    };
    Ok(Plans { roles: plans, terms: Some(terms) })
}

/// What the API server checks too, for objects that are older than its checks; and what it cannot.
fn checked(spec: &LLMAutoscalerSpec, roles: &[RoleSpec]) -> Result<(), SpecError> {
    if !spec.metrics.is_empty() {
        return Err(SpecError::new(
            "metrics",
            "each role has metrics of its own: give either metrics or roles",
        ));
    }
    let mut names = HashMap::new();
    for (index, role) in roles.iter().enumerate() {
        if let Some(other) = names.insert(&role.name, index) {
            let problem = format!("{:?} is the name of roles[{other}] already", role.name);
            return Err(SpecError::new(format!("roles[{index}].name"), problem));
        }
        if spec.max_gpus.is_some() && role.gpus_per_replica.is_none() {
            let problem = "maxGPUs is given, so each role says how many one replica takes";
            return Err(SpecError::new(format!("roles[{index}].gpusPerReplica"), problem));
        }
    }
    let least: i64 = roles.iter().map(|role| i64::from(role.min_replicas)).sum();
    if least > spec.max_replicas.into() {
        let problem = format!(
            "{} for all roles together is less than the sum of their minReplicas, {least}",
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
            "{most} for all roles together is less than what their minReplicas take, {least}"
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
                format!("{name:?} is none of the roles"),
            )
        })
    };
    let end =
        |quantity: Option<&Quantity>, field| quantity.map(|end| positive(end, field)).transpose();
    let between = [place(0)?, place(1)?];
    let (min, max) = (end(spec.min.as_ref(), "ratio.min")?, end(spec.max.as_ref(), "ratio.max")?);
    if between[0] == between[1] {
        return Err(SpecError::new("ratio.between", "a ratio is between two different roles"));
    }
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        return Err(SpecError::new("ratio.min", "it is greater than max"));
    }
    Ok(Ratio { between, min, max })
}

/// Where in the whole spec the field is that a role's own spec is wrong about.
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
    fn roles_have_what_they_say_and_else_what_is_at_the_top() {
        let own = json!({
            "maxReplicas": 4, "minReplicas": 2, "engine": "SGLang", "drain": {"deadlineSeconds": 9}, "gpusPerReplica": 8,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        });
        let top = json!({
            "drain": {}, "maxGPUs": 40, "ratio": {"between": ["decode", "prefill"], "min": "0.5", "max": 2},
        });
        let spec =
            spec(&top, &[role("prefill", &json!({"gpusPerReplica": 1})), role("decode", &own)]);
        let Plans { roles, terms } = plans(&spec, Profile::Default).unwrap();
        let [prefill, decode] = &roles[..] else { panic!("{roles:?}") };
        assert_eq!(prefill.plan.target.to_string(), "RoleBasedGroup/pd/prefill");
        assert_eq!(decode.plan.target.to_string(), "Deployment/d");
        let bounds =
            |role: &RolePlan| (role.plan.policy.min_replicas, role.plan.policy.max_replicas);
        assert_eq!((bounds(prefill), bounds(decode)), ((1, 10), (2, 4)));
        let deadline = |role: &RolePlan| role.plan.drain.as_ref().unwrap().deadline.num_seconds();
        assert_eq!((deadline(prefill), deadline(decode)), (120, 9));
        assert_eq!((prefill.gpus, decode.gpus), (1, 8));
        let ratio = Ratio { between: [1, 0], min: Some(Milli(500)), max: Some(Milli(2000)) };
        assert_eq!(
            terms.unwrap(),
            Terms { ratio: Some(ratio), max_replicas: 10, max_gpus: Some(40) }
        );
        assert_eq!(spec.reference(), "RoleBasedGroup/pd/prefill, Deployment/d");
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_field() {
        let twice = [role("a", &json!({})), role("a", &json!({}))];
        let deployment =
            json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
        let same = [role("a", &deployment), role("b", &deployment)];
        let bad = json!({"metrics": [{"signal": "PrefillHandoverRequests", "target": {"type": "AverageValue", "averageValue": "8"}}]});
        let wrong = [role("a", &json!({})), role("b", &bad)];
        let tolerance = json!({"behavior": {"scaleUp": {"tolerance": "-1"}}});
        let many = [role("a", &json!({"minReplicas": 6})), role("b", &json!({"minReplicas": 6}))];
        // at the top, the roles, the error
        let table = [
            (
                json!({}),
                twice.to_vec(),
                "spec.roles[1].name: \"a\" is the name of roles[0] already",
            ),
            (
                json!({}),
                same.to_vec(),
                "spec.roles[1].scaleTargetRef: Deployment/d is what \"a\" scales already",
            ),
            (json!({}), wrong.to_vec(), "spec.roles[1].metrics[0].signal: "),
            (tolerance.clone(), pair().to_vec(), "spec.behavior.scaleUp.tolerance: "),
            (
                json!({}),
                vec![role("a", &tolerance), role("b", &json!({}))],
                "spec.roles[0].behavior.scaleUp.tolerance: ",
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
            let error = plans(&spec(&top, &roles), Profile::Default).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
    }
}
