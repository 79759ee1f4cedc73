//! Measures the cost of scraping many pods: one operator, thousands of pods, a scrape of each every
//! five seconds.
//!
//! `make sampling PODS=1000` creates this many pods in targets of a hundred, each with an
//! autoscaler. The pods are objects of the API server with addresses of their own. One server gives
//! all of them the same page: a recorded one of vLLM (45 kB), or with `--small` one of 1 kB. It
//! prints the operator's CPU time and memory over a minute, the delay of scrapes, and their
//! duration.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{EnginePage, PageServer, wait};
use serde_json::json;
use tokio::time::Instant;

/// The number of pods of one target.
const TARGET: usize = 100;
/// The length of the measurement.
const MEASURED: Duration = Duration::from_mins(1);
/// The scrape interval in seconds.
const INTERVAL: u64 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let small = arguments.iter().any(|argument| argument == "--small");
    match measure(count, small).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sampling: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(count: usize, small: bool) -> Result<()> {
    let full = EnginePage::Vllm.page(7, 5);
    let wanted = |line: &&str| line.contains("num_requests_") || line.contains("kv_cache_usage");
    let page = if small {
        full.lines().filter(wanted).fold(String::new(), |page, line| page + line + "\n")
    } else {
        full
    };
    let server = PageServer::start(&page)?;
    let cluster = Arc::new(Cluster::start().await?);
    let stage = Stage::create(cluster, "sampling").await?;
    stage.operator.kill();
    stage.control_plane().apply_yaml(include_str!("../fixtures/fleet-crd.yaml")).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/fleets.example.com", "--timeout=30s"];
    stage.control_plane().kubectl(established).await?;
    println!("creating {count} pods in {} targets", count.div_ceil(TARGET));
    let began = Instant::now();
    create_targets(&stage, count).await?;
    create_pods(&stage, count, server.port()).await?;
    println!("they are there after {:.0} s; starting the operator", began.elapsed().as_secs_f64());
    stage.operator.start()?;
    wait::until("all pods to be read", Duration::from_mins(3), async || {
        let page = stage.operator.metrics().await.unwrap_or_default();
        Ok((value(&page, "llm_autoscaler_scrapes_total{result=\"ok\"}") >= 2.0 * count as f64)
            .then_some(()))
    })
    .await?;
    let before = Figures::of(&stage).await?;
    tokio::time::sleep(MEASURED).await;
    let after = Figures::of(&stage).await?;
    let failed = after.failed - before.failed;
    println!("{}", after.since(&before).text(count, page.len()));
    ensure!(failed <= 0.0, "{failed} reads failed");
    Ok(())
}

async fn create_targets(stage: &Stage, count: usize) -> Result<()> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Fleet");
    let resource = ApiResource::from_gvk_with_plural(&kind, "fleets");
    let fleets: Api<DynamicObject> =
        Api::namespaced_with(stage.client(), &stage.namespace, &resource);
    for target in 0..count.div_ceil(TARGET) {
        let name = format!("fleet-{target}");
        let size = TARGET.min(count - target * TARGET);
        let fleet = json!({
            "apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": name},
            "spec": {"size": size}, "status": {"size": size, "selector": format!("fleet={name}")},
        });
        fleets.create(&PostParams::default(), &serde_json::from_value(fleet)?).await?;
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "example.com/v1", "kind": "Fleet", "name": name},
            "maxReplicas": 1000,
            "sources": [{"scrape": {"intervalSeconds": INTERVAL, "timeoutSeconds": 2}}],
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": "32"},
            }],
            "podMonitor": {"mode": "Disabled"},
        });
        stage.autoscaler(&name, spec).await?;
    }
    Ok(())
}

/// Creates pods with a status that says that they run. They have no node and no container.
async fn create_pods(stage: &Stage, count: usize, port: u16) -> Result<()> {
    let pods = stage.api::<Pod>();
    stream::iter(0..count)
        .map(|index| {
            let pods = &pods;
            async move {
                let name = format!("pod-{index}");
                let container = json!({
                    "name": "engine",
                    "image": "engine",
                    "ports": [{"name": "http", "containerPort": port}],
                });
                let labels = json!({"fleet": format!("fleet-{}", index / TARGET)});
                let pod = json!({
                    "metadata": {"name": name, "labels": labels},
                    "spec": {
                        "schedulingGates": [{"name": "example.com/bench"}],
                        "containers": [container],
                        "automountServiceAccountToken": false,
                    },
                });
                pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
                let bits = 0x7f40_0000_u32 + 2 + index as u32;
                let address = Ipv4Addr::from(bits).to_string();
                let status = json!({"status": {
                    "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                }});
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
                    .await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// The operator's counters and resource usage at one moment.
struct Figures {
    at: Instant,
    cpu: f64,
    memory: f64,
    scrapes: f64,
    failed: f64,
    decisions: f64,
    /// The histogram of delays: (upper bound in seconds, cumulative number of scrapes).
    late: Vec<(f64, f64)>,
}

impl Figures {
    async fn of(stage: &Stage) -> Result<Self> {
        let pid = stage.operator.pid().context("the operator does not run")?;
        let page = stage.operator.metrics().await?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| {
            fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(0.0);
        let all = sum(&page, "llm_autoscaler_scrapes_total");
        let scrapes = value(&page, "llm_autoscaler_scrapes_total{result=\"ok\"}");
        Ok(Self {
            at: Instant::now(),
            // The kernel counts in ticks of 1/100 s on every Linux that this runs on.
            cpu: (ticks(11) + ticks(12)) / 100.0,
            memory: memory / 1024.0,
            scrapes,
            failed: all - scrapes,
            decisions: sum(&page, "llm_autoscaler_decisions_total"),
            late: buckets(&page, "llm_autoscaler_scrape_lateness_seconds"),
        })
    }

    /// Returns the difference from an earlier moment.
    fn since(self, before: &Self) -> Spent {
        let late = self
            .late
            .iter()
            .zip(&before.late)
            .map(|((le, now), (_, then))| (*le, now - then))
            .collect();
        Spent {
            seconds: (self.at - before.at).as_secs_f64(),
            cpu: self.cpu - before.cpu,
            memory: self.memory,
            scrapes: self.scrapes - before.scrapes,
            decisions: self.decisions - before.decisions,
            late,
        }
    }
}

/// The difference between two moments.
struct Spent {
    seconds: f64,
    cpu: f64,
    memory: f64,
    scrapes: f64,
    decisions: f64,
    late: Vec<(f64, f64)>,
}

impl Spent {
    fn text(&self, count: usize, page: usize) -> String {
        let Self { seconds, cpu, memory, scrapes, decisions, late } = self;
        let all = late.last().map_or(0.0, |(_, count)| *count);
        let within = |share: f64| {
            let bucket = late
                .iter()
                .find(|(_, count)| *count >= share * all)
                .map_or(f64::INFINITY, |(le, _)| *le);
            format!("{:.0} ms", bucket * 1000.0)
        };
        format!(
            "{count} pods, pages of {page} bytes, every {INTERVAL} s: {:.0} reads/s, {:.1} decisions/s, \
             {:.1} % of a core, {memory:.0} MB, {:.0} µs of CPU a read, late by at most {} (p50), {} (p99)",
            scrapes / seconds,
            decisions / seconds,
            100.0 * cpu / seconds,
            1e6 * cpu / scrapes,
            within(0.5),
            within(0.99),
        )
    }
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

fn sum(page: &str, name: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn buckets(page: &str, name: &str) -> Vec<(f64, f64)> {
    let prefix = format!("{name}_bucket{{le=\"");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&prefix));
    let bucket = |line: &str| {
        let (le, count) = line.split_once("\"} ")?;
        Some((le.parse::<f64>().unwrap_or(f64::INFINITY), count.parse().ok()?))
    };
    lines.filter_map(bucket).collect()
}
