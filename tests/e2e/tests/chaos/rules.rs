//! The pure parts of the chaos run: the plan of a seed, and the judge of a recorded timeline. Their
//! tests need no control plane.

#![allow(dead_code, reason = "the run uses the rest")]

mod evidence;
mod invariants;
mod plan;
mod report;
