//! One series of a page, and the series that are likely to tell the load.

use std::fmt::Write;

use anyhow::Context;
use llm_autoscaler_engines::{
    GatewayProfile, Kind, LikelyGauge, Recipe, UnfitSeries,
    exposition::{
        Extractor, LabelMismatch, ListedSeries, Scratch, Value as Quantity, declared_type, kind_of,
        list_series, parse_series,
    },
    likely_gauges,
};
use serde_json::{Value, json};

/// The number of series, or of likely names, that are printed.
const SHOWN: usize = 20;

/// A series of a page, as a metric with `series` reads it.
pub(super) struct Found {
    text: String,
    kind: Kind,
    declared: Option<String>,
    value: Quantity,
    /// The series that were added up; a histogram's are its buckets.
    series: Vec<ListedSeries>,
    mismatch: Option<LabelMismatch>,
}

/// Reads the series that `text` selects, such as `queue{model="a"}`.
///
/// # Errors
/// The text is not a series, or the page is not a metrics page.
pub(super) fn find(page: &[u8], text: &str) -> anyhow::Result<Found> {
    let (name, labels) = parse_series(text)
        .with_context(|| format!("{text:?} is not a series such as name{{label=\"value\"}}"))?;
    let declared = declared_type(page, &name);
    let kind = kind_of(&name, declared.as_deref());
    let recipe = Recipe::series(kind, &name, labels.clone());
    let mut out = Vec::new();
    Extractor::new(std::slice::from_ref(&recipe)).read(page, &mut Scratch::default(), &mut out)?;
    let value = out.pop().unwrap_or_default().value;
    let family = if kind == Kind::Histogram { format!("{name}_bucket") } else { name };
    let is_selected = |series: &ListedSeries| {
        let value = |wanted: &String| series.labels.iter().find(|(name, _)| name == wanted);
        let value = |wanted| value(wanted).map_or("", |(_, value)| value.as_str());
        series.name == family && labels.iter().all(|(name, wanted)| value(name) == wanted)
    };
    let series = list_series(page).into_iter().filter(is_selected).collect();
    let mismatch = LabelMismatch::find(page, &recipe);
    Ok(Found { text: text.to_owned(), kind, declared, value, series, mismatch })
}

/// Lists the gauges of a page that may tell the load, with their sums; empty if there are none.
pub(super) fn likely(page: &[u8]) -> String {
    let mut text = String::new();
    for LikelyGauge { name, series, sum } in likely_gauges(page).iter().take(SHOWN) {
        let _ = writeln!(text, "  {name:<44} {sum}   gauge, {series} series");
    }
    if text.is_empty() { text } else { format!("gauges that may tell the load:\n{text}") }
}

impl Found {
    /// Returns true if the series has a value.
    pub(super) fn is_read(&self) -> bool {
        self.value != Quantity::Absent
    }

    pub(super) fn text(&self, page: &str) -> String {
        let value = match &self.value {
            Quantity::Absent => "missing".to_owned(),
            Quantity::Number(number) => number.to_string(),
            Quantity::Buckets(buckets) => {
                let p90 = buckets.quantile(0.9).map_or("-".to_owned(), |p90| p90.to_string());
                format!("p90 {p90} of {} events since its start", buckets.events())
            }
        };
        let declared = self.declared.as_deref().unwrap_or("none");
        let (kind, count) = (self.kind.name(), self.series.len());
        let mut text = format!("{page}: {}\n  value   {value}\n", self.text);
        let _ = writeln!(text, "  kind    {kind} (# TYPE: {declared})\n  series  {count}");
        for series in self.series.iter().take(SHOWN) {
            let _ = writeln!(text, "    {{{}}} {}", labels(series), series.value);
        }
        if count > SHOWN {
            let _ = writeln!(text, "    and {} more", count - SHOWN);
        }
        if let Some(LabelMismatch { series, wanted, found }) = &self.mismatch {
            let found = found.join(" and ");
            let _ = writeln!(text, "  the page has {series}, but not with {wanted}: {found}");
        }
        let name = self.text.split('{').next().unwrap_or_default();
        if let Some((gateway, UnfitSeries { why, instead, .. })) = GatewayProfile::of_unfit(name) {
            let (signal, gateway) = (instead.info().name, gateway.table.name);
            let _ = writeln!(text, "  it {why}: read {signal} by gateway: {gateway}");
        }
        text
    }

    pub(super) fn as_json(&self, page: &str, bytes: usize) -> Value {
        let value = super::quantity_json(&self.value);
        let of = |series: &ListedSeries| {
            let labels = series.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
            json!({
                "labels": labels.collect::<serde_json::Map<_, _>>(),
                "value": series.value.is_finite().then_some(series.value),
            })
        };
        json!({
            "page": page,
            "bytes": bytes,
            "series": self.text,
            "kind": self.kind.name(),
            "declaredType": self.declared,
            "value": value,
            "count": self.series.len(),
            "found": self.series.iter().map(of).collect::<Vec<_>>(),
        })
    }
}

fn labels(series: &ListedSeries) -> String {
    let labels = series.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    labels.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = b"# TYPE queue gauge\nqueue{m=\"a\",rank=\"0\"} 3\nqueue{m=\"a\"} 4\n\
        queue{m=\"b\"} 9\n# TYPE t histogram\nt_bucket{le=\"1\"} 5\nt_bucket{le=\"+Inf\"} 5\n\
        t_count 5\nt_sum 2\nrequests_total 7\nrequests_active 2\nup 1\n";

    #[test]
    fn a_series_has_a_value_a_kind_a_count_and_labels() {
        for (text, kind, value, count) in [
            ("queue{m=\"a\"}", "gauge", json!(7.0), 2),
            ("queue", "gauge", json!(16.0), 3),
            ("requests_total", "counter", json!(7.0), 1),
            ("queue{m=\"c\"}", "gauge", Value::Null, 0),
            ("nothing", "gauge", Value::Null, 0),
        ] {
            let found = find(PAGE, text).unwrap();
            let json = found.as_json("page", PAGE.len());
            let shown = (json["kind"].clone(), json["value"].clone(), json["count"].clone());
            assert_eq!(shown, (json!(kind), value.clone(), json!(count)), "{text}");
            assert_eq!(found.is_read(), !value.is_null(), "{text}");
        }
        let text = find(PAGE, "queue{m=\"a\"}").unwrap().text("page");
        assert!(text.contains("    {m=\"a\",rank=\"0\"} 3\n"), "{text}");
        let text = find(PAGE, "queue{m=\"c\"}").unwrap().text("page");
        assert!(text.ends_with("but not with m=\"c\": m=\"a\" and m=\"b\"\n"), "{text}");
        let stale = b"smg_engine_waiting_requests{worker=\"w\"} 16\n";
        let text = find(stale, "smg_engine_waiting_requests{worker=\"w\"}").unwrap().text("page");
        assert!(text.ends_with("read WaitingRequests by gateway: SMG\n"), "{text}");
        assert!(find(PAGE, "t").unwrap().text("page").contains("of 5 events"));
        assert!(find(PAGE, "sum(queue)").is_err() && find(b"<html>\n", "queue").is_err());
    }

    #[test]
    fn gauges_with_a_likely_name_are_listed() {
        let text = likely(PAGE);
        assert!(text.contains("  queue ") && text.contains("  requests_active "), "{text}");
        assert!(!text.contains("requests_total") && !text.contains(" up "), "{text}");
        assert_eq!(likely(b"up 1\n"), "");
    }
}
