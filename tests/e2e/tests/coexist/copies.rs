//! Several copies of the operator, of which the Service asks any.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{Stage, election, own_address};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::setting::{arguments, get, lead_to, pods_path, raw, register, until_found, values};

/// The duration of the Lease.
const LEASE: u64 = 4;
/// The time until a copy that stands by has seen that the other one is there, and answers.
const KNOWN: Duration = Duration::from_secs(30);

/// The copy that stands by answers as the one that decides, by samples of its own and by the
/// statuses. While the other one is killed it has another answer at no time: the same, or none.
pub(crate) async fn each_copy_answers(stage: &Stage) -> Result<String> {
    stage.waiting("a", 7);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"mode": "Recommend"})).await?;
    stage.operator.kill();
    election::permit(stage).await?;
    register(stage).await?;
    let second = stage.second_operator();
    let addresses = [own_address(), own_address()];
    for (index, (operator, address)) in
        [&stage.operator, &second].into_iter().zip(addresses).enumerate()
    {
        let arguments = arguments(address);
        operator.configure(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        operator.start_elected(&format!("metrics-copy-{index}"), LEASE)?;
        lead_to(stage, address).await?;
        until_found(stage).await?;
    }
    let recommended = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/llm_autoscaler_recommended_replicas",
        stage.namespace
    );
    let waiting = pods_path(stage, "*", "vllm:num_requests_waiting");
    let expected = [("a-0".to_owned(), "7".to_owned())];
    for address in addresses {
        lead_to(stage, address).await?;
        until_found(stage).await?;
        wait::until("a copy to have the number and the recommendation", KNOWN, async || {
            let (pods, external) = (raw(stage, &waiting).await, raw(stage, &recommended).await);
            let is_there = pods.is_ok_and(|pods| values(&pods) == expected)
                && external.is_ok_and(|external| external["items"][0]["value"] == "2");
            Ok(is_there.then_some(()))
        })
        .await?;
    }
    let secret = ["secret", "llm-autoscaler-metrics-api", "-n", crate::setting::SYSTEM];
    let before = get(stage, &secret).await?["data"].clone();
    stage.operator.kill();
    let (killed, mut missing) = (Instant::now(), 0);
    while killed.elapsed() < Duration::from_secs(4 * LEASE) {
        match raw(stage, &recommended).await {
            Ok(found) => ensure!(found["items"][0]["value"] == "2", "{found}"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(text.contains("(NotFound)"), "{text}");
                missing += 1;
            }
        }
        let pods = raw(stage, &waiting).await.map(|pods| values(&pods));
        ensure!(pods.is_err() || pods.is_ok_and(|pods| pods == expected), "another number");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(raw(stage, &recommended).await.is_ok(), "the second copy decides by now");
    let after = get(stage, &secret).await?["data"].clone();
    ensure!(after == before && after != Value::Null, "the authority is that of all copies");
    Ok(format!("without a recommendation for {missing} of some 80 looks"))
}
