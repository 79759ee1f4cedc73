//! Pods and samples → an observation.

pub mod advice;
pub mod observer;
mod reading;
pub mod replicas;
pub mod requests;
pub mod startup_tracker;
