//! Watches that the API server has ended, and does not serve any more.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{
    ApiProxy,
    api_proxy::{ApiFault, Rule},
    http_client, wait,
};
use serde_json::json;

/// The time within which the operator must say that it works by an old picture.
const NOTICED: Duration = Duration::from_mins(1);
/// The largest number of listings in these two minutes.
const LISTINGS: usize = 10;

/// The faults of listings and of watches.
struct Broken {
    path: &'static str,
    list: ApiFault,
    watch: ApiFault,
}

impl Broken {
    fn rules(&self) -> Vec<Rule> {
        let rule = |is_watch, fault| {
            let path = self.path.to_owned();
            Rule { method: "GET", path, is_watch, fault }
        };
        vec![rule(true, self.watch), rule(false, self.list)]
    }
}

/// The watch has expired, and listings fail: their beginning used to count as a sign of life.
pub(crate) async fn pods_that_cannot_be_listed(stage: &Stage) -> Result<String> {
    let (list, watch) = (ApiFault::Refused(500), ApiFault::Expired);
    is_noticed(stage, &Broken { path: "/pods", list, watch }, "PodsUnknown").await
}

/// The permission is withdrawn.
pub(crate) async fn pods_that_are_refused(stage: &Stage) -> Result<String> {
    let (list, watch) = (ApiFault::Refused(403), ApiFault::Refused(403));
    is_noticed(stage, &Broken { path: "/pods", list, watch }, "PodsUnknown").await
}

/// The connection is there, and nothing comes any more.
pub(crate) async fn pods_of_a_silent_api_server(stage: &Stage) -> Result<String> {
    let (list, watch) = (ApiFault::Hang, ApiFault::Hang);
    is_noticed(stage, &Broken { path: "/pods", list, watch }, "PodsUnknown").await
}

/// Changes of LLMAutoscalers are not seen, and scaling goes on.
pub(crate) async fn autoscalers_that_cannot_be_listed(stage: &Stage) -> Result<String> {
    let (list, watch) = (ApiFault::Refused(500), ApiFault::Expired);
    let broken = Broken { path: "/llmautoscalers", list, watch };
    is_noticed(stage, &broken, "AutoscalersUnknown").await
}

/// Neither are they if the API server falls silent.
pub(crate) async fn autoscalers_of_a_silent_api_server(stage: &Stage) -> Result<String> {
    let (list, watch) = (ApiFault::Hang, ApiFault::Hang);
    let broken = Broken { path: "/llmautoscalers", list, watch };
    is_noticed(stage, &broken, "AutoscalersUnknown").await
}

/// Breaks a watch, and checks that it is told within a minute, that the API server is spared, and
/// that all is well afterwards.
async fn is_noticed(stage: &Stage, broken: &Broken, reason: &str) -> Result<String> {
    let proxy = ApiProxy::start(stage.control_plane().url()).await?;
    stage.operator.start_behind(proxy.url())?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 4);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    until_ready(stage, 200, SOON).await?;

    let listings = || proxy.count("GET", broken.path, false);
    let (before, began) = (listings(), tokio::time::Instant::now());
    proxy.break_requests(broken.rules());
    until_ready(stage, 503, NOTICED).await?;
    let noticed = began.elapsed();
    stage.until_condition("a", "Ready", "False", reason).await?;
    // Pods that are not known decide nothing; a spec that may be old still does.
    stage.waiting("a", 11);
    if reason == "AutoscalersUnknown" {
        stage.until_replicas("a", 3, SOON).await?;
    } else {
        stage.stays("a", 1, Duration::from_secs(5)).await?;
    }
    tokio::time::sleep_until(began + Duration::from_mins(2)).await;
    let listed = listings() - before;
    ensure!(listed <= LISTINGS, "{listed} listings in two minutes");
    let age = watch_age(stage).await?;
    ensure!(age > 90.0, "the age of the watch is {age} s");

    proxy.break_requests(Vec::new());
    // The longest back-off, and the deadline of a listing that hangs.
    until_ready(stage, 200, Duration::from_secs(100)).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(format!("noticed after {:.0} s, {listed} listings in 120 s", noticed.as_secs_f64()))
}

async fn until_ready(stage: &Stage, status: u16, within: Duration) -> Result<()> {
    let url = format!("{}/readyz", stage.operator.url());
    wait::until(&format!("/readyz to be {status}"), within, async || {
        let answer = http_client().get(&url).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().as_u16() == status).then_some(()))
    })
    .await
}

/// Returns the age of the oldest watch in seconds.
async fn watch_age(stage: &Stage) -> Result<f64> {
    let page = stage.operator.metrics().await?;
    let ages = page.lines().filter(|line| line.starts_with("llm_autoscaler_watch_age_seconds{"));
    let ages = ages.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(ages.fold(0.0, f64::max))
}
