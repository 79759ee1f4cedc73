//! Calls to the API server: their deadline, the text of their errors, their field manager, their
//! scope, and the pages of listings. Each of these is here once, so that all modules of the
//! operator call alike.

pub(crate) mod pages;
mod permit;
pub(crate) mod reads;
#[cfg(test)]
pub(crate) mod stand_in;
pub(crate) mod writes;

use std::time::Duration;

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, PatchParams},
    core::NamespaceResourceScope,
};

pub(crate) use permit::WritePermit;

/// The usual deadline of a call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The longest text of an error that is passed on, in bytes.
const TEXT_LIMIT: usize = 1024;

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The API server refused the call, or could not be reached.
    #[error("{}", error_text(.0))]
    Api(#[from] kube::Error),
    /// The API server did not answer within this time. It may still have carried out a write.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The permission to write has ended before the call was sent.
    #[error("this copy of the operator may not write any more")]
    NoPermit,
    /// The permission to write has ended before the API server answered. It may still have carried
    /// out the write.
    #[error("the permission to write ended before the API server answered")]
    PermitEnded,
}

impl CallError {
    /// Returns the HTTP status of the response; `None` if there was no response.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            Self::Api(_) | Self::Timeout(_) | Self::NoPermit | Self::PermitEnded => None,
        }
    }

    /// Returns the time that the API server asks to wait for before the next call.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let Self::Api(kube::Error::Api(status)) = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    /// Returns true if a failed write may still have been carried out: it was sent, and there was
    /// no response, or a server error.
    pub(crate) fn is_ambiguous(&self) -> bool {
        !matches!(self, Self::NoPermit) && self.status().is_none_or(|status| status >= 500)
    }

    /// Returns the result of a write as the operator's metrics name it.
    pub(crate) fn label(&self) -> &'static str {
        match (self, self.status()) {
            (Self::NoPermit, _) => "no_permit",
            (_, Some(409)) => "conflict",
            (_, Some(400..500)) => "refused",
            _ => "error",
        }
    }

    /// Returns true if the object has been changed since the version that a write names.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }
}

/// Runs a call for at most `deadline`.
///
/// # Errors
/// See [`CallError`].
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Timeout(deadline)),
    }
}

/// Returns the message of the API server if it sent one, such as
/// `statefulsets.apps "qwen3" not found`; otherwise the text of the error.
pub(crate) fn error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => printable(&status.message),
        other => printable(&with_cause(other)),
    }
}

/// Returns the text of an error and that of its innermost cause, such as "client error (Connect):
/// Connection refused (os error 111)".
fn with_cause(error: &dyn std::error::Error) -> String {
    let (text, cause) = (error.to_string(), root_cause(error));
    if text.contains(&cause) { text } else { format!("{text}: {cause}") }
}

/// Returns the text of an error's innermost cause, such as "Connection refused (os error 111)".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Returns a text of another program in one line of at most 1 KiB: a webhook that refuses a write
/// chooses the text of the error, and must not be able to make a line of the log with it.
pub(crate) fn printable(text: &str) -> String {
    let is_breaking = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let mut line: String = text.chars().map(|c| if is_breaking(c) { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(TEXT_LIMIT));
    line
}

/// Returns the parameters of a patch by one of the operator's field managers.
pub(crate) fn patch_as(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// Returns the parameters of a server-side apply by one of the operator's field managers. It takes
/// over fields of other managers.
pub(crate) fn apply_as(manager: &str) -> PatchParams {
    PatchParams::apply(manager).force()
}

/// Returns the API of a kind that is known at compile time, in one namespace or in all of them.
pub(crate) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Returns the API of a kind that is named at run time, in one namespace or in all of them.
pub(crate) fn scoped_dynamic(
    client: &Client,
    namespace: Option<&str>,
    kind: &ApiResource,
) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}

/// Returns whether the first of two versions of an object is the older one. The API server gives
/// versions as growing numbers; of others nothing is known.
pub(crate) fn is_older(version: &str, than: &str) -> bool {
    let number = |version: &str| version.parse::<u128>().ok();
    number(version).zip(number(than)).is_some_and(|(version, than)| version < than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_api_server_that_is_down_is_told_with_the_cause() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let error = client.apiserver_version().await.unwrap_err();
        let text = error_text(&error);
        assert!(text.ends_with("Connection refused (os error 111)"), "{text}");
    }

    #[test]
    fn a_text_of_the_api_server_is_one_line() {
        let forged = "denied\n2026-01-01T00:00:00Z INFO scaled name=\"b/x\" from=5 to=0";
        let status = kube::core::Status::failure(forged, "Forbidden").boxed();
        let text = error_text(&kube::Error::Api(status));
        assert_eq!(text, forged.replace('\n', " "));
        // text, as it is passed on
        let table = [
            ("a\r\nb\u{1b}[2Jc\td", "a  b [2Jc d"),
            ("a\u{2028}b\u{85}c", "a b c"),
            ("ein schöner Grund", "ein schöner Grund"),
        ];
        for (text, expected) in table {
            assert_eq!(printable(text), expected, "{text:?}");
        }
        assert_eq!(printable(&"é".repeat(1000)).len(), TEXT_LIMIT);
    }

    #[test]
    fn versions_are_ordered_where_they_are_numbers() {
        // version, another; whether the first is older
        let table = [("9", "10", true), ("10", "9", false), ("9", "9", false), ("9", "x", false)];
        for (version, than, expected) in table {
            assert_eq!(is_older(version, than), expected, "{version} {than}");
        }
    }
}
