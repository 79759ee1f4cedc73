//! Checks of texts that reach the paths, hosts and headers of calls. The API server checks most of
//! them too; objects that are older than its checks are left.

use super::SpecError;
use crate::{
    names::{is_api_version, is_data_key, is_kind, is_object_name},
    parse::{Access, ValueRef},
    spec::{KeyRef, ScaleTargetRef},
};

/// Headers that a spec cannot set: they would change the host that is meant, or how the request is
/// framed and the connection used.
const RESERVED_HEADERS: [&str; 13] = [
    "host",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The longest value of a header, in bytes.
const LONGEST_HEADER: usize = 4096;
/// The most headers of one source.
const MOST_HEADERS: usize = 16;

/// Checks the names by which a target is called.
pub(super) fn check_target(target: &ScaleTargetRef) -> Result<(), SpecError> {
    let wrong = |field: &str, text: &str, what: &str| {
        let problem = format!("{text:?} is no {what}");
        Err(SpecError::new(format!("scaleTargetRef.{field}"), problem))
    };
    if !is_api_version(&target.api_version) {
        return wrong("apiVersion", &target.api_version, "group and version such as apps/v1");
    }
    if !is_kind(&target.kind) {
        return wrong("kind", &target.kind, "kind such as StatefulSet");
    }
    if !is_object_name(&target.name) {
        return wrong("name", &target.name, "name of an object: use lower case, digits, - and .");
    }
    Ok(())
}

/// Checks the references to Secrets and ConfigMaps, and the headers.
pub(super) fn check_access(access: &Access, field: &str) -> Result<(), SpecError> {
    for ValueRef { field: name, key, .. } in access.references() {
        check_key(key, &format!("{field}.{name}"))?;
    }
    if let Some(tls) = &access.tls
        && tls.cert.is_some() != tls.key_secret.is_some()
    {
        let problem = "set cert and keySecret together: a client certificate is used with its key";
        return Err(SpecError::new(format!("{field}.tlsConfig"), problem));
    }
    check_headers(access, field)
}

fn check_key(key: &KeyRef, field: &str) -> Result<(), SpecError> {
    let problem = if !is_object_name(&key.name) {
        format!("{:?} is no name of a Secret or ConfigMap", key.name)
    } else if !is_data_key(&key.key) {
        format!("{:?} is no key of a Secret or ConfigMap", key.key)
    } else {
        return Ok(());
    };
    Err(SpecError::new(field, problem))
}

fn check_headers(access: &Access, field: &str) -> Result<(), SpecError> {
    let from = access.headers_from.iter().map(|from| ("headersFrom", from.name.as_str()));
    let names = access.headers.keys().map(|name| ("headers", name.as_str())).chain(from);
    for (list, name) in names {
        if RESERVED_HEADERS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            let problem = format!("the operator sets the header {name} by itself: remove it");
            return Err(SpecError::new(format!("{field}.{list}"), problem));
        }
    }
    if access.headers.len() > MOST_HEADERS {
        let problem = format!("{} headers are more than {MOST_HEADERS}", access.headers.len());
        return Err(SpecError::new(format!("{field}.headers"), problem));
    }
    let long = access.headers.iter().find(|(_, value)| value.len() > LONGEST_HEADER);
    long.map_or(Ok(()), |(name, value)| {
        let problem =
            format!("the value of {name} has {} bytes; {LONGEST_HEADER} are allowed", value.len());
        Err(SpecError::new(format!("{field}.headers"), problem))
    })
}

/// Checks that no segment of the path of a URL is `.` or `..`: a client takes them out of the URL
/// that a policy has allowed.
pub(super) fn check_url(url: &str, field: &str) -> Result<(), SpecError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if rest.split(['/', '\\']).skip(1).any(is_dots) {
        let problem = "the path has . or .. as a segment: write the path that is meant";
        return Err(SpecError::new(format!("{field}.url"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Profile;
    use serde_json::{Value, json};

    use crate::parse::parse_target;

    fn problem(change: impl Fn(&mut Value)) -> Option<String> {
        let mut spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
            "sources": [{"prometheus": {"url": "https://p.example/team-a"}}],
        });
        change(&mut spec);
        let spec = serde_json::from_value(spec).unwrap();
        parse_target(&spec, Profile::Default).err().map(|error| error.field)
    }

    #[test]
    fn names_that_reach_a_path_are_names() {
        assert_eq!(problem(|_| {}), None);
        for (field, value) in [
            ("name", "xx/scale?pretty=1&x="),
            ("name", "xx/scale?dryRun=All&x="),
            ("name", "../../b/statefulsets/other"),
            ("kind", "Stateful/Set"),
            ("apiVersion", "apps/v1/namespaces"),
        ] {
            let found = problem(|spec| spec["scaleTargetRef"][field] = json!(value));
            assert_eq!(found, Some(format!("scaleTargetRef.{field}")), "{value}");
        }
        let key = json!({"name": "a/../b", "key": "token"});
        let source = |field: &str, value: Value| {
            problem(|spec| spec["sources"][0]["prometheus"][field] = value.clone())
        };
        let found = source("authorization", json!({"type": "Bearer", "credentials": key}));
        assert_eq!(found, Some("sources[0].prometheus.authorization.credentials".to_owned()));
        let found = source("tlsConfig", json!({"ca": {"secret": {"name": "a", "key": "../b"}}}));
        assert_eq!(found, Some("sources[0].prometheus.tlsConfig.ca.secret".to_owned()));
        let pair = |cert: &str, key: &str| {
            let reference = |name| json!({"name": name, "key": "k"});
            json!({"cert": {"configMap": reference(cert)}, "keySecret": reference(key)})
        };
        for (cert, key, expected) in [
            ("../a", "b", Some("cert.configMap")),
            ("a", "../b", Some("keySecret")),
            ("a", "b", None),
        ] {
            let expected = expected.map(|f| format!("sources[0].prometheus.tlsConfig.{f}"));
            assert_eq!(source("tlsConfig", pair(cert, key)), expected, "{cert}, {key}");
        }
    }

    #[test]
    fn a_client_certificate_has_its_key() {
        for field in ["cert", "keySecret"] {
            let reference = json!({"name": "a", "key": "k"});
            let value = if field == "cert" { json!({"secret": reference}) } else { reference };
            for source in ["prometheus", "scrape"] {
                let mut settings = json!({"tlsConfig": {field: value}});
                if source == "prometheus" {
                    settings["url"] = json!("https://p.example");
                }
                let found = problem(|spec| spec["sources"] = json!([{source: settings}]));
                assert_eq!(found, Some(format!("sources[0].{source}.tlsConfig")), "{field}");
            }
        }
    }

    #[test]
    fn headers_of_the_connection_and_the_host_are_the_operators() {
        for name in ["Host", "content-length", "TRANSFER-ENCODING", "Connection", "Expect"] {
            let found = problem(|spec| {
                spec["sources"][0]["prometheus"]["headers"] = json!({name: "x"});
            });
            assert_eq!(found, Some("sources[0].prometheus.headers".to_owned()), "{name}");
        }
        let many: serde_json::Map<String, Value> =
            (0..40_000).map(|at| (format!("x-{at}"), json!("x"))).collect();
        let found = problem(|spec| spec["sources"][0]["prometheus"]["headers"] = json!(many));
        assert_eq!(found, Some("sources[0].prometheus.headers".to_owned()));
        let found = problem(|spec| {
            spec["sources"][0]["prometheus"]["headers"] = json!({"X-Scope-OrgID": "team-a"});
        });
        assert_eq!(found, None);
    }

    #[test]
    fn a_url_is_the_one_that_is_called() {
        for (url, is_right) in [
            ("https://p.example", true),
            ("https://p.example/team-a/", true),
            ("https://p.example/a..b/.c", true),
            ("https://p.example/team-a/../team-b", false),
            ("https://p.example/team-a/%2E%2e/team-b", false),
            ("https://p.example/team-a/..", false),
            ("https://p.example/./team-a", false),
            ("https://p.example\\..\\team-b", false),
        ] {
            let found = problem(|spec| spec["sources"][0]["prometheus"]["url"] = json!(url));
            let expected = (!is_right).then(|| "sources[0].prometheus.url".to_owned());
            assert_eq!(found, expected, "{url}");
        }
    }
}
