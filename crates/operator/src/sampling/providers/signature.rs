//! The signature of a request by AWS's Signature Version 4.

use std::time::SystemTime;

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use reqwest::{
    Request,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::aws::AwsCredentials;

/// Signs a request: its method, URL, type of content and body.
///
/// # Errors
/// The request cannot be signed, such as one with a stream as its body.
pub(super) fn apply(
    request: &mut Request,
    credentials: &AwsCredentials,
    (region, service): (&str, &str),
    time: SystemTime,
) -> Result<(), String> {
    let identity = credentials.0.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let body = match request.body() {
        None => &[],
        Some(body) => body.as_bytes().ok_or("its body is a stream")?,
    };
    let content = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers = content.map(|content| (CONTENT_TYPE.as_str(), content)).into_iter();
    let method = request.method().as_str();
    let signable =
        SignableRequest::new(method, request.url().as_str(), headers, SignableBody::Bytes(body));
    let signed = sign(signable.map_err(|error| error.to_string())?, &params);
    let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
    let (headers, _) = instructions.into_parts();
    for header in headers {
        let mut value = HeaderValue::from_str(header.value()).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use chrono::DateTime;

    use super::*;

    const SESSION: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLW\
        sKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8\
        phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD\
        0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// The requests and signatures are those of AWS's published test suite for Signature Version 4.
    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let time = DateTime::parse_from_rfc3339("2015-08-30T12:36:00Z").unwrap();
        let form = "application/x-www-form-urlencoded";
        for (name, method, path, content, session, expected) in [
            (
                "get-vanilla",
                "GET",
                "/",
                None,
                None,
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                None,
                None,
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-x-www-form-urlencoded, of the edition without a header for the length",
                "POST",
                "/",
                Some((form, "Param1=value1")),
                None,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                "POST",
                "/",
                None,
                Some(SESSION),
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let credentials = AwsCredentials(Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session.map(str::to_owned),
                None,
                "test suite",
            ));
            let url = format!("https://example.amazonaws.com{path}").parse().unwrap();
            let mut request = Request::new(method.parse().unwrap(), url);
            if let Some((content, body)) = content {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
                *request.body_mut() = Some(body.into());
            }
            let of = ("us-east-1", "service");
            apply(&mut request, &credentials, of, time.to_utc().into()).unwrap();
            let signed = request.headers()["authorization"].to_str().unwrap();
            let (scope, signature) = signed.rsplit_once("Signature=").unwrap();
            assert_eq!(signature, expected, "{name}");
            let expected = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
            assert!(scope.contains(expected), "{name}: {scope}");
            let sent = request.headers().get("x-amz-security-token");
            assert_eq!(sent.map(HeaderValue::as_bytes), session.map(str::as_bytes), "{name}");
        }
    }
}
