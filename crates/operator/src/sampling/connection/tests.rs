//! A server that says, byte by byte, what a test wants it to.

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
use crate::sampling::tls;

const LIMIT: usize = 64 << 10;

/// One answer, and whether the server hangs up after it.
type Answer = (Vec<u8>, bool);

/// What the server was asked, one entry per connection.
type Heard = Arc<Mutex<Vec<Vec<String>>>>;

struct Server {
    address: Address,
    heard: Heard,
}

impl Server {
    async fn start(ip: &str, tls: Option<ServerConfig>, answers: Vec<Answer>) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address { ip, port, tls: tls.is_some(), path: "/metrics".to_owned() };
        let heard = Heard::default();
        tokio::spawn(serve(
            listener,
            tls.map(|tls| TlsAcceptor::from(Arc::new(tls))),
            answers.into(),
            heard.clone(),
        ));
        Self { address, heard }
    }

    async fn plain(answers: Vec<Answer>) -> Self {
        Self::start("127.0.0.1", None, answers).await
    }

    async fn read(&self, manner: &Manner) -> Result<String, Failure> {
        let mut page = Vec::new();
        let read = Connection::default().read(&self.address, manner, false, &mut page, LIMIT).await;
        read.map(|()| String::from_utf8(page).unwrap())
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut answers: VecDeque<Answer>,
    heard: Heard,
) {
    while let Ok((stream, _)) = listener.accept().await {
        heard.lock().await.push(Vec::new());
        match &tls {
            None => converse(stream, &mut answers, &heard).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    converse(stream, &mut answers, &heard).await;
                }
            }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: &mut VecDeque<Answer>,
    heard: &Heard,
) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        if read.ends_with(b"\r\n\r\n") {
            let request = String::from_utf8(std::mem::take(&mut read)).unwrap();
            heard.lock().await.last_mut().unwrap().push(request);
            let (answer, hangs_up) = answers.pop_front().unwrap_or_default();
            let written = stream.write_all(&answer).await;
            if written.is_err() || hangs_up {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\n", headers.as_bytes(), b"\r\n", body].concat()
}

fn sized(body: &[u8]) -> Vec<u8> {
    answer(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn manner() -> Manner {
    checking(&TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() }, None)
}

fn checking(spec: &TlsSpec, ca: Option<&str>) -> Manner {
    Manner {
        headers: HeaderMap::new(),
        tls: Arc::new(tls::config(spec, ca.map(str::as_bytes)).unwrap()),
        server_name: spec.server_name.as_deref().map(|name| tls::server_name(name).unwrap()),
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_page_is_complete_where_the_answer_says_so() {
    let until_the_end = answer("", b"a 1\nb 2");
    let chunked = answer("Transfer-Encoding: chunked\r\n", b"4\r\na 1\n\r\n3\r\nb 2\r\n0\r\n\r\n");
    let packed = gzip(b"a 1\nb 2");
    let packed =
        answer(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", packed.len()), &packed);
    for (name, said, page) in [
        ("a length", sized(b"a 1\nb 2"), "a 1\nb 2\n"),
        ("chunks", chunked, "a 1\nb 2\n"),
        ("gzip", packed, "a 1\nb 2\n"),
        // Perhaps it was "b 20\n".
        ("neither", until_the_end, "a 1\nb 2"),
        ("nothing", sized(b""), ""),
    ] {
        let server = Server::plain(vec![(said, true)]).await;
        assert_eq!(server.read(&manner()).await.unwrap(), page, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_page_is_a_failure() {
    let bomb = gzip(&vec![b'0'; 100 * LIMIT]);
    assert!(bomb.len() < LIMIT);
    let bomb =
        answer(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb.len()), &bomb);
    for (name, said, failure) in [
        ("too few bytes", answer("Content-Length: 9\r\n", b"a 1\n"), "Network"),
        ("no last chunk", answer("Transfer-Encoding: chunked\r\n", b"4\r\na 1\n\r\n"), "Network"),
        ("too long", sized(&vec![b'\n'; LIMIT + 1]), "TooLarge"),
        ("too long unpacked", bomb, "TooLarge"),
        ("cut off in gzip", answer("Content-Encoding: gzip\r\n", &gzip(b"a 1\n")[..12]), "Network"),
        (
            "refused",
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "Status(401)",
        ),
        (
            "elsewhere",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".to_vec(),
            "Status(302)",
        ),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "Network"),
        ("nothing", Vec::new(), "Network"),
    ] {
        let server = Server::plain(vec![(said, true)]).await;
        let said = format!("{:?}", server.read(&manner()).await.unwrap_err());
        assert!(said.starts_with(failure), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_is_opened_anew_when_the_server_closed_it() {
    let page = |keeps: bool| (sized(b"a 1\n"), !keeps);
    let server = Server::plain(vec![page(true), page(false), page(true)]).await;
    let mut connection = Connection::default();
    for _ in 0..3 {
        let mut page = Vec::new();
        connection.read(&server.address, &manner(), true, &mut page, LIMIT).await.unwrap();
        assert_eq!(page, b"a 1\n");
    }
    let requests: Vec<usize> = server.heard.lock().await.iter().map(Vec::len).collect();
    assert_eq!(requests, [2, 1]);
}

#[tokio::test]
async fn without_a_second_read_in_sight_the_server_is_told_to_close() {
    let server = Server::plain(vec![(sized(b"a 1\n"), false), (sized(b"a 1\n"), true)]).await;
    let mut connection = Connection::default();
    connection.read(&server.address, &manner(), true, &mut Vec::new(), LIMIT).await.unwrap();
    connection.read(&server.address, &manner(), false, &mut Vec::new(), LIMIT).await.unwrap();
    let heard = server.heard.lock().await;
    let closes: Vec<bool> =
        heard[0].iter().map(|request| request.contains("connection: close")).collect();
    assert_eq!(closes, [false, true]);
}

#[tokio::test]
async fn headers_of_the_spec_stand_above_the_usual_ones() {
    let server = Server::plain(vec![(sized(b""), true)]).await;
    let mut manner = manner();
    manner.headers.insert("authorization", HeaderValue::from_static("Bearer sesame"));
    manner.headers.insert("host", HeaderValue::from_static("engine.example"));
    server.read(&manner).await.unwrap();
    let request = &server.heard.lock().await[0][0];
    assert!(request.contains("authorization: Bearer sesame\r\n"), "{request}");
    assert!(
        request.contains("host: engine.example\r\n") && !request.contains("127.0.0.1"),
        "{request}"
    );
}

#[tokio::test]
async fn a_pod_with_an_ipv6_address_is_called_in_brackets() {
    let server = Server::start("::1", None, vec![(sized(b"a 1\n"), true)]).await;
    assert_eq!(server.read(&manner()).await.unwrap(), "a 1\n");
    let host = format!("host: [::1]:{}\r\n", server.address.port);
    assert!(server.heard.lock().await[0][0].contains(&host));
}

/// An authority as PEM, and a server's certificate for a name, signed by it.
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
        let server = Server::start("127.0.0.1", Some(config), vec![(sized(b"a 1\n"), true)]).await;
        let read = server.read(&checking(&spec, Some(if other { &other_ca } else { &ca }))).await;
        assert_eq!(read.is_ok(), works, "{name}: {read:?}");
    }
    let (_, config) = certified("engine.example");
    let server = Server::start("127.0.0.1", Some(config), vec![(sized(b"a 1\n"), true)]).await;
    assert_eq!(server.read(&manner()).await.unwrap(), "a 1\n", "unchecked");
}

#[tokio::test]
async fn a_refused_connection_is_said_in_the_networks_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address =
        Address { ip: [127, 0, 0, 1].into(), port, tls: false, path: "/metrics".to_owned() };
    let read = Connection::default().read(&address, &manner(), false, &mut Vec::new(), LIMIT).await;
    assert!(
        matches!(&read, Err(Failure::Network(problem)) if problem.contains("refused")),
        "{read:?}"
    );
}
