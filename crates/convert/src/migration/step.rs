//! The steps of a migration.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use serde_json::Value;

use super::{
    record::{MIGRATION, Record, Stage},
    source::Source,
};

/// The time without a change of the size after which a stopped autoscaler has no write under way:
/// the default period of the HPA controller. A decision that it has begun with an HPA that is gone
/// is still written, with retries where the target has another version.
pub const SETTLED: Duration = Duration::from_secs(15);

/// A write to the object of another autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The object is deleted, if it still is as it was seen.
    Delete {
        /// The object as it was seen.
        object: Value,
    },
    /// The object is changed by a merge patch with the resourceVersion that was seen.
    Patch {
        /// The object as it was seen.
        object: Value,
        /// The merge patch.
        patch: Value,
    },
    /// The object is created.
    Create {
        /// The manifest.
        object: Value,
    },
}

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

impl Display for Write {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Delete { object } => write!(f, "delete the {}", Source(object).label()),
            Self::Create { object } => {
                write!(f, "create the {} from the record", Source(object).label())
            }
            Self::Patch { object, patch } => {
                let label = Source(object).label();
                let restores = patch.pointer("/spec/advanced/restoreToOriginalReplicaCount");
                match &patch["metadata"]["annotations"]["autoscaling.keda.sh/paused"] {
                    Value::Null => write!(f, "resume the {label}")?,
                    _ => write!(f, "pause the {label} (autoscaling.keda.sh/paused)")?,
                }
                match restores {
                    Some(value) => write!(f, ", with restoreToOriginalReplicaCount: {value}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Record(Record { source: Some(source), stage, .. }) => {
                let label = Source(&source.manifest).label();
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
