use serde_json::json;

use super::*;
use crate::{
    kube_api::{
        stand_in::{Answer, Received, StandIn, until},
        writes::Writes,
    },
    supervise::Supervisor,
    telemetry::Telemetry,
};

#[test]
fn a_token_follows_the_word_bearer() {
    let table = [
        (None, None),
        (Some("Bearer abc"), Some("abc")),
        (Some("Basic abc"), None),
        (Some("abc"), None),
    ];
    for (header, expected) in table {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("authorization", header.parse().unwrap());
        }
        assert_eq!(bearer_token(&headers), expected, "{header:?}");
    }
}

fn peer(number: u8) -> Peer {
    Peer([10, 0, 0, number].into())
}

/// A call with a token from one of several addresses, which waits for its answer.
fn call(
    endpoint: &WakeEndpoint,
    token: &str,
    from: u8,
) -> impl Future<Output = StatusCode> + use<> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let key = AutoscalerKey { namespace: "ns".to_owned(), name: "a".to_owned() };
    let endpoint = endpoint.clone();
    async move { endpoint.answer(&key, &headers, peer(from)).await.status() }
}

fn endpoint(api: &StandIn, audience: Option<&str>) -> WakeEndpoint {
    let (calls, clock) = (WakeCalls::default(), Clock::start());
    let record =
        WakeRecord { client: api.client.clone(), writes: Writes::new(clock, Telemetry::default()) };
    WakeEndpoint::new(record, calls, audience.map(str::to_owned), clock)
}

/// Answers reviews: the token `gateway` may wake, `stranger` may not, others are not known.
fn reviews(request: &Received) -> Answer {
    let mut review = request.body.clone();
    let token = review["spec"]["token"].as_str().map(str::to_owned);
    review["status"] = match token.as_deref() {
        Some("broken") => return Answer::refusal(500),
        Some(token @ ("gateway" | "stranger")) => {
            let audiences = review["spec"]["audiences"].clone();
            json!({"authenticated": true, "user": {"username": token}, "audiences": audiences})
        }
        Some("unaware") => json!({"authenticated": true, "user": {"username": "gateway"}}),
        Some(_) => json!({"authenticated": false}),
        None => json!({"allowed": review["spec"]["user"] == "gateway"}),
    };
    Answer::Json(201, review)
}

#[tokio::test]
async fn a_token_is_for_the_audience_and_a_refusal_is_not_asked_for_again() {
    let api = StandIn::start(reviews).await;
    let endpoint = endpoint(&api, Some("llm-autoscaler"));
    let long = "x".repeat(LONGEST_TOKEN + 1);
    // token, status, requests to the API server
    let table = [
        ("junk", 401, 1),
        ("junk", 401, 0),
        (&long, 401, 0),
        ("unaware", 401, 1),
        ("stranger", 403, 2),
        ("stranger", 403, 0),
        // It listens to no autoscaler in this test.
        ("gateway", 404, 2),
        ("gateway", 404, 2),
        ("broken", 503, 1),
    ];
    for (token, status, requests) in table {
        let before = api.received(|_| true).len();
        assert_eq!(call(&endpoint, token, 1).await.as_u16(), status, "{token}");
        assert_eq!(api.received(|_| true).len() - before, requests, "{token}");
    }
    let reviews = api.received(|request| request.path.contains("tokenreviews"));
    let audience = json!(["llm-autoscaler"]);
    assert!(reviews.iter().all(|review| review.body["spec"]["audiences"] == audience));
}

#[tokio::test]
async fn the_api_servers_own_audience_is_a_choice() {
    let api = StandIn::start(reviews).await;
    let endpoint = endpoint(&api, None);
    assert_eq!(call(&endpoint, "unaware", 1).await, StatusCode::NOT_FOUND);
    let reviews = api.received(|request| request.path.contains("tokenreviews"));
    assert_eq!(reviews[0].body["spec"].get("audiences"), None);
}

/// An API server that hangs used to have one review for each junk call.
#[tokio::test]
async fn the_ninth_review_at_once_is_refused() {
    let api = StandIn::start(|_: &Received| Answer::Never).await;
    let endpoint = endpoint(&api, None);
    let supervisor = Supervisor::impatient();
    let calls: Vec<_> = (0..8_u8)
        .map(|number| {
            // Two from each of four addresses.
            let call = call(&endpoint, &number.to_string(), number / 2);
            supervisor.spawn("call", async move {
                let _ = call.await;
            })
        })
        .collect();
    until("eight reviews", || api.received(|_| true).len() == 8).await;
    assert_eq!(call(&endpoint, "ninth", 9).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(api.received(|_| true).len(), 8);
    calls.iter().for_each(tokio::task::AbortHandle::abort);
    until("them to end", || calls.iter().all(tokio::task::AbortHandle::is_finished)).await;
    assert!(endpoint.reviews.begin(peer(0)).is_some());
}

#[tokio::test]
async fn an_error_of_the_api_server_is_not_told() {
    let api = StandIn::start(|_: &Received| Answer::refusal(500)).await;
    let endpoint = endpoint(&api, None);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer x".parse().unwrap());
    let key = AutoscalerKey { namespace: "ns".to_owned(), name: "a".to_owned() };
    let response = endpoint.answer(&key, &headers, peer(1)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("refused with 500"), "{body:?}");
}

/// Answers reviews as [`reviews`] does, and writes of the object with this status.
fn records(code: u16) -> impl Fn(&Received) -> Answer {
    move |request| match request.method.as_str() {
        "PATCH" if code == 200 => Answer::Json(200, request.body.clone()),
        "PATCH" => Answer::refusal(code),
        _ => reviews(request),
    }
}

#[tokio::test]
async fn a_call_that_reaches_a_copy_which_does_not_serve_the_target_is_recorded_on_the_object() {
    let key = || AutoscalerKey { namespace: "ns".to_owned(), name: "a".to_owned() };
    // whether this copy serves the target, the API server's answer to the record; the status
    let table = [
        (false, 200, 202),
        (false, 500, 503),
        (false, 404, 404),
        (true, 200, 202),
        (true, 500, 202),
    ];
    for (is_ours, code, expected) in table {
        let api = StandIn::start(records(code)).await;
        let endpoint = endpoint(&api, None);
        endpoint.calls.set_known(key(), true);
        let mut listener = is_ours.then(|| endpoint.calls.listen(key()));
        let status = call(&endpoint, "gateway", 1).await;
        assert_eq!(status.as_u16(), expected, "{is_ours} {code}");
        let patches = api.received(|request| request.method == "PATCH");
        assert!(patches[0].path.starts_with("/apis/llmautoscaler.io/v1alpha1/namespaces/ns/"));
        assert!(patches[0].path.contains("llm-autoscaler-wake"), "{}", patches[0].path);
        let status = patches[0].body["status"].as_object().unwrap();
        assert_eq!(status.keys().collect::<Vec<_>>(), ["lastWakeTime"]);
        if let Some(listener) = &mut listener {
            listener.next_call().await;
        }
    }
}
