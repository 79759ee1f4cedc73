//! The status of an autoscaler, its conditions and its events: everything that users read.
//!
//! ```text
//! plan, findings, decision, writes ── report ──> RoleStatus ──┐
//!                                   (of another role) ... ────┴── assemble ──> status ──> writer
//! ```
//!
//! [`report`] makes the status of one role from one step, [`assemble`] joins the statuses of the
//! roles into the object's, and [`refusal`] has the texts about targets that are left alone. These
//! are pure: the time is an argument, and nothing depends on the text of a message. [`writer`],
//! [`warnings`], [`event_queue`] and [`events`] send the results to the API server, few at a time
//! by [`write_limiter`].
//!
//! Nothing is decided here, and nothing is remembered here that the next decision needs, except for
//! `ScaledToZero`, which the HPA keeps in its conditions too.

pub(crate) mod assemble;
pub(crate) mod event_queue;
pub(crate) mod events;
mod own_zero;
pub(crate) mod refusal;
pub(crate) mod report;
pub(crate) mod role_status;
pub(crate) mod warnings;
pub(crate) mod write_limiter;
pub(crate) mod writer;
