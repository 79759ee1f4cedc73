use serde_json::{Value, json};

use super::*;
use crate::{
    kube_api::stand_in::{Answer, Received, StandIn, until},
    lease::Leases,
};

/// An API server with Leases, which are created, read and replaced by their versions.
#[derive(Default)]
struct Store(Mutex<Vec<(String, Value)>>);

impl Store {
    fn answer(&self, request: &Received) -> Answer {
        let mut leases = lock(&self.0);
        let path = request.path.split('?').next().unwrap_or_default();
        let name = match request.method.as_str() {
            "POST" => request.body["metadata"]["name"].as_str().unwrap_or_default(),
            _ => path.rsplit('/').next().unwrap_or_default(),
        };
        let there = leases.iter().position(|(other, _)| other == name);
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        let next = leases.len() + request.body.to_string().len();
        match (request.method.as_str(), there) {
            ("GET", _) if request.is_watch() => Answer::refusal(403),
            ("GET", Some(there)) => Answer::Json(200, leases[there].1.clone()),
            ("GET" | "PUT", None) => Answer::refusal(404),
            ("POST", Some(_)) => Answer::refusal(409),
            ("PUT", Some(there)) if version(&leases[there].1) != version(&request.body) => {
                Answer::refusal(409)
            }
            (_, there) => {
                let mut lease = request.body.clone();
                let before =
                    there.and_then(|there| version(&leases[there].1).as_str()?.parse().ok());
                lease["metadata"]["resourceVersion"] =
                    json!((before.unwrap_or(0) + next).to_string());
                lease["metadata"]["uid"] = json!("u");
                match there {
                    Some(there) => leases[there].1 = lease.clone(),
                    None => leases.push((name.to_owned(), lease.clone())),
                }
                Answer::Json(200, lease)
            }
        }
    }
}

async fn api_server() -> StandIn {
    let store = Store::default();
    StandIn::start(move |request| store.answer(request)).await
}

fn leases(api: &StandIn, identity: &str, buckets: usize, clock: Clock) -> Leases {
    let config = LeaseConfig {
        namespace: "system".to_owned(),
        name: "operator".to_owned(),
        identity: identity.to_owned(),
        duration: Duration::from_secs(1),
        buckets,
    };
    let leases =
        Leases::elect(api.client.clone(), config.of_this_start(), clock, Telemetry::default());
    #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
    tokio::spawn(leases.clone().run());
    leases
}

#[tokio::test]
async fn a_lease_is_created_renewed_and_released_for_the_next_copy() {
    let (api, clock) = (api_server().await, Clock::start());
    let first = leases(&api, "first", 1, clock);
    let permit = first.permit("team");
    assert!(!first.holds("team") && permit.deadline(clock.monotonic()).is_none());
    until("the first copy to hold the Lease", || first.holds("team")).await;
    assert!(permit.deadline(clock.monotonic()).is_some());
    assert_eq!(**first.changes().borrow(), [true]);
    assert!(first.holder("team").unwrap().starts_with("first_"));

    let second = leases(&api, "second", 1, clock);
    until("the second copy to see the first", || second.holder("team").is_some()).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(first.holds("team") && !second.holds("team"), "it is renewed");

    let began = clock.monotonic();
    let log = first.clone();
    first.release().await;
    assert!(!log.holds("team") && permit.deadline(clock.monotonic()).is_none());
    assert_eq!(**log.changes().borrow(), [false]);
    until("the second copy to hold the Lease", || second.holds("team")).await;
    assert!(clock.monotonic().since(began) < Duration::from_secs(1));

    let path = "/apis/coordination.k8s.io/v1/namespaces/system/leases";
    let writes = api.received(|request| request.method != "GET");
    assert_eq!(writes[0].method, "POST");
    assert!(writes[0].path.starts_with(path) && writes[0].body["metadata"]["uid"].is_null());
    let annotation = &writes[0].body["metadata"]["annotations"]["llmautoscaler.io/buckets"];
    assert_eq!(annotation, "changing to 1");
    for write in &writes[1..] {
        assert_eq!(write.method, "PUT");
        assert!(write.path.starts_with(&format!("{path}/operator?")), "{}", write.path);
        assert!(write.path.contains("fieldManager=llm-autoscaler-children"), "{}", write.path);
        let metadata = &write.body["metadata"];
        assert!(metadata["resourceVersion"].is_string() && metadata["uid"] == "u", "{metadata}");
    }
    let is_release = |write: &Received| write.body["spec"]["holderIdentity"] == "";
    assert_eq!(writes.iter().filter(|write| is_release(write)).count(), 1);
    let watch = &api.received(Received::is_watch)[0].path;
    assert!(watch.contains("fieldSelector=metadata.name%3Doperator"), "{watch}");
}

#[tokio::test]
async fn two_starts_of_one_copy_are_not_the_same_holder() {
    let (api, clock) = (api_server().await, Clock::start());
    let (first, second) = (leases(&api, "pod", 1, clock), leases(&api, "pod", 1, clock));
    until("a holder", || first.holds("team") || second.holds("team")).await;
    for _ in 0..50 {
        assert!(!(first.holds("team") && second.holds("team")));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn each_bucket_has_a_lease_and_its_own_permit() {
    let (api, clock) = (api_server().await, Clock::start());
    let leases = leases(&api, "first", 2, clock);
    until("both Leases", || leases.holds("team-a") && leases.holds("team-b")).await;
    assert_ne!(leases.bucket("team-a"), leases.bucket("team-b"));
    let created = api.received(|request| request.method == "POST");
    let names: Vec<_> = created.iter().map(|write| &write.body["metadata"]["name"]).collect();
    assert_eq!(names, ["operator", "operator-1"]);
}

#[tokio::test]
async fn a_copy_that_comes_later_is_given_its_share() {
    let (api, clock) = (api_server().await, Clock::start());
    let held = |leases: &Leases| leases.changes().borrow().iter().filter(|held| **held).count();
    let first = leases(&api, "first", 4, clock);
    until("all Leases", || held(&first) == 4).await;
    let second = leases(&api, "second", 4, clock);
    until("half of them", || held(&first) == 2 && held(&second) == 2).await;
    let wishes = api.received(|request| {
        let wish = &request.body["metadata"]["annotations"]["llmautoscaler.io/wanted-by"];
        wish.as_str().is_some_and(|identity| identity.starts_with("second_"))
    });
    let is_gift = |write: &&Received| write.body["spec"]["holderIdentity"] == "";
    let gifts = wishes.iter().filter(is_gift).count();
    assert!(gifts >= 2, "{gifts} of {}", wishes.len());
    assert!(wishes.iter().all(|write| write.method == "PUT"));
}

#[tokio::test]
async fn a_single_copy_holds_everything_without_asking() {
    let leases = Leases::solo();
    assert!(leases.holds("team") && leases.holder("team").is_none());
    assert_eq!(**leases.changes().borrow(), [true]);
    leases.release().await;
    assert!(leases.permit("team").deadline(Clock::start().monotonic()).is_some());
}
