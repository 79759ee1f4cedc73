//! Hints about a spec, or about what its pods expose, although nothing is wrong with it.

use llm_autoscaler_engines::Signal;

use super::{Asked, MetricConfig, SourceConfig};
use crate::conditions::Reason;

/// A hint about a spec that can be carried out, for the condition `Advisory`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice {
    /// The reason of the condition.
    pub reason: Reason,
    /// A sentence for people.
    pub text: String,
}

/// Returns the hints about a set of metrics.
pub(super) fn advice(metrics: &[MetricConfig]) -> Vec<Advice> {
    let all = |which: fn(&Asked) -> bool| metrics.iter().all(|metric| which(&metric.asked));
    let mut advice = Vec::new();
    if all(is_queue) {
        let text = "an empty queue asks for the minimum, so a target that is scaled by its queue \
                    alone swings between minimum and maximum; add InFlightRequests, which keeps \
                    what the running requests need";
        advice.push(Advice { reason: Reason::QueueOnly, text: text.to_owned() });
    }
    if all(is_latency) {
        let text = "without requests there are no latencies to measure, and the size stays as it \
                    is: add a metric that is known without load, such as InFlightRequests";
        advice.push(Advice { reason: Reason::LatencyOnly, text: text.to_owned() });
    }
    advice
}

/// Returns a hint if only a wake call can bring a replica back from zero.
pub(super) fn of_zero(metrics: &[MetricConfig], sources: &[SourceConfig]) -> Option<Advice> {
    let is_query = |metric: &MetricConfig| matches!(metric.asked, Asked::Query(_));
    let of_others = |source: &SourceConfig| matches!(source, SourceConfig::Scrape(scrape) if scrape.pods.is_some());
    let text = "at zero replicas no metric of this spec is known, so only a wake call brings a replica \
                back (POST /wake/NAMESPACE/NAME on the operator's port); a query, or a source with \
                podSelector, would do so by itself";
    let only_calls = !metrics.iter().any(is_query) && !sources.iter().any(of_others);
    only_calls.then(|| Advice { reason: Reason::OnlyCallsWake, text: text.to_owned() })
}

fn is_queue(asked: &Asked) -> bool {
    const QUEUES: [&str; 3] = ["num_requests_waiting", "num_queue_reqs", "queue_size"];
    let Asked::Measure { signal, measure, .. } = asked else { return false };
    match signal {
        Some(def) => def.signal == Signal::WaitingRequests,
        None => QUEUES.iter().any(|name| measure.recipe.series_name().ends_with(name)),
    }
}

fn is_latency(asked: &Asked) -> bool {
    matches!(asked, Asked::Measure { quantile: Some(_), .. })
}
