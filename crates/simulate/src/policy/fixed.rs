//! A fleet of constant size.

use super::{Autoscaler, Step, Timing};
use crate::sight::Sight;

/// A number of replicas that nothing changes.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(
    /// The number.
    pub u32,
);

impl Autoscaler for Fixed {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 60.0, decide_every: 60.0, decides_on_scrapes: false }
    }

    fn initial_size(&self) -> Option<u32> {
        Some(self.0)
    }

    fn step(&mut self, _: &Sight<'_>) -> Step {
        Step { size: Some(self.0), ..Step::default() }
    }
}
