//! Sizes that are known beforehand.

use super::{Autoscaler, Step, Timing};
use crate::sight::Sight;

/// Sizes at given times, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(
    /// The time from which on a size applies, in seconds since the start of the simulation, and the
    /// size.
    pub Vec<(f64, u32)>,
);

impl Autoscaler for Schedule {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 600.0, decide_every: 1.0, decides_on_scrapes: false }
    }

    fn initial_size(&self) -> Option<u32> {
        self.0.first().map(|(_, size)| *size)
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let due = self.0.partition_point(|(at, _)| *at <= sight.now);
        let size = due.checked_sub(1).map(|index| self.0[index].1);
        Step { size, ..Step::default() }
    }
}
