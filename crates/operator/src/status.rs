//! The status of an autoscaler, its conditions and its events: everything that users read.
//!
//! ```text
//! plan, findings, decision, writes ─ report ─> RoleStatus ─┐
//!                                   ... of another role ───┴─ assemble ─> LLMAutoscalerStatus ─> writer
//! ```
//!
//! [`report`] makes the status of one role from one step, [`assemble`] joins the roles' statuses into
//! the object's, and [`refusal`] has the texts about targets that are left alone. These are pure: the
//! time is an argument, and nothing is read back from a text. [`writer`], [`warnings`] and [`events`]
//! send the results to the API server, a few at a time by [`write_limiter`].
//!
//! Nothing is decided here, and nothing is remembered here that a decision needs.

pub mod assemble;
pub mod events;
pub mod refusal;
pub mod report;
pub mod role_status;
pub mod warnings;
pub mod write_limiter;
pub mod writer;
