//! Rules of prometheus-adapter and of ack-alibaba-cloud-metrics-adapter: from the name of a metric
//! in a HorizontalPodAutoscaler to the PromQL behind it.

mod naming;
mod rule;

use serde_json::{Map, Value, json};

use crate::{comment::Comments, field::Field};

pub(crate) use rule::{Asked, Rule, pods_of};

/// The chart's address of the server, where the values have none.
const CHART_URL: &str = "http://prometheus.default.svc";
/// The chart's port.
const CHART_PORT: i64 = 9090;

/// The rules of all documents.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub custom: Vec<Rule>,
    pub external: Vec<Rule>,
    /// True if the adapter makes metrics of all series of pods by itself.
    pub has_defaults: bool,
    /// The server that the adapter queries.
    pub server: Option<Map<String, Value>>,
}

/// The form of a document with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Values of the chart of prometheus-adapter.
    Values,
    /// Values of ack-alibaba-cloud-metrics-adapter.
    AckValues,
    /// The adapter's own configuration, `config.yaml`.
    Config,
}

/// Returns the form of a document that is no Kubernetes object; `None` if it has no rules.
pub(crate) fn form(root: &Field) -> Option<Form> {
    if root.at(&["AlibabaCloudMetricsAdapter"]).exists() {
        return Some(Form::AckValues);
    }
    let rules = root.get("rules");
    let is_config = ["externalRules", "resourceRules"].iter().any(|key| root.get(key).exists());
    if is_config || !rules.items().is_empty() {
        return Some(Form::Config);
    }
    rules.exists().then_some(Form::Values)
}

impl Rules {
    /// Reads the rules of a document.
    pub(crate) fn add(&mut self, root: &Field, form: Form, comments: &mut Comments) {
        let before = (self.custom.len(), self.external.len());
        self.read(root, form, comments);
        summary(before, self, comments);
    }

    fn read(&mut self, root: &Field, form: Form, comments: &mut Comments) {
        match form {
            Form::Config => {
                self.list(&root.get("rules"), &root.get("externalRules"), comments);
                resource_rules(&root.get("resourceRules"), comments);
            }
            Form::Values => {
                self.values(&root.get("rules"), true, comments);
                self.server = server(&root.get("prometheus"), comments);
                unrelated(root, &["rules", "prometheus"], comments);
            }
            Form::AckValues => {
                let adapter = root.get("AlibabaCloudMetricsAdapter");
                let prometheus = adapter.get("prometheus");
                if prometheus.get("enabled").flag() == Some(false) {
                    let text = "the adapter queried no Prometheus, so its rules were not in use.";
                    comments.note(prometheus.get("enabled").path(), text);
                }
                self.values(&prometheus.at(&["adapter", "rules"]), false, comments);
                self.server = ack_server(&prometheus, comments);
                unrelated(&prometheus.get("adapter"), &["rules"], comments);
                let known = ["enabled", "url", "prometheusHeader", "adapter"];
                unrelated(&prometheus, &known, comments);
                unrelated(&adapter, &["prometheus"], comments);
                unrelated(root, &["AlibabaCloudMetricsAdapter"], comments);
            }
        }
    }

    fn values(&mut self, rules: &Field, default: bool, comments: &mut Comments) {
        self.has_defaults |= rules.get("default").flag().unwrap_or(default);
        self.list(&rules.get("custom"), &rules.get("external"), comments);
        resource_rules(&rules.get("resource"), comments);
        let existing = rules.get("existing");
        if let Some(name) = existing.text().filter(|name| !name.is_empty()) {
            let text = format!(
                "the rules are in the ConfigMap {name}: give that too (kubectl get configmap \
                 {name} -o yaml)."
            );
            comments.lost(existing.path(), text);
        }
    }

    fn list(&mut self, custom: &Field, external: &Field, comments: &mut Comments) {
        let mut read = |list: &Field| -> Vec<Rule> {
            list.items().iter().filter_map(|field| Rule::read(field, comments)).collect()
        };
        let (custom, external) = (read(custom), read(external));
        self.custom.extend(custom);
        self.external.extend(external);
    }
}

/// Comments on a document: its rules by themselves scale nothing.
fn summary(from: (usize, usize), rules: &Rules, comments: &mut Comments) {
    let default = if rules.has_defaults { "makes" } else { "does not make" };
    let url = rules.server.as_ref().and_then(|server| server.get("url")).and_then(Value::as_str);
    let text = format!(
        "rules of a metrics adapter scale nothing by themselves: they become part of the objects \
         whose metrics use them. The adapter queries {}, and {default} metrics of all series by its \
         default rules.",
        url.unwrap_or("a server that is not named here")
    );
    comments.note("", text);
    for rule in rules.custom.iter().skip(from.0).chain(rules.external.iter().skip(from.1)) {
        comments.note(&rule.field, rule.summary());
    }
}

/// The rules for CPU and memory make `kubectl top` work, and metrics of type Resource.
fn resource_rules(rules: &Field, comments: &mut Comments) {
    if rules.exists() && !rules.entries().is_empty() {
        let text = format!(
            "{}: no LLMAutoscaler needs rules for CPU and memory. kubectl top and other \
             HorizontalPodAutoscalers may.",
            rules.quote()
        );
        comments.note(rules.path(), text);
    }
}

/// Comments on values that are about the adapter and not about metrics.
fn unrelated(field: &Field, known: &[&str], comments: &mut Comments) {
    for (key, value) in field.entries() {
        if !known.contains(&key.as_str()) {
            value.dismiss();
            let text = "a setting of the adapter itself, which an LLMAutoscaler does not need.";
            comments.note(value.path(), text);
        }
    }
}

fn server(prometheus: &Field, comments: &mut Comments) -> Option<Map<String, Value>> {
    let [url, port, path] = ["url", "port", "path"].map(|key| prometheus.get(key));
    let base = url.text().unwrap_or_else(|| CHART_URL.to_owned());
    let base = base.trim_end_matches('/').to_owned();
    // The chart leaves out port 0.
    let number = port.within(0..=65_535).unwrap_or(CHART_PORT);
    let port = if number > 0 { format!(":{number}") } else { String::new() };
    let path = path.text().unwrap_or_default();
    unrelated(prometheus, &["url", "port", "path"], comments);
    named(&format!("{base}{port}{path}"), url.path(), comments)
}

fn ack_server(prometheus: &Field, comments: &mut Comments) -> Option<Map<String, Value>> {
    let url = prometheus.get("url");
    let mut server = named(&url.text()?, url.path(), comments)?;
    let header = prometheus.get("prometheusHeader");
    let mut names = Vec::new();
    for item in header.items() {
        names.extend(item.entries().into_iter().map(|(name, _)| name));
    }
    // The values are credentials: they stay out of the result and out of comments.
    header.dismiss();
    if !names.is_empty() {
        let from = names.iter().map(|name| {
            let key = json!({"name": "prometheus-headers", "key": name});
            json!({"name": name, "secretKeyRef": key})
        });
        server.insert("headersFrom".to_owned(), from.collect());
        let text = format!(
            "credentials belong in a Secret: create prometheus-headers with the keys {} and the \
             values of these headers, and bind the role llm-autoscaler-credentials to it \
             (docs/sources.md, Credentials).",
            names.join(", ")
        );
        comments.changed(header.path(), text);
    }
    Some(server)
}

/// Returns whether a source can have an address: a scheme, a host, and a path.
fn is_url(url: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let (host, path) =
        rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))).unwrap_or_default();
    let is_plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || "?#".contains(c));
    !host.is_empty() && !host.contains('@') && is_plain(host) && is_plain(path) && url.len() <= 2048
}

/// Returns a server by its address, if a source can have it.
pub(crate) fn named(url: &str, field: &str, comments: &mut Comments) -> Option<Map<String, Value>> {
    let url = url.trim().trim_end_matches('/');
    if !is_url(url) {
        let text = "the address of a source is http:// or https:// with a host and a path, \
                    without credentials and parameters. Queries have no source without it.";
        comments.lost(field, text);
        return None;
    }
    let mut server = Map::new();
    server.insert("url".to_owned(), json!(url));
    Some(server)
}
