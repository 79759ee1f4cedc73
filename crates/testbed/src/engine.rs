//! What serves on a pod's address.

mod command;
mod completions;
mod emulated;
mod pages;
mod scripted;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

pub use command::Command;
pub use emulated::Emulated;
pub use llm_autoscaler_sim::EngineConfig;
pub use pages::EnginePage;
pub use scripted::{Page, Script};

/// The kind of engine in a pod.
#[derive(Debug, Clone)]
pub enum Engine {
    /// The model of an engine in real time, behind the completions API.
    Emulated(Emulated),
    /// Pages that a test sets.
    Scripted(Script),
    /// A program, such as a real engine.
    Command(Command),
    /// Nothing listens; the pod just is.
    Nothing,
}

/// Where an engine runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Where to listen; `None` where the pod has no container port.
    pub address: Option<SocketAddr>,
}

/// An engine that runs; dropping it stops it the hard way.
pub(crate) enum Running {
    Emulated(emulated::Server),
    Scripted(scripted::Server),
    Command(command::Server),
    Nothing(watch::Sender<bool>),
}

impl Engine {
    /// An emulated engine of the default size.
    pub fn emulated() -> Self {
        Self::Emulated(Emulated::default())
    }

    pub(crate) async fn start(&self, place: &Place) -> Result<Running> {
        let Some(address) = place.address else {
            return Ok(Running::Nothing(watch::Sender::new(true)));
        };
        Ok(match self {
            Self::Emulated(emulated) => Running::Emulated(emulated.start(bind(address)?)),
            Self::Scripted(script) => {
                Running::Scripted(script.start(place, listen(address).await?))
            }
            Self::Command(command) => Running::Command(command.start(place, address)?),
            Self::Nothing => Running::Nothing(watch::Sender::new(true)),
        })
    }
}

impl Running {
    /// Whether the engine can serve, now and later.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        match self {
            Self::Emulated(server) => server.ready(),
            Self::Scripted(server) => server.ready(),
            Self::Command(server) => server.ready(),
            Self::Nothing(ready) => ready.subscribe(),
        }
    }

    /// Stops the engine; requests in flight may finish within `grace` where the engine allows it.
    pub(crate) async fn stop(self, grace: Duration) {
        match self {
            Self::Emulated(server) => server.stop(grace).await,
            Self::Command(server) => server.stop().await,
            Self::Scripted(_) | Self::Nothing(_) => {}
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| busy(address))
}

/// Takes the address without listening yet.
fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| busy(address))?;
    Ok(socket)
}

fn busy(address: SocketAddr) -> String {
    format!("listening on {address}: does another program use the port on all addresses?")
}
