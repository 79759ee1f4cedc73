//! Serves one page at any number of addresses: a single socket answers on all of 127.0.0.0/8.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::task::Task;

/// The answer to every request, which may change.
type Answer = Arc<Mutex<Arc<[u8]>>>;

/// A server that answers every request, at every loopback address, with the same page.
#[derive(Debug)]
pub struct PageServer {
    port: u16,
    answer: Answer,
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
        let answer = Arc::new(Mutex::new(answer_with(page)));
        let served = Arc::new(AtomicU64::new(0));
        let task = Task::spawn(serve(listener, answer.clone(), served.clone()));
        Ok(Self { port, answer, served, _task: task })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers with another page from now on.
    pub fn set(&self, page: &str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer_with(page);
    }

    /// Returns the number of times that the page has been served.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn answer_with(page: &str) -> Arc<[u8]> {
    let length = page.len();
    let kind = "Content-Type: text/plain; version=0.0.4";
    let answer = format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{page}");
    answer.into_bytes().into()
}

async fn serve(listener: TcpListener, answer: Answer, served: Arc<AtomicU64>) {
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
async fn converse(
    mut stream: TcpStream,
    answer: &Answer,
    served: &AtomicU64,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            served.fetch_add(1, Ordering::Relaxed);
            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            stream.write_all(&answer).await?;
        }
    }
}
