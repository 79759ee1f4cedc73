//! The rules of `--source-credentials-file`: which credentials the operator's owner has for which
//! hosts, and the namespaces that may use them.
//!
//! Everything is checked at the start, so that a rule that cannot work stops the operator instead
//! of leaving a tenant without samples.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use llm_autoscaler_api::TlsSpec;
use reqwest::Url;
use serde::Deserialize;

use crate::sampling::{
    egress::{Egress, EgressRules},
    tls::{self, PemFiles},
};

/// The namespace in a rule that stands for all of them.
const ALL: &str = "*";
/// The addresses of Google's metadata server, and its name.
const METADATA_HOSTS: [&str; 3] = ["169.254.169.254", "[fd20:ce::254]", "metadata.google.internal"];
/// The port of a URL without one.
const HTTPS: u16 = 443;

/// A rule as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialRule {
    /// The hosts that the credentials are for, each with its port if that is not 443.
    #[serde(default)]
    hosts: Vec<String>,
    /// The beginning of the paths that the credentials are for; all if absent.
    path_prefix: Option<String>,
    /// The namespaces of the autoscalers that may use the credentials, or `*`.
    #[serde(default)]
    namespaces: Vec<String>,
    /// The file of the authorities that sign the hosts' certificates; the system's if absent.
    ca_file: Option<PathBuf>,
    aws_sig_v4: Option<AwsSigV4>,
    bearer_token_file: Option<BearerTokenFile>,
    google_metadata: Option<GoogleMetadata>,
}

/// AWS's signatures, with the credentials of a role for a web identity token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AwsSigV4 {
    region: Option<String>,
    role_arn: Option<String>,
    web_identity_token_file: Option<PathBuf>,
    service: Option<String>,
    sts_endpoint: Option<String>,
}

/// A bearer token in a file that may be replaced at any time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BearerTokenFile {
    path: PathBuf,
}

/// The access token of a service account, from Google's metadata server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GoogleMetadata {
    service_account: Option<String>,
    metadata_host: Option<String>,
}

/// A rule that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRule {
    origins: Vec<(String, u16)>,
    /// Without a slash at the end.
    path_prefix: String,
    namespaces: Vec<String>,
    /// True if loopback addresses may be called, by plain HTTP too.
    loopback: bool,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) provider: Provider,
}

/// The source of the credentials of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Aws(AwsRole),
    BearerFile(PathBuf),
    /// The URL of the token at the metadata server.
    Google(Url),
}

/// A role of AWS, and the requests that are signed with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsRole {
    pub(super) region: String,
    pub(super) service: String,
    pub(super) role_arn: String,
    pub(super) token_file: PathBuf,
    pub(super) sts: Url,
}

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RuleError {
    field: &'static str,
    problem: String,
}

/// The surroundings of the rules.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    egress: &'a EgressRules,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Provider {
    /// Returns the field of the file by which the provider is chosen.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Aws(_) => "awsSigV4",
            Self::BearerFile(_) => "bearerTokenFile",
            Self::Google(_) => "googleMetadata",
        }
    }
}

impl CheckedRule {
    /// Returns true if the rule has credentials for this URL in the hands of this namespace.
    pub(super) fn covers(&self, namespace: &str, url: &Url) -> bool {
        let is_listed = |listed: &String| listed == ALL || listed == namespace;
        let origin = url.host_str().zip(url.port_or_known_default());
        let is_host = origin.is_some_and(|(host, port)| {
            self.origins.iter().any(|known| (&*known.0, known.1) == (host, port))
        });
        let rest = url.path().strip_prefix(&*self.path_prefix);
        // What is encoded might be another path for the server. It gets no credentials.
        let is_below = rest.is_some_and(|rest| {
            (rest.is_empty() || rest.starts_with('/'))
                && (self.path_prefix.is_empty() || !rest.contains('%'))
        });
        is_host && is_below && self.namespaces.iter().any(is_listed)
    }

    /// Returns true if credentials may be sent to this URL: by HTTPS, or to loopback where the
    /// operator's flag allows it.
    pub(super) fn is_safe(&self, url: &Url) -> bool {
        url.scheme() == "https" || self.loopback && is_loopback(url)
    }
}

impl CredentialRule {
    /// Checks the rule against the operator's other flags. Fields that are absent are read from
    /// `variable`, which returns a variable of the environment, where the cloud's own tools would.
    ///
    /// # Errors
    /// See [`RuleError`].
    pub fn check(
        &self,
        egress: &EgressRules,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<CheckedRule, RuleError> {
        let surroundings = Surroundings { egress, variable };
        let origins = self.hosts.iter().map(|host| origin(host, egress));
        let origins = origins.collect::<Result<Vec<_>, _>>().map_err(fault("hosts"))?;
        if origins.is_empty() {
            let problem = "name the hosts that get these credentials, such as prom.example";
            return Err(fault("hosts")(problem.to_owned()));
        }
        let path_prefix = self.path_prefix.as_deref().unwrap_or_default();
        check_path(path_prefix).map_err(fault("pathPrefix"))?;
        check_namespaces(&self.namespaces).map_err(fault("namespaces"))?;
        let ca = self.ca_file.as_deref().map(authorities).transpose().map_err(fault("caFile"))?;
        Ok(CheckedRule {
            origins,
            path_prefix: path_prefix.trim_end_matches('/').to_owned(),
            namespaces: self.namespaces.clone(),
            loopback: egress.loopback,
            ca,
            provider: self.provider(surroundings)?,
        })
    }

    fn provider(&self, surroundings: Surroundings<'_>) -> Result<Provider, RuleError> {
        match (&self.aws_sig_v4, &self.bearer_token_file, &self.google_metadata) {
            (Some(aws), None, None) => aws.role(surroundings).map(Provider::Aws),
            (None, Some(file), None) => Ok(Provider::BearerFile(file.path.clone())),
            (None, None, Some(google)) => google.url(surroundings).map(Provider::Google),
            _ => Err(RuleError {
                field: "provider",
                problem: "set exactly one of awsSigV4, bearerTokenFile and googleMetadata"
                    .to_owned(),
            }),
        }
    }
}

impl AwsSigV4 {
    fn role(&self, it: Surroundings<'_>) -> Result<AwsRole, RuleError> {
        let given = |field: &'static str, own: Option<String>, names: &[&str]| {
            let found = own.or_else(|| names.iter().find_map(|name| (it.variable)(name)));
            found.filter(|text| !text.is_empty()).ok_or_else(|| {
                let problem = format!("set it, or the variable {}", names.join(" or "));
                RuleError { field, problem }
            })
        };
        let region =
            given("awsSigV4.region", self.region.clone(), &["AWS_REGION", "AWS_DEFAULT_REGION"])?;
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !region.bytes().all(is_plain) {
            return Err(fault("awsSigV4.region")(format!("{region:?} is no region of AWS")));
        }
        let role_arn = given("awsSigV4.roleArn", self.role_arn.clone(), &["AWS_ROLE_ARN"])?;
        if !role_arn.starts_with("arn:") {
            return Err(fault("awsSigV4.roleArn")(format!("{role_arn:?} is no ARN of a role")));
        }
        let file = self.web_identity_token_file.as_ref().map(|it| it.display().to_string());
        let names = ["AWS_WEB_IDENTITY_TOKEN_FILE"];
        let token_file = given("awsSigV4.webIdentityTokenFile", file, &names)?.into();
        let sts = endpoint(self.sts_endpoint.as_deref(), &region, it.egress)
            .map_err(fault("awsSigV4.stsEndpoint"))?;
        let service = self.service.clone().unwrap_or_else(|| "aps".to_owned());
        Ok(AwsRole { region, service, role_arn, token_file, sts })
    }
}

impl GoogleMetadata {
    fn url(&self, it: Surroundings<'_>) -> Result<Url, RuleError> {
        let account = self.service_account.as_deref().unwrap_or("default");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if account.is_empty() || account.starts_with('.') || !account.bytes().all(is_plain) {
            let problem = format!("{account:?} is no service account: use its e-mail address");
            return Err(fault("googleMetadata.serviceAccount")(problem));
        }
        let host = self.metadata_host.clone().or_else(|| (it.variable)("GCE_METADATA_HOST"));
        let host = host.unwrap_or_else(|| METADATA_HOSTS[0].to_owned());
        let wrong = || {
            let known = METADATA_HOSTS.join(", ");
            fault("googleMetadata.metadataHost")(format!(
                "{host:?} is no metadata server: use one of {known}"
            ))
        };
        let url =
            format!("http://{host}/computeMetadata/v1/instance/service-accounts/{account}/token");
        let url = Url::parse(&url).map_err(|_| wrong())?;
        let is_known = METADATA_HOSTS.contains(&&*host) || it.egress.loopback && is_loopback(&url);
        if is_known { Ok(url) } else { Err(wrong()) }
    }
}

fn fault(field: &'static str) -> impl Fn(String) -> RuleError {
    move |problem| RuleError { field, problem }
}

/// Parses a host with its port, which the list of hosts must have.
fn origin(text: &str, egress: &EgressRules) -> Result<(String, u16), String> {
    let url = Url::parse(&format!("https://{text}")).ok();
    let is_bare = |url: &Url| {
        url.path() == "/"
            && url.query().or(url.fragment()).is_none()
            && url.username().is_empty()
            && !text.ends_with('/')
            && !text.contains('*')
    };
    let url = url.filter(is_bare).ok_or_else(|| {
        format!("{text:?} is not one host: use prom.example, or prom.example:8443")
    })?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(HTTPS));
    Egress::new(egress.clone()).check_named(&url).map_err(|refusal| {
        format!("{host} gets no credentials, because it is no source: {refusal}")
    })?;
    Ok((host.to_owned(), port))
}

fn check_path(prefix: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~:@".contains(&byte);
    let is_path = prefix.starts_with('/') && prefix.bytes().all(is_plain);
    let has_dots = prefix.split('/').any(|segment| segment == "." || segment == "..");
    if prefix.is_empty() || is_path && !has_dots {
        return Ok(());
    }
    Err(format!("{prefix:?} is no path: use one such as /workspaces/ws-0123"))
}

fn check_namespaces(namespaces: &[String]) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(is_plain);
    if namespaces.is_empty() {
        return Err("name the namespaces whose autoscalers may query these hosts with the \
                    operator's identity, or [\"*\"] for all"
            .to_owned());
    }
    if namespaces.iter().any(|name| name == ALL) {
        let is_alone = namespaces.len() == 1;
        return if is_alone { Ok(()) } else { Err("\"*\" stands alone".to_owned()) };
    }
    match namespaces.iter().find(|name| !is_name(name)) {
        Some(wrong) => Err(format!("{wrong:?} is no name of a namespace")),
        None => Ok(()),
    }
}

/// Reads the authorities of a file, of which there must be one.
fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let of_file = |problem: String| format!("{}: {problem}", path.display());
    let pem = std::fs::read(path).map_err(|error| of_file(error.to_string()))?;
    let files = PemFiles { ca: Some(&pem), ..PemFiles::default() };
    tls::config(&TlsSpec::default(), &files).map_err(of_file)?;
    Ok(pem)
}

/// Returns the URL of AWS's Security Token Service in a region.
fn endpoint(given: Option<&str>, region: &str, egress: &EgressRules) -> Result<Url, String> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let usual = format!("https://sts.{region}.{domain}/");
    let text = given.unwrap_or(&usual);
    let url = Url::parse(text).ok();
    let is_safe = |url: &Url| url.scheme() == "https" || egress.loopback && is_loopback(url);
    url.filter(is_safe).ok_or_else(|| format!("{text:?} is no https URL"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
