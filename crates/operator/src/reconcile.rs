//! The loop of each autoscaler, and its step: locate, observe, plan, execute, report.
//!
//! [`step`] is the whole step in one function. What it calls is beside it: [`locate`] finds and
//! claims the targets, [`observe`] makes observations of pods and samples,
//! `llm_autoscaler_core::plan` decides, [`execute`] carries the plan out, and
//! [`status`](crate::status) reports.

mod adopt;
mod autoscaler;
mod bill;
mod billed_step;
pub(crate) mod context;
pub(crate) mod controller;
mod decision_label;
mod decision_log;
mod execute;
mod intake;
mod listed_autoscaler;
mod locate;
mod observe;
mod quota;
mod report;
mod reported_step;
mod role;
mod sight;
mod standing_by;
mod start_line;
mod step;
mod step_log;
mod taking_over;
mod target_kinds;
mod target_state;
mod task;
mod tasks;
mod wake_call;
