use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::http::certificate::{Certificate, CertificateFiles};

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

fn limits(connections: usize) -> Limits {
    let protocol = Protocol::Http1;
    Limits {
        protocol,
        connections,
        head_deadline: Duration::from_millis(200),
        life: Duration::from_mins(1),
    }
}

async fn start(limits: Limits, tls: Option<Arc<dyn ServerTls>>) -> SocketAddr {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/livez", get(async || "ok\n"));
    let supervisor = Supervisor::impatient();
    let serve = serve_within(limits, listener, tls, app, supervisor.clone());
    supervisor.spawn("listener", serve);
    address
}

/// Sends bytes, and returns all that comes until the connection ends.
async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection is to end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed_and_so_is_an_idle_connection() {
    let address = start(limits(8), None).await;
    assert_eq!(send(address, b"").await, "", "a connection without a request");
    assert_eq!(send(address, b"GET /livez HTTP/1.1\r\nx: y\r\n").await, "", "half a request");
    let answer = send(address, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("ok\n"), "then it is idle, and ends: {answer}");
}

#[tokio::test]
async fn a_connection_ends_after_its_life_even_if_it_is_busy() {
    let life = Duration::from_millis(300);
    let address = start(Limits { life, ..limits(8) }, None).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Requests one after the other, with answers that are not read.
    let busy = async {
        while stream.write_all(REQUEST).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), busy).await.expect("the connection is to end");
}

#[tokio::test]
async fn a_head_has_at_most_16_kib_and_64_headers() {
    let address = start(limits(8), None).await;
    let request = |headers: &str| format!("GET /livez HTTP/1.1\r\n{headers}\r\n");
    let many = |count: usize| "x: y\r\n".repeat(count);
    let long = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
    // headers, the status of the answer
    let table = [(many(60), "200"), (many(70), "431"), (long(8000), "200"), (long(400_000), "431")];
    for (headers, status) in table {
        let answer = send(address, request(&headers).as_bytes()).await;
        let found = answer.get(9..12).unwrap_or_default();
        // Where the rest of a long head is still on its way, the connection may be reset.
        assert!(found == status || status == "431" && found.is_empty(), "{status}: {answer}");
    }
}

/// 1,400 half-sent requests took 551 MB, and the probes of the kubelet found no room.
#[tokio::test]
async fn a_flood_of_connections_leaves_room_for_the_next_one() {
    let limits = Limits { head_deadline: Duration::from_mins(1), ..limits(16) };
    let address = start(limits, None).await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nx: y\r\n").await.unwrap();
        flood.push(stream);
    }
    let mut probe = TcpStream::connect(address).await.unwrap();
    probe.write_all(REQUEST).await.unwrap();
    let mut answer = [0; 12];
    probe.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Only the last ones are open.
    let is_closed = async |stream: &mut TcpStream| {
        let read = timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    };
    let mut closed = 0;
    for stream in &mut flood {
        closed += usize::from(is_closed(stream).await);
    }
    assert_eq!(closed, 100 - 15, "and one is the probe's");
}

#[test]
fn the_client_with_the_most_connections_makes_room_by_its_oldest() {
    // the last bytes of the addresses, from the oldest connection; the one that makes room
    let table: [(&[u8], usize); 4] =
        [(&[1], 0), (&[1, 2, 2], 1), (&[2, 1, 3, 1, 2, 2], 0), (&[3, 1, 2, 1], 1)];
    for (peers, expected) in table {
        let open = peers.iter().map(|last| (Peer([10, 0, 0, *last].into()), ()));
        assert_eq!(most_crowding(&open.collect::<Vec<_>>()), expected, "{peers:?}");
    }
}

#[tokio::test]
async fn a_listener_with_a_certificate_speaks_tls_only() {
    let folder = std::env::temp_dir().join(format!("llm-autoscaler-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files =
        CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
    let address = start(limits(8), Some(Arc::new(Certificate::new(files.clone())))).await;
    assert_eq!(send(address, REQUEST).await, "", "there is no certificate yet");

    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    let address = start(limits(8), Some(Arc::new(Certificate::new(files)))).await;
    let answer = send(address, REQUEST).await;
    assert!(!answer.contains("HTTP/1.1 200"), "plain text is not answered: {answer}");
    assert_eq!(send(address, b"\x16\x03\x01").await, "", "half a handshake");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
    let url = format!("https://localhost:{}/livez", address.port());
    let request = client.get(url).send().await.unwrap();
    assert_eq!(request.status(), 200);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn without_ipv6_all_addresses_are_those_of_ipv4() {
    let no_family = || io::Error::from_raw_os_error(NO_SUCH_FAMILY);
    let in_use = || io::Error::from(ErrorKind::AddrInUse);
    let missing = || io::Error::from(ErrorKind::AddrNotAvailable);
    // address, error, the address instead
    let table = [
        ("[::]:8080", no_family(), Some("0.0.0.0:8080")),
        ("[::]:8080", missing(), Some("0.0.0.0:8080")),
        ("[::]:8080", in_use(), None),
        ("[::1]:8080", no_family(), None),
        ("127.0.0.1:8080", missing(), None),
    ];
    for (address, error, expected) in table {
        let found = without_ipv6(address.parse().unwrap(), &error);
        assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{address}: {error}");
    }
}
