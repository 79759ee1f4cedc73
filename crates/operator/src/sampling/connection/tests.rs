//! Scrapes of a server with responses that are given byte by byte.

use std::{collections::VecDeque, io::Write, net::IpAddr, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use hyper::header::{HeaderMap, HeaderValue};
use llm_autoscaler_api::TlsSpec;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::sampling::{
    egress::EgressRules,
    http_client,
    memory::NamespaceBudget,
    tls::{self, PemFiles},
    tls_hint::other_scheme,
};

const LIMIT: usize = 64 << 10;

fn body() -> Body {
    Body::new(&Arc::default(), LIMIT, NamespaceBudget::plenty().empty())
}

/// A response.
struct Response {
    bytes: Vec<u8>,
    /// The server closes the connection after the response.
    closes: bool,
}

/// The requests to the server by connection.
type Requests = Arc<Mutex<Vec<Vec<String>>>>;

struct Server {
    address: Address,
    requests: Requests,
}

impl Server {
    async fn start(ip: &str, tls: Option<ServerConfig>, responses: Vec<Response>) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address { ip, port, tls: tls.is_some(), path: "/metrics".into() };
        let requests = Requests::default();
        tokio::spawn(serve(
            listener,
            tls.map(|tls| TlsAcceptor::from(Arc::new(tls))),
            responses.into(),
            requests.clone(),
        ));
        Self { address, requests }
    }

    async fn plain(responses: Vec<Response>) -> Self {
        Self::start("127.0.0.1", None, responses).await
    }

    async fn get(&self, config: &RequestConfig) -> Result<String, FetchProblem> {
        let mut page = body();
        let response = Connection::default().get(&self.address, config, false, &mut page).await;
        response.map(|()| String::from_utf8(page.into_parts().0).unwrap())
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut responses: VecDeque<Response>,
    requests: Requests,
) {
    while let Ok((stream, _)) = listener.accept().await {
        requests.lock().await.push(Vec::new());
        match &tls {
            None => converse(stream, &mut responses, &requests).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    converse(stream, &mut responses, &requests).await;
                }
            }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    responses: &mut VecDeque<Response>,
    requests: &Requests,
) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        if read.ends_with(b"\r\n\r\n") {
            let request = String::from_utf8(std::mem::take(&mut read)).unwrap();
            requests.lock().await.last_mut().unwrap().push(request);
            let Response { bytes, closes } = responses.pop_front().unwrap();
            let written = stream.write_all(&bytes).await;
            if written.is_err() || closes {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\n", headers.as_bytes(), b"\r\n", body].concat()
}

/// A response after which the server closes the connection.
fn last(bytes: Vec<u8>) -> Response {
    Response { bytes, closes: true }
}

fn sized(body: &[u8]) -> Vec<u8> {
    ok(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn unchecked() -> RequestConfig {
    checking(&TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() }, None)
}

/// The rules under which the servers of these tests may be called.
fn loopback() -> Egress {
    Egress::new(EgressRules { loopback: true, ..EgressRules::default() })
}

fn checking(spec: &TlsSpec, ca: Option<&str>) -> RequestConfig {
    let pem = PemFiles { ca: ca.map(str::as_bytes), client: None };
    RequestConfig {
        headers: HeaderMap::new(),
        tls: Arc::new(tls::config(spec, &pem).unwrap()),
        server_name: spec.server_name.as_deref().map(|name| tls::server_name(name).unwrap()),
        egress: loopback(),
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_page_is_complete_if_the_response_is_framed() {
    let unframed = ok("", b"a 1\nb 2");
    let chunked = ok("Transfer-Encoding: chunked\r\n", b"4\r\na 1\n\r\n3\r\nb 2\r\n0\r\n\r\n");
    let packed = gzip(b"a 1\nb 2");
    let packed =
        ok(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", packed.len()), &packed);
    for (name, response, page) in [
        ("a length", sized(b"a 1\nb 2"), "a 1\nb 2\n"),
        ("chunks", chunked, "a 1\nb 2\n"),
        ("gzip", packed, "a 1\nb 2\n"),
        // The last line may have been "b 20\n".
        ("neither", unframed, "a 1\nb 2"),
        ("nothing", sized(b""), ""),
    ] {
        let server = Server::plain(vec![last(response)]).await;
        assert_eq!(server.get(&unchecked()).await.unwrap(), page, "{name}");
    }
}

#[tokio::test]
async fn a_response_without_a_page_is_an_error() {
    let bomb = gzip(&vec![b'0'; 100 * LIMIT]);
    assert!(bomb.len() < LIMIT);
    let bomb = ok(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb.len()), &bomb);
    for (name, response, expected) in [
        ("too few bytes", ok("Content-Length: 9\r\n", b"a 1\n"), "Network"),
        ("no last chunk", ok("Transfer-Encoding: chunked\r\n", b"4\r\na 1\n\r\n"), "Network"),
        ("too long", sized(&vec![b'\n'; LIMIT + 1]), "TooLarge"),
        ("too long unpacked", bomb, "TooLarge"),
        ("cut off in gzip", ok("Content-Encoding: gzip\r\n", &gzip(b"a 1\n")[..12]), "Network"),
        (
            "refused",
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "Status(401)",
        ),
        (
            "elsewhere",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".to_vec(),
            "Redirect { status: 302, location: \"http://127.0.0.1:1/\" }",
        ),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "Network"),
        ("nothing", Vec::new(), "Network"),
    ] {
        let server = Server::plain(vec![last(response)]).await;
        let error = format!("{:?}", server.get(&unchecked()).await.unwrap_err());
        assert!(error.starts_with(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_replaced_after_the_server_closed_it() {
    let page = |closes: bool| Response { bytes: sized(b"a 1\n"), closes };
    let server = Server::plain(vec![page(false), page(true), page(false)]).await;
    let mut connection = Connection::default();
    for _ in 0..3 {
        let mut page = body();
        connection.get(&server.address, &unchecked(), true, &mut page).await.unwrap();
        assert_eq!(page.bytes(), b"a 1\n");
    }
    let requests: Vec<usize> = server.requests.lock().await.iter().map(Vec::len).collect();
    assert_eq!(requests, [2, 1]);
}

#[tokio::test]
async fn a_connection_that_is_not_kept_sends_the_header_connection_close() {
    let first = Response { bytes: sized(b"a 1\n"), closes: false };
    let server = Server::plain(vec![first, last(sized(b"a 1\n"))]).await;
    let mut connection = Connection::default();
    connection.get(&server.address, &unchecked(), true, &mut body()).await.unwrap();
    connection.get(&server.address, &unchecked(), false, &mut body()).await.unwrap();
    let requests = server.requests.lock().await;
    let closes: Vec<bool> =
        requests[0].iter().map(|request| request.contains("connection: close")).collect();
    assert_eq!(closes, [false, true]);
}

#[tokio::test]
async fn headers_of_the_spec_replace_the_usual_ones() {
    let server = Server::plain(vec![last(sized(b""))]).await;
    let mut config = unchecked();
    config.headers.insert("authorization", HeaderValue::from_static("Bearer sesame"));
    config.headers.insert("host", HeaderValue::from_static("engine.example"));
    server.get(&config).await.unwrap();
    let request = &server.requests.lock().await[0][0];
    assert!(request.contains("authorization: Bearer sesame\r\n"), "{request}");
    assert!(
        request.contains("host: engine.example\r\n") && !request.contains("127.0.0.1"),
        "{request}"
    );
}

#[tokio::test]
async fn a_server_is_told_the_version_and_what_calls_it() {
    let server = Server::plain(vec![last(sized(b"")), last(sized(b""))]).await;
    server.get(&unchecked()).await.unwrap();
    let client =
        http_client::client(&TlsSpec::default(), &PemFiles::default(), &loopback()).unwrap();
    client.get(server.address.url()).send().await.unwrap();
    let requests = server.requests.lock().await;
    for (request, component) in requests.iter().flatten().zip(["scrape", "query"]) {
        let version = env!("CARGO_PKG_VERSION");
        let header = format!("user-agent: llm-autoscaler/{version} ({component})\r\n");
        assert!(request.contains(&header), "{request}");
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn an_ipv6_address_is_in_brackets() {
    let server = Server::start("::1", None, vec![last(sized(b"a 1\n"))]).await;
    assert_eq!(server.get(&unchecked()).await.unwrap(), "a 1\n");
    let host = format!("host: [::1]:{}\r\n", server.address.port);
    assert!(server.requests.lock().await[0][0].contains(&host));
}

#[tokio::test]
async fn a_redirect_says_where_to() {
    for (location, expected) in [
        ("Location: /metrics/\r\n", "a redirect to /metrics/, which is not followed"),
        ("", "returned HTTP status 307"),
    ] {
        let response = format!("HTTP/1.1 307 Temporary Redirect\r\n{location}\r\n");
        let server = Server::plain(vec![last(response.into_bytes())]).await;
        let error = server.get(&unchecked()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_speaks_tls_or_does_not_is_told_from_the_other() {
    let (_, config) = certified("engine.example");
    let mut server = Server::start("127.0.0.1", Some(config), Vec::new()).await;
    server.address.tls = false;
    for config in [unchecked(), checking(&TlsSpec::default(), None)] {
        let error = server.get(&config).await.unwrap_err();
        assert!(matches!(error, FetchProblem::SpeaksTls(_)), "{error}");
        assert!(error.to_string().ends_with("set the source's scheme to HTTPS"), "{error}");
    }
    // A Go server answers a request without TLS in clear text, a plain one does so to TLS.
    let bad = || last(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec());
    let server = Server::plain(vec![bad()]).await;
    assert_eq!(server.get(&unchecked()).await, Err(FetchProblem::Status(400)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = Address { ip: [127, 0, 0, 1].into(), port, tls: true, path: "/metrics".into() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let response = Connection::default().get(&address, &unchecked(), false, &mut body()).await;
    assert!(matches!(response, Err(FetchProblem::SpeaksNoTls(_))), "{response:?}");
}

#[tokio::test]
async fn a_url_with_the_wrong_scheme_is_told_from_one_with_the_right_one() {
    let bad = || last(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec());
    let unchecked = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
    // the server has TLS, the URL, the client's settings; the scheme that it should have
    for (has_tls, scheme, spec, expected) in [
        (true, "http", TlsSpec::default(), Some("https")),
        (true, "http", unchecked.clone(), Some("https")),
        // The certificate is the problem.
        (true, "https", TlsSpec::default(), None),
        (false, "http", TlsSpec::default(), None),
    ] {
        let config = has_tls.then(|| certified("engine.example").1);
        let server = Server::start("127.0.0.1", config, vec![bad(), bad()]).await;
        let url = format!("{scheme}://127.0.0.1:{}/metrics", server.address.port);
        let client = http_client::client(&spec, &PemFiles::default(), &loopback()).unwrap();
        let sent = client.get(&url).timeout(Duration::from_secs(5)).send().await;
        let found = other_scheme(&client, &url, sent.as_ref().err()).await;
        assert_eq!(found, expected, "TLS {has_tls}, {url}: {sent:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    drop(listener);
    let client =
        http_client::client(&TlsSpec::default(), &PemFiles::default(), &loopback()).unwrap();
    let refused = client.get(&url).send().await.unwrap_err();
    assert_eq!(other_scheme(&client, &url, Some(&refused)).await, None, "nothing listens");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let plain = client.get(&url).send().await.unwrap_err();
    assert_eq!(other_scheme(&client, &url, Some(&plain)).await, Some("http"));
}

/// Returns a CA as PEM, and the configuration of a server with a certificate for a name from it.
fn certified(name: &str) -> (String, ServerConfig) {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (pem, config)
}

#[tokio::test]
async fn a_certificate_is_checked_as_the_spec_says() {
    let named = |name: &str| TlsSpec { server_name: Some(name.to_owned()), ..TlsSpec::default() };
    let (other_ca, _) = certified("engine.example");
    for (name, certificate_for, spec, other, works) in [
        ("by name", "engine.example", named("engine.example"), false, true),
        ("by another name", "engine.example", named("engine.test"), false, false),
        ("by address", "127.0.0.1", TlsSpec::default(), false, true),
        ("a name, called by address", "engine.example", TlsSpec::default(), false, false),
        ("another authority", "engine.example", named("engine.example"), true, false),
    ] {
        let (ca, config) = certified(certificate_for);
        let server = Server::start("127.0.0.1", Some(config), vec![last(sized(b"a 1\n"))]).await;
        let read = server.get(&checking(&spec, Some(if other { &other_ca } else { &ca }))).await;
        assert_eq!(read.is_ok(), works, "{name}: {read:?}");
    }
    let (_, config) = certified("engine.example");
    let server = Server::start("127.0.0.1", Some(config), vec![last(sized(b"a 1\n"))]).await;
    assert_eq!(server.get(&unchecked()).await.unwrap(), "a 1\n", "unchecked");
}

#[tokio::test]
async fn a_refused_connection_has_the_text_of_the_system() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = Address { ip: [127, 0, 0, 1].into(), port, tls: false, path: "/metrics".into() };
    let response = Connection::default().get(&address, &unchecked(), false, &mut body()).await;
    assert!(
        matches!(&response, Err(FetchProblem::Network(problem)) if problem.contains("refused")),
        "{response:?}"
    );
}
