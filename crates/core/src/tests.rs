//! Tests of the whole step, and the support that the unit tests of the modules share.

mod deviations;
mod gaps;
mod properties;
mod restart;
pub(crate) mod support;
