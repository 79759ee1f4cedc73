//! The numbers of pods that other autoscalers can be given, by name.
//!
//! A name is that of a signal (`InFlightRequests`), of one of the engine's gauges
//! (`vllm:num_requests_waiting`), or of a gauge that the spec reads. Rates are given as signals
//! only, because a counter by its own name is a total. Percentiles are not given: an autoscaler
//! that reads pods takes the mean of them, and a mean of percentiles is no percentile.

use std::{collections::BTreeSet, time::Duration};

use llm_autoscaler_engines::{Engine, Kind, Measure, Recipe, Selector, Signal};

use crate::{Asked, TargetConfig};

/// The window of a rate.
const WINDOW: Duration = Duration::from_mins(1);

/// Returns the names that the engines' tables have, for a list of what can be asked for.
pub fn names() -> BTreeSet<&'static str> {
    let signals = Signal::ALL.into_iter().map(Signal::info);
    let signals = signals.filter(|info| info.kind != Kind::Histogram).map(|info| info.name);
    signals.chain(Engine::ALL.into_iter().flat_map(|it| it.profile().gauges())).collect()
}

/// Returns how a quantity of this name is read from the pods of a target; `None` if its engine and
/// its spec have none. Labels select series of a gauge.
pub fn measure(config: &TargetConfig, name: &str, labels: &[(String, String)]) -> Option<Measure> {
    let profile = config.engine.profile();
    let signal = Signal::ALL.into_iter().find(|signal| signal.info().name == name);
    if let Some(signal) = signal.filter(|_| labels.is_empty()) {
        let window = match signal.info().kind {
            Kind::Gauge => Duration::ZERO,
            Kind::Counter => WINDOW,
            Kind::Histogram => return None,
        };
        return Some(Measure { recipe: profile.recipe(signal)?, window });
    }
    let of_engine = profile.gauge_recipe(name);
    let is_known = of_engine.is_some() || config.metrics.iter().any(|it| is_gauge(&it.asked, name));
    let plain = || {
        let labels = labels.iter().cloned();
        let repeats = profile.repeat_labels.iter().map(|label| (*label).to_owned());
        let recipe = Recipe::selected(Kind::Gauge, Selector::new(name, labels));
        recipe.with_repeat_labels(repeats)
    };
    let recipe = of_engine.filter(|_| labels.is_empty()).or_else(|| is_known.then(plain))?;
    Some(Measure { recipe, window: Duration::ZERO })
}

/// Returns whether a metric of the spec is the gauge of this name.
fn is_gauge(asked: &Asked, name: &str) -> bool {
    let Asked::Measure { measure, signal: None, .. } = asked else { return false };
    measure.recipe.kind() == Kind::Gauge && measure.recipe.series_name() == name
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Profile;
    use serde_json::json;

    use super::*;
    use crate::parse_target;

    fn config(engine: &str) -> TargetConfig {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "q"},
            "engine": engine,
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{
                "series": {"name": "my_queue"},
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
        });
        parse_target(&serde_json::from_value(spec).unwrap(), Profile::Default).unwrap()
    }

    #[test]
    fn a_name_is_that_of_a_signal_or_of_a_gauge() {
        let model = vec![("model_name".to_owned(), "a".to_owned())];
        // engine, name, labels, the series that is read
        let table: [(_, _, &[_], _); 13] = [
            ("VLLM", "vllm:num_requests_waiting", &[], Some("vllm:num_requests_waiting")),
            ("VLLM", "vllm:num_requests_waiting", &model, Some("vllm:num_requests_waiting")),
            ("VLLM", "vllm:gpu_cache_usage_perc", &[], Some("vllm:gpu_cache_usage_perc")),
            ("VLLM", "WaitingRequests", &[], Some("vllm:num_requests_waiting")),
            ("VLLM", "GenerationTokenRate", &[], Some("vllm:generation_tokens_total")),
            ("VLLM", "my_queue", &[], Some("my_queue")),
            // Labels are those of one series, and a signal may be made of several.
            ("VLLM", "WaitingRequests", &model, None),
            ("VLLM", "TimeToFirstToken", &[], None),
            ("VLLM", "vllm:generation_tokens_total", &[], None),
            ("VLLM", "sglang:num_queue_reqs", &[], None),
            ("SGLang", "sglang:num_queue_reqs", &[], Some("sglang:num_queue_reqs")),
            // The worker's series, and not the frontend's, which the signal would take as well.
            ("Dynamo", "vllm:num_requests_waiting", &[], Some("vllm:num_requests_waiting")),
            ("Custom", "WaitingRequests", &[], None),
        ];
        for (engine, name, labels, expected) in table {
            let found = measure(&config(engine), name, labels);
            let series = found.as_ref().map(|measure| measure.recipe.series_name());
            assert_eq!(series, expected, "{engine} {name} {labels:?}");
            let is_rate = name == "GenerationTokenRate";
            let window = if is_rate { WINDOW } else { Duration::ZERO };
            assert!(found.is_none_or(|measure| measure.window == window), "{name}");
        }
        let dynamo = measure(&config("Dynamo"), "vllm:num_requests_waiting", &[]).unwrap();
        assert!(!dynamo.recipe.accepted_names().contains("frontend"));
    }

    #[test]
    fn the_list_has_signals_and_gauges_and_no_percentiles() {
        let names = names();
        for name in ["InFlightRequests", "RequestRate", "vllm:num_requests_waiting"] {
            assert!(names.contains(name), "{name}");
        }
        assert!(!names.contains("TimeToFirstToken") && !names.contains("my_queue"));
    }
}
