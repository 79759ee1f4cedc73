//! The load: requests at given times, whatever becomes of those before.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use llm_autoscaler_testbed::http_client;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

/// The tokens of each prompt, and of each answer.
pub(crate) const PROMPT: u32 = 64;
pub(crate) const ANSWER: u32 = 20;
/// The time of a request on a replica with few others, in seconds: a step of 0.2 s for each token,
/// and half a step until its first one begins.
const SECONDS: f64 = 0.2 * ANSWER as f64 + 0.15;
/// The requests in flight at a replica at its target.
pub(crate) const TARGET: u32 = 4;
/// The sizes that the load asks for, one after the other.
const SIZES: [u32; 13] = [1, 4, 2, 6, 3, 7, 2, 5, 1, 6, 2, 4, 1];
/// The time for which each of them is asked for, in seconds.
const EACH: f64 = 18.0;

/// Returns the length of the load in seconds.
pub(crate) fn length() -> f64 {
    EACH * SIZES.len() as f64
}

/// Returns the times of all requests. Each size is asked for by a number in flight in the middle
/// between two sizes.
pub(crate) fn arrivals() -> Vec<f64> {
    let mut arrivals = Vec::new();
    for (place, size) in SIZES.iter().enumerate() {
        let (from, in_flight) = (EACH * place as f64, TARGET * size - TARGET / 2);
        let count = (EACH * f64::from(in_flight) / SECONDS).round();
        let each = EACH / count;
        arrivals.extend((0..count as u32).map(|number| from + f64::from(number) * each));
    }
    arrivals
}

/// Returns the load as a trace.
pub(crate) fn trace() -> String {
    let mut trace = "arrival_s,input_tokens,output_tokens\n".to_owned();
    for at in arrivals() {
        let _ = writeln!(trace, "{at:.4},{PROMPT},{ANSWER}");
    }
    trace
}

/// Sends the requests at their times, and waits for their answers. Returns the time for which the
/// latest one was late.
pub(crate) async fn send(url: &str) -> Result<Duration> {
    let (client, url) = (http_client(), format!("{url}/v1/completions"));
    let body = json!({
        "model": "qwen3-32b", "prompt": vec![1; PROMPT as usize], "max_tokens": ANSWER,
    });
    let (body, failed) = (body.to_string(), Arc::new(AtomicUsize::new(0)));
    let (began, mut latest, mut requests) = (Instant::now(), Duration::ZERO, JoinSet::new());
    for at in arrivals() {
        let due = began + Duration::from_secs_f64(at);
        tokio::time::sleep_until(due).await;
        latest = latest.max(due.elapsed());
        let request = client.post(&url).header("content-type", "application/json");
        let (answer, failed) = (request.body(body.clone()).send(), failed.clone());
        requests.spawn(async move {
            let is_answered = match answer.await {
                Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
                Err(_) => false,
            };
            failed.fetch_add(usize::from(!is_answered), Ordering::Relaxed);
        });
    }
    requests.join_all().await;
    let failed = failed.load(Ordering::Relaxed);
    ensure!(failed == 0, "{failed} of {} requests were not answered", arrivals().len());
    Ok(latest)
}
