//! The recording of a service: the load that it had and the fleet that it ran, as a Prometheus
//! tells them.
//!
//! ```text
//! raw samples of a chunk of time ──Ledger──> Chunk ─┐ one after another, kept in a file
//!   increases per series, resets, restarts          v
//!                                   Recording: Cells (time), Windows (lengths, latencies)
//!                                     │                │
//!                        seed ──> Trace of requests    └─> Measured: what the autoscaler of
//!                                                          today did
//! ```
//!
//! A counter tells how many requests came between two scrapes, and not when. So a recording has
//! cells as long as the interval of scrapes, and a trace is one of the ways in which the requests
//! may have fallen into them; another seed has another one.
//!
//! **Invariant:** nothing is filled in silently. A time without samples is a [`Gap`]; what counters
//! know about it is marked as spread.

mod cells;
mod chunk;
mod compare;
mod draw;
mod increases;
mod ledger;
mod lengths;
mod measured;
mod pod;
mod record;
mod series;

pub use chunk::{Cell, Chunk, Counts, Events, Window};
pub use compare::{Compared, Range, table};
pub use ledger::Ledger;
pub use measured::{Latency, Measured};
pub use record::{Gap, Header, Recording};
pub use series::{Measures, Selection};
