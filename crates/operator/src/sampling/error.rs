//! The reasons why a page or a query has no result. Conditions contain their texts.

use std::time::Duration;

use crate::{
    kube_api::{printable, root_cause},
    sampling::{
        access_error::AccessError,
        egress::Refusal,
        memory::NoMemory,
        tls_hint::{is_handshake_failure, refuses_certificate},
    },
    supervise::Panic,
};

/// The length of the longest header Location that is shown, in characters.
const LONGEST_LOCATION: usize = 200;

/// The beginning of the body by which Mimir and Cortex refuse a query without a tenant.
const NO_TENANT: &[u8] = b"no org id";
/// The words by which `VictoriaMetrics` refuses a path that it does not know.
const NO_PATH: &[u8] = b"unsupported path";

const TENANT: &str = "the server has tenants; name one in the source, such as \
                      headers: {X-Scope-OrgID: team-a}";
const CREDENTIALS: &str = "the server requires credentials (authorization, basicAuth or headersFrom \
                           of the source) or a tenant (headers: {X-Scope-OrgID: …})";
const FORBIDDEN: &str = "the credentials or the tenant of the source are not allowed to query; \
                         check authorization, basicAuth, headersFrom and headers";
const OPERATORS: &str = "the server refuses the credentials that the operator's owner has for it; the \
                         owner is to let that identity query it";
const PREFIX: &str = "there is no Prometheus API at this path; complete the URL of the source with \
                      the server's prefix, such as /prometheus for Mimir and Cortex";

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
    /// The past of a page's histograms and windows takes more memory than there is.
    #[error("the windows of this page take {0}")]
    NoMemory(#[from] NoMemory),
    /// The autoscalers of a namespace ask a server for too much.
    #[error(
        "{url} is queried for {limit} different expressions and sets of series already, the most \
         that it is for one namespace: let autoscalers of namespace {namespace} share their \
         queries, intervals and windows, or remove some"
    )]
    TooManyQueries {
        /// The server.
        url: String,
        /// The autoscalers' namespace.
        namespace: String,
        /// The limit.
        limit: usize,
    },
    /// The autoscalers of a namespace have too many servers.
    #[error(
        "{url} is not queried: the autoscalers of namespace {namespace} query {limit} servers \
         already, the most that a namespace may have, where another URL, matcher, label or \
         credential makes another server; let them share one, or remove some"
    )]
    TooManyServers {
        /// The server.
        url: String,
        /// The autoscalers' namespace.
        namespace: String,
        /// The limit.
        limit: usize,
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
    /// The server demands a client certificate, and none was sent.
    #[error(
        "{0}; the server demands a client certificate: set tlsConfig.cert and tlsConfig.keySecret \
         of the source"
    )]
    CertificateDemanded(String),
    /// The server has ended the handshake without a particular reason.
    #[error(
        "{0}; the server may demand a client certificate (tlsConfig.cert and tlsConfig.keySecret of \
         the source), or have no TLS cipher that the operator has"
    )]
    HandshakeFailed(String),
    /// The server does not accept the client certificate that was sent.
    #[error(
        "{0}; the server does not accept the client certificate of tlsConfig.cert: renew it, or let \
         the server trust the authority that has signed it"
    )]
    CertificateRefused(String),
    /// The address is not called.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The response was not complete within the timeout.
    #[error("timed out after {} s", .0.as_secs())]
    Timeout(Duration),
    /// The status of the response is not 200 OK.
    #[error("returned HTTP status {0}")]
    Status(u16),
    /// A server's response has a status other than 200 OK.
    #[error("returned HTTP status {status}: {hint}")]
    ServerStatus {
        /// The status.
        status: u16,
        /// The reason that is usual, and what to do.
        hint: &'static str,
    },
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
    /// The port of a server speaks the other of `http` and `https` than its URL has.
    #[error("{problem}; the port speaks {scheme}: begin the source's url with {scheme}://")]
    WrongScheme {
        /// The text of the failed request.
        problem: String,
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// The body of the response is larger than this limit, in bytes.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// Other responses of the namespace had all of its memory for this time.
    #[error(
        "other pages and answers of the namespace had all of its share of --memory-budget for {} s",
        .0.as_secs()
    )]
    NoTurn(Duration),
    /// The response takes more memory than there is.
    #[error("the response takes {0}")]
    NoMemory(#[from] NoMemory),
    /// The server rejected the query. The text is the server's.
    #[error("{0}")]
    Rejected(String),
    /// The body is not a metrics page, or not the response to a query. The text is the parser's.
    #[error("{0}")]
    Invalid(String),
}

impl FetchError {
    /// Returns the kind of the error, as the operator's own metrics name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Access(_) => "access",
            Self::Internal(_) => "internal",
            Self::NoMemory(_) => "no_memory",
            Self::TooManyQueries { .. } | Self::TooManyServers { .. } => "too_many",
            Self::Request { problem, .. } => match problem {
                FetchProblem::Network(_)
                | FetchProblem::CertificateDemanded(_)
                | FetchProblem::HandshakeFailed(_)
                | FetchProblem::CertificateRefused(_)
                | FetchProblem::SpeaksTls(_)
                | FetchProblem::SpeaksNoTls(_)
                | FetchProblem::WrongScheme { .. } => "unreachable",
                FetchProblem::Refused(_) => "refused",
                FetchProblem::Timeout(_) => "timeout",
                FetchProblem::Status(_)
                | FetchProblem::ServerStatus { .. }
                | FetchProblem::Redirect { .. } => "status",
                FetchProblem::TooLarge(_) => "too_large",
                FetchProblem::NoTurn(_) | FetchProblem::NoMemory(_) => "no_memory",
                FetchProblem::Rejected(_) => "rejected",
                FetchProblem::Invalid(_) => "invalid",
            },
        }
    }

    /// Returns true if a server has refused a query that it might answer in parts: because of one
    /// of the series, or because all of them together are too many or take too long. An answer
    /// about credentials, paths or the number of requests is none of these, and neither is a server
    /// that is not reached.
    pub(crate) fn may_be_of_a_part(&self) -> bool {
        let Self::Request { problem, .. } = self else { return false };
        match problem {
            FetchProblem::Rejected(_)
            | FetchProblem::TooLarge(_)
            | FetchProblem::NoMemory(_)
            | FetchProblem::Timeout(_) => true,
            // 429 is no answer to this query: more of them would be refused as well.
            FetchProblem::Status(429) => false,
            FetchProblem::Status(status) => matches!(status, 400..=499 | 504),
            _ => false,
        }
    }

    /// Returns true if a server may have refused the way in which a query is written, which another
    /// server understands: a status of 400, or the API's `bad_data`.
    pub(crate) fn may_be_of_the_wording(&self) -> bool {
        let Self::Request { problem, .. } = self else { return false };
        match problem {
            FetchProblem::Status(400) => true,
            FetchProblem::Rejected(text) => {
                ["bad_data", "__name__", "exact metric name"].iter().any(|part| text.contains(part))
            }
            _ => false,
        }
    }

    /// Returns true if the request took as long as it may.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Request { problem: FetchProblem::Timeout(_), .. })
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

    /// Returns the problem of a Prometheus server's response with this status, body, and header
    /// Location. Nothing of the body is shown, because it may be that of any server.
    pub(crate) fn server_status(status: u16, location: Option<&[u8]>, body: &[u8]) -> Self {
        match status {
            401 if contains(body, NO_TENANT) => Self::ServerStatus { status, hint: TENANT },
            401 => Self::ServerStatus { status, hint: CREDENTIALS },
            403 => Self::ServerStatus { status, hint: FORBIDDEN },
            // VictoriaMetrics answers 400 where other servers answer 404.
            404 => Self::ServerStatus { status, hint: PREFIX },
            400 if contains(body, NO_PATH) => Self::ServerStatus { status, hint: PREFIX },
            _ => Self::status(status, location),
        }
    }

    /// Returns the problem of an error of the network, for a request without a client certificate.
    pub(crate) fn network(error: &(dyn std::error::Error + 'static)) -> Self {
        // The names in a certificate, for example, are the server's text.
        let text = printable(&root_cause(error));
        match error {
            error if refuses_certificate(error) => Self::CertificateDemanded(text),
            error if is_handshake_failure(error) => Self::HandshakeFailed(text),
            _ => Self::Network(text),
        }
    }

    /// Returns the problem as it is if the request was made with a client certificate.
    pub(crate) fn with_client_certificate(self, was_sent: bool) -> Self {
        match self {
            Self::CertificateDemanded(text) if was_sent => Self::CertificateRefused(text),
            problem => problem,
        }
    }

    /// Returns the problem of a request with the credentials of the operator's owner, which no
    /// field of the source has.
    pub(crate) fn with_operators_credentials(self) -> Self {
        match self {
            Self::ServerStatus { status: status @ (401 | 403), .. } => {
                Self::ServerStatus { status, hint: OPERATORS }
            }
            problem => problem,
        }
    }

    /// Returns true if the server has rejected the credentials, so that they have to be read again.
    pub(crate) fn rejects_credentials(&self) -> bool {
        matches!(self, Self::Status(401 | 403) | Self::CertificateRefused(_))
    }
}

/// Returns true if the text is in the first part of a body.
fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).take(1000).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_about_a_certificate_says_what_to_set() {
        use rustls::AlertDescription as Alert;
        let demanded = "demands a client certificate: set tlsConfig.cert and tlsConfig.keySecret";
        let refused = "does not accept the client certificate of tlsConfig.cert: renew it";
        for (alert, without, with) in [
            (Alert::CertificateRequired, demanded, refused),
            (Alert::BadCertificate, demanded, refused),
            (Alert::UnsupportedCertificate, demanded, refused),
            (Alert::CertificateRevoked, demanded, refused),
            (Alert::CertificateExpired, demanded, refused),
            (Alert::CertificateUnknown, demanded, refused),
            (Alert::UnknownCA, demanded, refused),
            (Alert::AccessDenied, demanded, refused),
            (Alert::DecryptError, demanded, refused),
            (Alert::HandshakeFailure, "may demand a client certificate", "may demand"),
            (Alert::ProtocolVersion, "ProtocolVersion", "ProtocolVersion"),
        ] {
            for (was_sent, expected) in [(false, without), (true, with)] {
                let error = std::io::Error::other(rustls::Error::AlertReceived(alert));
                let problem = FetchProblem::network(&error).with_client_certificate(was_sent);
                let text = problem.to_string();
                assert!(text.contains(expected) && text.contains("fatal alert"), "{text}");
                assert_eq!(problem.rejects_credentials(), expected == refused, "{text}");
            }
        }
    }

    #[test]
    fn a_query_is_split_where_a_part_of_it_may_be_refused() {
        let second = Duration::from_secs(1);
        for (problem, expected) in [
            (FetchProblem::Rejected("bad_data: too many samples".to_owned()), true),
            (FetchProblem::TooLarge(1), true),
            (FetchProblem::Timeout(second), true),
            (FetchProblem::Status(422), true),
            (FetchProblem::Status(413), true),
            (FetchProblem::Status(504), true),
            (FetchProblem::Status(429), false),
            (FetchProblem::Status(500), false),
            (FetchProblem::server_status(401, None, b""), false),
            (FetchProblem::server_status(404, None, b""), false),
            (FetchProblem::Network("refused".to_owned()), false),
            (FetchProblem::Invalid("html".to_owned()), false),
        ] {
            let error = FetchError::Request { url: String::new(), problem };
            assert_eq!(error.may_be_of_a_part(), expected, "{error}");
        }
    }

    #[test]
    fn a_servers_status_has_a_hint_and_nothing_of_the_body() {
        let table: [(u16, &str, &str); 8] = [
            (
                401,
                "no org id\n",
                "status 401: the server has tenants; name one in the source, such as headers: {X-Scope-OrgID",
            ),
            (401, "Unauthorized", "status 401: the server requires credentials (authorization"),
            (401, "", "or a tenant (headers: {X-Scope-OrgID"),
            (403, "secret", "status 403: the credentials or the tenant"),
            (404, "404 page not found\n", "such as /prometheus for Mimir and Cortex"),
            (
                400,
                "unsupported path requested: \"/x/api/v1/query\"",
                "status 400: there is no Prometheus API at this path",
            ),
            (400, "bad", "returned HTTP status 400"),
            (503, "", "returned HTTP status 503"),
        ];
        for (status, body, expected) in table {
            let text = FetchProblem::server_status(status, None, body.as_bytes()).to_string();
            assert!(text.contains(expected) && !text.contains("secret"), "{body}: {text}");
        }
    }
}
