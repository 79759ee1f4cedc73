//! The autoscalers of a cluster, as documents.

use anyhow::{Context, anyhow};
use kube::{
    Api, Client,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};
use llm_autoscaler_convert::{Document, Place};
use llm_autoscaler_operator::Component;

use super::Convert;

/// A kind that is listed: group, version, kind, plural.
type Listed = (&'static str, &'static str, &'static str, &'static str);

/// The kinds of autoscalers, and of what they name.
const KINDS: [Listed; 7] = [
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ("keda.sh", "v1alpha1", "TriggerAuthentication", "triggerauthentications"),
    ("autoscaling.aibrix.ai", "v1alpha1", "PodAutoscaler", "podautoscalers"),
    ("workload.serving.volcano.sh", "v1alpha1", "AutoscalingPolicy", "autoscalingpolicies"),
    (
        "workload.serving.volcano.sh",
        "v1alpha1",
        "AutoscalingPolicyBinding",
        "autoscalingpolicybindings",
    ),
    ("llmd.ai", "v1alpha1", "VariantAutoscaling", "variantautoscalings"),
];
/// A kind without a namespace.
const CLUSTER_KIND: Listed =
    ("keda.sh", "v1alpha1", "ClusterTriggerAuthentication", "clustertriggerauthentications");
/// The status of a kind that is not installed.
const NOT_FOUND: u16 = 404;

impl Convert {
    /// Lists the autoscalers of the cluster. Kinds that are not installed are skipped.
    pub(super) async fn live(&self) -> anyhow::Result<Vec<Document>> {
        let client = crate::cluster::client(Component::Convert, self.context.as_deref()).await?;
        let mut documents = Vec::new();
        for listed in KINDS {
            let resource = resource(listed);
            let api: Api<DynamicObject> = match &self.namespace {
                _ if self.all_namespaces => Api::all_with(client.clone(), &resource),
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::default_namespaced_with(client.clone(), &resource),
            };
            documents.extend(list(&api, listed).await?);
        }
        let api = Api::all_with(client.clone(), &resource(CLUSTER_KIND));
        documents.extend(list(&api, CLUSTER_KIND).await?);
        if let Some(reference) = &self.adapter_config {
            documents.push(config_map(client, reference).await?);
        }
        Ok(documents)
    }
}

fn resource((group, version, kind, plural): Listed) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

async fn list(api: &Api<DynamicObject>, listed: Listed) -> anyhow::Result<Vec<Document>> {
    let (group, version, kind, plural) = listed;
    let objects = match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == NOT_FOUND => return Ok(Vec::new()),
        Err(kube::Error::Api(status)) => anyhow::bail!("listing {plural}: {}", status.message),
        other => other.with_context(|| format!("listing {plural}"))?,
    };
    let mut documents = Vec::new();
    for (index, object) in objects.items.iter().enumerate() {
        let mut value = serde_json::to_value(object)?;
        // Items of a list have neither.
        value["apiVersion"] = format!("{group}/{version}").into();
        value["kind"] = kind.into();
        let place = Place { file: format!("cluster, {plural}"), document: index + 1, item: None };
        documents.push(Document { place, value });
    }
    Ok(documents)
}

async fn config_map(client: Client, reference: &str) -> anyhow::Result<Document> {
    let Some((namespace, name)) = reference.split_once('/') else {
        return Err(anyhow!("--adapter-config {reference}: write NAMESPACE/NAME"));
    };
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let found = api.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) => {
            anyhow!("reading the ConfigMap {reference}: {}", status.message)
        }
        error => anyhow!("reading the ConfigMap {reference}: {error}"),
    })?;
    let mut value = serde_json::to_value(&found)?;
    value["apiVersion"] = "v1".into();
    value["kind"] = "ConfigMap".into();
    let place = Place { file: format!("cluster, ConfigMap {reference}"), document: 1, item: None };
    Ok(Document { place, value })
}
