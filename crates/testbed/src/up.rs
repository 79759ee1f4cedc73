//! `testbed up`: a cluster to experiment with.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use llm_autoscaler_testbed::controlplane::Options;
use llm_autoscaler_testbed::{ColdStart, ControlPlane, Engine, HollowNodes, Plan};

/// The options of `testbed up`.
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
    kubectl apply --server-side -k config/crd
    target/debug/llm-autoscaler run --allow-loopback --health-address 127.0.0.1:8080 &
    kubectl apply -f config/samples/workload.yaml -f config/samples/waiting.yaml
    kubectl get llmautoscalers,pods -o wide
    curl -s "http://$(kubectl get pod vllm-inference-0 -o jsonpath='{.status.podIP}'):8000/metrics"
    target/debug/llm-autoscaler explain vllm-inference"#;

impl Up {
    /// Runs until it is interrupted.
    pub(crate) async fn run(self) -> Result<()> {
        let plane = ControlPlane::start(Options::default()).await?;
        let cold_start = ColdStart::Fixed(Duration::try_from_secs_f64(self.cold_start_seconds)?);
        let plan = move |_: &_| Plan::new(Engine::emulated()).cold_start(cold_start);
        let _nodes = HollowNodes::start(plane.client(), self.nodes, plan).await?;
        println!(
            "A control plane runs. Every pod becomes an emulated vLLM with an address of its own."
        );
        println!("In another terminal, in the repository's folder:\n");
        println!("    export KUBECONFIG={}", plane.kubeconfig().display());
        if let Some(folder) = plane.kubectl_path().parent() {
            println!("    export PATH={}:$PATH", folder.display());
        }
        println!("{EXAMPLE}\n\nCtrl-C stops it and removes everything.");
        crate::interrupted().await
    }
}
