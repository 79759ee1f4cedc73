//! The answer of a service that gives credentials.

use reqwest::Response;

use super::token::Failure;

/// The largest answer, in bytes.
const LARGEST: usize = 64 << 10;

/// Reads the status and the body of an answer.
pub(super) async fn read(
    service: &'static str,
    response: Result<Response, reqwest::Error>,
) -> Result<(u16, String), Failure> {
    let failed = |error: reqwest::Error| {
        let detail = crate::kube_api::root_cause(&error.without_url());
        Failure::new(format!("{service} does not answer"), detail)
    };
    let mut response = response.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if body.len() + part.len() > LARGEST {
            let told = format!("the answer of {service} is too large");
            return Err(Failure::new(told, format!("more than {LARGEST} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
}
