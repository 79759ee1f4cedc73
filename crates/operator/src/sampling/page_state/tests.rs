use llm_autoscaler_engines::{Kind, Recipe, exposition::Value};
use llm_autoscaler_observe::pod::Pod;

use super::*;
use crate::{
    sampling::{
        feed::{Feed, FeedRegistry},
        memory::MemoryBudget,
        scrapes::Kept,
    },
    telemetry::Telemetry,
};

/// The windows of pages that wait for memory used to be what they waited for.
#[test]
fn a_page_that_waits_for_memory_in_vain_gives_back_an_outdated_window() {
    let budget = MemoryBudget::new(1 << 20, Telemetry::default());
    let recipe = Recipe::series(Kind::Counter, "q_total", []);
    let measure = Arc::new(Measure { recipe, window: Duration::from_mins(1) });
    let memory = budget.of("ns");
    let mut state = PageState::default();
    let subscriber = FeedRegistry::<PageKey, PageState>::default().new_subscriber();
    let second = Duration::from_secs(1);
    let (measures, wake) = ([measure].into(), Arc::default());
    let subscription = PageSubscription { interval: second, timeout: second, measures, wake };
    state.subscribe(subscriber, subscription);
    let mut scrape = |at: u64, problem: Option<FetchProblem>| {
        let measures = state.measures(&memory, &MeasureSets::default());
        let value = Value::Number(at as f64);
        let extracts = [Extract { value, ..Extract::default() }];
        let page = ScrapedPage { bytes: b"q_total 1\n", extracts: &extracts };
        let page = problem.is_none().then_some(page);
        let error = problem.map(|problem| FetchError::Request { url: String::new(), problem });
        state.record_scrape(ScrapeResult {
            measures,
            at: Monotonic(Duration::from_millis(at)),
            error,
            page,
        });
        budget.used()
    };
    let window = (0..=60).map(|second| scrape(1000 * second, None)).last().unwrap();
    assert!(window > 500, "{window}");
    let no_turn = || Some(FetchProblem::NoTurn(second));
    let refused = || Some(FetchProblem::Network("refused".to_owned()));
    for (at, problem, expected) in
        [(120_000, no_turn(), window), (120_001, refused(), window), (120_002, no_turn(), 0)]
    {
        assert_eq!(scrape(at, problem), expected, "{at}");
    }
}

/// A hundred thousand pages have one of each, and six measures.
#[test]
fn a_page_takes_no_memory_for_what_is_rare() {
    for (name, bytes, most) in [
        ("Pod", size_of::<Pod>(), 296),
        ("PageKey", size_of::<PageKey>(), 80),
        ("Feed", size_of::<Feed<PageKey, PageState>>(), 392),
        ("Kept", size_of::<Kept>(), 72),
        ("PageSubscription", size_of::<PageSubscription>(), 56),
        ("Known", size_of::<Known>(), 64),
    ] {
        assert!(bytes <= most, "{name}: {bytes} bytes");
    }
}

#[test]
fn a_page_has_its_phase_among_those_of_its_oldest_subscriber() {
    let registry = FeedRegistry::<PageKey, PageState>::default();
    let numbers = [registry.new_subscriber(), registry.new_subscriber()];
    let subscribe = |subscriber, pod: &str| {
        let address = Address { ip: [10, 0, 0, 1].into(), port: 1, tls: false, path: "/".into() };
        let key = PageKey {
            namespace: "ns".into(),
            pod_uid: pod.into(),
            address,
            access: Arc::default(),
        };
        let (second, measures) = (Duration::from_secs(1), [].into());
        let (interval, timeout, wake) = (second, second, Arc::default());
        let subscription = PageSubscription { interval, timeout, measures, wake };
        registry.subscribe(subscriber, &key, subscription, |_, _| {})
    };
    let phase = |page: &Page, subscriber| page.phase_hash.phase(subscriber).to_bits();
    for pod in ["a", "b"] {
        let page = subscribe(numbers[1], pod);
        assert_eq!(page.phase().to_bits(), phase(&page, 1), "{pod}");
        subscribe(numbers[0], pod);
        assert_eq!(page.phase().to_bits(), phase(&page, 0), "{pod}: an older one has come");
        registry.unsubscribe(numbers[0], &page.key, |_| {});
        assert_eq!(page.phase().to_bits(), phase(&page, 1), "{pod}: and gone");
        assert_ne!(phase(&page, 0), phase(&page, 1));
    }
}
