//! Serves one page at any number of addresses: a single socket answers on all of 127.0.0.0/8.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::task::Task;

/// A server that answers every request, at every loopback address, with the same page.
#[derive(Debug)]
pub struct PageServer {
    port: u16,
    served: Arc<AtomicU64>,
    _task: Task,
}

impl PageServer {
    /// Starts the server on a free port. The socket is bound to the loopback device, so it is not
    /// reachable from outside although it listens on every address.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub fn start(page: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind_device(Some(b"lo")).context("binding a socket to the loopback device")?;
        socket.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let listener = socket.listen(4096)?;
        let port = listener.local_addr()?.port();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        let served = Arc::new(AtomicU64::new(0));
        let task = Task::spawn(serve(listener, answer.into_bytes().into(), served.clone()));
        Ok(Self { port, served, _task: task })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of times that the page has been served.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, answer: Arc<[u8]>, served: Arc<AtomicU64>) {
    loop {
        // A connection may be closed before it is accepted; the server goes on.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (answer, served) = (answer.clone(), served.clone());
        tokio::spawn(async move {
            let _ = converse(stream, &answer, &served).await;
        });
    }
}

/// Answers each request of a connection; requests have no bodies.
async fn converse(mut stream: TcpStream, answer: &[u8], served: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            served.fetch_add(1, Ordering::Relaxed);
            stream.write_all(answer).await?;
        }
    }
}
