//! The front, the load generator, the emulated engine and a command engine, together.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use llm_autoscaler_testbed::controlplane::Options;
use llm_autoscaler_testbed::engine::Command;
use llm_autoscaler_testbed::{
    Balance, ColdStart, ControlPlane, Emulated, Engine, Front, HollowNodes, Load, LoadGenerator,
    Plan, wait, workloads,
};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns an engine that takes a millisecond per step and no time for prompts.
fn quick() -> Emulated {
    let mut emulated = Emulated::default();
    emulated.config.step_base = Duration::from_millis(1);
    emulated.config.step_per_sequence = Duration::ZERO;
    emulated.config.prefill_tokens_per_second = 1e9;
    emulated
}

async fn wait_for_ready(sets: &Api<StatefulSet>, name: &str, count: i32) -> Result<()> {
    wait::until("replicas to become ready", TIMEOUT, async || {
        let status = sets.get(name).await?.status.unwrap_or_default();
        Ok((status.ready_replicas == Some(count)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_through_the_front_is_answered_by_all_ready_pods() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let served = tempfile::tempdir()?;
    std::fs::write(served.path().join("health"), "")?;
    let python = Command::shell(
        &format!(
            "exec python3 -m http.server --bind $POD_IP --directory {} $PORT",
            served.path().display()
        ),
        served.path(),
    );
    let _nodes = HollowNodes::start(plane.client(), 1, move |pod| {
        if pod.name_any().starts_with("command") {
            return Plan::new(Engine::Command(python.clone()));
        }
        Plan::new(Engine::Emulated(quick()))
            .cold_start(ColdStart::Fixed(Duration::from_millis(200)))
    })
    .await?;
    let sets = Api::<StatefulSet>::default_namespaced(plane.client());
    let front =
        Front::start(plane.client(), "default", "app=llm", Balance::LeastOutstanding).await?;
    let load = Load {
        requests: 60,
        input_tokens: 50,
        output_tokens: 20,
        concurrency: 12,
        ..Load::default()
    };

    let nobody = LoadGenerator::new(&front.url(), load.clone()).run().await;
    assert_eq!((nobody.successful, nobody.failed), (0, 60));
    assert!(nobody.first_failure.is_some_and(|failure| failure.contains("503")));

    let port = workloads::random_port();
    for name in ["llm", "command"] {
        sets.create(&PostParams::default(), &workloads::stateful_set(name, 2, port)?).await?;
    }
    wait_for_ready(&sets, "llm", 2).await?;
    // The front notices through two watches, a moment later.
    let client = reqwest::Client::new();
    wait::until("the front to serve", TIMEOUT, async || {
        let answer = client.get(format!("{}/v1/models", front.url())).send().await?;
        Ok(answer.status().is_success().then_some(()))
    })
    .await?;
    let summary = LoadGenerator::new(&front.url(), load).run().await;
    assert_eq!((summary.successful, summary.failed), (60, 0), "{summary}");
    assert_eq!(summary.output_tokens, 60 * 20);
    assert!(summary.first_token.p50 > 0.0 && summary.first_token.p99 <= summary.whole.p99);

    wait_for_ready(&sets, "command", 2).await?; // they answer GET /health
    Ok(())
}
