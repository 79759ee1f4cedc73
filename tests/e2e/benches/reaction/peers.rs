//! The autoscalers that this one is compared with: the chain and KEDA, both by one Prometheus.

use anyhow::Result;
use llm_autoscaler_e2e::Cluster;
use llm_autoscaler_testbed::{
    Keda,
    monitoring::{Adapter, Prometheus},
};

use crate::{Parts, chain, many, one};

/// The programs of the peers, as far as they are measured.
pub(crate) struct Peers {
    /// Our own autoscalers are measured, too.
    pub(crate) ours: bool,
    pub(crate) prometheus: Option<Prometheus>,
    pub(crate) adapter: Option<Adapter>,
    pub(crate) keda: Option<Keda>,
}

impl Peers {
    /// Returns none: only our own autoscalers are measured.
    pub(crate) fn none() -> Self {
        Self { ours: true, prometheus: None, adapter: None, keda: None }
    }

    /// Starts what is to be measured.
    pub(crate) async fn start(cluster: &Cluster, parts: Parts) -> Result<Self> {
        let mut peers = Self { ours: parts.ours, ..Self::none() };
        if !parts.chain && !parts.keda {
            return Ok(peers);
        }
        println!("starting Prometheus and what reads it");
        let control_plane = &cluster.control_plane;
        let namespaces = [one::NAMESPACE, many::MANY];
        let prometheus = chain::start_prometheus(control_plane, &namespaces).await?;
        if parts.chain {
            peers.adapter = Some(chain::start_adapter(control_plane, &prometheus).await?);
        }
        if parts.keda {
            peers.keda = Some(Keda::start(control_plane).await?);
        }
        peers.prometheus = Some(prometheus);
        Ok(peers)
    }

    /// Returns the URL of Prometheus where KEDA is measured.
    pub(crate) fn keda_url(&self) -> Option<&str> {
        self.keda.as_ref().and(self.prometheus.as_ref()).map(Prometheus::url)
    }
}
