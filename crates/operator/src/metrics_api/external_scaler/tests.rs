use axum::http;
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use llm_autoscaler_api::LLMAutoscaler;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;
use crate::{
    Config, context,
    http::{listener, wake::AutoscalerKey},
    kube_api::stand_in::{Answer, Received, StandIn},
    latest,
    metrics_api::recommendations::StepEntry,
    reconcile::context::Context,
};

/// An operator with an LLMAutoscaler, and KEDA as its client.
struct Scene {
    client: http2::SendRequest<Full<Bytes>>,
    entry: StepEntry,
    context: Context,
    scaler: ExternalScaler,
    _objects: latest::Sender<Arc<LLMAutoscaler>>,
}

fn autoscaler(mode: &str, replicas: i32) -> LLMAutoscaler {
    let condition = json!({
        "type": "ScalingActive", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let target = json!({
        "name": "a", "currentReplicas": 1, "readyReplicas": 1, "desiredReplicas": 1,
        "recommendation": {"replicas": replicas},
    });
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1",
        "kind": "LLMAutoscaler",
        "metadata": {"namespace": "ns", "name": "a", "generation": 1},
        "spec": {
            "mode": mode,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM",
            "minReplicas": 1,
            "maxReplicas": 9,
            "metrics": [{
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
        },
        "status": {"observedGeneration": 1, "conditions": [condition], "targets": [target]},
    });
    serde_json::from_value(object).unwrap()
}

impl Scene {
    async fn start(mode: &str) -> Self {
        let api = StandIn::start(|_: &Received| Answer::refusal(500)).await;
        let context = context(&Config::of_tests(), &api.client, &api.client).unwrap();
        let object = Arc::new(autoscaler(mode, 0));
        let (objects, receiver) = latest::channel(object.clone());
        let key = AutoscalerKey::of(&object);
        context.catalog.add(&key, receiver);
        let entry = context.latest_steps.add(key);
        let (sampling, targets) = (context.sampling.clone(), context.scales.clone());
        let catalog = context.catalog.clone();
        let values = PodValues::new(sampling, targets, catalog.clone(), context.profile);
        let (steps, leases) = (context.latest_steps.clone(), context.leases.clone());
        let (clock, period) = (context.clock, context.period);
        let recommendations = Recommendations { catalog, steps, leases, clock, period };
        let scaler = ExternalScaler::new(Arc::new(values), recommendations);
        let answering = scaler.clone();
        let app = axum::Router::new().fallback(move |request| answering.clone().answer(request));
        let bound = listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = bound.local_addr().unwrap();
        let serve = listener::serve_http2(bound, None, app, context.supervisor.clone());
        context.supervisor.spawn("listener", serve);
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        context.supervisor.spawn("client", async move { drop(connection.await) });
        Self { client, entry, context, scaler, _objects: objects }
    }

    /// Records a step that recommends this many replicas.
    fn recommend(&self, replicas: i32) {
        let status = autoscaler("Recommend", replicas).status.unwrap();
        self.entry.record(&status, self.context.clock.now());
    }

    async fn send(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> http::Response<hyper::body::Incoming> {
        let message = message.encode_to_vec();
        let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        let request = http::Request::post(format!("http://x{SERVICE}{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(frame.into()))
            .unwrap();
        self.client.send_request(request).await.unwrap()
    }

    /// Calls a method, and returns its answer, or the status and the message of its refusal.
    async fn call<T: Message + Default>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<T, (i32, String)> {
        let response = self.send(method, message).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or(headers);
        let text = |name| trailers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        match text("grpc-status") {
            "0" => Ok(decode(&body.to_bytes())),
            code => Err((code.parse().unwrap(), text("grpc-message").replace("%20", " "))),
        }
    }
}

/// Decodes one message of a stream.
fn decode<T: Message + Default>(frame: &[u8]) -> T {
    assert_eq!(frame[0], 0, "not compressed");
    let length = u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize;
    T::decode(&frame[5..5 + length]).unwrap()
}

fn object(metadata: &Value) -> ScaledObjectRef {
    let metadata = metadata.as_object().unwrap().iter();
    ScaledObjectRef {
        name: "a".to_owned(),
        namespace: "ns".to_owned(),
        scaler_metadata: metadata
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
    }
}

#[tokio::test]
async fn keda_gets_the_recommendation_and_an_error_where_there_is_none() {
    let mut scene = Scene::start("Recommend").await;
    let trigger = object(&json!({}));
    let ask = GetMetricsRequest {
        scaled_object_ref: Some(trigger.clone()),
        metric_name: "recommended-replicas".to_owned(),
    };
    let (code, text) = scene.call::<GetMetricsResponse>("GetMetrics", &ask).await.unwrap_err();
    assert_eq!(code, 14, "unavailable, and not zero: {text}");
    scene.recommend(7);
    let found: GetMetricsResponse = scene.call("GetMetrics", &ask).await.unwrap();
    assert_eq!(found.metric_values[0].metric_value_float.to_string(), "7");
    let spec: GetMetricSpecResponse = scene.call("GetMetricSpec", &trigger).await.unwrap();
    let MetricSpec { metric_name, target_size, target_size_float } = &spec.metric_specs[0];
    assert_eq!((&**metric_name, *target_size), ("recommended-replicas", 1));
    assert_eq!(target_size_float.to_string(), "1");
    let active: IsActiveResponse = scene.call("IsActive", &trigger).await.unwrap();
    assert!(active.result);
    scene.recommend(0);
    let active: IsActiveResponse = scene.call("IsActive", &trigger).await.unwrap();
    assert!(!active.result);
}

#[tokio::test]
async fn a_change_of_activity_is_pushed() {
    let mut scene = Scene::start("Recommend").await;
    scene.recommend(0);
    let response = scene.send("StreamIsActive", &object(&json!({}))).await;
    let mut body = response.into_body();
    for (replicas, expected) in [(0, false), (3, true), (0, false)] {
        scene.recommend(replicas);
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let told: IsActiveResponse = decode(&frame);
        assert_eq!(told.result, expected, "{replicas}");
    }
}

#[tokio::test]
async fn a_trigger_that_cannot_be_answered_is_refused_with_the_reason() {
    let mut scene = Scene::start("Recommend").await;
    scene.recommend(7);
    // metadata, the code, a part of the message
    let table = [
        (json!({"autoscaler": "b"}), 5, "there is no LLMAutoscaler b"),
        (json!({"metric": "WaitingRequests"}), 3, "metadata.target"),
        (json!({"metric": "sglang:num_queue_reqs", "target": "5"}), 5, "has no metric sglang"),
        // The stand-in for the API server refuses to tell the target's pods.
        (json!({"metric": "WaitingRequests", "target": "5"}), 14, ""),
        (json!({"role": "decode"}), 3, "has no roles"),
    ];
    for (metadata, expected, part) in table {
        let found = scene.call::<IsActiveResponse>("IsActive", &object(&metadata)).await;
        let (code, text) = found.unwrap_err();
        assert!(code == expected && text.contains(part), "{metadata}: {code} {text}");
    }
    let unknown = scene.call::<IsActiveResponse>("Other", &object(&json!({}))).await;
    assert_eq!(unknown.unwrap_err().0, 12, "unimplemented");
    let mut scene = Scene::start("Scale").await;
    scene.recommend(7);
    let found = scene.call::<IsActiveResponse>("IsActive", &object(&json!({}))).await;
    let (code, text) = found.unwrap_err();
    assert!(code == 9 && text.contains("mode: Recommend"), "{code} {text}");
}

#[tokio::test]
async fn a_message_that_is_too_long_and_a_stream_too_many_are_refused() {
    let mut scene = Scene::start("Recommend").await;
    scene.recommend(7);
    let long = object(&json!({"metric": "m".repeat(MESSAGE)}));
    let (code, text) = scene.call::<IsActiveResponse>("IsActive", &long).await.unwrap_err();
    assert_eq!(code, 11, "out of range: {text}");
    let trigger = object(&json!({}));
    let streams = scene.scaler.streams.clone();
    let others = streams.try_acquire_many(STREAMS as u32).unwrap();
    let refused = scene.call::<IsActiveResponse>("StreamIsActive", &trigger).await;
    assert_eq!(refused.unwrap_err().0, 8, "resource exhausted");
    drop(others);
    let turns = scene.scaler.turns.clone();
    let others = turns.try_acquire_many(AT_ONCE as u32).unwrap();
    let refused = scene.call::<IsActiveResponse>("IsActive", &trigger).await;
    assert_eq!(refused.unwrap_err().0, 8, "resource exhausted");
    drop(others);
    let mut body = scene.send("StreamIsActive", &trigger).await.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(decode::<IsActiveResponse>(&frame).result);
    assert_eq!(streams.available_permits(), STREAMS - 1);
    // A client that goes away gives its stream back.
    drop(body);
    tokio::time::timeout(Duration::from_secs(10), async {
        while streams.available_permits() < STREAMS {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
