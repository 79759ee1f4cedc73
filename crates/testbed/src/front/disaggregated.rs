//! A front for prefill and decode apart.

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

/// How often a request is sent again that no pod has begun to answer, and how long it waits before.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A completions API on loopback that sends each request to two pods in turn: one computes the whole prompt and a single token,
/// the other has the prompt in its cache, and makes the answer. So long prompts are the load of the former, and long answers of
/// the latter. Nothing is handed over between the two; emulated engines do not miss it.
///
/// Each time it is the pod with the fewest requests in flight, of those that are ready and not being deleted. A request of which no
/// token has been answered is sent again, to another pod: so nothing is lost by a pod that ends just when it is chosen.
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
    /// Starts it for the pods of a namespace with these labels (`role=prefill`, `role=decode`).
    ///
    /// # Errors
    /// Where no port on loopback is free.
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

    /// The base URL, without a slash at the end.
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
    // To its end: only then is the prompt computed.
    if let Err(error) = to_bytes(prefilled.into_body(), usize::MAX).await {
        return (StatusCode::BAD_GATEWAY, format!("prefill: {error}\n")).into_response();
    }
    request["prompt"] = json!([0]);
    ask(&roles.decode, &request).await
}

/// Asks pods until one of them has begun to answer.
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

    /// A pod that remembers what it was asked, and is not there for the first so many times.
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
    async fn prompts_are_the_load_of_the_one_and_answers_of_the_other() {
        let (prefill, computed, _prefill) = pod(1).await;
        let (decode, answered, _decode) = pod(0).await;
        let request = json!({"prompt": [7, 8, 9], "max_tokens": 5, "stream": true});
        let roles = State(Arc::new(Roles { prefill, decode }));
        assert_eq!(complete(roles, Json(request)).await.status(), StatusCode::OK);
        let prefill = json!({"prompt": [7, 8, 9], "max_tokens": 1, "stream": false});
        assert_eq!(
            *computed.lock().unwrap(),
            [prefill.clone(), prefill],
            "the first time nobody was there"
        );
        let decode = json!({"prompt": [0], "max_tokens": 5, "stream": true});
        assert_eq!(*answered.lock().unwrap(), [decode]);
    }
}
