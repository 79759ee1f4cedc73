//! A gateway as a pod, and requests to it.

use std::{
    fmt,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{engine::Command, engine::Engine, http_client, repository};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The name of the engines' StatefulSet, which is the target.
pub(crate) const TARGET: &str = "engine";
/// The name of the gateway's StatefulSet.
pub(crate) const GATEWAY: &str = "gateway";
/// The port of a gateway's metrics page.
const METRICS: u16 = 29_000;
/// The time that a gateway may take to start on a busy machine.
pub(crate) const START: Duration = Duration::from_mins(2);

/// A gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Smg,
    VllmRouter,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smg => "smg",
            Self::VllmRouter => "vllm_router",
        })
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Smg, Self::VllmRouter];

    /// Returns its name in a spec.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smg => "SMG",
            Self::VllmRouter => "VLLMRouter",
        }
    }

    /// Returns the series that tells of a request that the gateway refuses.
    pub(crate) fn arrivals(self) -> &'static str {
        match self {
            Self::Smg => "smg_http_requests_total",
            Self::VllmRouter => {
                "vllm_router_processed_requests_total+vllm_router_request_errors_total"
            }
        }
    }

    /// Returns the source of its pods.
    pub(crate) fn source(self) -> Value {
        json!({"scrape": {
            "podSelector": {"matchLabels": {"app": GATEWAY}},
            "gateway": self.name(), "port": METRICS, "intervalSeconds": 1,
        }})
    }
}

/// Installs the gateways if they are missing, and starts one of them as a pod. Returns the URL of
/// its API.
pub(crate) async fn start(stage: &Stage, kind: Kind) -> Result<String> {
    let script = installed("gateways").await?.join(format!("{kind}.sh"));
    let command = Command::shell(&format!(r#"exec "{}""#, script.display()), stage.folder()?);
    let mut command = Command { health_path: "/liveness".to_owned(), ..command };
    let kubeconfig = stage.control_plane().kubeconfig();
    command.env.push(("KUBECONFIG".to_owned(), kubeconfig.into_os_string()));
    command.env.push(("WORKERS".to_owned(), format!("app={TARGET}").into()));
    stage.assign(GATEWAY, Engine::Command(command));
    stage.create_engine(GATEWAY, 1).await?;
    stage.until_ready_within(GATEWAY, 1, START).await?;
    url_of(stage).await
}

/// Returns the URL of the API of the gateway's pod.
pub(crate) async fn url_of(stage: &Stage) -> Result<String> {
    let pod = stage.api::<Pod>().get(&format!("{GATEWAY}-0")).await?;
    let address = pod.status.and_then(|status| status.pod_ip).context("it has no address")?;
    Ok(format!("http://{address}:{}", stage.port()))
}

/// Installs what a folder of `tests` is about, if it is missing, and returns the folder.
pub(crate) async fn installed(name: &str) -> Result<PathBuf> {
    let folder = repository().join("tests").join(name).canonicalize()?;
    let script = folder.join("install.sh");
    let status = tokio::process::Command::new(&script).stdout(Stdio::null()).status().await;
    let status = status.with_context(|| format!("running {}", script.display()))?;
    ensure!(status.success(), "{} failed; the reason is above", script.display());
    Ok(folder)
}

/// Sends one request, and returns the HTTP status of its answer once that is there.
pub(crate) async fn ask(url: &str, tokens: u32) -> Result<u16> {
    // smg refuses prompts that are lists of tokens.
    let body = json!({"model": "qwen3-32b", "prompt": "Once upon a time", "max_tokens": tokens});
    let request = http_client().post(format!("{url}/v1/completions"));
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}

/// Requests in flight, always the same number of them, until they are stopped.
pub(crate) struct Traffic {
    counts: Arc<Counts>,
    clients: JoinSet<()>,
}

/// What has become of requests.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

impl Traffic {
    /// Keeps this many requests in flight. A client tries again a moment after a failure.
    pub(crate) fn start(url: &str, in_flight: usize) -> Self {
        let (counts, mut clients) = (Arc::new(Counts::default()), JoinSet::new());
        for client in 0..in_flight as u32 {
            // Answers of several lengths do not all end at the same moment.
            let tokens = 80 + 13 * client % 80;
            let (url, counts) = (url.to_owned(), counts.clone());
            clients.spawn(async move {
                while !counts.is_over.load(Ordering::Relaxed) {
                    if ask(&url, tokens).await.is_ok_and(|status| status == 200) {
                        counts.answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        counts.failed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            });
        }
        Self { counts, clients }
    }

    /// Stops sending, and waits for the requests in flight. Returns the numbers of answered and of
    /// failed requests.
    pub(crate) async fn stop(self) -> (usize, usize) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        let Counts { answered, failed, .. } = &*self.counts;
        (answered.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}
