//! Verdicts on the pages of a service without noise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use llm_autoscaler_api::parse_spec;
use llm_autoscaler_core::Profile;
use llm_autoscaler_engines::{Buckets, exposition::Value};
use serde_json::json;

use super::{pages::QUEUE_SHARE, *};
use crate::{
    pod::Pod,
    samples::{Found, Lookup, Sample, SourceKind, SourceSamples},
};

/// The time of a step with nothing to do, and what a prompt token, a sequence and a token in the KV
/// cache add, in seconds.
const STEP: [f64; 4] = [0.017, 0.066e-3, 0.08e-3, 0.05e-6];
const PROMPT: f64 = 1_155.0;
const OUTPUT: f64 = 211.0;
const CACHE: f64 = 284_000.0;
/// The measure that only the page of a single API server has.
const SINGLE_SERVER: usize = 15;
/// The bounds of a time in the queue, and of one between two tokens.
const BOUNDS: [f64; 6] = [0.01, 0.05, 0.1, 0.3, 1.5, f64::INFINITY];

/// Replicas that share a load and answer at once.
struct Service {
    tracker: PromiseTracker,
    config: SloConfig,
    engine: Engine,
    replicas: Replicas,
    now: f64,
    /// The numbers of each page, in the order of the measures.
    counts: [f64; 11],
    /// The measures that the pages lack.
    lacking: &'static [usize],
    engines: f64,
    cache: f64,
    /// The requests that each pod of a gateway holds; `None` where one has no sample.
    queued: Vec<Option<f64>>,
}

impl Service {
    fn new(slo: &serde_json::Value, engine: &str) -> Self {
        let spec = serde_json::from_value(json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llm"},
            "engine": engine, "minReplicas": 1, "maxReplicas": 30, "slo": slo,
        }));
        let config = parse_spec(&spec.unwrap(), Profile::Default).unwrap().roles.remove(0).config;
        let pods = (0..12).map(|pod| Pod::serving(&format!("llm-{pod:02}"), "llm"));
        let pods: BTreeMap<_, _> = pods.map(|pod| (pod.name.clone(), Arc::new(pod))).collect();
        Self {
            tracker: PromiseTracker::default(),
            config: *config.slo.unwrap(),
            engine: config.engine,
            replicas: Replicas::of(&Arc::new(pods), &[]),
            now: 1_000.0,
            counts: [0.0; 11],
            lacking: &[],
            engines: 1.0,
            cache: CACHE,
            queued: Vec::new(),
        }
    }

    fn usual() -> Self {
        let slo =
            json!({"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100});
        Self::new(&slo, "VLLM")
    }

    /// Serves 66 requests per second for some time, with a scrape each 5 s.
    fn run(&mut self, seconds: f64) -> &Verdict {
        let end = self.now + seconds;
        while self.now < end {
            self.now += 5.0;
            self.serve(66.0 / 12.0 * 5.0);
            let samples = Samples { sources: vec![self.source(), self.gateway()] };
            let monotonic = Monotonic(Duration::from_secs_f64(self.now));
            let now = Now { wall: DateTime::UNIX_EPOCH, monotonic };
            let observed: Vec<_> = self.replicas.list.iter().map(ReplicaPods::state).collect();
            let config = Some((&self.config, self.engine));
            self.tracker.observe(config, &self.replicas, &observed, &samples, 12, now);
        }
        self.tracker.verdict().unwrap()
    }

    fn serve(&mut self, requests: f64) {
        let (computed, generated) = (requests * PROMPT / 5.0, requests * OUTPUT / 5.0);
        let context = PROMPT + OUTPUT / 2.0;
        let busy = STEP[1] * computed + (STEP[2] + STEP[3] * context) * generated;
        let latency = STEP[0] / (1.0 - busy);
        let running = generated * latency;
        let [_, _, _, _, _, steps, prompt, _, tokens, first, finished] = &mut self.counts;
        *steps += 5.0 / latency;
        *prompt += requests * PROMPT;
        *tokens += requests * OUTPUT;
        *first += requests;
        *finished += requests;
        self.counts[..5].copy_from_slice(&[
            running,
            0.0,
            running * context / self.cache,
            self.cache,
            self.engines,
        ]);
    }

    fn gateway(&self) -> SourceSamples {
        let lookup = |queued: &Option<f64>| match queued {
            Some(queued) => sample(Value::Number(*queued)),
            None => Lookup::Missing("connection refused".to_owned()),
        };
        SourceSamples {
            is_active: true,
            queued: self.queued.iter().map(lookup).collect(),
            ..SourceSamples::inactive(SourceKind::OtherPods(Arc::default()))
        }
    }

    fn source(&self) -> SourceSamples {
        let finished = self.engines * self.counts[10];
        // The page has sums over its engines, but for the usage of their caches.
        let of_one = |measure: usize| matches!(measure, 2 | 4);
        let sum = |measure, number: f64| {
            if of_one(measure) { number } else { self.engines * number }
        };
        let buckets = BOUNDS.map(|bound| (bound, if bound < 0.05 { 0.0 } else { finished }));
        let buckets = Value::Buckets(Buckets::new(buckets).unwrap());
        let value = |measure: usize| match self.counts.get(measure) {
            Some(number) => Value::Number(sum(measure, *number)),
            None if measure == SINGLE_SERVER => Value::Number(1_795_475_069.5),
            None => buckets.clone(),
        };
        let lookup = |measure| {
            if self.lacking.contains(&measure) {
                return Lookup::NoNumber("the page has no such series".to_owned());
            }
            sample(value(measure))
        };
        let all = |measure| vec![lookup(measure); self.replicas.list.len()];
        SourceSamples {
            is_active: true,
            slo: (0..llm_autoscaler_api::SloMeasures::COUNT).map(all).collect(),
            ..SourceSamples::inactive(SourceKind::OwnPods)
        }
    }
}

fn sample(value: Value) -> Lookup {
    let (age, found) = (Duration::from_secs(1), Found::default());
    Lookup::Sample(Sample { value, age, doubt: None, found, copies: 1 })
}

#[test]
fn requests_in_a_gateways_queue_have_arrived() {
    let mut service = Service::usual();
    service.queued = vec![Some(0.0), Some(0.0)];
    service.run(1_800.0);
    let arrivals = |service: &mut Service, growth: f64| {
        for _ in 0..24 {
            service.queued.iter_mut().flatten().for_each(|queued| *queued += growth);
            service.run(5.0);
        }
        service.tracker.size().map_or(f64::NAN, |size| size.arrivals)
    };
    let calm = arrivals(&mut service, 0.0);
    assert!((calm - 66.0).abs() < 1.0, "{calm}");
    // Two pods, each with 50 requests more every 5 s.
    let queued = arrivals(&mut service, 50.0);
    assert!((queued - 86.0).abs() < 2.0, "{queued}");
    // A queue that is known in part is not known, and no growth.
    service.queued[1] = None;
    let unknown = arrivals(&mut service, 50.0);
    assert!((unknown - 66.0).abs() < 1.0, "{unknown}");
}

#[test]
fn an_engine_is_learned_and_known_after_a_restart() {
    let mut service = Service::usual();
    assert!(matches!(service.run(15.0), Verdict::Learning(_)));
    assert_eq!(service.tracker.promised(), None, "the plain formula decides");
    let Verdict::Sized(size) = *service.run(1_800.0) else {
        panic!("{:?}", service.tracker.verdict())
    };
    assert!((10..=12).contains(&size.needed), "{size:?}");
    let replicas = Some(size.replicas as i32);
    assert_eq!(service.tracker.promised(), Some(PromisedSize { replicas, may_shrink: true }));
    let attained = service.tracker.attained();
    assert!(attained.inter_token_latency.is_some_and(|it| it <= 0.05), "{attained:?}");

    let text = serde_json::to_string(service.tracker.record().unwrap()).unwrap();
    let record = serde_json::from_str(&text).unwrap();
    service.tracker =
        PromiseTracker::restored(&record, Monotonic(Duration::from_secs_f64(service.now)));
    assert!(matches!(service.run(15.0), Verdict::Sized(again) if again.needed == size.needed));
}

#[test]
fn a_promise_that_was_kept_removes_nothing_while_series_are_missing() {
    let held = Some(PromisedSize { replicas: None, may_shrink: false });
    let mut service = Service::usual();
    service.lacking = &[5];
    let series = "vllm:iteration_tokens_total_count".to_owned();
    let missing = Verdict::Missing { pod: "llm-11".to_owned(), series };
    assert_eq!(*service.run(30.0), missing);
    assert_eq!(service.tracker.promised(), None, "nothing was known before");
    service.lacking = &[];
    service.run(1_800.0);
    service.lacking = &[5];
    assert_eq!(*service.run(5.0), missing);
    assert_eq!(service.tracker.promised(), held);
    // Without any answer the last pages count for two minutes.
    service.lacking = &[];
    service.run(60.0);
    service.replicas.reporting_pods = Arc::default();
    service.replicas.replica_of_reporting_pod.clear();
    assert!(matches!(service.run(100.0), Verdict::Sized(_)));
    assert_eq!(service.tracker.promised().map(|it| it.may_shrink), Some(false), "no quorum");
    assert_eq!(*service.run(60.0), Verdict::Stale);
    assert_eq!(service.tracker.promised(), held);
}

#[test]
fn a_page_without_a_prefix_cache_is_complete() {
    let mut service = Service::usual();
    service.lacking = &[7];
    assert!(matches!(service.run(1_800.0), Verdict::Sized(_)));
}

#[test]
fn the_engines_of_a_pod_are_learned_as_one_and_requests_are_those_of_all() {
    let needed = |engines: f64| {
        let mut service = Service::usual();
        service.engines = engines;
        service.run(1_800.0);
        let size = service.tracker.size().unwrap();
        ((size.arrivals / engines).round(), size.needed, format!("{:?}", size.model))
    };
    assert_eq!(needed(2.0), needed(1.0), "twice the load on twice the engines");
    let mut service = Service::usual();
    service.run(1_800.0);
    service.engines = 2.0;
    assert!(matches!(service.run(5.0), Verdict::Learning(_)), "another number is another engine");
}

#[test]
fn another_kv_cache_is_another_engine() {
    let mut service = Service::usual();
    service.run(1_800.0);
    service.cache = 1.03 * CACHE;
    assert!(matches!(service.run(5.0), Verdict::Sized(_)), "another start of the same engine");
    service.cache = 2.0 * CACHE;
    assert!(matches!(service.run(5.0), Verdict::Learning(_)));
    assert_eq!(service.tracker.promised(), None);
}

#[test]
fn a_promise_that_cannot_be_measured_or_kept_is_refused() {
    use PromiseTarget::{InterTokenLatency, TimeToFirstToken};
    let slo = |ttft: i32, itl: i32| json!({"timeToFirstTokenMilliseconds": ttft, "interTokenLatencyMilliseconds": itl});
    let verdict = |slo| Service::new(&slo, "VLLM").run(1_800.0).clone();
    let not_measurable = |target, shortest| Verdict::NotMeasurable { target, shortest };
    assert_eq!(verdict(slo(2000, 8)), not_measurable(InterTokenLatency, 0.01));
    // The first bucket of times in the queue, which are three quarters of a promise, ends at 10 ms.
    let mut service = Service::new(&slo(100, 100), "VLLM");
    service.config.policy.promise.time_to_first_token = 0.012;
    assert_eq!(*service.run(30.0), not_measurable(TimeToFirstToken, 0.01 / QUEUE_SHARE));
    let Verdict::BelowEngine { target, alone } = verdict(slo(2000, 12)) else { panic!() };
    assert_eq!(target, InterTokenLatency);
    assert!((0.012..0.022).contains(&alone), "{alone}");
}

#[test]
fn pages_that_are_not_learned_are_named() {
    let mut service = Service::usual();
    service.lacking = &[SINGLE_SERVER];
    assert_eq!(*service.run(600.0), Verdict::SeveralServers { pod: "llm-11".to_owned() });
    assert_eq!(service.tracker.promised(), None);
    let slo = json!({"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100});
    assert_eq!(*Service::new(&slo, "SGLang").run(60.0), Verdict::NoSeries);
}
