//! A front for engines with separate prefill and decode.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use kube::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::backends::{self, Backends, Balance};
use super::serve;
use crate::task::Task;

/// A request that no pod has begun to answer is sent again this many times, after this delay.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A completions API on loopback that sends each request to two pods in turn. The prefill pod
/// computes the whole prompt and a single token. The decode pod has the prompt in its cache and
/// generates the answer. So long prompts load prefill, and long answers load decode. No KV cache is
/// transferred between the two, which emulated engines do not need.
///
/// Both times it chooses the pod with the fewest requests in flight, of the pods that are ready and
/// not being deleted. A request of which no token has been answered is sent again, to another pod.
/// So no request fails because a pod ends just when it is chosen.
#[derive(Debug)]
pub struct Disaggregated {
    address: SocketAddr,
    _server: Task,
    _watches: [Task; 2],
}

/// The pods of the two roles.
struct Roles {
    prefill: Arc<Backends>,
    decode: Arc<Backends>,
}

impl Disaggregated {
    /// Starts the front for the pods of a namespace with these labels (such as `role=prefill` and
    /// `role=decode`).
    ///
    /// # Errors
    /// Fails if no port on loopback is free.
    pub async fn start(
        client: Client,
        namespace: &str,
        prefill: &str,
        decode: &str,
    ) -> Result<Self> {
        let follow =
            |labels| backends::follow(client.clone(), namespace, labels, Balance::LeastOutstanding);
        let (prefill, decode) = (follow(prefill), follow(decode));
        let roles = Roles { prefill: prefill.0, decode: decode.0 };
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("listening for the front")?;
        let address = listener.local_addr()?;
        Ok(Self {
            address,
            _server: serve(listener, router(roles)),
            _watches: [prefill.1, decode.1],
        })
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn router(roles: Roles) -> Router {
    Router::new().route("/v1/completions", post(complete)).with_state(Arc::new(roles))
}

async fn complete(State(roles): State<Arc<Roles>>, Json(mut request): Json<Value>) -> Response {
    let mut first = request.clone();
    first["max_tokens"] = json!(1);
    first["stream"] = json!(false);
    let prefilled = ask(&roles.prefill, &first).await;
    if !prefilled.status().is_success() {
        return prefilled;
    }
    // The answer is read to its end, because the prompt is computed only then.
    if let Err(error) = to_bytes(prefilled.into_body(), usize::MAX).await {
        return (StatusCode::BAD_GATEWAY, format!("prefill: {error}\n")).into_response();
    }
    request["prompt"] = json!([0]);
    ask(&roles.decode, &request).await
}

/// Sends the request until a pod has begun to answer.
async fn ask(pods: &Backends, request: &Value) -> Response {
    let body = Bytes::from(request.to_string());
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let mut attempts = 1;
    loop {
        let answer =
            pods.send(Method::POST, "/v1/completions", headers.clone(), body.clone()).await;
        let nobody =
            matches!(answer.status(), StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE);
        if !nobody || attempts == ATTEMPTS {
            return answer;
        }
        attempts += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Extension;

    use super::*;

    /// Starts a pod that records its requests, and that refuses the first `absent` of them.
    async fn pod(absent: usize) -> (Arc<Backends>, Arc<Mutex<Vec<Value>>>, Task) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let backends = Arc::new(Backends::new(Balance::LeastOutstanding));
        backends.insert("pod", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = async move |Extension(asked): Extension<Arc<Mutex<Vec<Value>>>>,
                                 Json(body): Json<Value>| {
            let mut asked = asked.lock().unwrap();
            asked.push(body);
            if asked.len() > absent { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        };
        let router =
            Router::new().route("/v1/completions", post(answer)).layer(Extension(asked.clone()));
        (backends, asked, serve(listener, router))
    }

    #[tokio::test]
    async fn prefill_gets_prompts_and_decode_gets_answers() {
        let (prefill, computed, _prefill) = pod(1).await;
        let (decode, answered, _decode) = pod(0).await;
        let request = json!({"prompt": [7, 8, 9], "max_tokens": 5, "stream": true});
        let roles = State(Arc::new(Roles { prefill, decode }));
        assert_eq!(complete(roles, Json(request)).await.status(), StatusCode::OK);
        let prefill = json!({"prompt": [7, 8, 9], "max_tokens": 1, "stream": false});
        assert_eq!(
            *computed.lock().unwrap(),
            [prefill.clone(), prefill],
            "no pod answered the first request"
        );
        let decode = json!({"prompt": [0], "max_tokens": 5, "stream": true});
        assert_eq!(*answered.lock().unwrap(), [decode]);
    }
}
