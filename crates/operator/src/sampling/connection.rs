//! A connection to one pod, kept open between frequent scrapes.
//!
//! A general HTTP client costs a connection pool, a task and a buffer for each of thousands of
//! connections. This one reads a page in the task that scrapes it, into the page's own memory.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use hyper::{
    header,
    http::uri::{InvalidUri, PathAndQuery},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    sampling::{
        body::Body,
        egress::Egress,
        error::FetchProblem,
        response::Response,
        tls_hint::{is_of_plain_server, is_of_tls, is_of_tls_server},
    },
    user_agent::Component,
};

/// The header Accept prefers Prometheus' text format, which has no exemplars. It does not name
/// `OpenMetrics`, because many exporters would prefer it then, although a page in it is accepted.
/// There is no header Accept-Encoding, because compression costs the engine more than it saves;
/// a compressed page is accepted all the same.
const ACCEPT: &str = "text/plain;version=0.0.4, */*;q=0.1";
/// Room for an address with its port, in bytes.
const HOST_BYTES: usize = 56;
/// Room for the usual head of a request, in bytes.
const HEAD_BYTES: usize = 256;
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
    pub(crate) path: Arc<str>,
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

/// A connection that is opened when it is needed. Of most pages none is kept, so that one has
/// memory only while it is open.
#[derive(Debug, Default)]
pub(crate) struct Connection(Option<Box<Stream>>);

/// An open connection.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The failure of a request.
struct Failure {
    problem: FetchProblem,
    /// The server may have closed the idle connection before the request.
    is_unanswered: bool,
}

impl Stream {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Waits until there is something to read, as far as that is known before reading.
    async fn readable(&self) {
        if let Self::Plain(stream) = self {
            // The read that follows has the error.
            let _ = stream.readable().await;
        }
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    /// Sends a request, and reads the response into `page`. Returns true if the connection may be
    /// used again.
    async fn exchange(&mut self, request: &[u8], page: &mut Body) -> Result<bool, Failure> {
        let mut has_begun = false;
        let exchanged = self.try_exchange(request, page, &mut has_begun).await;
        exchanged.map_err(|problem| Failure { problem, is_unanswered: !has_begun })
    }

    /// Like [`Self::exchange`]; `has_begun` is true as soon as the server has answered something.
    async fn try_exchange(
        &mut self,
        request: &[u8],
        page: &mut Body,
        has_begun: &mut bool,
    ) -> Result<bool, FetchProblem> {
        let (mut response, limit) = (Response::default(), page.limit());
        // With TLS 1.3 a server refuses the client's certificate after the handshake: the request
        // may find the connection closed, and what can still be read has the reason.
        let sent = self.write(request).await.err();
        loop {
            // A response that is waited for has no buffer yet.
            self.readable().await;
            let left = response.left(page.bytes());
            let buffer = page.room(left)?;
            let read = match (self.read(buffer).await, &sent) {
                (Ok(0), Some(sent)) => return Err(network(sent)),
                (Err(error), Some(sent)) if !is_of_tls(&error) => return Err(network(sent)),
                (read, _) => read.map_err(|error| network(&error))?,
            };
            *has_begun |= read > 0;
            if read == 0 {
                response.end()?;
                finish(&response, page)?;
                return Ok(false);
            }
            if response.advance(buffer, limit)? {
                finish(&response, page)?;
                return Ok(response.is_kept);
            }
        }
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
        if is_suspect && !address.tls && Box::pin(speaks_tls(address, config)).await {
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
        let request = request(address, config, keep)?;
        let kept = match self.0.take() {
            Some(mut kept) => match kept.exchange(&request, page).await {
                Err(Failure { is_unanswered: true, .. }) => None,
                exchanged => Some((exchanged, kept)),
            },
            None => None,
        };
        let (exchanged, stream) = if let Some(answered) = kept {
            answered
        } else {
            let mut stream = Box::new(open(address, config).await?);
            (stream.exchange(&request, page).await, stream)
        };
        let may_keep = exchanged.map_err(|failure| failure.problem)?;
        self.0 = (keep && may_keep).then_some(stream);
        Ok(())
    }
}

/// Returns the head of a request, which has no body.
fn request(address: &Address, config: &RequestConfig, keep: bool) -> Result<Vec<u8>, FetchProblem> {
    let path: PathAndQuery =
        address.path.parse().map_err(|error: InvalidUri| network(&io::Error::other(error)))?;
    // A text that grows bit by bit would be allocated several times, for each scrape.
    let (mut host, mut head) = (Vec::with_capacity(HOST_BYTES), Vec::with_capacity(HEAD_BYTES));
    // Writing to a vector always succeeds.
    let _ = write!(host, "{}", SocketAddr::new(address.ip, address.port));
    let _ = write!(head, "GET {path} HTTP/1.1\r\n");
    let own = [
        (header::HOST, &*host),
        (header::USER_AGENT, Component::Scrape.user_agent().as_bytes()),
        (header::ACCEPT, ACCEPT.as_bytes()),
        (header::CONNECTION, if keep { b"" } else { b"close" }),
    ];
    let mut add = |name: &header::HeaderName, value: &[u8]| {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    let is_replaced = |name: &header::HeaderName| config.headers.contains_key(name);
    for (name, value) in own.iter().filter(|(name, value)| !value.is_empty() && !is_replaced(name))
    {
        add(name, value);
    }
    for (name, value) in &config.headers {
        add(name, value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

async fn open(address: &Address, config: &RequestConfig) -> Result<Stream, FetchProblem> {
    config.egress.check_address(SocketAddr::new(address.ip, address.port))?;
    let connected = TcpStream::connect((address.ip, address.port)).await;
    let stream = connected.map_err(|error| network(&error))?;
    if !address.tls {
        return Ok(Stream::Plain(stream));
    }
    // A request without TLS is one write, which nothing delays; a handshake has several.
    stream.set_nodelay(true).map_err(|error| network(&error))?;
    // In a box, because few pages need this large future.
    let stream = Box::pin(tls_stream(address, config, stream)).await;
    let problem = |error: io::Error| match FetchProblem::network(&error) {
        FetchProblem::Network(text) if is_of_plain_server(&error) => {
            FetchProblem::SpeaksNoTls(text)
        }
        problem => problem,
    };
    stream.map(|stream| Stream::Tls(Box::new(stream))).map_err(problem)
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

/// Completes a page: it is decompressed, and the end of its last line is added where it is there in
/// full, because the parser rejects a last line without an end.
fn finish(response: &Response, page: &mut Body) -> Result<(), FetchProblem> {
    if response.is_gzip {
        decompress(page)?;
    }
    let is_complete = response.is_framed || response.is_gzip;
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
        match decoder.read(&mut part).map_err(|error| network(&error))? {
            0 => return Ok(()),
            length => page.push(&part[..length])?,
        }
    }
}

fn network(error: &io::Error) -> FetchProblem {
    FetchProblem::network(error)
}

#[cfg(test)]
mod tests;
