//! The scenarios, by the server that scraped the engines.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    backends::{Sidecar, thanos_query, victoria_metrics},
    monitoring::{Prometheus, scrape_pods},
    wait,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    found::Replay,
    proxy::Proxy,
    service::{self, SCRAPES, length},
};

/// The length of the load where it only has to be found, not to be long.
const SHORT: Duration = Duration::from_secs(50);
/// The time without scrapes.
const GAP: Duration = Duration::from_secs(20);

fn scrape(stage: &Stage) -> Result<Value> {
    let text = scrape_pods(stage.control_plane(), &[&stage.namespace], SCRAPES);
    Ok(serde_json::from_str(&text)?)
}

/// The load is found, with the fleet that ran. A recording that is killed in the middle goes on,
/// and is the same as one that was not.
pub(crate) async fn prometheus_finds_the_load(stage: &Stage) -> Result<String> {
    let server = Prometheus::start(&scrape(stage)?.to_string()).await?;
    service::start(stage).await?;
    let sent = service::send(stage, length(), async || Ok(())).await?;
    let whole = Replay { stage, server: server.url(), sent: &sent, folder: "whole" };
    let json = whole.json().await?;
    let told = whole.compare(&json)?;
    ensure!(json["gaps"] == json!([]), "{}", json["gaps"]);
    let fleet = json["measured"]["fleet"].as_array().context("no fleet")?;
    let sizes: Vec<u64> = fleet.iter().filter_map(|row| row[1].as_u64()).collect();
    ensure!(sizes.first() == Some(&2) && sizes.contains(&3), "{fleet:?}");
    ensure!(sizes.last() == Some(&2) && json["measured"]["peakReplicas"] == 3, "{fleet:?}");
    let policies: Vec<&str> = json["policies"]
        .as_array()
        .context("no policies")?
        .iter()
        .filter_map(|policy| policy["policy"].as_str())
        .collect();
    ensure!(policies == ["today, simulated", "static=3", "hpa-queue"], "{policies:?}");
    let attainment = &json["policies"][0]["attainment"];
    ensure!(attainment["low"].as_f64() <= attainment["high"].as_f64(), "{attainment}");
    ensure!(json["measured"]["ttft"]["events"].as_f64() > Some(100.0), "{}", json["measured"]);

    let proxy = Proxy::start(server.url(), 2).await?;
    let cut_off = Replay { server: proxy.url(), folder: "cut-off", ..whole };
    let mut child = cut_off.spawn()?;
    wait::until("the second chunk", Duration::from_mins(1), async || {
        Ok(proxy.is_holding().then_some(()))
    })
    .await?;
    child.kill().await?;
    let lines = |folder: &Replay<'_>| -> Result<Vec<String>> {
        let text = std::fs::read_to_string(folder.path()?.join("recording.jsonl"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    ensure!(lines(&cut_off)?.len() == 2, "the header and a chunk: {:?}", lines(&cut_off)?.len());
    proxy.open();
    let resumed = cut_off.json().await?;
    let same = |name: &str| {
        let (one, other) = (resumed["measured"][name].as_f64(), json["measured"][name].as_f64());
        one.zip(other).is_some_and(|(one, other)| (one - other).abs() < 1e-6 * other)
    };
    for name in ["requests", "promptTokens", "outputTokens", "replicaHours", "servingHours"] {
        let (resumed, whole) = (&resumed["measured"][name], &json["measured"][name]);
        ensure!(same(name), "{name}: {resumed} after an interruption, {whole} without one");
    }
    let text = whole.text(&["--policy=static=2"]).await?;
    ensure!(text.contains("today, measured") && text.contains("static=2"), "{text}");
    println!("{text}");
    Ok(told)
}

/// Prometheus scrapes nothing for a while. The gap is told, with the requests that the counters
/// tell of, and the load is found nevertheless.
pub(crate) async fn gap_is_told(stage: &Stage) -> Result<String> {
    let configuration = scrape(stage)?;
    let server = Prometheus::start(&configuration.to_string()).await?;
    service::start(stage).await?;
    let sent = service::send(stage, SHORT + 2 * GAP, async || {
        sleep(Duration::from_secs(10)).await;
        server.configure(&json!({"global": configuration["global"]}).to_string()).await?;
        sleep(GAP).await;
        server.configure(&configuration.to_string()).await
    })
    .await?;
    let replay = Replay { stage, server: server.url(), sent: &sent, folder: "gap" };
    let json = replay.json().await?;
    let told = replay.compare(&json)?;
    let gaps = json["gaps"].as_array().context("no gaps")?;
    let [gap] = &gaps[..] else { anyhow::bail!("{gaps:?}") };
    let number = |name: &str| gap[name].as_f64().context("no number");
    let (length, requests) = (number("to")? - number("from")?, number("requests")?);
    ensure!((GAP.as_secs_f64() - 3.0..GAP.as_secs_f64() + 10.0).contains(&length), "{gap}");
    ensure!(requests > 20.0, "the counters know of requests: {gap}");
    let text = replay.text(&[]).await?;
    ensure!(text.contains("in 1 gaps") && text.contains("spread evenly over it"), "{text}");
    Ok(format!("{told}; a gap of {length:.0} s with {requests:.0} requests"))
}

/// `VictoriaMetrics` scrapes the engines itself.
pub(crate) async fn victoria_metrics_finds_the_load(stage: &Stage) -> Result<String> {
    let server = victoria_metrics(&scrape(stage)?.to_string(), &[]).await?;
    service::start(stage).await?;
    let sent = service::send(stage, SHORT, async || Ok(())).await?;
    let replay = Replay { stage, server: server.url(), sent: &sent, folder: "victoria-metrics" };
    replay.compare(&replay.json().await?)
}

/// Two Prometheus servers scrape the same engines, and Thanos Query answers for both.
pub(crate) async fn thanos_finds_the_load(stage: &Stage) -> Result<String> {
    let prometheus = async |replica: &str| {
        let mut configuration = scrape(stage)?;
        configuration["global"]["external_labels"] = json!({"prometheus_replica": replica});
        Prometheus::start(&configuration.to_string()).await
    };
    let (one, other) = (prometheus("a").await?, prometheus("b").await?);
    let (beside_one, beside_other) = (Sidecar::start(&one).await?, Sidecar::start(&other).await?);
    let endpoints =
        [&beside_one, &beside_other].map(|sidecar| format!("--endpoint={}", sidecar.address));
    let query = thanos_query(&endpoints).await?;
    service::start(stage).await?;
    let sent = service::send(stage, SHORT, async || Ok(())).await?;
    let replay = Replay { stage, server: query.url(), sent: &sent, folder: "thanos" };
    replay.compare(&replay.json().await?)
}
