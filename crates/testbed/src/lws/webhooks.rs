//! The configurations of the controller's webhooks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// The label of all pods of LeaderWorkerSets.
const LABEL: &str = "leaderworkerset.sigs.k8s.io/name";

/// The webhook configurations that the controller's module ships. They expect a Service in front of
/// it.
#[derive(Debug)]
pub(super) struct Webhooks(Vec<Value>);

impl Webhooks {
    /// Reads the configurations from a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| {
            format!("reading the configurations of webhooks in {}", path.display())
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let configurations = Self(serde_saphyr::from_multiple(text)?);
        ensure!(
            !configurations.paths().is_empty(),
            "there are no webhooks: remove the folder above it, to have it built anew"
        );
        Ok(configurations)
    }

    /// Returns the paths that the configurations name.
    fn paths(&self) -> Vec<&str> {
        let webhooks = self
            .0
            .iter()
            .flat_map(|configuration| configuration["webhooks"].as_array().into_iter().flatten());
        webhooks.filter_map(|webhook| webhook["clientConfig"]["service"]["path"].as_str()).collect()
    }

    /// Returns true if a loopback port serves all paths. The controller registers the webhooks one
    /// by one, after its other controllers.
    pub(super) async fn are_served(&self, client: &reqwest::Client, port: u16) -> bool {
        for path in self.paths() {
            let url = format!("https://127.0.0.1:{port}{path}");
            let answer = client.get(url).timeout(Duration::from_secs(1)).send().await;
            if !answer.is_ok_and(|answer| answer.status() != StatusCode::NOT_FOUND) {
                return false;
            }
        }
        true
    }

    /// Returns the configurations for a controller at a loopback port with this certificate.
    pub(super) fn configurations(&self, port: u16, certificate: &str) -> Result<Vec<Value>> {
        let mut configurations = self.0.clone();
        for configuration in &mut configurations {
            let name = configuration["metadata"]["name"]
                .as_str()
                .context("a configuration without a name")?;
            // Upstream installs it with this prefix.
            configuration["metadata"]["name"] = json!(format!("lws-{name}"));
            for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
                adapt(webhook, port, certificate).with_context(|| format!("adapting {webhook}"))?;
            }
        }
        Ok(configurations)
    }
}

/// Points one webhook to the port, and restricts it to pods of LeaderWorkerSets. So a controller
/// that does not answer does not block other pods. Upstream installs it with the same selector.
fn adapt(webhook: &mut Value, port: u16, certificate: &str) -> Result<()> {
    let path =
        webhook["clientConfig"]["service"]["path"].as_str().context("a webhook without a path")?;
    webhook["clientConfig"] = json!({
        "url": format!("https://127.0.0.1:{port}{path}"),
        "caBundle": ByteString(certificate.as_bytes().to_vec()),
    });
    let mut rules = webhook["rules"].as_array().into_iter().flatten();
    if rules
        .any(|rule| rule["resources"].as_array().is_some_and(|all| all.contains(&json!("pods"))))
    {
        webhook["objectSelector"] =
            json!({"matchExpressions": [{"key": LABEL, "operator": "Exists"}]});
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = r"
---
kind: MutatingWebhookConfiguration
metadata: {name: mutating}
webhooks:
- {name: sets, clientConfig: {service: {name: s, path: /sets}}, failurePolicy: Fail, rules: [{resources: [leaderworkersets]}]}
- {name: pods, clientConfig: {service: {name: s, path: /pods}}, failurePolicy: Fail, rules: [{resources: [pods]}]}
---
kind: ValidatingWebhookConfiguration
metadata: {name: validating}
webhooks:
- {name: sets, clientConfig: {service: {name: s, path: /check}}, failurePolicy: Fail, rules: [{resources: [leaderworkersets]}]}
";

    #[test]
    fn webhooks_point_to_the_port_and_pod_webhooks_select_group_pods() {
        let webhooks = Webhooks::parse(MANIFESTS).unwrap();
        assert_eq!(webhooks.paths(), ["/sets", "/pods", "/check"]);
        let adapted = webhooks.configurations(1234, "PEM").unwrap();
        assert_eq!(adapted[1]["metadata"]["name"], "lws-validating");
        let [sets, pods] = [0, 1].map(|index| &adapted[0]["webhooks"][index]);
        let client = json!({"url": "https://127.0.0.1:1234/pods", "caBundle": "UEVN"});
        assert_eq!(pods["clientConfig"], client);
        assert_eq!(pods["failurePolicy"], "Fail");
        assert_eq!(pods["objectSelector"]["matchExpressions"][0]["key"], LABEL);
        assert_eq!(sets["objectSelector"], Value::Null);
    }

    #[test]
    fn a_file_without_webhooks_is_an_error() {
        assert!(Webhooks::parse("{kind: ConfigMap}").is_err());
    }
}
