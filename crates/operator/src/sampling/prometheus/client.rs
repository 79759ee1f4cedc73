//! The client of Prometheus' HTTP API.

use std::{collections::BTreeMap, time::Instant};

use chrono::{DateTime, Utc};
use llm_autoscaler_engines::prometheus::{QueryResponse, ResponseError, duration};
use reqwest::{Response, StatusCode, Url, header};

use crate::{
    lanes::Lanes,
    sampling::{
        body::Body,
        credentials::{CredentialStore, Peer},
        egress::Egress,
        error::{FetchError, FetchProblem},
        http_client::{self, network},
        memory::{MemoryBudget, Reservation},
        prometheus::{
            demand::ServerKey,
            dialect::{Dialect, Parameters},
            instant_query::{InstantQuery, QueryResult},
        },
        providers::Grant,
        tls_hint::other_scheme,
    },
};

/// The size of the largest response that is accepted.
const LIMIT: usize = 64 << 20;
/// The memory that is reserved for a response before it is parsed: for each byte of its body, and
/// for the smallest one, in bytes.
const PER_BYTE: usize = 3;
const SMALLEST_RESPONSE: usize = 64 << 10;
/// A response larger than this, in bytes, is parsed beside the other tasks.
const LARGE: usize = 256 << 10;
/// The number of large responses that are parsed in one namespace at the same time.
const PARSED_AT_ONCE: usize = 2;
/// The shortest delay that `VictoriaMetrics` accepts.
const LATENCY_OFFSET: &str = "1ms";

/// The parameters of a request, by their names.
type Form = BTreeMap<&'static str, String>;

/// Sends queries to Prometheus servers.
pub(super) struct QueryClient {
    credentials: CredentialStore,
    memory: MemoryBudget,
    parsing: Lanes,
}

impl QueryClient {
    pub(super) fn new(credentials: CredentialStore, memory: MemoryBudget) -> Self {
        Self { credentials, memory, parsing: Lanes::new(PARSED_AT_ONCE) }
    }

    /// Sends a query in the dialect of its server.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(super) async fn query(
        &self,
        server: &ServerKey,
        query: &InstantQuery,
        dialect: &Dialect,
    ) -> Result<QueryResult, FetchError> {
        let url = format!("{}/api/v1/query", server.url);
        let fetch = |expression, parameters| {
            let form = form(query, expression, parameters);
            self.fetch(&url, server, form)
        };
        // In a box, because a request is large, and many queries of a server wait for permits.
        let request = Box::pin(dialect.ask(query, Instant::now(), fetch));
        let request = Egress::count_for(&server.namespace, request);
        match tokio::time::timeout(query.timeout, request).await {
            Ok(result) => result,
            Err(_) => {
                Err(FetchError::Request { url, problem: FetchProblem::Timeout(query.timeout) })
            }
        }
    }

    async fn fetch(
        &self,
        url: &str,
        server: &ServerKey,
        form: Form,
    ) -> Result<QueryResult, FetchError> {
        let failed = |problem| FetchError::Request { url: url.to_owned(), problem };
        let parsed = Url::parse(url);
        let parsed = parsed.map_err(|error| failed(FetchProblem::Network(error.to_string())))?;
        self.credentials.egress().check_url(&parsed).map_err(|refusal| failed(refusal.into()))?;
        let namespace = &server.namespace;
        let grant = self.credentials.grant(namespace, &server.access, &parsed);
        let (client, headers) = if let Some(grant) = grant {
            (grant.client().clone(), header::HeaderMap::new())
        } else {
            let access = self.credentials.for_server(namespace, &server.access).await?;
            (access.client.clone(), access.headers.clone())
        };
        let request = client.post(parsed).headers(headers).form(&form).build();
        let mut request = request.map_err(|error| failed(network(error)))?;
        if let Some(grant) = grant {
            grant.authorize(&mut request).await?;
        }
        let problem = match client.execute(request).await {
            Ok(response) => {
                if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    self.invalidate(server, grant).await;
                }
                match self.read(response, namespace).await {
                    Ok(result) => return Ok(result),
                    Err(problem @ FetchProblem::Status(400)) => {
                        with_scheme(problem, other_scheme(&client, url, None).await)
                    }
                    Err(problem) if grant.is_some() => problem.with_operators_credentials(),
                    Err(problem) => problem,
                }
            }
            Err(error) => {
                let scheme = other_scheme(&client, url, Some(&error)).await;
                let has_certificate = server.access.has_client_certificate();
                let problem = network(error).with_client_certificate(has_certificate);
                if problem.rejects_credentials() {
                    self.invalidate(server, grant).await;
                }
                with_scheme(problem, scheme)
            }
        };
        Err(failed(problem))
    }

    /// Has the credentials read or fetched again, because the server has rejected them.
    async fn invalidate(&self, server: &ServerKey, grant: Option<&Grant>) {
        if let Some(grant) = grant {
            grant.reject();
        } else {
            let ServerKey { namespace, access, .. } = server;
            self.credentials.invalidate(namespace, access, Peer::Server).await;
        }
    }

    async fn read(
        &self,
        mut response: Response,
        namespace: &str,
    ) -> Result<QueryResult, FetchProblem> {
        let status = response.status();
        let location = response.headers().get(header::LOCATION).cloned();
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let memory = self.memory.of(namespace).empty();
        let mut body = Body::parsed(LIMIT, memory, 1 + PER_BYTE);
        http_client::read_body(&mut response, &mut body).await?;
        let ours = Utc::now().timestamp_millis() as f64 / 1000.0;
        // A Date is in whole seconds; on average it is half a second old.
        let theirs = date.map(|date| date.timestamp() as f64 + 0.5);
        let (parsed, body, mut memory) = self.parse(body, namespace).await?;
        match parsed {
            Ok(response) if status.is_success() => {
                // The body is dropped; giving back always succeeds.
                let _ = memory.resize(response.size());
                Ok(QueryResult {
                    response,
                    now: theirs.unwrap_or(ours),
                    clock_ahead: theirs.map(|theirs| theirs - ours),
                    memory,
                })
            }
            // Prometheus explains a rejection in its own format, whatever the status.
            Err(error @ ResponseError::Rejected { .. }) => {
                Err(FetchProblem::Rejected(error.to_string()))
            }
            Err(error) if status.is_success() => Err(FetchProblem::Invalid(error.to_string())),
            _ => {
                let location = location.as_ref().map(header::HeaderValue::as_bytes);
                Err(FetchProblem::server_status(status.as_u16(), location, &body))
            }
        }
    }

    /// Parses a body. That of thousands of pods takes too long for a task among others.
    async fn parse(&self, body: Body, namespace: &str) -> Result<Parsed, FetchProblem> {
        let is_large = body.bytes().len() > LARGE;
        let turn = if is_large { self.parsing.enter(namespace).await } else { None };
        let parse = move || {
            // The turn lasts as long as the work, even if the query is cancelled.
            let _turn = turn;
            parse_within_memory(body)
        };
        if !is_large {
            return parse();
        }
        let parsed = tokio::task::spawn_blocking(parse).await;
        parsed.unwrap_or_else(|error| {
            Err(FetchProblem::Invalid(format!("the response could not be parsed: {error}")))
        })
    }
}

/// Adds the scheme that the server's URL should have to a problem, if it is known.
fn with_scheme(problem: FetchProblem, scheme: Option<&'static str>) -> FetchProblem {
    match scheme {
        Some(scheme) => FetchProblem::WrongScheme { problem: problem.to_string(), scheme },
        None => problem,
    }
}

/// The result of parsing, with the body and its memory.
type Parsed = (Result<QueryResponse, ResponseError>, Vec<u8>, Reservation);

/// Parses a body. Many short series take more memory than usual for their bytes, so more is
/// reserved then, as long as there is some.
fn parse_within_memory(mut body: Body) -> Result<Parsed, FetchProblem> {
    let mut most = (PER_BYTE * body.bytes().len()).max(SMALLEST_RESPONSE);
    let of_body = body.memory().bytes() / (1 + PER_BYTE);
    loop {
        match QueryResponse::parse_within(body.bytes(), most) {
            Err(ResponseError::TooLarge(_)) => {
                most *= 2;
                body.memory().grow_to(of_body + most)?;
            }
            parsed => {
                let (bytes, memory) = body.into_parts();
                return Ok((parsed, bytes, memory));
            }
        }
    }
}

/// Returns the parameters of an instant query. Servers ignore those that they do not know.
///
/// `lookback_delta` is the age after which Prometheus ignores a sample; its default of 5 minutes
/// would let a dead pod live on. `max_lookback` is `VictoriaMetrics`'s name of it. That server
/// computes an expression as of 30 s ago, unless `latency_offset` is shorter, and gives the time of
/// the question to the result.
fn form(query: &InstantQuery, expression: String, parameters: Parameters) -> Form {
    let mut form = BTreeMap::from([("query", expression), ("timeout", duration(query.timeout))]);
    if let (Some(lookback), Parameters::All) = (query.lookback, parameters) {
        form.insert("lookback_delta", duration(lookback));
        form.insert("max_lookback", duration(lookback));
        form.insert("latency_offset", LATENCY_OFFSET.to_owned());
    }
    form
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::sampling::egress::EgressRules;

    #[test]
    fn an_expression_has_a_limit_to_the_age_of_its_samples_and_raw_samples_have_none() {
        let second = Duration::from_secs(1);
        let query = |lookback| InstantQuery {
            expression: "sum(q)".to_owned(),
            by_name: Vec::new(),
            lookback,
            timeout: 5 * second,
        };
        let form = |lookback, parameters| form(&query(lookback), "sum(q)".to_owned(), parameters);
        for (lookback, parameters) in
            [(None, Parameters::All), (Some(60 * second), Parameters::Documented)]
        {
            let names: Vec<_> = form(lookback, parameters).into_keys().collect();
            assert_eq!(names, ["query", "timeout"]);
        }
        let form = form(Some(60 * second), Parameters::All);
        let expected = [
            ("latency_offset", "1ms"),
            ("lookback_delta", "1m"),
            ("max_lookback", "1m"),
            ("query", "sum(q)"),
            ("timeout", "5s"),
        ];
        assert_eq!(form, expected.map(|(name, value)| (name, value.to_owned())).into());
    }

    /// Returns the port of a server that ends each connection after the handshake.
    async fn tls_server() -> u16 {
        let certified = rcgen::generate_simple_self_signed(["prometheus.example".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = certified.unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(acceptor.accept(stream).await);
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_that_speaks_tls_behind_an_http_url_is_told() {
        let kubernetes = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let kubernetes = kube::Client::try_from(kubernetes).unwrap();
        let loopback = Egress::new(EgressRules { loopback: true, ..EgressRules::default() });
        let credentials = CredentialStore::new(kubernetes, loopback).unwrap();
        let client = QueryClient::new(credentials, MemoryBudget::plenty());
        let query = InstantQuery {
            expression: "up".to_owned(),
            by_name: Vec::new(),
            lookback: None,
            timeout: Duration::from_secs(10),
        };
        let port = tls_server().await;
        for (scheme, expected) in [
            ("http", "; the port speaks https: begin the source's url with https://"),
            ("https", "invalid peer certificate: UnknownIssuer"),
        ] {
            let server = ServerKey::of_tests(format!("{scheme}://127.0.0.1:{port}"));
            let Err(error) = client.query(&server, &query, &Dialect::default()).await else {
                panic!("an answer")
            };
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
