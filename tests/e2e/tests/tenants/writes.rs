//! A tenant that has the operator write as often as it can.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, events::v1::Event},
    jiff::Timestamp,
};
use kube::api::ListParams;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{ApiProxy, wait};
use serde_json::json;
use tokio::time::Instant;

/// The number of targets that follow the page.
const TARGETS: usize = 20;
/// The page of another pod, by which the tenant sizes its targets.
const SOURCE: &str = "source";
/// The time after which the page has another load: that between two scrapes near the target.
const SWING: Duration = Duration::from_millis(500);
/// The time for which the page swings.
const TIME: Duration = Duration::from_secs(20);
/// The time within which the size of a neighbour must follow the load.
const ON_TIME: Duration = Duration::from_secs(3);
/// The two sizes, and the loads that ask for them: so near to each other that the page is scraped
/// every 500 ms.
const SIZES: [(i32, u64); 2] = [(4, 20), (5, 25)];

/// Without windows, each sample asks for another size.
pub(crate) async fn a_page_that_swings(stage: &Stage) -> Result<String> {
    let proxy = ApiProxy::start(stage.control_plane().url()).await?;
    stage.operator.start_behind(proxy.url())?;
    let names: Vec<String> = (0..TARGETS).map(|number| format!("swing-{number}")).collect();
    let [(small, little), (large, _)] = SIZES;
    stage.waiting(SOURCE, little);
    stage.create_engine(SOURCE, 1).await?;
    stage.waiting("neighbour", 1);
    stage.create_engine("neighbour", 1).await?;
    stage.autoscaler("neighbour", json!({})).await?;
    let policies = json!([{"type": "Pods", "value": 10, "periodSeconds": 1}]);
    let rules = json!({"stabilizationWindowSeconds": 0, "policies": policies});
    let spec = json!({
        "minReplicas": small,
        "maxReplicas": large,
        "behavior": {"scaleUp": rules, "scaleDown": rules},
        "sources": [{
            "scrape": {
                "podSelector": {"matchLabels": {"app": SOURCE}},
                "intervalSeconds": 1,
            },
        }],
    });
    for name in &names {
        stage.create_engine(name, small.cast_unsigned()).await?;
        stage.autoscaler(name, spec.clone()).await?;
    }
    for name in names.iter().map(String::as_str).chain(["neighbour"]) {
        stage.until_condition(name, "Ready", "True", "Scaling").await?;
    }

    let (before, began) = (Counts::of(stage, &proxy, &names).await?, Instant::now());
    let reaction = swing(stage).await?;
    for name in &names {
        stage.until_replicas(name, large, SOON).await?;
        until_last_event(stage, name, large).await?;
    }
    let (seconds, after) = (began.elapsed().as_secs(), Counts::of(stage, &proxy, &names).await?);
    let (sizes, all_sizes) = difference(&before.sizes, &after.sizes);
    let (statuses, all_statuses) = difference(&before.statuses, &after.statuses);
    let (events, objects) = events_by_kind(stage).await?;
    let most_events = events.values().max().copied().unwrap_or_default();
    let figures = format!(
        "in {seconds} s {all_sizes} sizes by {} requests ({sizes} of one target at most), {} \
         events in {objects} objects ({most_events} of a kind at most), {all_statuses} statuses ({statuses} of one at \
         most); a neighbour after {:.1} s",
        after.tries - before.tries,
        after.events - before.events,
        reaction.as_secs_f64(),
    );
    ensure!(sizes <= seconds / 2 + 3, "too many sizes: {figures}");
    ensure!(most_events <= seconds / 10 + 3, "too many events: {figures}");
    ensure!(statuses <= seconds + 1, "too many statuses: {figures}");
    ensure!(reaction <= ON_TIME, "the neighbour is late: {figures}");
    Ok(figures)
}

/// Swings the page, and leaves it with much load. Returns the time that the size of the neighbour
/// took meanwhile.
async fn swing(stage: &Stage) -> Result<Duration> {
    let end = Instant::now() + TIME;
    let swinging = async {
        while Instant::now() < end {
            for (_, load) in SIZES {
                stage.waiting(SOURCE, load);
                tokio::time::sleep(SWING).await;
            }
        }
    };
    let neighbour = async {
        tokio::time::sleep(TIME / 2).await;
        let began = Instant::now();
        stage.waiting("neighbour", 11);
        stage.until_replicas("neighbour", 3, SOON).await?;
        Ok(began.elapsed())
    };
    let ((), reaction) = tokio::join!(swinging, neighbour);
    reaction
}

/// The writes so far.
struct Counts {
    /// The changes of each target's spec.
    sizes: Vec<u64>,
    /// The requests for them. Those that met a conflict are tried again.
    tries: usize,
    /// The requests for each status.
    statuses: Vec<u64>,
    /// The requests for events.
    events: usize,
}

impl Counts {
    async fn of(stage: &Stage, proxy: &ApiProxy, names: &[String]) -> Result<Self> {
        let targets = stage.api::<StatefulSet>();
        let mut counts = Self {
            sizes: Vec::new(),
            tries: 0,
            statuses: Vec::new(),
            events: proxy.count_below(&["POST", "PATCH"], "/events"),
        };
        for name in names {
            let generation = targets.get(name).await?.metadata.generation;
            counts.sizes.push(generation.unwrap_or_default().cast_unsigned());
            counts.tries += proxy.count("PATCH", &format!("/statefulsets/{name}/scale"), false);
            let status = format!("/llmautoscalers/{name}/status");
            counts.statuses.push(proxy.count("PATCH", &status, false) as u64);
        }
        Ok(counts)
    }
}

/// Returns the most of one target in between, and those of all targets.
fn difference(before: &[u64], after: &[u64]) -> (u64, u64) {
    let each = || before.iter().zip(after).map(|(before, after)| after - before);
    (each().max().unwrap_or_default(), each().sum())
}

/// Counts the events of each object and reason, repetitions included, and their objects.
async fn events_by_kind(stage: &Stage) -> Result<(HashMap<(String, String), u64>, usize)> {
    let (mut counts, mut objects) = (HashMap::new(), 0);
    for event in stage.api::<Event>().list(&ListParams::default()).await? {
        let about = event.regarding.unwrap_or_default();
        if about.kind.as_deref() != Some("LLMAutoscaler") {
            continue;
        }
        let kind = (about.name.unwrap_or_default(), event.reason.unwrap_or_default());
        let count = event.series.map_or(1, |series| series.count);
        *counts.entry(kind).or_default() += u64::try_from(count).context("a negative count")?;
        objects += 1;
    }
    Ok((counts, objects))
}

/// Waits until the latest event about a size tells this one.
async fn until_last_event(stage: &Stage, name: &str, replicas: i32) -> Result<()> {
    let what = format!("the last event about {name} to tell {replicas} replicas");
    wait::until(&what, SOON, async || {
        let events = stage.api::<Event>().list(&ListParams::default()).await?.items;
        let about = |event: &&Event| {
            event.reason.as_deref() == Some("SuccessfulRescale")
                && event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(name)
        };
        let latest = events.iter().filter(about).max_by_key(|event| last_seen(event));
        let note = latest.and_then(|event| event.note.as_deref()).unwrap_or_default();
        Ok(note.starts_with(&format!("New size: {replicas};")).then_some(()))
    })
    .await
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    series.or(event.event_time.as_ref().map(|at| at.0))
}
