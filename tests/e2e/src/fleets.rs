//! Targets that nothing controls, with pods that are objects of the API server and no more: for
//! thousands of pods whose pages one server has.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
    },
};
use llm_autoscaler_api::LLMAutoscaler;
use serde_json::{Value, json};

use crate::Stage;

/// The first address of pods: 127.64.0.2.
const FIRST_ADDRESS: u32 = 0x7f40_0002;

/// Returns the address of a pod with this number.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_ADDRESS + number)
}

/// The fleets of a stage: objects of a kind with a scale subresource.
pub struct Fleets<'a> {
    stage: &'a Stage,
    api: Api<DynamicObject>,
    port: u16,
}

impl<'a> Fleets<'a> {
    /// Installs the kind. The pages of all pods are at one port.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn install(stage: &'a Stage, port: u16) -> Result<Self> {
        stage.control_plane().apply_yaml(include_str!("../fixtures/fleet-crd.yaml")).await?;
        let established =
            ["wait", "--for=condition=Established", "crd/fleets.example.com", "--timeout=30s"];
        stage.control_plane().kubectl(established).await?;
        let kind = GroupVersionKind::gvk("example.com", "v1", "Fleet");
        let resource = ApiResource::from_gvk_with_plural(&kind, "fleets");
        let api = Api::namespaced_with(stage.client(), &stage.namespace, &resource);
        Ok(Self { stage, api, port })
    }

    /// Returns the API of the kind.
    pub fn api(&self) -> Api<DynamicObject> {
        self.api.clone()
    }

    /// Creates a fleet, which selects the pods that are created for it.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create(&self, name: &str, size: usize) -> Result<()> {
        let fleet = json!({
            "apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": name},
            "spec": {"size": size}, "status": {"size": size, "selector": format!("fleet={name}")},
        });
        self.api.create(&PostParams::default(), &serde_json::from_value(fleet)?).await?;
        Ok(())
    }

    /// Deletes a fleet. Its pods stay.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Applies an LLMAutoscaler for a fleet, which counts requests in flight by pages that are
    /// scraped every `interval` seconds. `spec` is merged over that.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn autoscaler(
        &self,
        name: &str,
        fleet: &str,
        interval: u64,
        spec: Value,
    ) -> Result<()> {
        let mut whole = json!({
            "scaleTargetRef": {"apiVersion": "example.com/v1", "kind": "Fleet", "name": fleet},
            "maxReplicas": 1000,
            "sources": [{"scrape": {"intervalSeconds": interval, "timeoutSeconds": 2}}],
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": "32"},
            }],
            "podMonitor": {"mode": "Disabled"},
        });
        for (field, value) in spec.as_object().context("a spec is an object")? {
            whole[field] = value.clone();
        }
        self.stage.autoscaler(name, whole).await
    }

    /// Deletes an LLMAutoscaler.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete_autoscaler(&self, name: &str) -> Result<()> {
        self.stage.api::<LLMAutoscaler>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Creates a pod of a fleet with a status that says that it runs, at the address with this
    /// number. It has no node and no container.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create_pod(&self, name: &str, fleet: &str, address: u32) -> Result<()> {
        let pods = self.stage.api::<Pod>();
        let ports = json!([{"name": "http", "containerPort": self.port}]);
        let pod = json!({
            "metadata": {"name": name, "labels": {"fleet": fleet}},
            "spec": {
                "schedulingGates": [{"name": "example.com/bench"}],
                "containers": [{"name": "engine", "image": "engine", "ports": ports}],
                "automountServiceAccountToken": false,
            },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let address = self::address(address).to_string();
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
        Ok(())
    }

    /// Deletes a pod, which is gone at once because it has no node.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        self.stage.api::<Pod>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }
}
