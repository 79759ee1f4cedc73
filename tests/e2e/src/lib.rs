//! The operator's binary against a real API server, under its own ServiceAccount.
//!
//! A [`Stage`] is a namespace with an operator of its own that watches nothing else, so that
//! scenarios run side by side. Pods are hollow: a scenario sets the content of their metrics pages.
//! Each scenario is a function in [`mod@scenarios`]; all of them are listed in [`scenarios::all`].

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

pub mod audit;
pub mod billing;
pub mod claims;
mod cluster;
pub mod copies;
pub mod election;
pub mod fleets;
pub mod gated;
pub mod groups;
mod installation;
mod operator;
mod pages;
pub mod reads;
mod recommendation;
pub mod runner;
pub mod scenarios;
mod stage;
pub mod usage;
mod user;

pub use cluster::{Cluster, operator_binary};
pub use installation::Installation;
pub use operator::{Operator, own_address};
pub use recommendation::until_agreed;
pub use stage::{SOON, Stage};
pub use user::{Told, User};
