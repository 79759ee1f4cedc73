//! The reasons why a page or a query has no result. Conditions contain their texts.

use std::time::Duration;

use crate::supervise::Panic;

/// The length of the longest header Location that is shown, in characters.
const LONGEST_LOCATION: usize = 200;

/// The reason why a page could not be scraped, or a Prometheus server not be queried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The credentials of the source are not available.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// The request failed.
    #[error("{url}: {problem}")]
    Request {
        /// The URL of the request.
        url: String,
        /// The reason.
        problem: FetchProblem,
    },
    /// The task of the page or the server has panicked. It is started again.
    #[error("{0}; it is tried again (InternalError)")]
    Internal(Panic),
}

/// The reason why a request has no usable response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchProblem {
    /// The connection could not be established, or broke. The text is the system's.
    #[error("{0}")]
    Network(String),
    /// The response was not complete within the timeout.
    #[error("timed out after {} s", .0.as_secs())]
    Timeout(Duration),
    /// The status of the response is not 200 OK.
    #[error("returned HTTP status {0}")]
    Status(u16),
    /// The response is a redirect, which is not followed.
    #[error(
        "returned HTTP status {status}, a redirect to {location}, which is not followed: if the \
         metrics are there, configure the source with that scheme, port and path"
    )]
    Redirect {
        /// The status.
        status: u16,
        /// The header Location.
        location: String,
    },
    /// The port speaks TLS, and the request was without it.
    #[error("{0}; the port speaks TLS: set the source's scheme to HTTPS")]
    SpeaksTls(String),
    /// The port does not speak TLS, and the request was with it.
    #[error("{0}; the port does not speak TLS: set the source's scheme to HTTP")]
    SpeaksNoTls(String),
    /// The body of the response is larger than this limit, in bytes.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// The server rejected the query. The text is the server's.
    #[error("{0}")]
    Rejected(String),
    /// The body is not a metrics page, or not the response to a query. The text is the parser's.
    #[error("{0}")]
    Invalid(String),
}

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
    /// The value is not the value of a header, or not a certificate.
    #[error("{what} cannot be used: {problem}")]
    Unusable {
        /// The header, or the field of the spec.
        what: String,
        /// The reason, which never contains the value.
        problem: String,
    },
}

impl FetchError {
    /// Returns the kind of the error, as the operator's own metrics name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Access(_) => "access",
            Self::Internal(_) => "internal",
            Self::Request { problem, .. } => match problem {
                FetchProblem::Network(_)
                | FetchProblem::SpeaksTls(_)
                | FetchProblem::SpeaksNoTls(_) => "unreachable",
                FetchProblem::Timeout(_) => "timeout",
                FetchProblem::Status(_) | FetchProblem::Redirect { .. } => "status",
                FetchProblem::TooLarge(_) => "too_large",
                FetchProblem::Rejected(_) => "rejected",
                FetchProblem::Invalid(_) => "invalid",
            },
        }
    }
}

impl FetchProblem {
    /// Returns the problem of a response with this status, and with this header Location.
    pub(crate) fn status(status: u16, location: Option<&[u8]>) -> Self {
        match location {
            Some(location) if (300..400).contains(&status) => {
                let location = String::from_utf8_lossy(location);
                let printable = location.chars().filter(|c| !c.is_control());
                Self::Redirect { status, location: printable.take(LONGEST_LOCATION).collect() }
            }
            _ => Self::Status(status),
        }
    }

    /// Returns the problem of an error of the network.
    pub(crate) fn network(error: &dyn std::error::Error) -> Self {
        Self::Network(root_cause(error))
    }
}

/// Returns the text of an error's innermost cause, such as "Connection refused (os error 111)".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
