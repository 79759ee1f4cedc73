//! Autoscalers that scale the pools of a service independently of each other.

use super::{Autoscaler, RoleAutoscaler, Step, Timing};
use crate::sight::Sight;

/// An autoscaler for each pool. None of them knows of the others.
pub struct Independent(
    /// The autoscalers, in the order of the pools. The first one's times are those of all.
    pub Vec<Box<dyn Autoscaler>>,
);

impl RoleAutoscaler for Independent {
    fn timing(&self) -> Timing {
        let never = Timing { scrape_every: 60.0, decide_every: 60.0, decides_on_scrapes: false };
        self.0.first().map_or(never, |first| first.timing())
    }

    fn initial_sizes(&self) -> Vec<Option<u32>> {
        self.0.iter().map(|each| each.initial_size()).collect()
    }

    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        self.0.iter_mut().zip(sights).map(|(each, sight)| each.step(sight)).collect()
    }
}

/// The only autoscaler of a service with one pool.
pub(crate) struct Single<'a>(pub(crate) &'a mut dyn Autoscaler);

impl RoleAutoscaler for Single<'_> {
    fn timing(&self) -> Timing {
        self.0.timing()
    }

    fn initial_sizes(&self) -> Vec<Option<u32>> {
        vec![self.0.initial_size()]
    }

    fn reads_gateway(&self) -> bool {
        self.0.reads_gateway()
    }

    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        sights.iter().take(1).map(|sight| self.0.step(sight)).collect()
    }
}
