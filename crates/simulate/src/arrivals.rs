//! The requests of a simulation, as a stream in the order of time.
//!
//! ```text
//! CSV file ──Trace──> copies, shifted or with jitter ──┐
//!                └──> lengths ──┐                      ├─> Stream: one Request after another
//! spec of a shape ──> Rate ─────┴─> Poisson arrivals ──┘
//! ```

mod copies;
mod lengths;
mod poisson;
mod rate;
mod trace;

pub use copies::{Spread, TraceLoad};
pub use lengths::Lengths;
pub use poisson::SyntheticLoad;
pub use rate::Shape;
pub(crate) use rate::is_shape;
pub use trace::Trace;

/// A request to the service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// The time of its arrival, in seconds since the start of the simulation.
    pub at: f64,
    /// The length of the prompt in tokens.
    pub prompt_tokens: u32,
    /// The length of the answer in tokens.
    pub output_tokens: u32,
}

/// The load of a simulation. Each stream of one seed is the same.
#[derive(Debug, Clone)]
pub enum Load {
    /// The arrivals of a trace.
    Trace(TraceLoad),
    /// Random arrivals at a given rate.
    Synthetic(SyntheticLoad),
}

impl Load {
    /// Returns the time of the last possible arrival, in seconds.
    pub fn duration(&self) -> f64 {
        match self {
            Self::Trace(load) => load.duration(),
            Self::Synthetic(load) => load.duration(),
        }
    }

    /// Returns the arrivals, in the order of time.
    pub fn stream(&self, seed: u64) -> Box<dyn Iterator<Item = Request> + '_> {
        match self {
            Self::Trace(load) => Box::new(load.stream(seed)),
            Self::Synthetic(load) => Box::new(load.stream(seed)),
        }
    }
}
