//! The file of `--source-credentials-file`.

use std::path::Path;

use anyhow::Context;
use llm_autoscaler_operator::{CheckedRule, CredentialRule, EgressRules};
use serde::Deserialize;
use serde_saphyr::Spanned;

/// The file as YAML. Each rule has the line at which it begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    credentials: Vec<Spanned<CredentialRule>>,
}

/// Reads the rules of a file, and checks them against the operator's other flags.
///
/// # Errors
/// The file is not there, or one of its rules cannot be used. The error has its line and field.
pub(crate) fn read(path: &Path, egress: &EgressRules) -> anyhow::Result<Vec<CheckedRule>> {
    let of_file = || format!("--source-credentials-file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(of_file)?;
    parse(&text, egress, &|name| std::env::var(name).ok()).with_context(of_file)
}

fn parse(
    text: &str,
    egress: &EgressRules,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Vec<CheckedRule>> {
    let file: File = serde_saphyr::from_str(text)?;
    let rules = file.credentials.iter().enumerate();
    let checked = rules.map(|(index, rule)| {
        let line = rule.defined.line();
        let checked = rule.value.check(egress, variable);
        checked.with_context(|| format!("credentials[{index}], line {line}"))
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
credentials:
- hosts: [prom.example, "other.example:8443"]
  namespaces: [team-a]
  bearerTokenFile: {path: /var/run/token}
- hosts: [aps-workspaces.eu-central-1.amazonaws.com]
  pathPrefix: /workspaces/ws-0123
  namespaces: ["*"]
  awsSigV4: {region: eu-central-1}
"#;

    fn parse_with(text: &str) -> Result<usize, String> {
        let hosts = ["prom.example", "*.example", "*.amazonaws.com"];
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let variable = |name: &str| match name {
            "AWS_ROLE_ARN" => Some("arn:aws:iam::1:role/r".to_owned()),
            "AWS_WEB_IDENTITY_TOKEN_FILE" => Some("/var/run/aws/token".to_owned()),
            _ => None,
        };
        let egress = EgressRules { hosts, ..EgressRules::default() };
        let parsed = parse(text, &egress, &variable);
        parsed.map(|rules| rules.len()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_error_in_the_file_names_its_line_and_field() {
        assert_eq!(parse_with(TWO), Ok(2));
        for (from, to, expected) in [
            ("region: eu-central-1", "zone: eu", "unknown field `zone`"),
            ("region: eu-central-1", "zone: eu", "line 9"),
            ("region: eu-central-1", "", "credentials[1], line 6: awsSigV4.region: set it, or the"),
            ("[\"*\"]", "[]", "credentials[1], line 6: namespaces: name the namespaces"),
            (
                "prom.example,",
                "prom.other,",
                "credentials[0], line 3: hosts: prom.other gets no credentials, because it is no \
                 source: the operator's --allow-source-hosts does not have this host",
            ),
            ("  bearerTokenFile: {path: /var/run/token}\n", "", "set exactly one of"),
            ("credentials:", "credential:", "unknown field `credential`"),
        ] {
            assert!(TWO.contains(from), "{from}");
            let error = parse_with(&TWO.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
    }
}
