//! The metrics of the result: signals of the engine, series by their names, or queries.

use llm_autoscaler_engines::{Engine, Fold, Kind, Signal};
use serde_json::{Value, json};

use super::{Draft, Metric, Page, Reading};
use crate::{comment::Comments, promql::Matcher, signals};

impl Draft {
    /// Returns the engine that has the most metrics as signals, else the one that a series begins
    /// with, else Custom.
    pub(super) fn engine(&self) -> Engine {
        let pages = || {
            self.metrics.iter().filter_map(|metric| match &metric.reading {
                Reading::Page(page) => Some(page),
                Reading::Query { .. } => None,
            })
        };
        let count = |engine: Engine| pages().filter(|page| page.signal(engine).is_some()).count();
        let counts = Engine::ALL.map(|engine| (count(engine), engine));
        // Of engines with the same count the first of the documentation.
        let best = counts.into_iter().rev().max_by_key(|(count, _)| *count);
        if let Some((1.., engine)) = best {
            return engine;
        }
        let named = pages().flat_map(|page| &page.names).find_map(|name| signals::by_prefix(name));
        let queried = || {
            self.metrics.iter().find_map(|metric| match &metric.reading {
                Reading::Query { query, .. } => signals::within(query),
                Reading::Page(_) => None,
            })
        };
        named.or_else(queried).unwrap_or(Engine::Custom)
    }

    /// Returns the metrics as a spec has them. One that the engine cannot have is left out.
    pub(super) fn metrics(&mut self, engine: Engine, comments: &mut Comments) -> Vec<Value> {
        let (mut found, mut names) = (Vec::new(), Vec::<String>::new());
        for metric in std::mem::take(&mut self.metrics) {
            let Some((usual, mut value)) = metric.value(engine, comments) else {
                let text = "these series are no signal of the engine and cannot be added up, so \
                            the metric is left out.";
                self.leave_out(comments, &metric.field, text);
                continue;
            };
            let is_query = matches!(metric.reading, Reading::Query { .. });
            let mut name = shortened(&usual);
            let repeats = names.iter().filter(|known| **known == name).count();
            if repeats > 0 {
                name = format!("{}-{}", &shortened(&name), repeats + 1);
            }
            names.push(shortened(&usual));
            value["name"] = json!(name);
            found.push((is_query || metric.is_named, value));
            self.metrics.push(metric);
        }
        let is_only = found.len() == 1;
        let unnamed = |(is_named, mut value): (bool, Value)| {
            if let (true, false, Some(map)) = (is_only, is_named, value.as_object_mut()) {
                map.remove("name");
            }
            value
        };
        found.into_iter().map(unnamed).collect()
    }
}

/// Returns a name of at most 59 bytes, so that a number fits behind it.
fn shortened(name: &str) -> String {
    let mut end = name.len().min(59);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

impl Metric {
    /// Returns the metric's usual name and its fields.
    fn value(&self, engine: Engine, comments: &mut Comments) -> Option<(String, Value)> {
        let page = match &self.reading {
            Reading::Query { query, is_value } => {
                let value = json!({"query": query, "target": target(*is_value, &self.target)});
                return Some((self.name.clone(), value));
            }
            Reading::Page(page) => page,
        };
        let (usual, mut value) = if let Some(signal) = page.signal(engine) {
            advise(signal, page, &self.field, comments);
            let usual =
                if self.is_named { self.name.clone() } else { signals::metric_name(signal) };
            (usual, json!({"signal": signal.info().name}))
        } else {
            let [name] = &page.names[..] else { return None };
            (self.name.clone(), json!({"series": page.series(name)?}))
        };
        if let Some(window) = page.window {
            value["windowSeconds"] = json!(window.clamp(1, 3600));
        }
        if let Some(percentile) = page.percentile {
            value["percentile"] = json!(percentile);
        }
        value["target"] = target(page.percentile.is_some(), &self.target);
        Some((usual, value))
    }
}

fn target(is_value: bool, target: &str) -> Value {
    if is_value {
        json!({"type": "Value", "value": target})
    } else {
        json!({"type": "AverageValue", "averageValue": target})
    }
}

/// Comments on what a signal does that its series alone did not.
fn advise(signal: Signal, page: &Page, field: &str, comments: &mut Comments) {
    let series = page.names.join(" + ");
    let name = signal.info().name;
    comments.better(
        field,
        format!(
            "{series} is the signal {name}: read from the pods' own pages every 2 s, under the \
             names of all versions of the engine, without Prometheus in between."
        ),
    );
    if signal == Signal::WaitingRequests {
        let text = "WaitingRequests is 0 until a replica is full. The signal InFlightRequests \
                    (running and waiting, such as 32 per replica) grows with the load before that.";
        comments.better(field, text);
    }
}

impl Page {
    /// Returns the signal of an engine that this is. Labels of the series make it another number.
    fn signal(&self, engine: Engine) -> Option<Signal> {
        let is_whole = self.matchers.is_empty();
        let is_known = self.names.iter().all(|name| signals::has_prefix(name));
        let def = signals::signal(engine, &self.names, self.kind).filter(|_| is_whole && is_known);
        def.map(|def| def.signal)
    }

    /// Returns how several series on one page are folded, if this is a signal of some engine.
    pub(crate) fn fold(&self) -> Option<Fold> {
        Engine::ALL.into_iter().find_map(|engine| {
            self.signal(engine)?;
            signals::signal(engine, &self.names, self.kind).map(|def| def.fold)
        })
    }

    /// Returns the series by its name; `None` if its labels cannot be written down.
    fn series(&self, name: &str) -> Option<Value> {
        let mut series = json!({"name": name});
        let usual = Kind::of_name(name, false);
        if self.kind != usual {
            series["type"] = json!(match self.kind {
                Kind::Gauge => "Gauge",
                Kind::Counter => "Counter",
                Kind::Histogram => "Histogram",
            });
        }
        if self.matchers.is_empty() {
            return Some(series);
        }
        let (mut labels, mut expressions) = (serde_json::Map::new(), Vec::new());
        for Matcher { label, op, value } in &self.matchers {
            let is_taken = labels.contains_key(label);
            match op.as_str() {
                "=" if !value.is_empty() && !is_taken => {
                    labels.insert(label.clone(), json!(value));
                }
                op => {
                    let values = alternatives(op, value)?;
                    let is_in = op == "=" || op == "=~";
                    let operator = match (is_in, &values[..]) {
                        (true, [only]) if only.is_empty() => "DoesNotExist",
                        (false, [only]) if only.is_empty() => "Exists",
                        (true, _) => "In",
                        (false, _) => "NotIn",
                    };
                    let mut requirement = json!({"key": label, "operator": operator});
                    if operator.ends_with("In") {
                        requirement["values"] = json!(values);
                    }
                    expressions.push(requirement);
                }
            }
        }
        let mut selector = json!({});
        if !labels.is_empty() {
            selector["matchLabels"] = Value::Object(labels);
        }
        if !expressions.is_empty() {
            selector["matchExpressions"] = json!(expressions);
        }
        series["selector"] = selector;
        Some(series)
    }

    /// Returns whether the requirements for labels can be written down.
    pub(crate) fn is_selectable(&self) -> bool {
        self.matchers.iter().all(|matcher| alternatives(&matcher.op, &matcher.value).is_some())
    }
}

/// Returns the values that a matcher names: one, or those of a regular expression without any
/// character that has a meaning except `|`.
fn alternatives(op: &str, value: &str) -> Option<Vec<String>> {
    if !op.ends_with('~') {
        return Some(vec![value.to_owned()]);
    }
    let is_text = |text: &str| !text.is_empty() && regex::escape(text) == text.replace('-', "\\-");
    let values: Vec<String> = value.split('|').map(str::to_owned).collect();
    values.iter().all(|text| is_text(text)).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(matchers: &[(&str, &str, &str)]) -> Page {
        let matcher = |(label, op, value): &(&str, &str, &str)| Matcher {
            label: (*label).to_owned(),
            op: (*op).to_owned(),
            value: (*value).to_owned(),
        };
        Page {
            names: vec!["a".to_owned()],
            matchers: matchers.iter().map(matcher).collect(),
            kind: Kind::Gauge,
            window: None,
            percentile: None,
        }
    }

    #[test]
    fn labels_are_requirements() {
        let found = page(&[("x", "=", "1"), ("y", "=~", "b|c-d"), ("z", "!=", ""), ("w", "=", "")]);
        assert!(found.is_selectable());
        let expected = json!({
            "name": "a",
            "selector": {
                "matchLabels": {"x": "1"},
                "matchExpressions": [
                    {"key": "y", "operator": "In", "values": ["b", "c-d"]},
                    {"key": "z", "operator": "Exists"},
                    {"key": "w", "operator": "DoesNotExist"},
                ],
            },
        });
        assert_eq!(found.series("a"), Some(expected));
        assert!(!page(&[("x", "=~", "b.*")]).is_selectable());
        assert_eq!(page(&[("x", "=~", "b.*")]).series("a"), None);
    }
}
