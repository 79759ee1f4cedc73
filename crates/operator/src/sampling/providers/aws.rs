//! The temporary credentials of a role of AWS, for a web identity token in a file.
//!
//! EKS's webhook for IAM roles of a ServiceAccount gives the operator's pod such a token. AWS's
//! Security Token Service answers with credentials that last for an hour.

use std::{fmt, time::Duration};

use aws_credential_types::Credentials;
use chrono::{DateTime, Utc};
use reqwest::Client;

use super::{
    answer, bearer_file,
    rules::AwsRole,
    token::{Failure, Fresh},
};

const STS: &str = "AWS's Security Token Service";
/// The name of the session, which AWS's audit log shows.
const SESSION: &str = "llm-autoscaler";

/// Temporary credentials.
#[derive(Clone)]
pub(super) struct AwsCredentials(pub(super) Credentials);

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AwsCredentials").finish_non_exhaustive()
    }
}

/// Fetches credentials by `AssumeRoleWithWebIdentity`.
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
pub(super) async fn fetch(
    client: &Client,
    role: &AwsRole,
) -> Result<Fresh<AwsCredentials>, Failure> {
    let token = bearer_file::read_text(&role.token_file)?;
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", &role.role_arn),
        ("RoleSessionName", SESSION),
        ("WebIdentityToken", &token),
    ];
    let response = client.post(role.sts.clone()).form(&form).send().await;
    let (status, body) = answer::read(STS, response).await?;
    if status != 200 {
        let code = element(&body, "Code").filter(|code| is_code(code)).unwrap_or("no code");
        let told = format!(
            "{STS} answers with HTTP status {status} ({code}): check the role and its trust policy"
        );
        return Err(Failure::new(told, &role.role_arn));
    }
    parse(&body, Utc::now()).ok_or_else(|| {
        let told = format!("the answer of {STS} has no credentials that are still valid");
        Failure::new(told, &role.sts)
    })
}

/// Parses the credentials of an answer.
fn parse(body: &str, now: DateTime<Utc>) -> Option<Fresh<AwsCredentials>> {
    let given = element(body, "Credentials")?;
    let [id, secret, token] = ["AccessKeyId", "SecretAccessKey", "SessionToken"]
        .map(|name| element(given, name).filter(|text| !text.is_empty()).map(str::to_owned));
    let expiration = DateTime::parse_from_rfc3339(element(given, "Expiration")?).ok()?;
    let valid_for = (expiration.to_utc() - now).to_std().ok()?;
    if valid_for < Duration::from_secs(1) {
        return None;
    }
    let credentials = Credentials::new(id?, secret?, Some(token?), None, "web identity");
    Some(Fresh { value: AwsCredentials(credentials), valid_for })
}

/// Returns the text of the first element of this name. The values of these answers are base64, a
/// number or a time, which XML writes as they are.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// Returns true if a text looks like a code of an error, such as `AccessDenied`.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape is that of the example in the reference of `AssumeRoleWithWebIdentity`.
    const ANSWER: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:a:b</SubjectFromWebIdentityToken>
    <Credentials>
      <SessionToken>AQoDYXdz//EXAMPLE+token==</SessionToken>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <Expiration>2026-10-24T23:00:23Z</Expiration>
      <AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"#;

    #[test]
    fn an_answer_has_credentials_until_their_expiration() {
        let now = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let found = parse(ANSWER, now("2026-10-24T22:00:23Z")).unwrap();
        assert_eq!(found.valid_for, Duration::from_hours(1));
        assert_eq!(found.value.0.access_key_id(), "ASgeIAIOSFODNN7EXAMPLE");
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY";
        assert_eq!(found.value.0.secret_access_key(), secret);
        assert_eq!(found.value.0.session_token(), Some("AQoDYXdz//EXAMPLE+token=="));
        assert!(!format!("{:?}", found.value).contains("EXAMPLE"));
        assert!(parse(ANSWER, now("2026-10-24T23:00:23Z")).is_none(), "expired");
        for name in ["SessionToken", "SecretAccessKey", "Expiration", "AccessKeyId"] {
            let without = ANSWER.replace(&format!("<{name}>"), "<other>");
            assert!(parse(&without, now("2026-10-24T22:00:23Z")).is_none(), "{name}");
        }
    }

    #[test]
    fn only_a_code_of_an_error_is_told() {
        let code = |xml| element(xml, "Code").filter(|code| is_code(code));
        assert_eq!(code("<Error><Code>AccessDenied</Code></Error>"), Some("AccessDenied"));
        assert_eq!(code("<Error><Code>a b</Code></Error>"), None);
        assert_eq!(code("<Code>AccessDenied"), None);
    }
}
