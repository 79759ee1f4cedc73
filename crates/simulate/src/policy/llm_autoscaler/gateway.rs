//! The page of a gateway, as a source that reports for the whole target.
//!
//! It is the page of the Gateway API Inference Extension's endpoint picker, which has the requests
//! in its queue and those at the engines. Other gateways have the same signals in other series.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use llm_autoscaler_api::TargetConfig;
use llm_autoscaler_engines::{
    Measure,
    exposition::{Extract, Extractor, Scratch},
};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::{Lookup, SourceKind, SourceSamples},
};

use super::pages::{Page, ScrapeTimes};
use crate::sight::{GatewayReading, Sight};

/// The name of the gateway's pod.
const POD: &str = "gateway-0";

/// The gateway's page at one place among the sources.
#[derive(Debug)]
pub(super) struct GatewayPage {
    /// For each metric, the place of its measure; `None` if it is not read from the gateway.
    metrics: Vec<Option<usize>>,
    measures: Vec<Measure>,
    extractor: Extractor,
    scratch: Scratch,
    extracts: Vec<Extract>,
    times: ScrapeTimes,
    page: Option<Page>,
    pods: Members,
}

impl GatewayPage {
    pub(super) fn new(config: &TargetConfig, place: usize, times: ScrapeTimes) -> Self {
        let mut measures = Vec::new();
        let metrics = config.metrics.iter().map(|metric| {
            measures.push(metric.measure_at(place)?.clone());
            Some(measures.len() - 1)
        });
        let metrics = metrics.collect();
        let recipes: Vec<_> = measures.iter().map(|measure| measure.recipe.clone()).collect();
        let pod = Arc::new(Pod::serving(POD, "gateway"));
        Self {
            metrics,
            extractor: Extractor::new(&recipes),
            scratch: Scratch::default(),
            extracts: Vec::new(),
            times,
            page: None,
            pods: Arc::new(BTreeMap::from([(POD.to_owned(), pod)])),
            measures,
        }
    }

    /// Reads the page that has arrived, and returns the samples of the source.
    pub(super) fn samples(&mut self, sight: &Sight<'_>) -> SourceSamples {
        let page =
            self.page.get_or_insert_with(|| Page::new(&self.measures, self.times, sight.now));
        if let Some(reading) = &sight.gateway.reading
            && page.is_news(reading.at)
        {
            let text = text(reading);
            let read = self.extractor.read(text.as_bytes(), &mut self.scratch, &mut self.extracts);
            if read.is_ok() {
                page.push(reading.at, &self.extracts);
            }
        }
        let failed = sight.gateway.has_failed.then(|| "connection refused".to_owned());
        let lookup = |place: &Option<usize>| -> Vec<Lookup> {
            place.iter().map(|it| page.lookup(*it, failed.clone(), sight.now)).collect()
        };
        SourceSamples {
            is_active: true,
            metrics: self.metrics.iter().map(lookup).collect(),
            queries: vec![None; self.metrics.len()],
            ..SourceSamples::inactive(SourceKind::OtherPods(self.pods.clone()))
        }
    }
}

/// Returns the page of these numbers.
fn text(reading: &GatewayReading) -> String {
    let GatewayReading { queued, running, arrived, .. } = reading;
    let mut text = String::new();
    for (name, value) in [
        ("inference_extension_flow_control_queue_size", queued),
        ("inference_objective_running_requests", running),
        ("inference_objective_request_total", arrived),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}{{model_name=\"llm\"}} {value}");
    }
    text
}
