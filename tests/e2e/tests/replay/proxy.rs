//! A server in front of another one that stops to answer after some queries.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A proxy that passes a number of queries on, and then holds the next one for ever.
pub(crate) struct Proxy {
    url: String,
    left: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts it in front of a server's URL.
    pub(crate) async fn start(url: &str, queries: usize) -> Result<Self> {
        let server = url.strip_prefix("http://").context("no plain HTTP")?.to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let left = Arc::new(AtomicUsize::new(queries));
        let of_task = left.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), of_task.clone()));
            }
        });
        Ok(Self { url, left, task })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns true if a query is held.
    pub(crate) fn is_holding(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Passes all further queries on.
    pub(crate) fn open(&self) {
        self.left.store(usize::MAX / 2, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes the queries of one connection on: each begins with its method.
async fn pass(client: TcpStream, server: String, left: Arc<AtomicUsize>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from_client.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        if buffer.starts_with(b"POST ") {
            if left.load(Ordering::Relaxed) == 1 {
                left.store(0, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            left.fetch_sub(1, Ordering::Relaxed);
        }
        to_server.write_all(&buffer[..length]).await?;
    }
    back.abort();
    Ok(())
}
