use super::*;

/// Returns a rule from JSON, which YAML contains.
fn rule(fields: serde_json::Value) -> CredentialRule {
    serde_json::from_value(fields).unwrap()
}

fn rules_with(hosts: &[&str], loopback: bool) -> EgressRules {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    EgressRules { hosts, loopback, ..EgressRules::default() }
}

fn bearer(hosts: &[&str], namespaces: &[&str]) -> serde_json::Value {
    let file = serde_json::json!({"path": "/token"});
    serde_json::json!({"hosts": hosts, "namespaces": namespaces, "bearerTokenFile": file})
}

fn none(_: &str) -> Option<String> {
    None
}

#[test]
fn credentials_are_for_exact_hosts_that_the_list_names() {
    let listed = ["prom.example", "*.metrics.example", "10.0.0.0/8"];
    for (host, expected) in [
        ("prom.example", None),
        ("PROM.example:8443", None),
        ("a.metrics.example", None),
        ("10.1.2.3", None),
        ("other.example", Some("does not have this host")),
        ("metrics.example", Some("does not have this host")),
        ("11.1.2.3", Some("does not have this host")),
        ("169.254.169.254", Some("calls no link-local address")),
        ("127.0.0.1", Some("calls no loopback address")),
        ("*.metrics.example", Some("is not one host")),
        ("prom.example/path", Some("is not one host")),
        ("prom.example/", Some("is not one host")),
        ("https://prom.example", Some("is not one host")),
        ("user@prom.example", Some("is not one host")),
        ("", Some("is not one host")),
    ] {
        let checked = rule(bearer(&[host], &["a"])).check(&rules_with(&listed, false), &none);
        match (checked, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(
                    error.starts_with("hosts: ") && error.contains(expected),
                    "{host}: {error}"
                );
            }
            (checked, _) => panic!("{host}: {checked:?}"),
        }
    }
    // Without a list every host may be a source, and none gets credentials.
    let checked = rule(bearer(&["prom.example"], &["a"])).check(&rules_with(&[], false), &none);
    assert!(checked.unwrap_err().to_string().contains("--allow-source-hosts"));
    // A name is not named by a network that it may resolve to.
    let network = rules_with(&["0.0.0.0/0"], false);
    assert!(rule(bearer(&["prom.example"], &["a"])).check(&network, &none).is_err());
}

#[test]
fn a_rule_covers_its_hosts_ports_paths_and_namespaces() {
    let mut fields = bearer(&["prom.example", "prom.example:8443"], &["team-a"]);
    fields["pathPrefix"] = "/workspaces/ws-1/".into();
    let narrow = rule(fields).check(&rules_with(&["prom.example"], true), &none).unwrap();
    let query = "/api/v1/query";
    for (namespace, url, expected) in [
        ("team-a", "https://prom.example/workspaces/ws-1", true),
        ("team-a", "https://PROM.example:443/workspaces/ws-1/api/v1/query", true),
        ("team-a", "https://prom.example:8443/workspaces/ws-1/api/v1/query", true),
        ("team-a", "https://prom.example:8444/workspaces/ws-1", false),
        ("team-a", "http://prom.example/workspaces/ws-1", false),
        ("team-a", "https://prom.example/workspaces/ws-10/api/v1/query", false),
        ("team-a", "https://prom.example/workspaces/ws-1/%2e%2e/ws-2", false),
        ("team-a", "https://prom.example/workspaces/ws-1/..%2fws-2", false),
        ("team-a", "https://prom.example/workspaces/ws-1/../ws-2", false),
        ("team-a", "https://prom.example/", false),
        ("team-a", "https://a.prom.example/workspaces/ws-1", false),
        ("team-a", "https://prom.example.evil.example/workspaces/ws-1", false),
        ("team-b", "https://prom.example/workspaces/ws-1", false),
        ("", "https://prom.example/workspaces/ws-1", false),
    ] {
        assert_eq!(narrow.covers(namespace, &url.parse().unwrap()), expected, "{namespace} {url}");
    }
    let all = rule(bearer(&["prom.example"], &["*"]));
    let all = all.check(&rules_with(&["prom.example"], false), &none).unwrap();
    assert!(all.covers("team-b", &format!("https://prom.example{query}").parse().unwrap()));
}

#[test]
fn credentials_leave_by_https_only_or_to_loopback_where_it_is_allowed() {
    let of = |loopback| {
        let rule = rule(bearer(&["prom.example"], &["*"]));
        rule.check(&rules_with(&["prom.example"], loopback), &none).unwrap()
    };
    for (url, without, with) in [
        ("https://prom.example", true, true),
        ("http://prom.example:443", false, false),
        ("http://10.0.0.1", false, false),
        ("http://127.0.0.1:9090", false, true),
        ("http://[::1]:9090", false, true),
        ("http://localhost:9090", false, true),
        ("http://localhost.example:9090", false, false),
    ] {
        let url = url.parse().unwrap();
        assert_eq!((of(false).is_safe(&url), of(true).is_safe(&url)), (without, with), "{url}");
    }
}

#[test]
fn a_rule_without_namespaces_or_with_two_providers_is_refused() {
    let egress = rules_with(&["prom.example"], false);
    let base = bearer(&["prom.example"], &["a"]);
    for (field, value, expected) in [
        ("namespaces", serde_json::json!([]), "namespaces: name the namespaces whose"),
        ("namespaces", serde_json::json!(["*", "a"]), "namespaces: \"*\" stands alone"),
        ("namespaces", serde_json::json!(["team-*"]), "namespaces: \"team-*\" is no name"),
        ("hosts", serde_json::json!([]), "hosts: name the hosts"),
        ("pathPrefix", serde_json::json!("workspaces"), "pathPrefix: \"workspaces\" is no path"),
        ("pathPrefix", serde_json::json!("/a/../b"), "pathPrefix: \"/a/../b\" is no path"),
        ("pathPrefix", serde_json::json!("/a%2f"), "pathPrefix: \"/a%2f\" is no path"),
        ("caFile", serde_json::json!("/not/there"), "caFile: /not/there: No such file"),
        ("googleMetadata", serde_json::json!({}), "provider: set exactly one of"),
        ("bearerTokenFile", serde_json::Value::Null, "provider: set exactly one of"),
    ] {
        let mut fields = base.clone();
        fields[field] = value;
        let error = rule(fields).check(&egress, &none).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{field}: {error}");
    }
}

#[test]
fn a_role_is_that_of_the_file_or_of_the_environment() {
    let egress = rules_with(&["aps.example"], false);
    let environment = |name: &str| {
        let value = match name {
            "AWS_REGION" => "eu-central-1",
            "AWS_ROLE_ARN" => "arn:aws:iam::1:role/env",
            "AWS_WEB_IDENTITY_TOKEN_FILE" => "/env/token",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let role = |aws: serde_json::Value, variable: &dyn Fn(&str) -> Option<String>| {
        let fields = serde_json::json!({"hosts": ["aps.example"], "namespaces": ["*"],
            "awsSigV4": aws});
        rule(fields).check(&egress, variable).map(|rule| rule.provider)
    };
    let expected = AwsRole {
        region: "eu-central-1".to_owned(),
        service: "aps".to_owned(),
        role_arn: "arn:aws:iam::1:role/env".to_owned(),
        token_file: "/env/token".into(),
        sts: "https://sts.eu-central-1.amazonaws.com/".parse().unwrap(),
    };
    assert_eq!(role(serde_json::json!({}), &environment), Ok(Provider::Aws(expected.clone())));
    let own = serde_json::json!({"region": "cn-north-1", "roleArn": "arn:aws-cn:iam::1:role/own",
        "webIdentityTokenFile": "/own/token", "service": "other"});
    let of_own = AwsRole {
        region: "cn-north-1".to_owned(),
        service: "other".to_owned(),
        role_arn: "arn:aws-cn:iam::1:role/own".to_owned(),
        token_file: "/own/token".into(),
        sts: "https://sts.cn-north-1.amazonaws.com.cn/".parse().unwrap(),
    };
    assert_eq!(role(own, &environment), Ok(Provider::Aws(of_own)));
    for (aws, expected) in [
        (serde_json::json!({"region": "a.evil.example/"}), "awsSigV4.region: \"a.evil.example/\""),
        (serde_json::json!({"roleArn": "role"}), "awsSigV4.roleArn: \"role\" is no ARN"),
        (
            serde_json::json!({"stsEndpoint": "http://sts.example"}),
            "awsSigV4.stsEndpoint: \"http://sts.example\" is no https URL",
        ),
    ] {
        let error = role(aws, &environment).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = role(serde_json::json!({"region": "eu-central-1"}), &none).unwrap_err().to_string();
    assert_eq!(error, "awsSigV4.roleArn: set it, or the variable AWS_ROLE_ARN");
}

#[test]
fn the_metadata_server_has_one_address_and_one_path() {
    let url = |google: serde_json::Value, loopback| {
        let fields = serde_json::json!({"hosts": ["monitoring.googleapis.com"],
            "namespaces": ["*"], "googleMetadata": google});
        let egress = rules_with(&["*.googleapis.com"], loopback);
        match rule(fields).check(&egress, &none).map(|rule| rule.provider) {
            Ok(Provider::Google(url)) => Ok(url.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let usual = url(serde_json::json!({}), false).unwrap();
    assert_eq!(usual, format!("http://169.254.169.254{path}"));
    let host = |host: &str| serde_json::json!({"metadataHost": host});
    let named = url(host("metadata.google.internal"), false).unwrap();
    assert_eq!(named, format!("http://metadata.google.internal{path}"));
    for wrong in ["evil.example", "169.254.169.253", "127.0.0.1:8080", "169.254.169.254/x"] {
        assert!(url(host(wrong), false).is_err(), "{wrong}");
    }
    assert!(url(host("127.0.0.1:8080"), true).is_ok());
    for account in ["../x", "a/b", "", "a?b", ".."] {
        assert!(url(serde_json::json!({"serviceAccount": account}), false).is_err(), "{account}");
    }
}
