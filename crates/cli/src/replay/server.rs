//! The Prometheus server: its address, the credentials, and queries for raw samples.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use llm_autoscaler_engines::prometheus::{
    QueryData, QueryResponse, ResponseError, Series, duration,
};
use llm_autoscaler_operator::{Component, other_scheme, refuses_certificate};
use reqwest::{
    Certificate, Client, Identity, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

/// The size of the largest response, in bytes; a larger one is asked in parts.
const LARGEST_RESPONSE: usize = 256 << 20;
/// The memory that its series may take, in bytes.
const LARGEST_RESULT: usize = 1 << 30;

/// The options of the server.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// The URL of a server that speaks Prometheus's query API, such as Prometheus, Thanos Query or
    /// Mimir. Its path is what comes before /api/v1.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// A file with a token, which is sent as Authorization: Bearer.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A header to send, such as "X-Scope-OrgID: team-a"; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A file with the certificates of the authorities to trust, as PEM; those of the system if
    /// absent.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The file of a client certificate, and of those that have signed it, as PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The file of the private key of --cert, as PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Do not verify certificates.
    #[arg(long, short = 'k')]
    insecure: bool,
    /// The timeout of a query.
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A server that is queried.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    url: Url,
    timeout: Duration,
}

/// The answer to a query.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) series: Vec<Series>,
    pub(super) warnings: Vec<String>,
}

/// The reason why a query has no answer, and what may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// Another try may succeed a moment later.
    #[error("{0}")]
    Passing(String),
    /// A shorter range may have an answer.
    #[error("{0}")]
    TooMuch(String),
    /// The server may not know the form of the query.
    #[error("{0}")]
    Wording(String),
    /// Nothing helps but to change an option.
    #[error("{0}")]
    Final(String),
}

impl ServerArgs {
    /// Returns true if a server is named.
    pub(super) fn is_given(&self) -> bool {
        self.prometheus.is_some()
    }

    /// Returns the URL of the server without a user and a password.
    pub(super) fn name(&self) -> anyhow::Result<String> {
        let mut url = self.url()?;
        // Only URLs without a host refuse this, and those are refused before.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    fn url(&self) -> anyhow::Result<Url> {
        let text = self.prometheus.as_deref().unwrap_or_default();
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(Url::has_host);
        url.with_context(|| {
            format!("--prometheus={text} is no URL of a server: write it as http://HOST:9090")
        })
    }

    /// Returns the server, with its credentials and its TLS.
    pub(super) fn connect(&self) -> anyhow::Result<Server> {
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let mut client = Client::builder()
            .user_agent(Component::Replay.user_agent())
            .no_proxy()
            .redirect(Policy::none())
            .danger_accept_invalid_certs(self.insecure)
            .timeout(self.timeout + Duration::from_secs(5))
            .default_headers(self.headers()?);
        if let Some(path) = &self.ca {
            let authorities = Certificate::from_pem_bundle(&read(path)?).ok();
            let authorities = authorities.filter(|found| !found.is_empty());
            client =
                client.tls_certs_only(authorities.with_context(|| {
                    format!("{} contains no certificates as PEM", path.display())
                })?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
            // An error of the reader may quote the key.
            client = client.identity(Identity::from_pem(&pem).ok().with_context(|| {
                let (cert, key) = (cert.display(), key.display());
                format!("{cert} and {key} are not a certificate and its private key as PEM")
            })?);
        }
        let mut url = self.url()?;
        let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Server { client: client.build()?, url, timeout: self.timeout })
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').with_context(|| format!("{header:?} is not NAME: VALUE"))?;
            let name = HeaderName::try_from(name.trim());
            let name = name.with_context(|| format!("{header:?} has no name of a header"))?;
            headers.append(name, secret(value.trim()).context("a value of --header")?);
        }
        if let Some(path) = &self.token_file {
            let token = fs::read_to_string(path);
            let token = token.with_context(|| format!("reading {}", path.display()))?;
            let value = secret(&format!("Bearer {}", token.trim()));
            headers.insert(AUTHORIZATION, value.with_context(|| path.display().to_string())?);
        }
        Ok(headers)
    }
}

/// Returns the value of a header that no error shows.
fn secret(value: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::from_str(value);
    let mut value = value.ok().context("it has characters that a header cannot have")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Server {
    /// Evaluates an expression at a time, in seconds since 1970.
    pub(super) async fn query(&self, expression: &str, at: f64) -> Result<Answer, QueryError> {
        let form = [
            ("query", expression.to_owned()),
            ("time", format!("{at:.3}")),
            ("timeout", duration(self.timeout)),
        ];
        match self.client.post(self.url.clone()).form(&form).send().await {
            Ok(response) => self.read(response).await,
            Err(error) => Err(self.unsent(error).await),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, QueryError> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| {
            QueryError::TooMuch(format!("the response broke off: {}", error.without_url()))
        })? {
            if body.len() + part.len() > LARGEST_RESPONSE {
                let megabytes = LARGEST_RESPONSE >> 20;
                return Err(QueryError::TooMuch(format!(
                    "a response is larger than {megabytes} MiB"
                )));
            }
            body.extend_from_slice(&part);
        }
        match QueryResponse::parse_within(&body, LARGEST_RESULT) {
            Ok(response) if status.is_success() => match response.data {
                QueryData::Series(series) => Ok(Answer { series, warnings: response.warnings }),
                QueryData::Scalar(_) => {
                    Err(QueryError::Final("the server answered a range with a number".to_owned()))
                }
            },
            Err(error @ ResponseError::TooLarge(_)) => Err(QueryError::TooMuch(error.to_string())),
            Err(error @ ResponseError::Rejected { .. }) => {
                Err(self.refused(status, error.to_string()).await)
            }
            Err(error) if status.is_success() => Err(QueryError::Final(error.to_string())),
            Ok(_) | Err(_) => Err(self.refused(status, String::new()).await),
        }
    }

    /// Returns the error of a response that is no success, with the server's own words.
    async fn refused(&self, status: StatusCode, words: String) -> QueryError {
        let told = if words.is_empty() { String::new() } else { format!(": {words}") };
        let text = format!("{}: HTTP status {status}{told}", self.name());
        match status.as_u16() {
            401 | 403 => QueryError::Final(format!(
                "{text}; give credentials with --token-file, --header or --cert"
            )),
            404 if words.is_empty() => QueryError::Final(format!(
                "{text}; there is no Prometheus API at this path: the URL is to end before /api/v1"
            )),
            400 if words.is_empty() => {
                match other_scheme(&self.client, self.url.as_str(), None).await {
                    Some(scheme) => QueryError::Final(format!(
                        "{text}; the port speaks {scheme}: begin the URL with {scheme}://"
                    )),
                    None => QueryError::Wording(text),
                }
            }
            400 => QueryError::Wording(text),
            // A server that does not serve yet says nothing in Prometheus's format.
            503 if words.is_empty() => QueryError::Passing(text),
            // Prometheus and Thanos refuse too many samples with 422, and a query that takes too
            // long with 503; so does a proxy that waits no longer with 504.
            413 | 422 | 503 | 504 => QueryError::TooMuch(text),
            429 | 500..=599 => QueryError::Passing(text),
            _ => QueryError::Final(text),
        }
    }

    async fn unsent(&self, error: reqwest::Error) -> QueryError {
        let name = self.name();
        if error.is_timeout() {
            let seconds = self.timeout.as_secs_f64();
            return QueryError::TooMuch(format!("{name}: no answer within {seconds} s"));
        }
        if refuses_certificate(&error) {
            return QueryError::Final(format!(
                "{name}: the server demands a client certificate that it trusts: set --cert and \
                 --key"
            ));
        }
        let scheme = other_scheme(&self.client, self.url.as_str(), Some(&error)).await;
        let text = format!("{name}: {:#}", anyhow::Error::from(error.without_url()));
        match scheme {
            Some(scheme) => QueryError::Final(format!(
                "{text}; the port speaks {scheme}: begin the URL with {scheme}://"
            )),
            None => QueryError::Passing(text),
        }
    }

    fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}{}", self.url.scheme(), self.url.path())
    }
}

impl QueryError {
    /// Returns true if a query for half of the time may succeed.
    pub(super) fn may_be_of_the_length(&self) -> bool {
        matches!(self, Self::TooMuch(_))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn options(arguments: &[&str]) -> ServerArgs {
        Options::parse_from([&["replay"], arguments].concat()).server
    }

    #[test]
    fn the_name_of_a_server_has_no_password() {
        for (url, expected) in [
            ("http://127.0.0.1:9090", Some("http://127.0.0.1:9090")),
            ("https://user:secret@thanos.example/team/", Some("https://thanos.example/team")),
            ("thanos.example:9090", None),
            ("ftp://thanos.example", None),
        ] {
            let found = options(&["--prometheus", url]).name();
            assert_eq!(found.ok().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn no_error_and_no_log_shows_a_token() {
        let path = std::env::temp_dir().join(format!("token-{}", std::process::id()));
        fs::write(&path, "top-secret\n").unwrap();
        let file = path.to_str().unwrap();
        let headers = options(&["--token-file", file, "--header", "X-Scope-OrgID: a"]).headers();
        let headers = headers.unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer top-secret");
        assert_eq!(headers["x-scope-orgid"], "a");
        assert!(!format!("{headers:?}").contains("top-secret"));
        fs::write(&path, "top\u{7}secret").unwrap();
        let error = format!("{:#}", options(&["--token-file", file]).headers().unwrap_err());
        assert!(error.contains("characters") && !error.contains("secret"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(options(&["--header", "no colon"]).headers().is_err());
    }
}
