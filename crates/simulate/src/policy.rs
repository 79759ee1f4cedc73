//! The autoscalers of a simulation.

mod behavior;
mod catalog;
mod fixed;
mod independent;
mod llm_autoscaler;
mod peers;
mod schedule;
mod slo;
mod window;

pub use catalog::{CLAIRVOYANT, POLICIES, PolicyContext, PolicyInfo, policy};
pub use fixed::Fixed;
pub use independent::Independent;
pub(crate) use independent::Single;
pub use llm_autoscaler::Spec;
pub use schedule::Schedule;

use crate::sight::Sight;

/// An autoscaler: it sees pods and pages, and decides on a size.
pub trait Autoscaler {
    /// Returns the times at which it scrapes and decides.
    fn timing(&self) -> Timing;

    /// Returns the size that it begins with; `None` for that of the scenario.
    fn initial_size(&self) -> Option<u32> {
        None
    }

    /// Returns true if it scrapes the page of the gateway too.
    fn reads_gateway(&self) -> bool {
        false
    }

    /// Makes one step.
    fn step(&mut self, sight: &Sight<'_>) -> Step;
}

/// An autoscaler of several pools, which are the roles of one service.
pub trait RoleAutoscaler {
    /// Returns the times at which it scrapes and decides.
    fn timing(&self) -> Timing;

    /// Returns the sizes that the pools begin with, where they are not those of the scenario.
    fn initial_sizes(&self) -> Vec<Option<u32>> {
        Vec::new()
    }

    /// Returns true if it scrapes the page of the gateway too.
    fn reads_gateway(&self) -> bool {
        false
    }

    /// Makes one step of all pools. Returns a step for each of them.
    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step>;
}

/// The limits of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The lower limit.
    pub min: u32,
    /// The upper limit.
    pub max: u32,
}

impl Limits {
    /// Returns the size within the limits.
    pub fn clamp(self, size: f64) -> u32 {
        (size.round() as u32).clamp(self.min, self.max.max(self.min))
    }
}

/// The times at which an autoscaler scrapes and decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// The interval of scrapes, in seconds. All pods are scraped at one moment.
    pub scrape_every: f64,
    /// The interval of decisions, in seconds.
    pub decide_every: f64,
    /// True if each scrape causes a decision.
    pub decides_on_scrapes: bool,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// The size to write; `None` to leave it as it is.
    pub size: Option<u32>,
    /// The pods that are out of service, by their IDs; `None` to leave that as it is.
    pub closed: Option<Vec<u64>>,
    /// The time until the next scrape in seconds, if it is to come earlier than usual.
    pub scrape_in: Option<f64>,
    /// The reason of the size, if the policy states one.
    pub why: Option<String>,
}
