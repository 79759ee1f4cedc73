//! The Prometheus server of a trigger: its address, its headers, its credentials.

use serde_json::{Map, Value, json};

use super::authentication::Access;
use crate::{adapter_rules::named, comment::Comments, field::Field};

/// Returns the server of a trigger. `None` if a source cannot be like it, with a comment.
pub(super) fn server(
    metadata: &Field,
    access: &Access,
    comments: &mut Comments,
) -> Option<Map<String, Value>> {
    let address = metadata.get("serverAddress");
    let mut server = named(&address.text()?, address.path(), comments)?;
    let is_https = server["url"].as_str().is_some_and(|url| url.starts_with("https://"));
    headers(metadata, &mut server, comments);
    if let Some(seconds) = timeout(&metadata.get("timeout")) {
        server.insert("timeoutSeconds".to_owned(), json!(seconds));
    }
    let mut tls = Map::new();
    access.apply(&mut server, &mut tls);
    let unsafe_ssl = metadata.get("unsafeSsl");
    if unsafe_ssl.flag() == Some(true) {
        tls.remove("ca");
        tls.insert("insecureSkipVerify".to_owned(), json!(true));
    }
    if !tls.is_empty() && is_https {
        server.insert("tlsConfig".to_owned(), Value::Object(tls));
    } else if !tls.is_empty() {
        let text = "TLS is for addresses that begin with https://: its settings had no effect.";
        comments.note(address.path(), text);
    }
    for (key, text) in [
        (
            "namespace",
            "a parameter of the query's URL. If the server needs it, name an address \
                       that has the tenant in its path or a header.",
        ),
        ("queryParameters", "parameters of the query's URL: a source adds none."),
        (
            "awsRegion",
            "the operator's owner gives it credentials for Amazon's servers \
                       (docs/credentials.md).",
        ),
    ] {
        let field = metadata.get(key);
        if field.exists() {
            comments.lost(field.path(), format!("{}: {text}", field.quote()));
        }
    }
    for key in ["identityOwner", "metricName"] {
        let field = metadata.get(key);
        if field.exists() {
            comments.note(field.path(), format!("{}: not needed.", field.quote()));
        }
    }
    Some(server)
}

/// Reads the headers without secrets.
fn headers(metadata: &Field, server: &mut Map<String, Value>, comments: &mut Comments) {
    let mut headers = Map::new();
    if let Some(tenant) = metadata.get("cortexOrgID").text() {
        headers.insert("X-Scope-OrgID".to_owned(), json!(tenant));
    }
    let custom = metadata.get("customHeaders");
    for pair in custom.text().iter().flat_map(|text| text.split(',')) {
        match pair.split_once('=') {
            Some((name, value)) => {
                headers.insert(name.trim().to_owned(), json!(value.trim()));
            }
            None => comments.lost(custom.path(), "a part is not NAME=VALUE."),
        }
    }
    let is_secret = |name: &str| name.eq_ignore_ascii_case("authorization");
    if headers.keys().any(|name| is_secret(name)) {
        headers.retain(|name, _| !is_secret(name));
        let text = "the header Authorization belongs in a Secret: name its key in headersFrom.";
        comments.lost(custom.path(), text);
    }
    if !headers.is_empty() {
        server.insert("headers".to_owned(), Value::Object(headers));
    }
}

/// Returns a timeout in whole seconds: KEDA's is a number of milliseconds, or a duration.
fn timeout(field: &Field) -> Option<i64> {
    let text = field.peek().map(str::to_owned).or_else(|| field.text())?;
    let text = text.trim();
    let milliseconds = match text.strip_suffix("ms").unwrap_or(text).parse::<i64>() {
        Ok(number) => number,
        Err(_) => text.strip_suffix('s')?.parse::<i64>().ok()?.saturating_mul(1000),
    };
    field.dismiss();
    Some(milliseconds.saturating_add(999).div_euclid(1000).clamp(1, 60))
}
