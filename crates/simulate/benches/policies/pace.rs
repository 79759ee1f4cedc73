//! An LLMAutoscaler beside the HPA's formula at the same target: what each difference costs.

use llm_autoscaler_core::{Deviation, Profile};
use llm_autoscaler_simulate::{
    Sight,
    policy::{Autoscaler, Spec, Step, Timing},
};
use serde_json::{Value, json};

use crate::{
    Row, by_seed, page, row,
    scenarios::{Case, Traces, cases},
};

/// The words with which the names of its sections end.
pub(crate) const NAME: &str = "one difference at a time";

/// The scenarios: a load that changes slowly, and one with a step.
const SCENARIOS: [&str; 2] = ["day", "step ×5"];

/// An autoscaler by 50 requests in flight, and how it differs from the defaults.
struct Variant {
    name: &'static str,
    profile: Profile,
    /// The scale-up window, in seconds.
    window: u32,
    /// True if pages are scraped, and decisions made, every 15 s.
    is_slow: bool,
}

/// Returns the sections.
pub(crate) fn sections(traces: &Traces, seeds: u64) -> Vec<String> {
    let cases = cases(traces);
    let of = |name: &&str| cases.iter().find(|case| case.name == *name);
    SCENARIOS.iter().filter_map(of).map(|case| section(case, seeds)).collect()
}

fn section(case: &Case, seeds: u64) -> String {
    let names = ["day, one difference at a time", "step ×5, one difference at a time"];
    let case = Case {
        name: if case.name == SCENARIOS[0] { names[0] } else { names[1] },
        doc: "the HPA's formula by 50 requests in flight, and an LLMAutoscaler with the same \
              target: deciding every 15 s as the HPA does; with defaults; without the rule that \
              nothing shrinks while fewer than 80 % of the replicas have a sample (`Quorum`); and \
              with a scale-up window",
        scenario: case.scenario.clone(),
        limits: case.limits,
    };
    let variant = |name, profile, window, is_slow| Variant { name, profile, window, is_slow };
    let default = Profile::Default;
    let no_quorum = Deviation::ALL.into_iter().filter(|it| *it != Deviation::Quorum);
    let no_quorum = Profile::Only(no_quorum.collect());
    let variants = [
        variant("in-flight=50, every 15 s", default, 0, true),
        variant("in-flight=50", default, 0, false),
        variant("in-flight=50, no quorum", no_quorum, 0, false),
        variant("in-flight=50, up after 15 s", default, 15, false),
        variant("in-flight=50, up after 30 s", default, 30, false),
    ];
    let bound = Row { policy: String::new(), outcomes: Vec::new() };
    let of = |variant: &Variant| Row {
        policy: variant.name.to_owned(),
        outcomes: by_seed(&case, seeds, |scenario| {
            Some(scenario.run(&mut variant.autoscaler(&case), &mut |_| ()))
        }),
    };
    let hpa = row(&case, "hpa-in-flight=50", seeds);
    let rows: Vec<Row> = [bound, hpa].into_iter().chain(variants.iter().map(of)).collect();
    page::section(&case, &rows)
}

impl Variant {
    fn autoscaler(&self, case: &Case) -> Paced {
        let interval = if self.is_slow { 15 } else { 2 };
        let behavior = match self.window {
            0 => Value::Null,
            window => json!({"scaleUp": {"stabilizationWindowSeconds": window}}),
        };
        let spec = serde_json::from_value(json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
            "engine": "VLLM", "minReplicas": case.limits.min, "maxReplicas": case.limits.max,
            "sources": [{"scrape": {"intervalSeconds": interval}}],
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": "50"},
            }],
            "behavior": behavior,
        }));
        Paced {
            inner: Spec::new(&spec.unwrap(), self.profile, 0.0).unwrap(),
            is_slow: self.is_slow,
        }
    }
}

/// An autoscaler that may be slowed down to the HPA's pace.
struct Paced {
    inner: Spec,
    is_slow: bool,
}

impl Autoscaler for Paced {
    fn timing(&self) -> Timing {
        let timing = Autoscaler::timing(&self.inner);
        Timing { decides_on_scrapes: !self.is_slow && timing.decides_on_scrapes, ..timing }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let mut step = Autoscaler::step(&mut self.inner, sight);
        step.scrape_in = step.scrape_in.filter(|_| !self.is_slow);
        step
    }
}
