//! A connection to one pod, kept open between frequent scrapes.
//!
//! A general HTTP client costs a connection pool and large buffers for each of thousands of pods.
//! This one has neither.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{io, net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    sampling::{
        body::Body,
        egress::Egress,
        error::FetchProblem,
        tls_hint::{is_of_plain_server, is_of_tls_server},
    },
    user_agent::Component,
};

/// The size of a connection's read buffer, in bytes.
const BUFFER: usize = 8 << 10;
/// The header Accept prefers Prometheus' text format, which has no exemplars. It does not name
/// `OpenMetrics`, because many exporters would prefer it then, although a page in it is accepted.
/// There is no header Accept-Encoding, because compression costs the engine more than it saves;
/// a compressed page is accepted all the same.
const ACCEPT: &str = "text/plain;version=0.0.4, */*;q=0.1";
/// The time within which a TLS server answers a handshake.
const TLS_WITHIN: Duration = Duration::from_millis(200);

/// The address of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// The pod's IP address.
    pub(crate) ip: IpAddr,
    /// The port number.
    pub(crate) port: u16,
    /// Uses TLS if true.
    pub(crate) tls: bool,
    /// The path of the URL.
    pub(crate) path: String,
}

impl Address {
    /// Returns the address as a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", SocketAddr::new(self.ip, self.port), self.path)
    }
}

/// The headers of a request to a pod, and the rules for checking its certificate.
#[derive(Clone, Debug)]
pub(crate) struct RequestConfig {
    /// Headers that are added to the usual ones, or replace them.
    pub(crate) headers: header::HeaderMap,
    /// The TLS configuration for `https`.
    pub(crate) tls: Arc<ClientConfig>,
    /// The name that the certificate must be for; `None` for the IP address.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The addresses that may be called.
    pub(crate) egress: Egress,
}

/// A connection that is opened when it is needed.
#[derive(Debug, Default)]
pub(crate) struct Connection(Option<Open>);

#[derive(Debug)]
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<Result<(), hyper::Error>>,
}

impl Open {
    async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Returns the problem of a request that has failed. With TLS 1.3 a server refuses the client's
    /// certificate after the handshake: a request may find the connection closed, and the reason is
    /// the connection's.
    async fn problem(&mut self, error: hyper::Error) -> FetchProblem {
        let has_ended = error.is_closed() || error.is_canceled();
        let ended = if has_ended { (&mut self.task).await.ok() } else { None };
        network(ended.and_then(Result::err).unwrap_or(error))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Closes the connection, if it is open.
    pub(crate) fn close(&mut self) {
        self.0 = None;
    }

    /// Reads the page at `address` into `page`. With `keep` the connection stays open for the next
    /// scrape. Every error closes it.
    ///
    /// # Errors
    /// See [`FetchProblem`].
    pub(crate) async fn get(
        &mut self,
        address: &Address,
        config: &RequestConfig,
        keep: bool,
        page: &mut Body,
    ) -> Result<(), FetchProblem> {
        let has_certificate = config.tls.client_auth_cert_resolver.has_certs();
        let problem = match self.try_get(address, config, keep, page).await {
            Ok(()) => return Ok(()),
            Err(problem) => problem.with_client_certificate(has_certificate),
        };
        // A TLS server closes a connection without TLS, answers in TLS, or with a status of 400.
        let is_suspect = matches!(problem, FetchProblem::Network(_) | FetchProblem::Status(400));
        if is_suspect && !address.tls && speaks_tls(address, config).await {
            return Err(FetchProblem::SpeaksTls(problem.to_string()));
        }
        Err(problem)
    }

    async fn try_get(
        &mut self,
        address: &Address,
        config: &RequestConfig,
        keep: bool,
        page: &mut Body,
    ) -> Result<(), FetchProblem> {
        let kept = self.0.take();
        let was_kept = kept.is_some();
        let mut open = match kept {
            Some(open) => open,
            None => open_to(address, config).await?,
        };
        let response = match open.send(request(address, config, keep)?).await {
            Ok(response) => response,
            // The server has closed the idle connection.
            Err(error)
                if was_kept
                    && (error.is_canceled()
                        || error.is_closed()
                        || error.is_incomplete_message()) =>
            {
                open = open_to(address, config).await?;
                match open.send(request(address, config, keep)?).await {
                    Ok(response) => response,
                    Err(error) => return Err(open.problem(error).await),
                }
            }
            Err(error) => return Err(open.problem(error).await),
        };
        read_body(response, page).await?;
        if keep {
            self.0 = Some(open);
        }
        Ok(())
    }
}

fn request(
    address: &Address,
    config: &RequestConfig,
    keep: bool,
) -> Result<Request<Empty<Bytes>>, FetchProblem> {
    let host = SocketAddr::new(address.ip, address.port).to_string();
    let mut request = Request::get(&address.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, Component::Scrape.user_agent())
        .header(header::ACCEPT, ACCEPT)
        .body(Empty::new())
        .map_err(network)?;
    let headers = request.headers_mut();
    if !keep {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    for (name, value) in &config.headers {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

async fn open_to(address: &Address, config: &RequestConfig) -> Result<Open, FetchProblem> {
    config.egress.check_address(SocketAddr::new(address.ip, address.port))?;
    let stream = TcpStream::connect((address.ip, address.port)).await.map_err(network)?;
    stream.set_nodelay(true).map_err(network)?;
    if !address.tls {
        return handshake(stream).await;
    }
    let stream = tls_stream(address, config, stream).await;
    let problem = |error: io::Error| match FetchProblem::network(&error) {
        FetchProblem::Network(text) if is_of_plain_server(&error) => {
            FetchProblem::SpeaksNoTls(text)
        }
        problem => problem,
    };
    handshake(stream.map_err(problem)?).await
}

async fn tls_stream(
    address: &Address,
    config: &RequestConfig,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = config.server_name.clone();
    let name = name.unwrap_or_else(|| ServerName::IpAddress(address.ip.into()));
    TlsConnector::from(config.tls.clone()).connect(name, stream).await
}

/// Returns true if a TLS server listens at this address, whether or not its certificate is valid.
async fn speaks_tls(address: &Address, config: &RequestConfig) -> bool {
    let attempt = async {
        let stream = TcpStream::connect((address.ip, address.port)).await?;
        tls_stream(address, config, stream).await
    };
    match tokio::time::timeout(TLS_WITHIN, attempt).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => is_of_tls_server(&error),
        // A server that waits for the end of a request does not speak TLS.
        Err(_) => false,
    }
}

async fn handshake<S>(stream: S) -> Result<Open, FetchProblem>
where
    S: io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.read_buf_exact_size(Some(BUFFER));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(network)?;
    Ok(Open { sender, task: tokio::spawn(connection) })
}

/// Appends the body to `page`, decompressed. If the response declares its length or is chunked, its
/// end proves that the last line is complete.
async fn read_body(response: Response<Incoming>, page: &mut Body) -> Result<(), FetchProblem> {
    let (head, mut body) = response.into_parts();
    if head.status != hyper::StatusCode::OK {
        let location = head.headers.get(header::LOCATION).map(header::HeaderValue::as_bytes);
        return Err(FetchProblem::status(head.status.as_u16(), location));
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(network)?.into_data() else { continue };
        page.push(&data)?;
    }
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let mut is_complete = framing.iter().any(|name| head.headers.contains_key(name));
    if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        decompress(page)?;
        is_complete = true;
    }
    // The parser rejects a last line without an end, which may be cut off. This one is not.
    if is_complete && page.bytes().last().is_some_and(|byte| *byte != b'\n') {
        page.push(b"\n")?;
    }
    Ok(())
}

fn decompress(page: &mut Body) -> Result<(), FetchProblem> {
    let plain = page.sibling();
    let compressed = std::mem::replace(page, plain);
    let mut decoder = MultiGzDecoder::new(compressed.bytes());
    let mut part = [0; 8 << 10];
    loop {
        match decoder.read(&mut part).map_err(network)? {
            0 => return Ok(()),
            length => page.push(&part[..length])?,
        }
    }
}

fn network(error: impl std::error::Error + 'static) -> FetchProblem {
    FetchProblem::network(&error)
}

#[cfg(test)]
mod tests;
