//! One series of a page, and the series that are likely to tell the load.

use std::fmt::Write;

use anyhow::Context;
use llm_autoscaler_engines::{
    GatewayProfile, Kind, LikelyGauge, Recipe, UnfitSeries,
    exposition::{
        DeclaredTypes, Extract, Extractor, LabelMismatch, ListedSeries, Scratch, Value as Quantity,
        list_series, parse_series,
    },
    likely_gauges, similar_names,
};
use serde_json::{Value, json};

/// The number of series, or of likely names, that are printed.
const SHOWN: usize = 20;

/// A series of a page, as a metric with `series` reads it.
pub(super) struct Found {
    text: String,
    /// The kind by which a spec without `series.type` reads it, or with a `percentile` if that
    /// reads it only.
    kind: Kind,
    declared: Option<String>,
    /// The kind that a spec has to name in `series.type`, if it is not the one of the name.
    needs_type: Option<Kind>,
    value: Quantity,
    /// The reason why the series is on the page and has no value.
    flaw: Option<String>,
    /// The series that were added up; a histogram's are its buckets.
    series: Vec<ListedSeries>,
    mismatch: Option<LabelMismatch>,
    /// The names on the page that resemble the one that is missing.
    similar: Vec<String>,
}

/// Reads the series that `text` selects, such as `queue{model="a"}`.
///
/// # Errors
/// The text is not a series, or the page is not a metrics page.
pub(super) fn find(page: &[u8], text: &str) -> anyhow::Result<Found> {
    let (name, labels) = parse_series(text)
        .with_context(|| format!("{text:?} is not a series such as name{{label=\"value\"}}"))?;
    let all = list_series(page);
    let declared = DeclaredTypes::of(page).get(&name);
    let by_name = Kind::of_name(&name, labels.iter().any(|(label, _)| label == "le"));
    let is_family = declared.as_deref() == Some(Kind::Histogram.name())
        && by_name == Kind::Gauge
        && !all.iter().any(|series| series.name == name);
    let kind = if is_family { Kind::Histogram } else { by_name };
    let name = kind.selected_name(&name);
    let recipe = Recipe::series(kind, name, labels.clone());
    let mut out = Vec::new();
    Extractor::new(std::slice::from_ref(&recipe)).read(page, &mut Scratch::default(), &mut out)?;
    let Extract { value, contradiction, not_finite, .. } = out.pop().unwrap_or_default();
    let contradicted = contradiction.map(|found| found.describe(&recipe));
    let not_finite = not_finite.map(|found| found.describe(&recipe));
    let family = kind.family(name);
    let is_selected = |series: &ListedSeries| {
        let value = |wanted: &String| series.labels.iter().find(|(name, _)| name == wanted);
        let value = |wanted| value(wanted).map_or("", |(_, value)| value.as_str());
        series.name == family && labels.iter().all(|(name, wanted)| value(name) == wanted)
    };
    let mismatch = LabelMismatch::find(page, &recipe);
    let is_found = value != Quantity::Absent || not_finite.is_some() || mismatch.is_some();
    let similar = if is_found { Vec::new() } else { similar_names(page, &recipe) };
    let series = all.into_iter().filter(is_selected).collect();
    Ok(Found {
        text: text.to_owned(),
        kind,
        needs_type: match contradiction {
            Some(found) => Some(found.declaration.kind()),
            None => is_family.then_some(kind),
        },
        declared,
        value: if contradiction.is_some() { Quantity::Absent } else { value },
        flaw: contradicted.or(not_finite),
        series,
        mismatch,
        similar,
    })
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
                let beyond = if buckets.is_beyond(0.9) { ">" } else { "" };
                let p90 = buckets.quantile(0.9);
                let p90 = p90.map_or("-".to_owned(), |p90| format!("{beyond}{p90}"));
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
        if let Some(flaw) = &self.flaw {
            let _ = writeln!(text, "  {flaw}");
        }
        if let Some(kind) = self.needs_type {
            let or = if kind == Kind::Histogram { ", or a percentile" } else { "" };
            let _ = writeln!(text, "  a spec needs series.type: {}{or}", type_name(kind));
        }
        if let Some(LabelMismatch { series, wanted, found }) = &self.mismatch {
            let found = found.join(" and ");
            let _ = writeln!(text, "  the page has {series}, but not with {wanted}: {found}");
        }
        if !self.similar.is_empty() {
            let _ = writeln!(text, "  the page has {}", self.similar.join(", "));
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
            "needsType": self.needs_type.map(type_name),
            "value": value,
            "flaw": self.flaw,
            "similar": self.similar,
            "count": self.series.len(),
            "found": self.series.iter().map(of).collect::<Vec<_>>(),
        })
    }
}

/// Returns the name of a kind in `series.type` of a spec.
fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "Gauge",
        Kind::Counter => "Counter",
        Kind::Histogram => "Histogram",
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
        let text = find(PAGE, "requests_running").unwrap().text("page");
        assert!(!text.contains("queue") && !text.contains("the page has"), "{text}");
        let text = find(PAGE, "active_requests").unwrap().text("page");
        assert!(text.ends_with("  the page has requests_active\n"), "{text}");
        let stale = b"smg_engine_waiting_requests{worker=\"w\"} 16\n";
        let text = find(stale, "smg_engine_waiting_requests{worker=\"w\"}").unwrap().text("page");
        assert!(text.ends_with("read WaitingRequests by gateway: SMG\n"), "{text}");
        assert!(find(PAGE, "t").unwrap().text("page").contains("of 5 events"));
        assert!(find(PAGE, "sum(queue)").is_err() && find(b"<html>\n", "queue").is_err());
    }

    /// A spec names the series without a type, and the operator has a sample of it or not.
    #[test]
    fn a_series_is_read_as_the_operator_reads_it_without_a_type() {
        const TYPED: &[u8] = b"# TYPE my_requests counter\nmy_requests 50000\n\
            # TYPE my_lat_count gauge\nmy_lat_count 4\n# TYPE my_sum untyped\nmy_sum 4\n\
            # TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 3\n\
            h_count 4\n# TYPE g gauge\ng 1\ng_count 2\nq NaN\ni{a=\"x\"} -Inf\n";
        // the series, its kind, the type that a spec needs, the value, and the reason for none
        for (text, kind, needs_type, value, flaw) in [
            (
                "my_requests",
                "gauge",
                json!("Counter"),
                Value::Null,
                "says that my_requests is a counter, and it is read as a gauge: it is not used",
            ),
            (
                "my_lat_count",
                "counter",
                json!("Gauge"),
                Value::Null,
                "says that my_lat_count is a gauge, and it is read as a counter",
            ),
            ("my_sum", "counter", Value::Null, json!(4.0), ""),
            ("h_count", "counter", Value::Null, json!(4.0), ""),
            ("g_count", "counter", Value::Null, json!(2.0), ""),
            ("h_bucket{le=\"1\"}", "counter", Value::Null, json!(3.0), ""),
            ("q", "gauge", Value::Null, Value::Null, "q is NaN, which is no number"),
            ("i{a=\"x\"}", "gauge", Value::Null, Value::Null, "i{a=\"x\"} is -Inf, which is no"),
        ] {
            let found = find(TYPED, text).unwrap();
            let json = found.as_json("page", TYPED.len());
            assert_eq!(json["kind"], kind, "{text}");
            assert_eq!(json["needsType"], needs_type, "{text}");
            assert_eq!(json["value"], value, "{text}");
            assert!(json["flaw"].as_str().unwrap_or_default().contains(flaw), "{text}: {json}");
            assert_eq!(json["flaw"].is_null(), flaw.is_empty(), "{text}: {json}");
            assert_eq!(found.is_read(), !value.is_null(), "{text}");
            let printed = found.text("page");
            assert!(printed.contains(flaw), "{printed}");
            let hint = needs_type.as_str().map(|kind| format!("series.type: {kind}\n"));
            assert!(printed.contains(&hint.unwrap_or_default()), "{printed}");
        }
        let buckets = find(TYPED, "h_bucket").unwrap();
        assert_eq!((buckets.kind, buckets.needs_type), (Kind::Histogram, None));
        assert_eq!(buckets.as_json("page", 0)["value"]["events"], 4.0);
        let family = find(TYPED, "h").unwrap();
        assert_eq!((family.kind, &family.value), (Kind::Histogram, &buckets.value));
        let printed = family.text("page");
        assert!(printed.contains("value   p90 >1 of 4 events"), "{printed}");
        assert!(printed.contains("needs series.type: Histogram, or a percentile"), "{printed}");
    }

    #[test]
    fn gauges_with_a_likely_name_are_listed() {
        let text = likely(PAGE);
        assert!(text.contains("  queue ") && text.contains("  requests_active "), "{text}");
        assert!(!text.contains("requests_total") && !text.contains(" up "), "{text}");
        assert_eq!(likely(b"up 1\n"), "");
    }
}
