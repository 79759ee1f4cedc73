//! The conditions, events and values of an autoscaler in a form that can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use anyhow::{Result, ensure};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, events::v1::Event};
use kube::api::ListParams;
use llm_autoscaler_e2e::Stage;
use serde_json::{Value, json};

/// The condition types of an HPA.
const CONDITIONS: [&str; 4] = ["AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"];
/// The prefix of messages that continue with the reason why a metric could not be read.
const UNREADABLE: &str = "unable to get metric vllm:num_requests_waiting: ";
/// The reason of the events that ours may leave out of a series.
const RESCALE: &str = "SuccessfulRescale";

/// The conditions, the events and the values of an autoscaler.
pub(crate) struct View {
    /// Status, reason and message of each condition, by type.
    conditions: BTreeMap<String, String>,
    /// Type, reason and note of each event.
    events: BTreeSet<String>,
    /// The current size, the desired size, and the metric's value.
    values: Value,
}

impl View {
    /// Returns the view of an HPA.
    pub(crate) async fn of_hpa(stage: &Stage, name: &str) -> Result<Self> {
        let status =
            stage.api::<HorizontalPodAutoscaler>().get(name).await?.status.unwrap_or_default();
        let conditions = status.conditions.into_iter().flatten().map(|condition| {
            let (reason, message) = (condition.reason, condition.message);
            (
                condition.type_,
                condition.status,
                reason.unwrap_or_default(),
                message.unwrap_or_default(),
            )
        });
        let metric = status.current_metrics.into_iter().flatten().next();
        let metric =
            metric.and_then(|metric| metric.pods?.current.average_value).map(|value| value.0);
        Ok(Self {
            conditions: texts(name, conditions),
            events: events(stage, "HorizontalPodAutoscaler", name).await?,
            values: json!([status.current_replicas, status.desired_replicas, metric]),
        })
    }

    /// Returns the view of an LLMAutoscaler.
    pub(crate) async fn of_ours(stage: &Stage, name: &str) -> Result<Self> {
        let status = stage.status(name).await?;
        let conditions = status.conditions.into_iter().map(|condition| {
            (condition.type_, condition.status, condition.reason, condition.message)
        });
        let metric = status.targets.first().and_then(|target| target.metrics.first()).cloned();
        Ok(Self {
            conditions: texts(name, conditions),
            events: events(stage, "LLMAutoscaler", name).await?,
            values: json!([
                status.current_replicas,
                status.desired_replicas,
                metric.and_then(|m| m.current)
            ]),
        })
    }

    /// Checks that this view, which is an HPA's, equals ours.
    pub(crate) fn agrees(&self, ours: &Self, strict: bool) -> Result<()> {
        let (mut hpa_says, mut our_conditions) = (self.conditions.clone(), ours.conditions.clone());
        if !strict
            && our_conditions
                .get("AbleToScale")
                .is_some_and(|text| text.contains("SucceededRescale"))
        {
            hpa_says.remove("AbleToScale");
            our_conditions.remove("AbleToScale");
        }
        same("conditions", &hpa_says, &our_conditions)?;
        let (hpa_tells, ours_tell) = (&self.events, &ours.events);
        let mut left_out = hpa_tells.difference(ours_tell);
        let agrees =
            ours_tell.is_subset(hpa_tells) && left_out.all(|event| event.contains(RESCALE));
        ensure!(agrees, "events differ:\n  HPA  {hpa_tells:#?}\n  ours {ours_tell:#?}");
        if strict {
            same("sizes and values", &self.values, &ours.values)?;
        }
        Ok(())
    }
}

fn same<T: PartialEq + Debug>(what: &str, hpa: &T, ours: &T) -> Result<()> {
    ensure!(hpa == ours, "{what} differ:\n  HPA  {hpa:#?}\n  ours {ours:#?}");
    Ok(())
}

/// Returns the condition types of an HPA, each formatted as one text.
fn texts(
    name: &str,
    conditions: impl Iterator<Item = (String, String, String, String)>,
) -> BTreeMap<String, String> {
    conditions
        .filter(|(type_, ..)| CONDITIONS.contains(&type_.as_str()))
        .map(|(type_, status, reason, message)| {
            (type_, format!("{status} {reason}: {}", comparable(name, &message)))
        })
        .collect()
}

async fn events(stage: &Stage, kind: &str, name: &str) -> Result<BTreeSet<String>> {
    let events = stage.api::<Event>().list(&ListParams::default()).await?;
    let about = |event: &Event| {
        let object = event.regarding.clone().unwrap_or_default();
        object.kind.as_deref() == Some(kind) && object.name.as_deref() == Some(name)
    };
    let text = |event: Event| {
        let [type_, reason, note] =
            [event.type_, event.reason, event.note].map(Option::unwrap_or_default);
        format!("{type_} {reason}: {}", comparable(name, &note))
    };
    Ok(events.items.into_iter().filter(about).map(text).collect())
}

/// Returns a message up to the part that is not compared, without the twin's name.
fn comparable(name: &str, message: &str) -> String {
    let end = message.find(UNREADABLE).map_or(message.len(), |at| at + UNREADABLE.len());
    message[..end].replace(&format!("\"{name}\""), "\"TARGET\"")
}
