//! The permissions that the operator is granted, one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, PolicyRule},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

/// The operator's user, as config/default installs it.
pub(crate) const USER: &str = "system:serviceaccount:llm-autoscaler-system:llm-autoscaler";
/// The cluster roles that are for people and gateways, not for the operator.
const OF_USERS: [&str; 3] = ["llm-autoscaler-view", "llm-autoscaler-edit", "llm-autoscaler-caller"];
/// The cluster roles that are off until they get the label.
const OFF: [&str; 4] = [
    "llm-autoscaler-in-service",
    "llm-autoscaler-deletion-cost",
    "llm-autoscaler-instance-deletion-cost",
    "llm-autoscaler-targets-role-based-groups",
];

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, and its subresource after a slash.
    pub resource: String,
    /// The verb.
    pub verb: String,
}

impl Grant {
    pub(crate) fn new(group: &str, resource: &str, verb: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), verb: verb.to_owned() }
    }

    /// Returns what the API server says if the permission is missing.
    pub(crate) fn refusal(&self) -> String {
        let Self { group, resource, verb } = self;
        format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"")
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// Returns the permissions of rules, which name every resource.
fn of_rules(rules: &[PolicyRule]) -> BTreeSet<Grant> {
    let mut found = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                found.extend(rule.verbs.iter().map(|verb| Grant::new(group, resource, verb)));
            }
        }
    }
    found
}

/// Returns the rules that grant these permissions.
fn to_rules(grants: &BTreeSet<Grant>) -> Vec<PolicyRule> {
    let rule = |grant: &Grant| PolicyRule {
        api_groups: Some(vec![grant.group.clone()]),
        resources: Some(vec![grant.resource.clone()]),
        verbs: vec![grant.verb.clone()],
        ..PolicyRule::default()
    };
    grants.iter().map(rule).collect()
}

/// Returns everything that the operator's cluster roles grant, each with the role that grants it.
pub(crate) async fn granted(stage: &Stage) -> Result<BTreeMap<Grant, String>> {
    let roles = Api::<ClusterRole>::all(stage.client());
    let ours = ListParams::default().labels("app.kubernetes.io/name=llm-autoscaler");
    let mut found = BTreeMap::new();
    for role in roles.list(&ours).await? {
        let name = role.name_any();
        // The rules of an aggregated role are those of others.
        if OF_USERS.contains(&&*name) || role.aggregation_rule.is_some() {
            continue;
        }
        let grants = of_rules(&role.rules.unwrap_or_default());
        found.extend(grants.into_iter().map(|grant| (grant, name.clone())));
    }
    Ok(found)
}

/// Switches on everything that is off by default, and waits until all of it is granted.
pub(crate) async fn grant_all(stage: &Stage) -> Result<()> {
    let (cluster, namespace) = (stage.control_plane(), &*stage.namespace);
    let label = "llmautoscaler.io/aggregate-to-targets=true";
    let labelling = ["label", "--overwrite", "clusterrole"];
    cluster.kubectl([&labelling[..], &OFF, &[label]].concat()).await?;
    let name = "llm-autoscaler-credentials";
    let role = format!("--clusterrole={name}");
    let account = "--serviceaccount=llm-autoscaler-system:llm-autoscaler";
    cluster.kubectl(["-n", namespace, "create", "rolebinding", name, &role, account]).await?;
    for grant in granted(stage).await?.keys() {
        until_granted(stage, grant, true).await?;
    }
    Ok(())
}

/// Takes one permission out of its role.
pub(crate) async fn remove(stage: &Stage, grant: &Grant, role: &str) -> Result<()> {
    change(stage, role, |grants| grants.remove(grant)).await?;
    until_granted(stage, grant, false).await
}

/// Puts a permission back.
pub(crate) async fn restore(stage: &Stage, grant: &Grant, role: &str) -> Result<()> {
    change(stage, role, |grants| grants.insert(grant.clone())).await?;
    until_granted(stage, grant, true).await
}

async fn change(
    stage: &Stage,
    role: &str,
    change: impl FnOnce(&mut BTreeSet<Grant>) -> bool,
) -> Result<()> {
    let roles = Api::<ClusterRole>::all(stage.client());
    let mut grants = of_rules(&roles.get(role).await?.rules.unwrap_or_default());
    anyhow::ensure!(change(&mut grants), "{role} did not change");
    let patch = Patch::Merge(json!({"rules": to_rules(&grants)}));
    roles.patch(role, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the API server's authorizer has noticed a change.
async fn until_granted(stage: &Stage, grant: &Grant, expected: bool) -> Result<()> {
    let (resource, subresource) =
        grant.resource.split_once('/').map_or((&*grant.resource, None), |(a, b)| (a, Some(b)));
    let attributes = ResourceAttributes {
        group: Some(grant.group.clone()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(grant.verb.clone()),
        namespace: Some(stage.namespace.clone()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(USER.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api = Api::<SubjectAccessReview>::all(stage.client());
    wait::until(&format!("the permission to {grant} to be {expected}"), SOON, async || {
        let answer = api.create(&PostParams::default(), &review).await?;
        let status = answer.status.context("a review without a status")?;
        Ok((status.allowed == expected).then_some(()))
    })
    .await
}
