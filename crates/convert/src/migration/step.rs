//! The steps of a migration.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::{
    record::{MIGRATION, Record, Stage},
    write::{Write, label},
};

/// The time without a change of the size after which a stopped autoscaler has no write under way:
/// the default period of the HPA controller. A decision that it has begun with an HPA that is gone
/// is still written, with retries where the target has another version.
pub const SETTLED: Duration = Duration::from_secs(15);

/// A step of a migration. Each is one write or one wait, and taking it twice changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the record, before anything else.
    Record(Record),
    /// Stop the other autoscaler.
    Stop(Write),
    /// Wait until the other autoscaler has stopped, and the size has been the same for [`SETTLED`].
    AwaitStopped {
        /// The other autoscaler.
        source: String,
    },
    /// Become an owner of the size as it is, by server-side apply.
    Adopt {
        /// The target.
        target: String,
        /// Its size.
        replicas: i32,
    },
    /// Set `mode: Scale`, in one write with the record.
    Switch(Record),
    /// Wait until the operator scales the target.
    AwaitScaling {
        /// The target.
        target: String,
    },
    /// Set `mode: Recommend`, in one write with the record.
    Withdraw(Record),
    /// Wait until the operator has confirmed that it only recommends.
    AwaitWithdrawn,
    /// Make the other autoscaler what it was.
    Restore(Write),
    /// Remove the record.
    Forget,
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Record(Record { source: Some(source), stage, .. }) => {
                let label = label(&source.manifest);
                if *stage == Stage::Stopping {
                    write!(f, "write the manifest of the {label} to the annotation {MIGRATION}")
                } else {
                    write!(f, "note in the annotation {MIGRATION} that the {label} has stopped")
                }
            }
            Self::Record(_) => write!(f, "write the annotation {MIGRATION}"),
            Self::Stop(write) | Self::Restore(write) => write!(f, "{write}"),
            Self::AwaitStopped { source } => write!(
                f,
                "wait until the {source} has stopped, and the size has been the same for {} s",
                SETTLED.as_secs()
            ),
            Self::Adopt { target, replicas } => {
                write!(f, "adopt spec.replicas of {target} as it is: {replicas}")
            }
            Self::Switch(_) => write!(f, "set mode: Scale"),
            Self::AwaitScaling { target } => {
                write!(f, "wait until the operator scales {target}")
            }
            Self::Withdraw(_) => write!(f, "set mode: Recommend"),
            Self::AwaitWithdrawn => {
                write!(f, "wait until the operator has confirmed that it only recommends")
            }
            Self::Forget => write!(f, "remove the annotation {MIGRATION}"),
        }
    }
}
