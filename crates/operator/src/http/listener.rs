//! Listeners that no client can fill up: each connection has deadlines, and their number is
//! limited.
//!
//! Every pod of the cluster can connect. A connection costs at most 16 KiB of headers, ends 5 s
//! after its last request, and after a minute in any case. Where there are too many, the oldest one
//! makes room, so that the kubelet's probes are answered while a flood goes on: they need
//! milliseconds. A connection by HTTP/2, which is KEDA's, is kept for an hour and pinged meanwhile.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::supervise::Supervisor;

/// The number of connections of one listener.
const CONNECTIONS: usize = 256;
/// The largest head of a request, in bytes.
const HEAD: usize = 16 << 10;
/// The largest number of headers of a request.
const HEADERS: usize = 64;
/// The time for a TLS handshake, and for the head of a request; an idle connection ends after it.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// The longest life of a connection, which also ends clients that do not read.
const LIFE: Duration = Duration::from_mins(1);
/// The longest life of a connection with streams.
const LIFE_OF_STREAMS: Duration = Duration::from_hours(1);
/// The number of requests of one such connection at the same time, streams included.
const STREAMS: u32 = 2200;
/// The largest head of one such request, in bytes.
const HEAD_OF_STREAM: u32 = 4 << 10;
/// The bytes that such a connection buffers of all requests, and as many of answers.
const BUFFERED: u32 = 64 << 10;
/// The time between two pings of the client of such a connection.
const PINGED_EVERY: Duration = Duration::from_secs(20);
/// The wait after a connection could not be accepted: usually there are too many open files.
const REFUSED: Duration = Duration::from_secs(1);
/// The error of Linux for a family of addresses that is switched off, `EAFNOSUPPORT`.
const NO_SUCH_FAMILY: i32 = 97;

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(pub IpAddr);

/// The certificate that a client has proved to own; `None` if the listener demands none.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate(pub Option<CertificateDer<'static>>);

/// The settings of TLS, which may change while a listener serves.
pub(crate) trait ServerTls: Send + Sync {
    /// Returns the settings for the next connection; `None` while there is no usable certificate.
    fn config(&self) -> Option<Arc<ServerConfig>>;
}

/// The protocol of a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// The limits of a listener.
#[derive(Clone, Copy)]
struct Limits {
    protocol: Protocol,
    connections: usize,
    head_deadline: Duration,
    life: Duration,
}

const LIMITS: Limits = Limits {
    protocol: Protocol::Http1,
    connections: CONNECTIONS,
    head_deadline: HEAD_DEADLINE,
    life: LIFE,
};

/// Listens on an address. Where IPv6 is switched off, all addresses are those of IPv4.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) => match without_ipv6(address, &error) {
            Some(fallback) => TcpListener::bind(fallback).await,
            None => Err(error),
        },
        Ok(listener) => Ok(listener),
    }
}

/// Returns the address to listen on instead of one that failed.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_missing = error.raw_os_error() == Some(NO_SUCH_FAMILY)
        || matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported);
    let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    (is_missing && is_any).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

/// Serves connections for the life of the process: by TLS with a certificate, else in plain text.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<dyn ServerTls>>,
    app: Router,
    supervisor: Supervisor,
) {
    serve_within(LIMITS, listener, tls, app, supervisor).await;
}

/// Like [`serve`], by HTTP/2 and for clients that keep a connection and its streams for long. One
/// that does not answer a ping within the deadline of a head is gone.
pub(crate) async fn serve_http2(
    listener: TcpListener,
    tls: Option<Arc<dyn ServerTls>>,
    app: Router,
    supervisor: Supervisor,
) {
    let limits = Limits { protocol: Protocol::Http2, life: LIFE_OF_STREAMS, ..LIMITS };
    serve_within(limits, listener, tls, app, supervisor).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    tls: Option<Arc<dyn ServerTls>>,
    app: Router,
    supervisor: Supervisor,
) {
    let mut open: Vec<(Peer, AbortHandle)> = Vec::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        open.retain(|(_, connection)| !connection.is_finished());
        if open.len() >= limits.connections {
            let (_, crowding) = open.remove(most_crowding(&open));
            crowding.abort();
        }
        let (app, tls) = (app.clone().layer(Extension(peer)), tls.clone());
        let connection = supervisor.spawn("connection", async move {
            // Its end is of no interest, whatever it is.
            let _ = timeout(limits.life, answer(limits, stream, tls, app)).await;
        });
        open.push((peer, connection));
    }
}

/// Returns the index of the connection that makes room for the next one: the oldest one of the
/// client with the most, so that a flood from one pod ends only its own.
fn most_crowding<T>(open: &[(Peer, T)]) -> usize {
    let mut counts: HashMap<Peer, usize> = HashMap::new();
    for (peer, _) in open {
        *counts.entry(*peer).or_default() += 1;
    }
    let most = counts.values().copied().max();
    open.iter().position(|(peer, _)| counts.get(peer).copied() == most).unwrap_or(0)
}

async fn answer(limits: Limits, stream: TcpStream, tls: Option<Arc<dyn ServerTls>>, app: Router) {
    let Some(tls) = tls else { return answer_http(limits, stream, app).await };
    // Without a certificate nothing can be said.
    let Some(config) = tls.config() else { return };
    match timeout(limits.head_deadline, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let certificate = chain.and_then(<[_]>::first).cloned();
            let app = app.layer(Extension(ClientCertificate(certificate)));
            answer_http(limits, stream, app).await;
        }
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake was not complete in time"),
    }
}

async fn answer_http<S>(limits: Limits, stream: S, app: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, app) = (TokioIo::new(stream), TowerToHyperService::new(app));
    let connection = match limits.protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_deadline)
                .max_buf_size(HEAD)
                .max_headers(HEADERS);
            builder.serve_connection(io, app).await
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_OF_STREAM)
                .initial_connection_window_size(BUFFERED)
                .initial_stream_window_size(BUFFERED)
                .max_send_buf_size(BUFFERED as usize)
                .max_concurrent_streams(STREAMS)
                .keep_alive_interval(PINGED_EVERY)
                .keep_alive_timeout(limits.head_deadline);
            builder.serve_connection(io, app).await
        }
    };
    if let Err(error) = connection {
        debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests;
