//! `testbed up`: a cluster to play with.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use llm_autoscaler_testbed::controlplane::Options;
use llm_autoscaler_testbed::{ColdStart, ControlPlane, Engine, HollowNodes, Plan};

/// What `testbed up` can be told.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Hollow nodes to create
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    /// Seconds from a pod's start until it is ready
    #[arg(long, default_value_t = 3.0)]
    cold_start_seconds: f64,
}

const EXAMPLE: &str = r#"
    kubectl create deployment llm --image=vllm --port=8000 --replicas=2
    kubectl get pods -o wide
    curl -s "http://$(kubectl get pods -l app=llm -o jsonpath='{.items[0].status.podIP}'):8000/metrics""#;

impl Up {
    /// Runs until it is interrupted.
    pub(crate) async fn run(self) -> Result<()> {
        let plane = ControlPlane::start(Options::default()).await?;
        let cold_start = ColdStart::Fixed(Duration::try_from_secs_f64(self.cold_start_seconds)?);
        let plan = move |_: &_| Plan::new(Engine::emulated()).cold_start(cold_start);
        let _nodes = HollowNodes::start(plane.client(), self.nodes, plan).await?;
        println!("A control plane is up. Every pod becomes an emulated vLLM on an address of its own:\n");
        println!("    export KUBECONFIG={}", plane.kubeconfig().display());
        if let Some(folder) = plane.kubectl_path().parent() {
            println!("    export PATH={}:$PATH", folder.display());
        }
        println!("{EXAMPLE}\n\nCtrl-C stops it and removes everything.");
        crate::interrupted().await
    }
}
