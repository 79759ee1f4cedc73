//! The reasons why credentials are not available. Conditions contain their texts.

/// The reason why credentials are not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// The object, or the key in it, does not exist.
    #[error("{kind} {namespace}/{name} has no key {key}: create it, or correct the reference")]
    Missing {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// The name in the reference.
        name: String,
        /// The key in the reference.
        key: String,
    },
    /// The operator has no permission to read the object.
    #[error(
        "the operator is not allowed to read {kind} {namespace}/{name}; grant access with: \
         kubectl create rolebinding llm-autoscaler-credentials -n {namespace} \
         --clusterrole=llm-autoscaler-credentials \
         --serviceaccount=llm-autoscaler-system:llm-autoscaler"
    )]
    Forbidden {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// The name in the reference.
        name: String,
    },
    /// The API server did not return the object.
    #[error("{kind} {namespace}/{name} could not be read: {problem}")]
    Unread {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// The name in the reference.
        name: String,
        /// The text of the error.
        problem: String,
    },
    /// The credentials of the operator's owner for this host are not there.
    #[error(
        "{host}: the operator's own credentials ({provider} of --source-credentials-file) are not \
         available: {problem}; the operator's log has the details for its owner"
    )]
    Operator {
        /// The host of the source.
        host: String,
        /// The provider's field in the file.
        provider: &'static str,
        /// The reason, which names nothing of the owner's account.
        problem: String,
    },
    /// The value is not the value of a header, or not a certificate.
    #[error("{what} cannot be used: {problem}")]
    Unusable {
        /// The header, or the field of the spec.
        what: String,
        /// The reason, which never contains the value.
        problem: String,
    },
}
