//! The sources of a spec: the pages of the pods, and that of a gateway.

use std::time::Duration;

use llm_autoscaler_api::TargetConfig;
use llm_autoscaler_observe::samples::{Samples, SourceSamples};

use super::{
    gateway::GatewayPage,
    pages::{Pages, ScrapeTimes},
};
use crate::sight::Sight;

/// The sources, in the order of the spec. All of them are always scraped.
#[derive(Debug)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug)]
enum Source {
    Pods(Box<Pages>),
    Gateway(Box<GatewayPage>),
}

impl Sources {
    /// Returns the sources of a target. `delay` is the time that pages take to arrive, in seconds.
    pub(super) fn new(
        target: &TargetConfig,
        interval: Duration,
        timeout: Duration,
        delay: f64,
    ) -> Self {
        let times = ScrapeTimes::new(interval, timeout, delay);
        let sources = target.sources.iter().enumerate().map(|(place, source)| {
            if source.gateway().is_some() {
                Source::Gateway(Box::new(GatewayPage::new(target, place, times)))
            } else {
                Source::Pods(Box::new(Pages::new(target, place, times)))
            }
        });
        Self(sources.collect())
    }

    /// Returns true if one of them is a gateway.
    pub(super) fn has_gateway(&self) -> bool {
        self.0.iter().any(|source| matches!(source, Source::Gateway(_)))
    }

    /// Sets the tokens of the engines' KV caches, by which they can be learned.
    pub(super) fn set_kv_tokens(&mut self, tokens: u64) {
        for source in &mut self.0 {
            if let Source::Pods(pages) = source {
                pages.set_kv_tokens(tokens);
            }
        }
    }

    /// Reads the pages that have arrived, and returns the samples.
    pub(super) fn samples(&mut self, sight: &Sight<'_>) -> Samples {
        let of = |source: &mut Source| -> SourceSamples {
            match source {
                Source::Pods(pages) => pages.samples(sight),
                Source::Gateway(page) => page.samples(sight),
            }
        };
        Samples { sources: self.0.iter_mut().map(of).collect() }
    }
}
