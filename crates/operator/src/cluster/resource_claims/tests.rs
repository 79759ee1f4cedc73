use serde_json::{Value, json};

use super::*;
use crate::kube_api::stand_in::{Answer, StandIn, until};

fn pod(name: &str, claims: &[&str]) -> Pod {
    let claims = claims.iter().map(|claim| (*claim).to_owned()).collect();
    Pod { claims, ..Pod::serving(name, "qwen3") }
}

fn claim(name: &str, devices: usize) -> Value {
    let device = |number| json!({"driver": "gpu.nvidia.com", "device": format!("gpu-{number}"), "pool": "p"});
    let results: Vec<Value> = (0..devices).map(device).collect();
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "ns"},
        "status": {"allocation": {"devices": {"results": results}}},
    })
}

#[tokio::test]
async fn each_claim_is_read_once_for_each_pod_with_a_node() {
    let api = StandIn::start(|request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        Answer::Json(200, claim(name, if name == "four" { 4 } else { 2 }))
    })
    .await;
    let clock = Clock::start();
    let claims = ResourceClaims::new(api.client.clone(), clock, GpuResources::default());
    let waiting = Pod { is_scheduled: false, ..pod("waiting", &["later"]) };
    let pods = [pod("a", &["four", "two"]), pod("b", &[]), waiting];
    let expected = ClaimedGpus::from([("four".to_owned(), 4), ("two".to_owned(), 2)]);
    let asking = async {
        for _ in 0..3 {
            claims.want(pods.iter(), clock.monotonic());
            until("the claims to be known", || claims.gpus(pods.iter()) == expected).await;
        }
    };
    tokio::select! {
        () = claims.clone().watch() => panic!("it ends with the process"),
        () = asking => {}
    }
    let mut paths: Vec<String> = api.received(|_| true).into_iter().map(|it| it.path).collect();
    paths.sort();
    let path = |name: &str| format!("/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/{name}");
    assert_eq!(paths, [path("four"), path("two")]);
}

fn refused(code: u16) -> Result<Option<u32>, CallError> {
    let status = kube::core::Status { code, ..kube::core::Status::default() };
    Err(CallError::Api(kube::Error::Api(status.boxed())))
}

#[test]
fn a_namespace_with_many_claims_leaves_room_for_the_others() {
    let at = Monotonic(Duration::from_secs(1));
    let mut state = State::default();
    for (namespace, claims) in [("large", 1000), ("small", 3)] {
        for number in 0..claims {
            let pod = Pod { namespace: namespace.to_owned(), ..pod("a", &[]) };
            let claim = Claim { gpus: None, due: at, backoff: WAITS, asked: at };
            state.claims.insert(Key::new(&pod, &number.to_string()), claim);
        }
    }
    let due = state.due(at);
    let of = |namespace| due.iter().filter(|key| key.namespace == namespace).count();
    assert_eq!((of("large"), of("small")), (ROUND, 3));
}

#[test]
fn a_namespace_that_is_refused_is_asked_again_after_a_minute_and_the_rest_waits_longer_each_time() {
    let at = |second| Monotonic(Duration::from_secs(second));
    let keys: Vec<Key> = ["a", "b"].map(|name| Key::new(&pod(name, &[]), name)).into();
    let fresh = |second| {
        let mut state = State::default();
        for key in &keys {
            let claim = Claim { gpus: None, due: at(0), backoff: WAITS, asked: at(second) };
            state.claims.insert(key.clone(), claim);
        }
        state
    };
    let count = |state: &mut State, second| state.due(at(second)).len();
    // what the read of the first one tells; how many are due after 0, 2, 61 and 700 s
    let table = [
        (Ok(Some(4)), [1, 1, 1, 0]),
        (Ok(None), [1, 2, 2, 0]),
        (refused(404), [1, 2, 2, 0]),
        (refused(403), [0, 0, 2, 0]),
    ];
    for (result, expected) in table {
        let mut state = fresh(0);
        let text = format!("{result:?}");
        state.record(&keys[0], result, at(0));
        let found = [0, 2, 61, 700].map(|second| count(&mut state, second));
        assert_eq!(found, expected, "{text}");
    }
    // A claim that cannot be read yet is read ever less often.
    let mut state = fresh(0);
    for _ in 0..12 {
        state.record(&keys[0], Ok(None), at(0));
    }
    assert_eq!(count(&mut state, 200), 1);
}
