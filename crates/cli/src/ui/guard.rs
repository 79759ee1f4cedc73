//! The requests that are answered: those of a browser on this machine for this page. A name of
//! another host that resolves to 127.0.0.1, and a page of another site, get nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The policy of the page: only what this server has, no inline code, and no text as markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of every answer.
pub(super) const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Returns why a request is refused; `None` if it is answered. `port` is that of the listener.
pub(super) fn refusal(
    method: &Method,
    headers: &HeaderMap,
    port: u16,
) -> Option<(StatusCode, &'static str)> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "the page is read-only: only GET\n"));
    }
    if !is_own_host(headers, port) {
        let text = "open the page as http://127.0.0.1 or http://localhost, with its port\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text));
    }
    // Browsers send it; other clients need not.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        None | Some(b"same-origin" | b"none") => None,
        // A link from elsewhere may open the page, which tells that page nothing.
        Some(_) if headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate") => None,
        Some(_) => Some((StatusCode::FORBIDDEN, "another site may not read this page\n")),
    }
}

/// Returns whether the request is for this server by a name of loopback.
fn is_own_host(headers: &HeaderMap, port: u16) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some((name, given)) = host.to_str().ok().and_then(|host| host.rsplit_once(':')) else {
        return false;
    };
    matches!(name, "127.0.0.1" | "localhost") && given == port.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &Method, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        refusal(method, &map, 8090).map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn only_get_by_a_name_of_loopback_from_this_page_is_answered() {
        type Case<'a> = (Method, &'a [(&'static str, &'static str)], u16);
        let own = ("host", "127.0.0.1:8090");
        let table: [Case<'_>; 15] = [
            (Method::GET, &[own], 200),
            (Method::HEAD, &[own], 200),
            (Method::GET, &[("host", "localhost:8090")], 200),
            (Method::POST, &[own], 405),
            (Method::PUT, &[own], 405),
            (Method::OPTIONS, &[own], 405),
            (Method::DELETE, &[own], 405),
            // A name that an attacker lets resolve to 127.0.0.1.
            (Method::GET, &[("host", "attacker.example:8090")], 421),
            (Method::GET, &[("host", "127.0.0.1.attacker.example:8090")], 421),
            (Method::GET, &[("host", "127.0.0.1:80")], 421),
            (Method::GET, &[("host", "127.0.0.1")], 421),
            (Method::GET, &[], 421),
            (Method::GET, &[own, ("host", "attacker.example:8090")], 421),
            (Method::GET, &[own, ("sec-fetch-site", "cross-site")], 403),
            (Method::GET, &[own, ("sec-fetch-site", "same-site")], 403),
        ];
        for (method, headers, expected) in table {
            assert_eq!(status(&method, headers), expected, "{method} {headers:?}");
        }
        let link = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(status(&Method::GET, &link), 200);
        assert_eq!(status(&Method::GET, &[own, ("sec-fetch-site", "same-origin")]), 200);
    }
}
