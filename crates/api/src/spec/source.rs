//! `spec.sources`: the sources of samples.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::GatewayName;

/// A source of samples. A replica that has no sample in the first source is looked up in the next
/// one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.scrape) != has(self.prometheus)")
        .message("set exactly one of scrape and prometheus; add another entry for another source")
)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// The roles that have this source. If absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 63)))]
    pub roles: Option<Vec<String>>,
    /// Scrapes the metrics pages of pods directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrape: Option<ScrapeSpec>,
    /// Queries a Prometheus server, or any server with its query API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Box<PrometheusSpec>>,
}

impl SourceSpec {
    /// Returns true if a role has this source.
    pub(crate) fn is_of(&self, role: &str) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.iter().any(|name| name == role))
    }
}

/// A source that scrapes pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.timeoutSeconds <= self.intervalSeconds")
        .message("timeoutSeconds must not be greater than intervalSeconds")
        .field_path(".timeoutSeconds"),
    validation = Rule::new("!(has(self.authorization) && has(self.basicAuth))")
        .message("set authorization or basicAuth, not both"),
    validation = Rule::new("!has(self.gateway) || has(self.podSelector)")
        .message("gateway needs podSelector, which selects the gateway's pods")
        .field_path(".gateway"),
    validation = Rule::new("!has(self.tlsConfig) || self.scheme == 'HTTPS'")
        .message("tlsConfig needs scheme HTTPS")
        .field_path(".tlsConfig")
)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeSpec {
    /// The container port that serves the metrics: its name in the pod, or a number. If absent, the
    /// first port with a name that is usual for the engine, such as http or metrics, or else the
    /// engine's usual number, such as 8000 for VLLM, if the pod declares that port and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// The path of the metrics page. If absent, the engine's path, which is /metrics, or
    /// /prometheus/metrics for TensorRTLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s?#]*$"))]
    pub path: Option<String>,
    /// The URL scheme, HTTP or HTTPS. Defaults to HTTP.
    #[serde(default)]
    pub scheme: Scheme,
    /// The interval at which each pod is scraped, in seconds. Defaults to 2. While a metric is near
    /// its target, pods are scraped more often. If several autoscalers scrape the same page, the
    /// shortest interval is used.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// The timeout of a scrape, in seconds. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
    /// Pods in this namespace that report for the whole target, such as a gateway or a Dynamo
    /// frontend. Their values are summed. If absent, each of the target's own pods is scraped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::selector::other_pods")]
    pub pod_selector: Option<LabelSelector>,
    /// The gateway that runs in the pods of podSelector. It determines the series from which each
    /// signal is read there, the usual port and the path. If absent, they are the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayName>,
    /// The header Authorization, with credentials from a Secret in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<AuthorizationSpec>>,
    /// User name and password from Secrets in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Box<BasicAuthSpec>>,
    /// The rules for checking the certificates of the pods. If absent, they are not checked,
    /// because few certificates contain a pod's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<Box<TlsSpec>>,
}

/// A source that queries a Prometheus server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("(has(self.authorization) ? 1 : 0) + (has(self.basicAuth) ? 1 : 0) + (has(self.headersFrom) && self.headersFrom.exists(h, h.name.lowerAscii() == 'authorization') ? 1 : 0) <= 1")
        .message("set the header Authorization only once: in authorization, basicAuth or headersFrom"),
    validation = Rule::new("!has(self.tlsConfig) || self.url.startsWith('https://')")
        .message("tlsConfig needs a URL that begins with https://")
        .field_path(".tlsConfig"),
    validation = Rule::new("!self.url.matches('/([.]|%2[eE]){1,2}(/|$)')")
        .message("the path must not contain . or .. as a segment: write the path that is meant")
        .field_path(".url")
)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// The URL of the server, up to where /api/v1/query is appended.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub url: String,
    /// The interval at which the server is queried, in seconds. Defaults to 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// The timeout of a query, in seconds. Defaults to 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
    /// The age after which a sample is ignored, in seconds. Defaults to 60. Use at least twice the
    /// interval at which Prometheus scrapes. A sample is in doubt, and shrinks nothing, from 2.5
    /// of these intervals on.
    #[serde(default = "sixty")]
    #[schemars(range(min = 5, max = 600))]
    pub stale_after_seconds: i32,
    /// The label that contains the name of the pod. Defaults to pod.
    #[serde(default = "pod_label")]
    #[schemars(length(min = 1, max = 128))]
    pub pod_label: String,
    /// The label that contains the name of the namespace. Defaults to namespace.
    #[serde(default = "namespace_label")]
    #[schemars(length(min = 1, max = 128))]
    pub namespace_label: String,
    /// Labels and values that the series of pods must have, such as cluster. They are added to
    /// every selector that the operator writes, but not to a metric's query. An empty value stands
    /// for series without the label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = short_text(1024)))]
    pub matchers: BTreeMap<String, String>,
    /// The labels of replicas of the server: series that differ only in these are one. Defaults to
    /// two names that are usual.
    #[serde(default = "replica_labels")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub replica_labels: Vec<String>,
    /// HTTP headers without secrets, such as X-Scope-OrgID. Host and the headers of the connection
    /// are the operator's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = short_text(4096)))]
    pub headers: BTreeMap<String, String>,
    /// HTTP headers from Secrets in this namespace. The Secret contains the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub headers_from: Option<Vec<HeaderFrom>>,
    /// The header Authorization, with credentials from a Secret in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<AuthorizationSpec>>,
    /// User name and password from Secrets in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Box<BasicAuthSpec>>,
    /// The rules for checking the server's certificate. If absent, it is checked against the
    /// system's certificate authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<Box<TlsSpec>>,
}

/// An HTTP header with its value in a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFrom {
    /// The name of the header, such as Authorization.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub name: String,
    /// The key of the Secret that contains the value.
    pub secret_key_ref: KeyRef,
}

/// The header Authorization.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationSpec {
    /// The scheme that precedes the credentials. Defaults to Bearer.
    #[serde(rename = "type", default = "bearer")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._~+/-]+$"))]
    pub type_: String,
    /// The key of the Secret that contains the credentials, such as a token.
    pub credentials: KeyRef,
}

/// User name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct BasicAuthSpec {
    /// The key of the Secret that contains the user name.
    pub username: KeyRef,
    /// The key of the Secret that contains the password.
    pub password: KeyRef,
}

/// A key of a Secret or a ConfigMap in this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// The name of the Secret or ConfigMap.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// The rules for checking a certificate, and the certificate that the operator presents.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[x_kube(
    validation = Rule::new("!(self.insecureSkipVerify && (has(self.ca) || has(self.serverName)))")
        .message("insecureSkipVerify checks nothing: remove ca and serverName, or insecureSkipVerify"),
    validation = Rule::new("has(self.cert) == has(self.keySecret)")
        .message("set cert and keySecret together: a client certificate is used with its key")
)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The certificate authority that has signed it. If absent, one of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretOrConfigMap>,
    /// The certificate that the operator presents to a server that demands one (mTLS), as PEM:
    /// its own first, then those that have signed it. It needs keySecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<SecretOrConfigMap>,
    /// The key of a Secret that contains the private key of cert, as PEM: PKCS#8, PKCS#1 or SEC1,
    /// not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<KeyRef>,
    /// The host name that the certificate must contain. If absent, the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accepts any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// A key of a Secret or of a ConfigMap that contains a certificate, as PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[x_kube(
    validation = Rule::new("has(self.secret) != has(self.configMap)")
        .message("set exactly one of secret and configMap")
)]
#[serde(rename_all = "camelCase")]
pub struct SecretOrConfigMap {
    /// The key of a Secret that contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
    /// The key of a ConfigMap that contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
}

/// Returns the schema of a text of at most this many characters.
pub(super) fn short_text(longest: u32) -> serde_json::Value {
    serde_json::json!({"type": "string", "maxLength": longest})
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

fn replica_labels() -> Vec<String> {
    vec!["replica".into(), "prometheus_replica".into()]
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
            gateway: None,
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

/// A port: the name that a container gives it, or its number.
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
