//! One connection to one pod, kept open between reads where the reads are frequent.
//!
//! There is no pool and no buffer but a small one: with thousands of pods these are what a client costs.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    sync::Arc,
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
use tokio::{io, net::TcpStream, task::AbortHandle};
use tokio_rustls::TlsConnector;

/// What is read from the network at once, and kept for as long as a connection is.
const BUFFER: usize = 8 << 10;
/// The plain format: no exemplars, no suffix rules. `OpenMetrics` is understood too, where an exporter knows nothing else;
/// it is not named here, because many exporters prefer it wherever it stands. Nor is a compressed page asked for, which would
/// cost the engine more than it saves; one that comes all the same is understood.
const ACCEPT: &str = "text/plain;version=0.0.4, */*;q=0.1";
const USER_AGENT: &str = concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"));

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The pod's address.
    pub ip: IpAddr,
    /// The port number.
    pub port: u16,
    /// Whether over TLS.
    pub tls: bool,
    /// The path.
    pub path: String,
}

impl Address {
    /// The address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", SocketAddr::new(self.ip, self.port), self.path)
    }
}

/// What is sent to a pod, and how its certificate is checked.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Headers beside the usual ones.
    pub headers: header::HeaderMap,
    /// For `https`.
    pub tls: Arc<ClientConfig>,
    /// The name that is asked for, instead of the address.
    pub server_name: Option<ServerName<'static>>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Failure {
    /// The network's words.
    Network(String),
    /// A status other than 200.
    Status(u16),
    /// The page does not end.
    TooLarge,
}

/// A connection that is there, or is made when it is needed.
#[derive(Debug, Default)]
pub struct Connection(Option<Open>);

#[derive(Debug)]
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    task: AbortHandle,
}

impl Open {
    async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Closes it.
    pub fn close(&mut self) {
        self.0 = None;
    }

    /// Appends the page at `address` to `page`, if it has no more than `limit` bytes. With `keep` the connection is kept for
    /// the next read. Whatever goes wrong closes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn read(
        &mut self,
        address: &Address,
        manner: &Manner,
        keep: bool,
        page: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Failure> {
        let kept = self.0.take();
        let was_kept = kept.is_some();
        let mut open = match kept {
            Some(open) => open,
            None => open_to(address, manner).await?,
        };
        let response = match open.send(request(address, manner, keep)?).await {
            Ok(response) => response,
            // The server has closed it while nobody looked.
            Err(error)
                if was_kept
                    && (error.is_canceled()
                        || error.is_closed()
                        || error.is_incomplete_message()) =>
            {
                open = open_to(address, manner).await?;
                open.send(request(address, manner, keep)?).await.map_err(network)?
            }
            Err(error) => return Err(network(error)),
        };
        take(response, page, limit).await?;
        if keep {
            self.0 = Some(open);
        }
        Ok(())
    }
}

fn request(
    address: &Address,
    manner: &Manner,
    keep: bool,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = SocketAddr::new(address.ip, address.port).to_string();
    let mut request = Request::get(&address.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, ACCEPT)
        .body(Empty::new())
        .map_err(network)?;
    let headers = request.headers_mut();
    if !keep {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    for (name, value) in &manner.headers {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

async fn open_to(address: &Address, manner: &Manner) -> Result<Open, Failure> {
    let stream = TcpStream::connect((address.ip, address.port)).await.map_err(network)?;
    stream.set_nodelay(true).map_err(network)?;
    if !address.tls {
        return shake_hands(stream).await;
    }
    let name = manner.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(ip(address.ip)));
    let stream = TlsConnector::from(manner.tls.clone()).connect(name, stream).await;
    shake_hands(stream.map_err(network)?).await
}

fn ip(ip: IpAddr) -> rustls::pki_types::IpAddr {
    ip.into()
}

async fn shake_hands<S>(stream: S) -> Result<Open, Failure>
where
    S: io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.read_buf_exact_size(Some(BUFFER));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(network)?;
    // Its errors are those of the requests.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Open { sender, task: task.abort_handle() })
}

/// Appends the body to `page`, unpacked. Where the answer says how long it is, in whatever way, it is complete when it
/// ends, and so is its last line.
async fn take(
    response: Response<Incoming>,
    page: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Failure> {
    let (head, mut body) = response.into_parts();
    if head.status != hyper::StatusCode::OK {
        return Err(Failure::Status(head.status.as_u16()));
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(network)?.into_data() else { continue };
        if page.len() + data.len() > limit {
            return Err(Failure::TooLarge);
        }
        page.extend_from_slice(&data);
    }
    let says_length = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let mut is_complete = says_length.iter().any(|name| head.headers.contains_key(name));
    if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        unpack(page, limit)?;
        is_complete = true;
    }
    // The parser refuses a last line without an end, which may have been cut off. Here nothing was.
    if is_complete && page.last().is_some_and(|byte| *byte != b'\n') {
        page.push(b'\n');
    }
    Ok(())
}

fn unpack(page: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
    let packed = std::mem::take(page);
    let mut unpacked = MultiGzDecoder::new(&*packed).take(limit as u64 + 1);
    unpacked.read_to_end(page).map_err(network)?;
    if page.len() > limit { Err(Failure::TooLarge) } else { Ok(()) }
}

/// The cause that says most, such as "Connection refused (os error 111)".
fn network(error: impl std::error::Error) -> Failure {
    Failure::Network(innermost(&error))
}

/// The cause that says most.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
