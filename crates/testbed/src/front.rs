//! A front address that plays the Service.

mod backends;
mod disaggregated;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use kube::Client;
use tokio::net::TcpListener;

use crate::task::Task;
use backends::Backends;
pub use backends::Balance;
pub use disaggregated::Disaggregated;

/// A reverse proxy on loopback to the pods of a selector that are ready and not being deleted.
/// (`EndpointSlice`s refuse loopback addresses, so there can be no real Service.)
///
/// Answers are streamed. Nothing is retried: status 503 means that no pod is ready, and 502 that
/// the chosen pod failed.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    _server: Task,
    _watch: Task,
}

impl Front {
    /// Starts a front for the pods of a namespace with these labels (such as `app=llm`).
    ///
    /// # Errors
    /// Fails if no port on loopback is free.
    pub async fn start(
        client: Client,
        namespace: &str,
        labels: &str,
        balance: Balance,
    ) -> Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("listening for the front")?;
        let address = listener.local_addr()?;
        let (backends, watch) = backends::follow(client, namespace, labels, balance);
        let router = Router::new().fallback(forward).with_state(backends);
        Ok(Self { address, _server: serve(listener, router), _watch: watch })
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(listener: TcpListener, router: Router) -> Task {
    Task::spawn(async {
        let _ = axum::serve(listener, router).await;
    })
}

async fn forward(
    State(backends): State<Arc<Backends>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name); // hop-by-hop headers are not forwarded
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    backends.send(method, path, headers, body).await
}
