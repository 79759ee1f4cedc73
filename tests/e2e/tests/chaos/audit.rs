//! The audit log of the API server, as requests of the copies.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{copies::COPIES, evidence::Request, recorder::Recorder};

/// Reads the requests of the copies, by the time of their answers.
pub(crate) fn read(path: &Path, recorder: &Recorder) -> Result<Vec<Request>> {
    let file =
        File::open(path).with_context(|| format!("reading the audit log {}", path.display()))?;
    let mut requests = Vec::new();
    for line in BufReader::new(file).lines() {
        // A line that was being written when the API server was killed is no JSON.
        let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
        requests.extend(parse(&event, recorder));
    }
    requests.sort_by(|a, b| a.answered.total_cmp(&b.answered));
    Ok(requests)
}

fn parse(event: &Value, recorder: &Recorder) -> Option<Request> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let time =
        |value: &Value| Some(recorder.second(value.as_str()?.parse::<DateTime<Utc>>().ok()?));
    let agent = event["userAgent"].as_str()?;
    let process = agent.strip_prefix("llm-autoscaler/")?.split_once(" (operator; ")?.1;
    let process = process.trim_end_matches(')');
    if !process.starts_with(COPIES) || event["stage"].as_str() != Some("ResponseComplete") {
        return None;
    }
    let object = &event["objectRef"];
    let mut resource = text(&object["resource"]);
    if let Some(subresource) = object["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    let body = &event["requestObject"];
    Some(Request {
        process: process.to_owned(),
        verb: text(&event["verb"]),
        resource,
        object: format!("{}/{}", text(&object["namespace"]), text(&object["name"])),
        code: event["responseStatus"]["code"].as_i64()?,
        received: time(&event["requestReceivedTimestamp"])?,
        answered: time(&event["stageTimestamp"])?,
        size: body["spec"]["replicas"].as_i64().and_then(|size| size.try_into().ok()),
        version: body["metadata"]["resourceVersion"].as_str().map(str::to_owned),
        ready: ready(body),
    })
}

/// Returns the status of the condition `Ready` that is written.
fn ready(body: &Value) -> Option<bool> {
    let conditions = body["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}
