//! Specs with invalid roles: refused by the API server, or by a condition, with a message that
//! names the field.

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::spec::{self, role};

/// Each row is a spec with one mistake, and a part of the message that it must cause.
pub(crate) async fn roles_that_make_no_sense(stage: &Stage) -> Result<()> {
    ensure!(
        refusal(stage, "right", &good()).await?.is_none(),
        "a spec without a mistake was refused"
    );
    let mut wrong = Vec::new();
    for (number, (mistake, spec, expected)) in table().into_iter().enumerate() {
        // Each row has a name of its own, so that no condition of the previous row is left.
        match refusal(stage, &format!("wrong-{number}"), &spec).await? {
            Some(message) if message.contains(expected) => {}
            message => wrong.push(format!("{mistake}: expected {expected:?}, got {message:?}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

fn good() -> Value {
    let role = |name| spec::with(role(name, 8, 10), "gpusPerReplica", json!(2));
    let spec = spec::of_group(10, &[role("prefill"), role("decode")], ["250m", "4"]);
    spec::with(spec, "maxGPUs", json!(40))
}

fn table() -> Vec<(&'static str, Value, &'static str)> {
    let with = |field: &str, value: Value| spec::with(good(), field, value);
    let ratio = |between: Value, min: &str, max: &str| {
        with("ratio", json!({"between": between, "min": min, "max": max}))
    };
    let roles = |change: &dyn Fn(&mut Value)| {
        let mut spec = good();
        change(&mut spec["roles"]);
        spec
    };
    let without = |mut object: Value, field: &str| {
        object.as_object_mut().map(|fields| fields.remove(field));
        object
    };
    vec![
        (
            "metrics beside roles",
            with("metrics", role("a", 1, 10)["metrics"].clone()),
            "spec.metrics: Invalid value: set metrics or slo, or roles that have metrics or slo of their own",
        ),
        (
            "two roles of a name",
            roles(&|roles| roles[1]["name"] = json!("prefill")),
            ".spec.roles: duplicate entries for key [name=\"prefill\"]",
        ),
        (
            "a ratio to an unknown role",
            ratio(json!(["prefill", "router"]), "250m", "4"),
            "spec.ratio: Invalid value: ratio.between must name two of the roles",
        ),
        (
            "a ratio to itself",
            ratio(json!(["decode", "decode"]), "250m", "4"),
            "spec.ratio.between: Invalid value: a ratio is between two different roles",
        ),
        ("a ratio of one", ratio(json!(["decode"]), "250m", "4"), "spec.ratio.between"),
        (
            "a range that is empty",
            ratio(json!(["prefill", "decode"]), "4", "250m"),
            "spec.ratio.min: Invalid value: min must not be greater than max",
        ),
        (
            "a range that is no number",
            ratio(json!(["prefill", "decode"]), "low", "4"),
            "spec.ratio.min",
        ),
        ("a ratio without roles", of_one_target(), "spec.ratio: "),
        (
            "nothing to scale",
            without(good(), "scaleTargetRef"),
            "spec.scaleTargetRef: Invalid value: name the object to scale in scaleTargetRef, or in the scaleTargetRef of each role",
        ),
        (
            "a role of a role",
            role_of_a_role(),
            "spec.scaleTargetRef: Invalid value: with roles, scaleTargetRef names their RoleBasedGroup and sets no role",
        ),
        (
            "roles of what is no group",
            with(
                "scaleTargetRef",
                json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"}),
            ),
            "spec.scaleTargetRef: Invalid value: with roles, scaleTargetRef names their RoleBasedGroup and sets no role",
        ),
        (
            "a ceiling of GPUs without GPUs per replica",
            roles(&|roles| roles[1] = without(roles[1].take(), "gpusPerReplica")),
            "spec.maxGPUs: Invalid value: maxGPUs applies to all roles together: set gpusPerReplica in each role",
        ),
        (
            "roles at zero",
            with("scaleToZero", json!({"afterSeconds": 60})),
            "spec.scaleToZero: Invalid value: ",
        ),
        (
            "a role at zero",
            roles(&|roles| roles[0]["minReplicas"] = json!(0)),
            "spec.roles[0].minReplicas: Invalid value: 0",
        ),
        (
            "the fewest of all together",
            with("minReplicas", json!(2)),
            "spec.minReplicas: Invalid value: with roles, set minReplicas in each role",
        ),
        (
            "more at least than the ceiling",
            roles(&|roles| (0..2).for_each(|role| roles[role]["minReplicas"] = json!(6))),
            "spec.maxReplicas: Invalid value: maxReplicas applies to all roles together, and must not be less than the sum of their minReplicas",
        ),
        (
            "more GPUs at least than the ceiling",
            roles(&|roles| (0..2).for_each(|role| roles[role]["gpusPerReplica"] = json!(70))),
            "spec.maxGPUs: 40 for all roles together is less than what their minReplicas take, 140",
        ),
        (
            "more at least than at most",
            roles(&|roles| roles[0]["minReplicas"] = json!(9)),
            "spec.roles[0].minReplicas: Invalid value: minReplicas must not be greater than maxReplicas",
        ),
    ]
}

/// Returns a spec with a ratio and without roles.
fn of_one_target() -> Value {
    let mut spec = good();
    spec["metrics"] = role("a", 1, 10)["metrics"].clone();
    spec["scaleTargetRef"]["role"] = json!("decode");
    for field in ["roles", "maxGPUs"] {
        spec.as_object_mut().map(|fields| fields.remove(field));
    }
    spec
}

/// Returns a spec with a role as the target of all roles.
fn role_of_a_role() -> Value {
    let mut spec = good();
    spec["scaleTargetRef"]["role"] = json!("decode");
    spec
}

/// Returns the message about a spec, from the API server or else from a condition; `None` if the
/// spec is accepted.
async fn refusal(stage: &Stage, name: &str, spec: &Value) -> Result<Option<String>> {
    if let Err(error) = spec::apply(stage, name, spec).await {
        return Ok(Some(format!("{error:#}")));
    }
    let verdict = wait::until(&format!("a word about {name}"), SOON, async || {
        let conditions = stage.status(name).await?.conditions;
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        Ok(ready)
    })
    .await?;
    Ok((verdict.reason == "InvalidSpec").then_some(verdict.message))
}
