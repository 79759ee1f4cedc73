//! The errors of reading and writing a target's scale.

use crate::kube_api::CallError;

/// The reason why a target's scale could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// `apiVersion` is no group and version.
    #[error("spec.scaleTargetRef.apiVersion {0:?} is not GROUP/VERSION")]
    BadApiVersion(String),
    /// The cluster does not serve such a kind at present.
    #[error("the cluster has no kind {kind} in {api_version}")]
    NoSuchKind {
        /// The `apiVersion` of the reference.
        api_version: String,
        /// The `kind` of the reference.
        kind: String,
    },
    /// The cluster serves the kind, which cannot be scaled.
    #[error("{kind} in {api_version} has no scale subresource; scale an object that has one")]
    NotScalable {
        /// The `apiVersion` of the reference.
        api_version: String,
        /// The `kind` of the reference.
        kind: String,
    },
    /// The kind can be scaled, and is cluster-scoped.
    #[error("{kind} in {api_version} does not belong to a namespace")]
    NotNamespaced {
        /// The `apiVersion` of the reference.
        api_version: String,
        /// The `kind` of the reference.
        kind: String,
    },
    /// The group has no such role at present.
    #[error("the RoleBasedGroup {group} has no role {role}; its roles are {}", .roles.join(", "))]
    NoSuchRole {
        /// The group's name.
        group: String,
        /// The `role` of the reference.
        role: String,
        /// The names of the group's roles.
        roles: Vec<String>,
    },
    /// The target exists, and another controller has not completed it yet.
    #[error("{0}")]
    NotYet(String),
    /// Another controller would revert, or ignore, a size that is written to the target.
    #[error("{0}")]
    Refused(String),
    /// The operator may not write to groups.
    #[error(
        "{0}; enable the role's scalingAdapter, or let the operator patch RoleBasedGroups \
         (docs/targets.md)"
    )]
    RoleForbidden(String),
    /// Another writer has changed the target since it was read. The step is tried again at once, so
    /// this text is seen only after several attempts.
    #[error("several writes in a row were refused as outdated; the last answer: {0}")]
    Conflict(String),
    /// The API server refused the call or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl TargetError {
    /// Returns whether waiting will not help, because the reference itself is wrong.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::BadApiVersion(_)
                | Self::NotScalable { .. }
                | Self::NotNamespaced { .. }
                | Self::Refused(_)
        )
    }

    /// Returns whether the target does not exist; false where it could not be read.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchKind { .. } | Self::NoSuchRole { .. } => true,
            Self::Call(error) => error.status() == Some(404),
            _ => false,
        }
    }

    /// Returns whether the API server answered that the operator may not make the call.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Call(error) if error.status() == Some(403))
    }

    /// Returns whether a write may have been carried out although it failed.
    pub(crate) fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_ambiguous())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_is_gone_terminal_or_ambiguous_by_its_cause() {
        let api = |code| {
            let status = Status { code, ..Status::default() };
            TargetError::Call(CallError::Api(kube::Error::Api(Box::new(status))))
        };
        let timeout = TargetError::Call(CallError::Timeout(Duration::from_secs(10)));
        // the error; gone, terminal, ambiguous
        let table = [
            (api(404), [true, false, false]),
            (api(403), [false, false, false]),
            (api(500), [false, false, true]),
            (timeout, [false, false, true]),
            (TargetError::BadApiVersion("a/b/c".to_owned()), [false, true, false]),
            (TargetError::Refused("the set".to_owned()), [false, true, false]),
            (TargetError::NotYet("the adapter".to_owned()), [false, false, false]),
            (TargetError::Conflict("changed".to_owned()), [false, false, false]),
            (TargetError::Call(CallError::NoPermit), [false, false, false]),
        ];
        for (error, expected) in table {
            let found = [error.is_gone(), error.is_terminal(), error.is_ambiguous()];
            assert_eq!(found, expected, "{error:?}");
        }
    }
}
