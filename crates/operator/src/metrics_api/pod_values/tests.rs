use kube::core::Selector;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_observe::samples::{Found, Sample};
use serde_json::json;

use super::*;
use crate::{
    Config, context,
    kube_api::stand_in::{Answer, Received, StandIn},
    latest,
    metrics_api::request::Version,
    reconcile::context::Context,
};

fn sample(doubt: Option<&str>) -> Lookup {
    Lookup::Sample(Sample {
        value: Value::Number(2.0),
        age: Duration::from_secs(1),
        doubt: doubt.map(|doubt| doubt.to_owned().into()),
        found: Found::default(),
        copies: 1,
    })
}

fn source(kind: SourceKind, lookup: Option<Lookup>) -> SourceSamples {
    SourceSamples {
        is_active: lookup.is_some(),
        metrics: vec![lookup.into_iter().collect()],
        ..SourceSamples::inactive(kind)
    }
}

fn prometheus() -> SourceKind {
    SourceKind::Prometheus { url: "u".to_owned(), clock_ahead: None, warning: None }
}

#[test]
fn a_number_is_a_sample_beyond_doubt_of_the_first_source_that_has_one() {
    let (own, missing) = (SourceKind::OwnPods, |it: &str| Lookup::Missing(it.to_owned()));
    let pending = || Lookup::Pending { error: None };
    // the answers of two sources, the outcome, the sources that are needed
    let table = [
        (Some(sample(None)), None, Ok(2.0), [true, false]),
        (Some(missing("gone")), Some(sample(None)), Ok(2.0), [true, true]),
        (Some(sample(Some("old"))), None, Err("old"), [true, true]),
        (Some(sample(Some("old"))), Some(missing("gone")), Err("old"), [true, true]),
        (Some(missing("gone")), Some(pending()), Err("pending"), [true, true]),
        (Some(Lookup::Contradicted("total".to_owned())), None, Err("total"), [true, false]),
    ];
    for (first, second, expected, expected_needed) in table {
        let case = format!("{first:?} {second:?}");
        let sources = vec![source(own.clone(), first), source(prometheus(), second)];
        let (outcomes, needed) = outcomes(&Samples { sources }, &[true]);
        let found = match &outcomes[0] {
            Some(Outcome::Number(value, _)) => Ok(*value),
            Some(Outcome::Pending) => Err("pending"),
            Some(Outcome::None(reason)) => Err(&**reason),
            None => Err("left out"),
        };
        assert_eq!((found, &needed[..]), (expected, &expected_needed[..]), "{case}");
    }
}

#[test]
fn a_pod_that_was_not_selected_has_no_outcome_and_other_pods_no_numbers() {
    let others = source(SourceKind::OtherPods(Members::default()), Some(sample(None)));
    let (found, needed) = outcomes(&Samples { sources: vec![others] }, &[false, true]);
    assert!(found[0].is_none() && matches!(found[1], Some(Outcome::None(_))));
    assert_eq!(needed, [false]);
}

fn autoscaler() -> Arc<LLMAutoscaler> {
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1",
        "kind": "LLMAutoscaler",
        "metadata": {"namespace": "ns", "name": "a", "generation": 1},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM",
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
        },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

#[tokio::test]
async fn a_namespace_has_a_limited_number_of_numbers_and_a_known_one_stays() {
    let api = StandIn::start(|_: &Received| Answer::refusal(500)).await;
    let context = context(&Config::of_tests(), &api.client, &api.client).unwrap();
    let (_sender, receiver) = latest::channel(autoscaler());
    context.catalog.add(&AutoscalerKey::of(&autoscaler()), receiver);
    let Context { sampling, scales, catalog, profile, .. } = context;
    let values = PodValues::new(sampling, scales, catalog.clone(), profile);
    let target = catalog.targets("ns", profile).remove(0);
    let ask = |label: usize| {
        let series = vec![("model_name".to_owned(), label.to_string())];
        let metric = "vllm:num_requests_waiting".to_owned();
        let measure = exported::measure(&target.role.config, &metric, &series).unwrap();
        let request = PodsRequest {
            version: Version::V1Beta1,
            namespace: "ns".to_owned(),
            pod: "*".to_owned(),
            metric,
            pods: Selector::default(),
            series,
        };
        values.number((&request.metric, &request.series), target.clone(), &measure).map(drop)
    };
    for label in 0..OF_NAMESPACE {
        assert_eq!(ask(label), Ok(()));
    }
    assert!(matches!(ask(OF_NAMESPACE), Err(Missing::Samples(_))));
    assert_eq!(ask(0), Ok(()));
    assert_eq!(lock(&values.numbers).len(), OF_NAMESPACE);
}
