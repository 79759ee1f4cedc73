//! An LLMAutoscaler in the making.

mod metrics;

use llm_autoscaler_api::{LLMAutoscalerSpec, PAUSED, Quantity, parse_spec};
use llm_autoscaler_core::{Milli, Profile};
use llm_autoscaler_engines::Kind;
use serde_json::{Map, Value, json};

use crate::{comment::Comments, options::Options, promql::Matcher};

/// What the converters of all kinds fill in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// The name of the result.
    pub name: String,
    pub namespace: Option<String>,
    /// `apiVersion`, `kind` and `name` of the target.
    pub target: Option<[String; 3]>,
    /// The label that groups the pods of a replica.
    pub group_label: Option<String>,
    pub min: i64,
    pub max: i64,
    /// With `min` 0: the time without requests after which the last replica goes.
    pub to_zero_after: Option<i64>,
    pub metrics: Vec<Metric>,
    /// Settings of the source that scrapes the pods.
    pub scrape: Map<String, Value>,
    /// The Prometheus server that queries are sent to.
    pub prometheus: Option<Map<String, Value>>,
    pub behavior: Map<String, Value>,
    pub fallback: Option<Value>,
    /// True if the result writes nothing until the annotation is removed.
    pub is_paused: bool,
}

/// A metric of the input.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    /// The path of the input's metric.
    pub field: String,
    /// The name for a query, and for one metric among several.
    pub name: String,
    /// True if the input has given it that name.
    pub is_named: bool,
    pub reading: Reading,
    /// The target, a quantity.
    pub target: String,
}

/// The way to read a metric.
#[derive(Clone, Debug)]
pub(crate) enum Reading {
    /// From the pages of the pods, with a target per replica; a percentile has one of the service.
    Page(Page),
    /// By a query; `is_value` if its result is one value of the service.
    Query { query: String, is_value: bool },
}

/// Series of the pods' pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The series, which are added up.
    pub names: Vec<String>,
    /// Requirements for their labels.
    pub matchers: Vec<Matcher>,
    pub kind: Kind,
    pub window: Option<u32>,
    pub percentile: Option<u32>,
}

/// Returns a target if it is a quantity greater than 0.
pub(crate) fn positive(text: &str) -> Option<String> {
    let text = text.trim();
    let value = Quantity(text.to_owned()).milli().ok()?;
    (value > Milli(0) && text.len() <= 32).then(|| text.to_owned())
}

impl Draft {
    /// Leaves out a metric, and pauses the result: the metric might have kept replicas that the
    /// others would remove.
    pub(crate) fn leave_out(&mut self, comments: &mut Comments, field: &str, reason: &str) {
        comments.lost(field, reason);
        self.is_paused = true;
    }

    /// Sets the Prometheus server; false if there is another one already.
    pub(crate) fn ask(&mut self, server: &Map<String, Value>) -> bool {
        *self.prometheus.get_or_insert_with(|| server.clone()) == *server
    }

    /// Completes the object. Returns none, and says why, if it would be refused.
    pub(crate) fn finish(mut self, comments: &mut Comments, options: &Options) -> Option<Value> {
        let Some([api_version, kind, name]) = self.target.clone() else {
            comments.lost("", "the target is not named, so there is no LLMAutoscaler");
            return None;
        };
        if self.max == 0 {
            comments.lost("", "no greatest size is given, so there is no LLMAutoscaler");
            return None;
        }
        let engine = options.engine.unwrap_or_else(|| self.engine());
        let metrics = self.metrics(engine, comments);
        if metrics.is_empty() {
            comments.lost("", "no metric can be expressed, so there is no LLMAutoscaler");
            return None;
        }
        let mut spec = json!({
            "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": name},
            "engine": engine.profile().name,
            "minReplicas": self.min,
            "maxReplicas": self.max,
            "metrics": metrics,
        });
        if options.recommend {
            spec["mode"] = json!("Recommend");
        }
        if let Some(label) = &self.group_label {
            spec["replicaPods"] = json!({"groupLabel": label});
        }
        if let Some(after) = self.to_zero_after.filter(|_| self.min == 0) {
            spec["scaleToZero"] = json!({"afterSeconds": after.clamp(1, 604_800)});
        }
        if !self.behavior.is_empty() {
            spec["behavior"] = Value::Object(self.behavior.clone());
        }
        if let Some(fallback) = &self.fallback {
            spec["fallback"] = fallback.clone();
        }
        self.sources(&mut spec, comments);
        match check(&spec) {
            Ok(()) => Some(self.object(&spec, comments)),
            Err(problem) => {
                comments.lost("", format!("the result would be refused: {problem}"));
                None
            }
        }
    }

    /// Adds the sources, where those of the default are not enough.
    fn sources(&self, spec: &mut Value, comments: &mut Comments) {
        let is_query = |metric: &Metric| matches!(metric.reading, Reading::Query { .. });
        let queries = self.metrics.iter().filter(|metric| is_query(metric)).count();
        let mut sources = Vec::new();
        let has_pages = queries < self.metrics.len();
        if has_pages && (queries > 0 || !self.scrape.is_empty()) {
            sources.push(json!({"scrape": self.scrape}));
        }
        if let Some(server) = self.prometheus.as_ref().filter(|_| queries > 0) {
            sources.push(json!({"prometheus": server}));
            // A second PodMonitor of the same pods would double what the queries add up.
            spec["podMonitor"] = json!({"mode": "Disabled"});
            let text = "podMonitor.mode is Disabled: Prometheus scrapes these pods already, and a \
                        second PodMonitor would double the sums of the queries.";
            comments.note("", text);
        }
        if !sources.is_empty() {
            spec["sources"] = Value::Array(sources);
        }
    }

    fn object(&self, spec: &Value, comments: &mut Comments) -> Value {
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        if self.is_paused {
            metadata["annotations"] = json!({PAUSED: "true"});
            let text = format!(
                "the annotation {PAUSED} keeps the operator from writing; remove it once you have \
                 read these comments."
            );
            comments.note("", text);
        }
        json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": metadata,
            "spec": spec,
        })
    }
}

/// Checks a spec as the operator does.
fn check(spec: &Value) -> Result<(), String> {
    let spec: LLMAutoscalerSpec =
        serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
    parse_spec(&spec, Profile::Default).map_err(|error| error.to_string())?;
    Ok(())
}
