//! The engines that serve on pods' addresses.

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
pub use scripted::{Page, PodEvent, PodTrace, Script};

/// The kind of engine in a pod.
#[derive(Debug, Clone)]
pub enum Engine {
    /// An emulated engine: the model in real time, behind the completions API.
    Emulated(Emulated),
    /// A scripted engine: it serves the pages that a test sets.
    Scripted(Script),
    /// A program, such as a real engine.
    Command(Command),
    /// No engine: the pod runs, and nothing listens.
    Nothing,
}

/// The pod and the address that an engine runs for.
#[derive(Debug, Clone)]
pub struct Place {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The address to listen on; `None` if the pod has no container port.
    pub address: Option<SocketAddr>,
}

/// A running engine; dropping it kills it.
pub(crate) enum Running {
    Emulated(emulated::Server),
    Scripted(scripted::Server),
    Command(command::Server),
    Nothing(watch::Sender<bool>),
}

impl Engine {
    /// Returns an emulated engine with the default configuration.
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
    /// Returns the readiness of the engine, which changes over time.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        match self {
            Self::Emulated(server) => server.ready(),
            Self::Scripted(server) => server.ready(),
            Self::Command(server) => server.ready(),
            Self::Nothing(ready) => ready.subscribe(),
        }
    }

    /// Stops the engine. Requests in flight may finish within `grace` if the engine supports that.
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

/// Binds the address without listening yet, so that connections are still refused.
fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| busy(address))?;
    Ok(socket)
}

fn busy(address: SocketAddr) -> String {
    format!("listening on {address}: does another program use the port on all addresses?")
}
