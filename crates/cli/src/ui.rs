//! `ui`: a page on loopback that shows all autoscalers and why they have their sizes. It reads and
//! never writes.
//!
//! ```text
//! API server ──watch──> store ──rows, details──> server ──JSON──> page
//! ```

mod detail;
mod guard;
mod row;
mod server;
mod standing;
mod store;
mod watch;

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Context as _;
use llm_autoscaler_operator::Component;
use tokio::net::TcpListener;

use crate::{cluster, output::print};
use store::Store;
use watch::Scope;

/// The options of `ui`.
#[derive(Debug, clap::Args)]
pub(crate) struct Ui {
    /// The port on 127.0.0.1; 0 takes one that is free.
    #[arg(long, default_value_t = 8090)]
    port: u16,
    /// The namespace to show; by default that of the current context.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Show all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long)]
    context: Option<String>,
}

impl Ui {
    /// Serves the page until SIGINT.
    pub(crate) async fn serve(self) -> anyhow::Result<()> {
        let mut config = cluster::config_of(self.context.as_deref()).await?;
        Component::Ui.introduce(&mut config);
        let scope = if self.all_namespaces {
            Scope::All
        } else {
            Scope::Namespace(self.namespace.unwrap_or_else(|| config.default_namespace.clone()))
        };
        let client = kube::Client::try_from(config)?;
        watch::try_list(&client, &scope).await?;
        let address = (Ipv4Addr::LOCALHOST, self.port);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("listening on 127.0.0.1:{}: choose another --port", self.port)
        })?;
        let port = listener.local_addr()?.port();
        print(&format!("http://127.0.0.1:{port}/ shows {scope}; Ctrl-C ends it\n"))?;
        let store = Arc::new(Store::new(scope.to_string()));
        tokio::select! {
            () = watch::watch(client, scope, store.clone()) => {}
            served = server::serve(listener, port, store) => served?,
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    }
}
