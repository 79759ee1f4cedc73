//! AWS's Signature Version 4, as a server checks it.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use axum::http::request::Parts;
use chrono::{DateTime, NaiveDateTime, Utc};
use ring::{digest, hmac};

/// The largest difference between the clocks of client and server, in seconds.
const SKEW: i64 = 300;

/// Temporary keys, and the scope that they are to sign for.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// The ID of the access key.
    pub id: String,
    /// The secret access key.
    pub secret: String,
    /// The session's token.
    pub session: String,
    /// The region.
    pub region: String,
    /// The service, such as `aps`.
    pub service: String,
}

/// The header Authorization, in its parts.
struct Authorization<'a> {
    credential: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("AWS4-HMAC-SHA256 ")?.split(", ");
        let credential = parts.next()?.strip_prefix("Credential=")?;
        let signed = parts.next()?.strip_prefix("SignedHeaders=")?.split(';').collect();
        let signature = parts.next()?.strip_prefix("Signature=")?;
        Some(Self { credential, signed, signature })
    }
}

impl AwsKeys {
    /// Checks the signature of a request.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn verify(
        &self,
        head: &Parts,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), String> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = header("authorization").ok_or("there is no signature")?;
        let given = Authorization::parse(authorization).ok_or("the signature is malformed")?;
        let time = header("x-amz-date").ok_or("there is no x-amz-date")?;
        let at =
            NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").map_err(|e| e.to_string())?;
        if (now - at.and_utc()).num_seconds().abs() > SKEW {
            return Err(format!("the signature is of {time}"));
        }
        let token = header("x-amz-security-token").unwrap_or_default();
        if token != self.session {
            return Err("the session's token is wrong".to_owned());
        }
        let scope = format!("{}/{}/{}/aws4_request", &time[..8], self.region, self.service);
        if given.credential != format!("{}/{scope}", self.id) {
            return Err(format!("the credential is {}", given.credential));
        }
        let mut required = vec!["host", "x-amz-date"];
        required.extend(header("x-amz-security-token").map(|_| "x-amz-security-token"));
        if let Some(missing) = required.into_iter().find(|name| !given.signed.contains(name)) {
            return Err(format!("{missing} is not signed"));
        }
        let canonical = canonical_request(head, body, &given.signed);
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let key = [&time[..8], &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| {
                sign(&key, part.as_bytes())
            });
        let expected = hex(&sign(&key, to_sign.as_bytes()));
        let is_right = given.signature == expected;
        if is_right { Ok(()) } else { Err("the signature is wrong".to_owned()) }
    }
}

fn canonical_request(head: &Parts, body: &[u8], signed: &[&str]) -> String {
    let value = |name: &&str| {
        let values = head.headers.get_all(*name).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        format!("{name}:{}\n", values.join(",").trim())
    };
    let headers: String = signed.iter().map(value).collect();
    let mut query: Vec<&str> = head.uri.query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    [
        head.method.as_str(),
        // The paths of Prometheus's API have no character that is encoded.
        head.uri.path(),
        &query.join("&"),
        &headers,
        &signed.join(";"),
        &sha256(body),
    ]
    .join("\n")
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// The requests and signatures are those of AWS's published test suite for Signature Version 4.
    #[test]
    fn published_signatures_are_right_and_changed_requests_are_not() {
        let keys = AwsKeys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session: String::new(),
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
        };
        let now = DateTime::parse_from_rfc3339("2015-08-30T12:38:00Z").unwrap().to_utc();
        let form = "content-type;host;x-amz-date";
        for (method, uri, body, signed, signature) in [
            (
                "GET",
                "/",
                "",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                "",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "/",
                "Param1=value1",
                form,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let check = |uri: &str, body: &str, now| {
                let credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
                let authorization = format!(
                    "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, \
                     Signature={signature}"
                );
                let request = Request::builder()
                    .method(method)
                    .uri(uri)
                    .header("host", "example.amazonaws.com")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("x-amz-date", "20150830T123600Z")
                    .header("authorization", authorization);
                let (head, ()) = request.body(()).unwrap().into_parts();
                keys.verify(&head, body.as_bytes(), now)
            };
            assert_eq!(check(uri, body, now), Ok(()), "{method} {uri}");
            let wrong = Err("the signature is wrong".to_owned());
            assert_eq!(check("/other", body, now), wrong);
            assert_eq!(check(uri, "other", now), wrong);
            assert!(check(uri, body, now + chrono::TimeDelta::minutes(6)).is_err());
        }
    }
}
