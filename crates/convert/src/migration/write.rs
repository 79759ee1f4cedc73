//! The writes to objects of other autoscalers.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

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

/// Returns the kind and the name of an object, for messages.
pub(super) fn label(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

impl Display for Write {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Delete { object } => write!(f, "delete the {}", label(object)),
            Self::Create { object } => {
                write!(f, "create the {} from the record", label(object))
            }
            Self::Patch { object, patch } => {
                let label = label(object);
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
