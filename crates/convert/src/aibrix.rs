//! `PodAutoscaler`s of `AIBrix`.

use llm_autoscaler_engines::Kind;
use serde_json::{Map, Value, json};

use crate::{
    behavior::SCALE_DOWN_WINDOW,
    comment::Comments,
    draft::{Draft, Metric, Page, Reading, positive},
    field::Field,
    object::{Identity, finish_metadata},
    promql::seconds,
    reading, signals,
};

const PREFIX: &str = "autoscaling.aibrix.ai/";
/// The window of the mean that APA and KPA decide by, in seconds.
const WINDOW: i64 = 180;
/// The time between two of its decisions, in seconds.
const STEP: i64 = 10;
/// The factor by which a size may change in a decision.
const RATE: f64 = 2.0;
/// The tolerance in both directions.
const TOLERANCE: &str = "0.1";

/// The strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Hpa,
    Kpa,
    Apa,
}

/// Converts a `PodAutoscaler`.
pub(crate) fn convert(root: &Field, identity: &Identity, comments: &mut Comments) -> Option<Draft> {
    let spec = root.get("spec");
    let mut draft = Draft::default();
    let reference = spec.get("scaleTargetRef");
    draft.refer(&reference, ["apps/v1", "Deployment"], identity, comments);
    let role = spec.at(&["subTargetSelector", "roleName"]);
    if role.exists() {
        let text = format!("{}: a role of a StormService has no scale of its own.", role.quote());
        comments.lost(role.path(), text);
        spec.dismiss();
        finish_metadata(root, &annotations(), comments);
        return None;
    }
    if draft.target.as_ref().is_some_and(|target| target[1] == "StormService") {
        draft.group_label = Some("roleset-name".to_owned());
        let text = "a replica of a StormService is a RoleSet: replicaPods groups its pods.";
        comments.note(reference.path(), text);
    }
    let strategy = match spec.get("scalingStrategy").one_of(&["HPA", "KPA", "APA"]) {
        Some("HPA") => Strategy::Hpa,
        Some("KPA") => Strategy::Kpa,
        _ => Strategy::Apa,
    };
    let (lower, upper) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    draft.bounds([&lower, &upper], [1, 0], comments);
    let observed = spec.get("observeWindowSeconds").within(1..=3600).unwrap_or(WINDOW);
    let window = strategies(strategy, &spec, observed, comments);
    if strategy == Strategy::Hpa {
        unused(root, comments);
    } else {
        draft.behavior = behavior(root, strategy, observed, comments);
    }
    zero(root, &lower, &mut draft, comments);
    for (key, text) in [
        ("schedules", "bounds by the time of day are not there."),
        ("predictive", "nothing is predicted: the size follows the latest samples."),
    ] {
        let field = spec.get(key);
        if field.exists() {
            let text = format!("{}: {text}", field.quote());
            // A schedule may have raised the lower bound.
            draft.leave_out(comments, field.path(), &text);
        }
    }
    for source in spec.get("metricsSources").items() {
        let before = draft.metrics.len();
        metric(&source, window, &mut draft, comments);
        if draft.metrics.len() == before {
            source.keep(comments);
        }
    }
    finish_metadata(root, &annotations(), comments);
    Some(draft)
}

/// The annotations that are read, without their prefix.
const NAMES: [&str; 8] = [
    "max-scale-up-rate",
    "max-scale-down-rate",
    "scale-up-tolerance",
    "scale-down-tolerance",
    "panic-threshold",
    "scale-up-cooldown-window",
    "scale-down-cooldown-window",
    "scale-to-zero",
];

fn annotations() -> [&'static str; 8] {
    [
        "autoscaling.aibrix.ai/max-scale-up-rate",
        "autoscaling.aibrix.ai/max-scale-down-rate",
        "autoscaling.aibrix.ai/scale-up-tolerance",
        "autoscaling.aibrix.ai/scale-down-tolerance",
        "autoscaling.aibrix.ai/panic-threshold",
        "autoscaling.aibrix.ai/scale-up-cooldown-window",
        "autoscaling.aibrix.ai/scale-down-cooldown-window",
        "autoscaling.aibrix.ai/scale-to-zero",
    ]
}

fn annotation<'a>(root: &Field<'a>, name: &str) -> Field<'a> {
    root.at(&["metadata", "annotations"]).get(&format!("{PREFIX}{name}"))
}

/// Comments on the strategy. Returns the window of the metrics.
fn strategies(
    strategy: Strategy,
    spec: &Field,
    observed: i64,
    comments: &mut Comments,
) -> Option<u32> {
    let panic = spec.get("panicWindowSeconds");
    let field = spec.get("scalingStrategy");
    let (window, text) = match strategy {
        Strategy::Hpa => (
            None,
            "HPA: AIBrix created an HPA of its own, which goes with the PodAutoscaler.".to_owned(),
        ),
        Strategy::Apa => (
            u32::try_from(observed).ok(),
            format!("APA: the mean of {observed} s (windowSeconds) decides, as before."),
        ),
        Strategy::Kpa => (
            None,
            format!(
                "KPA: in place of the mean of {observed} s, and of the panic window for bursts, \
                 the latest samples decide. They grow the target at once, and it shrinks only when \
                 they have been low for the window of scale-downs. KPA compared the mean of one \
                 pod with the target whatever their number was; here it is multiplied by it."
            ),
        ),
    };
    match strategy {
        Strategy::Kpa => comments.changed(field.path(), text),
        _ => comments.note(field.path(), text),
    }
    if panic.exists() {
        let text = format!("{} s: there is no panic mode.", panic.quote());
        comments.lost(panic.path(), text);
    }
    if strategy == Strategy::Hpa {
        let window = spec.get("observeWindowSeconds");
        if window.exists() {
            comments.note(window.path(), format!("{observed}: without effect with HPA."));
        }
    }
    window
}

/// Comments on annotations that the strategy HPA does not use.
fn unused(root: &Field, comments: &mut Comments) {
    for name in NAMES.into_iter().filter(|name| *name != "scale-to-zero") {
        let field = annotation(root, name);
        if field.exists() {
            comments.note(field.path(), format!("{}: without effect with HPA.", field.quote()));
        }
    }
}

/// Returns the windows, rates and tolerances of APA and KPA. All defaults are written out.
fn behavior(
    root: &Field,
    strategy: Strategy,
    observed: i64,
    comments: &mut Comments,
) -> Map<String, Value> {
    let number = |name: &str, default: f64| {
        let text = annotation(root, name).text();
        let number = text.and_then(|text| text.trim().parse::<f64>().ok());
        number.filter(|number| number.is_finite()).unwrap_or(default)
    };
    let window = |name: &str, default: i64, comments: &mut Comments| {
        let field = annotation(root, name);
        let Some(text) = field.text() else { return default };
        let found = seconds(text.trim()).map(i64::from).filter(|it| *it <= 3600);
        if found.is_none() {
            comments.lost(field.path(), format!("{text} is no duration of at most an hour."));
        }
        found.unwrap_or(default)
    };
    let tolerance = |name: &str| {
        let given = annotation(root, name).text();
        given.map_or_else(|| TOLERANCE.to_owned(), |text| text.trim().to_owned())
    };
    let up = number("max-scale-up-rate", RATE).clamp(1.01, 1000.0);
    let down = number("max-scale-down-rate", RATE).clamp(1.01, 1000.0);
    let percent = |part: f64| ((part * 100.0).round() as i64).clamp(1, 100_000);
    let least = if strategy == Strategy::Kpa { observed } else { 0 };
    let after = window("scale-down-cooldown-window", SCALE_DOWN_WINDOW, comments).max(least);
    let before = window("scale-up-cooldown-window", 0, comments);
    let text = format!(
        "sizes change by the factors {up} up and {down} down in {STEP} s, AIBrix's time between \
         two decisions. The window of scale-downs ({after} s) takes the highest number in it; \
         AIBrix takes the lowest, so that its window delays nothing."
    );
    comments.changed("spec.scalingStrategy", text);
    let panic = annotation(root, "panic-threshold");
    if panic.exists() {
        comments.lost(panic.path(), format!("{}: there is no panic mode.", panic.quote()));
    }
    let rules = |window: i64, tolerance: String, percent: i64| {
        json!({
            "stabilizationWindowSeconds": window,
            "policies": [{"type": "Percent", "value": percent, "periodSeconds": STEP}],
            "tolerance": tolerance,
        })
    };
    let mut found = Map::new();
    let up = rules(before, tolerance("scale-up-tolerance"), percent(up - 1.0));
    let down = rules(after, tolerance("scale-down-tolerance"), percent(1.0 - 1.0 / down));
    found.insert("scaleUp".to_owned(), up);
    found.insert("scaleDown".to_owned(), down);
    found
}

fn zero(root: &Field, lower: &Field, draft: &mut Draft, comments: &mut Comments) {
    let mode = annotation(root, "storm-service-mode");
    if let Some(text) = mode.text() {
        let text = format!("{text}: the StormService is scaled as a whole, by its RoleSets.");
        comments.note(mode.path(), text);
    }
    let field = annotation(root, "scale-to-zero");
    if let Some(flag) = field.flag() {
        comments.note(field.path(), format!("{flag}: AIBrix does not read it."));
    }
    if draft.min == 0 {
        draft.to_zero_after = Some(600);
        let text = "0: the last replica goes after ten minutes without requests \
                    (scaleToZero.afterSeconds), and comes back by requests at a gateway or by a \
                    wake call. AIBrix brought none back.";
        comments.changed(lower.path(), text);
    }
}

/// Adds one source of metrics.
fn metric(source: &Field, window: Option<u32>, draft: &mut Draft, comments: &mut Comments) {
    let kind = source.get("metricSourceType").text().unwrap_or_default();
    let name = source.get("targetMetric").text().unwrap_or_default();
    let target = source.get("targetValue").text().and_then(|text| positive(&text));
    let reason = match kind.as_str() {
        "pod" | "custom" => None,
        "resource" => Some("CPU and memory are no metrics here"),
        "external" | "domain" => Some("a page of a Service is not read, only those of pods"),
        _ => Some("this type of a source is unknown"),
    };
    let full = signals::full_name(&name);
    let is_series = reading::is_series(&full);
    let (None, true, Some(target)) = (reason, is_series, target) else {
        if reason.is_some() {
            source.dismiss();
        }
        let reason = reason.unwrap_or("its name is no series, or its target no number above 0");
        return draft.leave_out(comments, source.path(), &format!("{reason}."));
    };
    let field = source.path().to_owned();
    if full != name {
        comments.note(&field, format!("{name} is the series {full}."));
    }
    if kind == "custom" && !reading::is_engines(&full) {
        let text = format!("{name}: a custom metric is not known by its name alone.");
        return draft.leave_out(comments, &field, &text);
    }
    if kind == "pod" {
        page(source, draft, comments);
    }
    let found = reading::by_name(&full);
    let window = window.filter(|_| found.kind == Kind::Gauge);
    let text = "a page that cannot be read counted as 0 and shrank the target; here such a pod \
                has no sample, and nothing shrinks.";
    comments.better(&field, text);
    let page = Page { window: window.or(found.window), ..found };
    let reading = Reading::Page(page);
    draft.metrics.push(Metric { field, name, is_named: false, reading, target });
}

/// Reads where the pods' pages are.
fn page(source: &Field, draft: &mut Draft, comments: &mut Comments) {
    let mut scrape = Map::new();
    if let Some(port) = source.get("port").within(1..=65_535) {
        scrape.insert("port".to_owned(), json!(port));
    }
    let path = source.get("path").text().unwrap_or_else(|| "/metrics".to_owned());
    let path = format!("/{}", path.trim_start_matches('/'));
    if path != "/metrics" {
        scrape.insert("path".to_owned(), json!(path));
    }
    if source.get("protocolType").one_of(&["http", "https"]) == Some("https") {
        scrape.insert("scheme".to_owned(), json!("HTTPS"));
    }
    let endpoint = source.get("endpoint");
    if let Some(name) = endpoint.text().filter(|name| !name.is_empty()) {
        comments.note(endpoint.path(), format!("{name}: not used for pods."));
    }
    if !draft.scrape.is_empty() && draft.scrape != scrape {
        let text = "pages with another port or path than the first one: all metrics are read from \
                    the first.";
        comments.lost(source.path(), text);
        return;
    }
    draft.scrape = scrape;
}
