//! Connections of strangers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::http_client;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

/// The number of connections.
const CONNECTIONS: usize = 1400;
/// The size of the head that each of them sends without an end.
const HEAD: usize = 384 << 10;
/// The memory that the operator may have meanwhile, in MB.
const MEMORY: u64 = 256;

/// Requests that never end used to take 551 MB, and the kubelet's probes found no room.
pub(crate) async fn half_sent_requests_to_the_health_port(stage: &Stage) -> Result<String> {
    stage.waiting("a", 4);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;

    let address = stage.operator.url().replace("http://", "");
    let header = format!("x: {}\r\n", "y".repeat(1000));
    let head = format!("GET /livez HTTP/1.1\r\n{}", header.repeat(HEAD / header.len()));
    let mut flood = Vec::with_capacity(CONNECTIONS);
    let (mut slowest, mut memory) = (Duration::ZERO, 0);
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&address).await?;
        // The operator may close it at any time.
        let _ = tokio::time::timeout(Duration::from_millis(20), stream.write_all(head.as_bytes()))
            .await;
        flood.push(stream);
        if number % 100 == 99 {
            let began = Instant::now();
            let url = format!("{}/livez", stage.operator.url());
            let answer = http_client().get(url).timeout(Duration::from_secs(1)).send().await;
            let status = answer.context("a probe of the kubelet fails")?.status();
            ensure!(status.is_success(), "/livez is {status}");
            slowest = slowest.max(began.elapsed());
            memory = memory.max(stage.operator.memory_mb()?.0);
        }
    }
    ensure!(memory <= MEMORY, "the operator has {memory} MB");
    let began = Instant::now();
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    let reaction = began.elapsed().as_secs_f64();
    ensure!(reaction <= 3.0, "a size came {reaction:.1} s after the load");
    drop(flood);
    let probe = slowest.as_millis();
    Ok(format!("{memory} MB, probes answered within {probe} ms, a size after {reaction:.1} s"))
}
