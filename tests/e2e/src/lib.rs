//! The operator's binary against a real API server, under its own ServiceAccount.
//!
//! A [`Stage`] is a namespace with an operator of its own that looks at nothing else, so that scenarios run side by
//! side. Pods are hollow: their metrics pages say what a scenario makes them say. Each scenario is a function in
//! [`scenarios`]; all of them are listed in [`scenarios::all`].

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod cluster;
pub mod gated;
pub mod groups;
pub mod runner;
pub mod scenarios;
mod stage;

pub use cluster::Cluster;
pub use stage::{SOON, Stage};
