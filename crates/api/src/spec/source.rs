//! `spec.sources`: where samples come from.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place where samples come from. A replica whose sample the first source does not have is looked for in the next.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.scrape) != has(self.prometheus)")
        .message("give exactly one of scrape and prometheus; another source is another entry of the list")
)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// Metrics pages of pods, read directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrape: Option<ScrapeSpec>,
    /// A Prometheus server, or anything that speaks its query API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
}

/// How pods are scraped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.timeoutSeconds <= self.intervalSeconds")
        .message("timeoutSeconds must not be greater than intervalSeconds")
        .field_path(".timeoutSeconds"),
    validation = Rule::new("!(has(self.authorization) && has(self.basicAuth))")
        .message("give authorization or basicAuth, not both"),
    validation = Rule::new("!has(self.tlsConfig) || self.scheme == 'HTTPS'")
        .message("tlsConfig needs scheme HTTPS")
        .field_path(".tlsConfig")
)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeSpec {
    /// The container port that serves metrics: its name in the pod, or a number. If absent, the first of the names that
    /// the engine's port usually has, such as http and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// The path of the page. If absent, the engine's: /metrics, of TensorRTLLM /prometheus/metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s?#]*$"))]
    pub path: Option<String>,
    /// HTTP or HTTPS.
    #[serde(default)]
    pub scheme: Scheme,
    /// How often each pod is read, at least; more often where a metric is near its target. Where several autoscalers read
    /// the same page, the shortest counts.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// After how long a read is given up.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
    /// Other pods of this namespace that know: a gateway, a Dynamo frontend. What they say is added up, and is the total of
    /// the target. If absent, the target's own pods are read, each for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::selector::other_pods")]
    pub pod_selector: Option<LabelSelector>,
    /// The header Authorization, from a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationSpec>,
    /// User name and password, from Secrets of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSpec>,
    /// How the pods' certificates are checked. If absent they are not: a pod's address is in few of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsSpec>,
}

/// How a Prometheus is asked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("(has(self.authorization) ? 1 : 0) + (has(self.basicAuth) ? 1 : 0) + (has(self.headersFrom) && self.headersFrom.exists(h, h.name.lowerAscii() == 'authorization') ? 1 : 0) <= 1")
        .message("give the header Authorization once: as authorization, basicAuth or in headersFrom"),
    validation = Rule::new("!has(self.tlsConfig) || self.url.startsWith('https://')")
        .message("tlsConfig needs a URL that begins with https://")
        .field_path(".tlsConfig")
)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// Its address, with the prefix of its path where it has one: what comes before /api/v1/query.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub url: String,
    /// How often it is asked.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// After how long an answer is given up.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
    /// Samples that were scraped longer ago than this are none. At least twice the interval at which Prometheus scrapes.
    #[serde(default = "sixty")]
    #[schemars(range(min = 5, max = 600))]
    pub stale_after_seconds: i32,
    /// The label that has the name of the pod.
    #[serde(default = "pod_label")]
    #[schemars(length(min = 1, max = 128))]
    pub pod_label: String,
    /// The label that has the name of the namespace.
    #[serde(default = "namespace_label")]
    #[schemars(length(min = 1, max = 128))]
    pub namespace_label: String,
    /// Headers that are no secret, such as X-Scope-OrgID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: BTreeMap<String, String>,
    /// Headers from Secrets of this namespace: the whole value is in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub headers_from: Option<Vec<HeaderFrom>>,
    /// The header Authorization, from a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationSpec>,
    /// User name and password, from Secrets of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSpec>,
    /// How the server's certificate is checked. If absent, against the usual authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsSpec>,
}

/// A header whose value is a secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFrom {
    /// The header's name, such as Authorization.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub name: String,
    /// Where its value is.
    pub secret_key_ref: KeyRef,
}

/// The header Authorization.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationSpec {
    /// What comes before the credentials.
    #[serde(rename = "type", default = "bearer")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._~+/-]+$"))]
    pub type_: String,
    /// Where the credentials are: a token.
    pub credentials: KeyRef,
}

/// User name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct BasicAuthSpec {
    /// Where the user name is.
    pub username: KeyRef,
    /// Where the password is.
    pub password: KeyRef,
}

/// A key of a Secret or ConfigMap of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How a certificate is checked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[x_kube(
    validation = Rule::new("!(self.insecureSkipVerify && (has(self.ca) || has(self.serverName)))")
        .message("with insecureSkipVerify nothing is checked: leave ca and serverName out")
)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The authority that has signed it. If absent, one of the usual authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSpec>,
    /// The name that must be in it. If absent, the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Any certificate is taken.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// Where the certificate of an authority is, as PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[x_kube(
    validation = Rule::new("has(self.secret) != has(self.configMap)")
        .message("give exactly one of secret and configMap")
)]
#[serde(rename_all = "camelCase")]
pub struct CaSpec {
    /// In a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
    /// In a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
}

fn one() -> i32 {
    1
}

fn two() -> i32 {
    2
}

fn five() -> i32 {
    5
}

fn sixty() -> i32 {
    60
}

fn pod_label() -> String {
    "pod".into()
}

fn namespace_label() -> String {
    "namespace".into()
}

fn bearer() -> String {
    "Bearer".into()
}

impl Default for ScrapeSpec {
    fn default() -> Self {
        Self {
            port: None,
            path: None,
            scheme: Scheme::default(),
            interval_seconds: two(),
            timeout_seconds: one(),
            pod_selector: None,
            authorization: None,
            basic_auth: None,
            tls_config: None,
        }
    }
}

/// A URL scheme.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    HTTP,
    /// HTTP over TLS.
    HTTPS,
}

/// A port, by the name that a container gives it or by number.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(untagged)]
pub enum Port {
    /// A number from 1 to 65535.
    Number(u16),
    /// A name.
    Name(String),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 15,
            "minimum": 1,
            "maximum": 65535,
        })
    }
}
