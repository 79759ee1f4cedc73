use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use llm_autoscaler_core::Profile;
use serde_json::json;

use super::*;
use crate::{
    Config, EgressRules, context,
    kube_api::stand_in::{Answer, Received, StandIn, until},
};

fn object(name: &str, created: &str) -> DeserializeGuard<LLMAutoscaler> {
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1,
            "creationTimestamp": created},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "maxReplicas": 3, "engine": "VLLM",
            "metrics": [{"signal": "WaitingRequests", "target":
                {"type": "AverageValue", "averageValue": "5"}}],
        },
    });
    DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))
}

/// A single failure used to leave the former status there, perhaps `Ready=True`.
#[tokio::test]
async fn the_status_of_an_autoscaler_that_waits_is_written_until_it_is_there() {
    let failures = AtomicUsize::new(1);
    let api = StandIn::start(move |request: &Received| {
        let is_status = request.method == "PATCH" && request.path.contains("/llmautoscalers/b/");
        let fail = |left: usize| left.checked_sub(1);
        match is_status.then(|| failures.fetch_update(Relaxed, Relaxed, fail)) {
            Some(Err(_)) => Answer::Json(200, request.body.clone()),
            Some(Ok(_)) => Answer::refusal(500),
            None => Answer::refusal(404),
        }
    })
    .await;
    let config = Config {
        memory_budget: 1 << 24,
        most_autoscalers: 1,
        namespace: None,
        health_address: ([127, 0, 0, 1], 0).into(),
        wake: None,
        period: Duration::from_secs(15),
        profile: Profile::Default,
        egress: EgressRules::default(),
        monitoring_namespaces: Vec::new(),
    };
    let mut tasks = Tasks::new(Arc::new(context(&config, &api.client).unwrap()));
    tasks.apply(object("a", "2026-01-01T00:00:00Z"));
    tasks.apply(object("b", "2026-01-01T00:00:01Z"));
    assert_eq!((tasks.running.len(), tasks.waiting.len()), (1, 1));
    let writes = || api.received(|request| request.path.contains("/llmautoscalers/b/status"));
    until("the second write", || writes().len() == 2).await;
    let written = writes()[1].body["status"]["conditions"].to_string();
    assert!(written.contains("TooManyAutoscalers"), "{written}");
}
