//! Providers against services that check what they get.

use std::sync::Mutex;

use axum::{Router, body::Body, extract::Request, http::Response};
use reqwest::{StatusCode, header::AUTHORIZATION};

use super::*;
use crate::{
    lock::lock,
    sampling::{access_error::AccessError, egress::EgressRules, providers::rules::CredentialRule},
};

/// A request that a service has got.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: reqwest::header::HeaderMap,
    body: String,
}

/// A service on loopback that records its requests.
struct Service {
    address: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Service {
    async fn start(answer: impl Fn(&Got) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (got, answer) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::new(answer));
        let log = got.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let (path, headers) = (format!("{} {}", head.method, head.uri), head.headers);
                let got = Got { path, headers, body: String::from_utf8(body.to_vec()).unwrap() };
                lock(&log).push(got.clone());
                answer(&got)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, got }
    }

    fn got(&self) -> Vec<Got> {
        lock(&self.got).clone()
    }

    fn url(&self) -> Url {
        format!("http://{}/api/v1/query", self.address).parse().unwrap()
    }
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// Returns the providers of one rule for a server, for the namespace `team-a`.
fn providers(server: &Service, provider: &str, fields: serde_json::Value) -> Providers {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let egress = EgressRules {
        hosts: vec!["127.0.0.0/8".parse().unwrap()],
        loopback: true,
        ..EgressRules::default()
    };
    let mut rule = serde_json::json!({"hosts": [&server.address], "namespaces": ["team-a"]});
    rule[provider] = fields;
    let rule: CredentialRule = serde_json::from_value(rule).unwrap();
    let rule = rule.check(&egress, &|_| None).unwrap();
    Providers::new(vec![rule], &egress, &Supervisor::impatient()).unwrap()
}

/// Sends a query with the credentials of the namespace `team-a`.
async fn send(providers: &Providers, url: &Url) -> Result<StatusCode, AccessError> {
    let grant = providers.grant("team-a", &Access::default(), url).expect("a rule");
    let mut request = grant.client().post(url.clone()).form(&[("query", "up")]).build().unwrap();
    grant.authorize(&mut request).await?;
    Ok(grant.client().execute(request).await.unwrap().status())
}

fn file(name: &str, content: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("providers-{name}-{}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn a_token_of_a_file_is_sent_and_its_successor_once_the_server_rejects_it() {
    let accepted = Arc::new(Mutex::new("Bearer first".to_owned()));
    let wanted = accepted.clone();
    let server = Service::start(move |got| {
        let sent = got.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
        answer(if sent == Some(&*lock(&wanted)) { 200 } else { 401 }, "")
    })
    .await;
    let path = file("bearer", "first\n");
    let providers = providers(&server, "bearerTokenFile", serde_json::json!({"path": path}));
    assert_eq!(send(&providers, &server.url()).await, Ok(StatusCode::OK));
    std::fs::write(&path, "second\n").unwrap();
    *lock(&accepted) = "Bearer second".to_owned();
    assert_eq!(send(&providers, &server.url()).await, Ok(StatusCode::UNAUTHORIZED), "kept");
    providers.grant("team-a", &Access::default(), &server.url()).unwrap().reject();
    assert_eq!(send(&providers, &server.url()).await, Ok(StatusCode::OK));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn only_a_listed_namespace_and_a_source_without_settings_get_credentials() {
    let server = Service::start(|_| answer(200, "")).await;
    let path = file("namespaces", "token");
    let providers = providers(&server, "bearerTokenFile", serde_json::json!({"path": path}));
    let url = server.url();
    assert!(providers.grant("team-a", &Access::default(), &url).is_some());
    assert!(providers.grant("team-b", &Access::default(), &url).is_none());
    let header = [("X-Scope-OrgID".to_owned(), "other".to_owned())];
    let with_header = Access { headers: header.into(), ..Access::default() };
    assert!(providers.grant("team-a", &with_header, &url).is_none());
    let tls = llm_autoscaler_api::TlsSpec { insecure_skip_verify: true, ..Default::default() };
    let with_tls = Access { tls: Some(Box::new(tls)), ..Access::default() };
    assert!(providers.grant("team-a", &with_tls, &url).is_none());
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let other = Service::start(|_| answer(200, "")).await;
    let location = other.url().to_string();
    let server = Service::start(move |_| {
        Response::builder().status(307).header("location", &location).body(Body::empty()).unwrap()
    })
    .await;
    let path = file("redirect", "token");
    let providers = providers(&server, "bearerTokenFile", serde_json::json!({"path": path}));
    let status = send(&providers, &server.url()).await;
    assert_eq!(status, Ok(StatusCode::TEMPORARY_REDIRECT));
    assert_eq!((server.got().len(), other.got().len()), (1, 0));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn googles_metadata_server_is_asked_for_one_path_and_must_show_its_flavor() {
    let flavor = Arc::new(Mutex::new(true));
    let shown = flavor.clone();
    let metadata = Service::start(move |got| {
        assert_eq!(got.headers["metadata-flavor"], "Google");
        let token = r#"{"access_token":"ya29.a","expires_in":3599,"token_type":"Bearer"}"#;
        let mut response = answer(200, token);
        if *lock(&shown) {
            response.headers_mut().insert("metadata-flavor", "Google".parse().unwrap());
        }
        response
    })
    .await;
    let server = Service::start(|_| answer(200, "")).await;
    let of_google = || {
        let fields = serde_json::json!({"metadataHost": metadata.address});
        providers(&server, "googleMetadata", fields)
    };
    let known = of_google();
    for _ in 0..3 {
        assert_eq!(send(&known, &server.url()).await, Ok(StatusCode::OK));
    }
    assert!(server.got().iter().all(|got| got.headers[AUTHORIZATION] == "Bearer ya29.a"));
    let asked: Vec<_> = metadata.got().into_iter().map(|got| got.path).collect();
    let path = "GET /computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(asked, [path], "a token is kept");
    *lock(&flavor) = false;
    let error = send(&of_google(), &server.url()).await.unwrap_err().to_string();
    let expected = "127.0.0.1: the operator's own credentials (googleMetadata of \
                    --source-credentials-file) are not available: the answer is not that of";
    assert!(error.starts_with(expected), "{error}");
}

/// Returns a fake of AWS's Security Token Service for the token `web.identity`.
async fn token_service() -> Service {
    Service::start(|got| {
        assert_eq!(got.path, "POST /");
        let mut fields: Vec<_> = got.body.split('&').collect();
        fields.sort_unstable();
        let (token, others) = (fields.pop().unwrap(), fields);
        let expected = [
            "Action=AssumeRoleWithWebIdentity",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader",
            "RoleSessionName=llm-autoscaler",
            "Version=2011-06-15",
        ];
        assert_eq!(others, expected);
        if token != "WebIdentityToken=web.identity" {
            let error = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code>\
                         <Message>for arn:aws:iam::123456789012</Message></Error></ErrorResponse>";
            return answer(400, error);
        }
        let expiration = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        answer(
            200,
            format!(
                "<R><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
                 <SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>\
                 <Expiration>{}</Expiration></Credentials></R>",
                expiration.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            ),
        )
    })
    .await
}

#[tokio::test]
async fn a_role_of_aws_signs_each_request_with_credentials_that_are_fetched_once() {
    let (sts, server) = (token_service().await, Service::start(|_| answer(200, "")).await);
    let path = file("identity", "web.identity\n");
    let fields = serde_json::json!({
        "region": "eu-central-1",
        "roleArn": "arn:aws:iam::123456789012:role/reader",
        "webIdentityTokenFile": path,
        "stsEndpoint": format!("http://{}/", sts.address),
    });
    let known = providers(&server, "awsSigV4", fields.clone());
    for _ in 0..3 {
        assert_eq!(send(&known, &server.url()).await, Ok(StatusCode::OK));
    }
    assert_eq!(sts.got().len(), 1);
    for got in server.got() {
        let signed = got.headers[AUTHORIZATION].to_str().unwrap();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/"), "{signed}");
        assert!(signed.contains("/eu-central-1/aps/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "), "{signed}");
        assert_eq!(got.headers["x-amz-security-token"], "session");
        assert_eq!(got.body, "query=up");
    }
    // Another token is refused, and the status names no account.
    std::fs::write(&path, "other").unwrap();
    let error = send(&providers(&server, "awsSigV4", fields), &server.url()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("HTTP status 400 (InvalidIdentityToken): check the role"), "{error}");
    assert!(!error.contains("123456789012"), "{error}");
    std::fs::remove_file(&path).unwrap();
}
