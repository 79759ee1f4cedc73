use std::sync::Arc;

use futures::future::Abortable;
use llm_autoscaler_engines::{Kind, Measure, Recipe};

use super::*;
use crate::sampling::{
    error::FetchProblem,
    prometheus::demand::{QueryDemand, Selection},
};

const SECOND: Duration = Duration::from_secs(1);
const QUICK_ANSWER: Duration = Duration::from_millis(10);

fn key(pace: QueryPace) -> ServerKey {
    ServerKey { pace, ..ServerKey::of_tests("http://prometheus") }
}

/// Returns the demand of an autoscaler with this interval and timeout in seconds. Each letter of
/// `series` is the name of one.
fn demand(interval: u32, timeout: u32, series: &str, queries: &[&str]) -> QueryDemand {
    let (interval, timeout) = (interval * SECOND, timeout * SECOND);
    let selection = |name: char| {
        let recipe = Recipe::series(Kind::Gauge, name.to_string(), []);
        let measure = Measure { recipe, window: Duration::ZERO };
        Selection::new(&measure, interval, timeout, 60 * SECOND)
    };
    QueryDemand {
        selections: series.chars().map(selection).collect(),
        queries: queries.iter().map(|&query| query.to_owned()).collect(),
        interval,
        timeout,
        stale_after: 60 * SECOND,
        wake: Arc::default(),
    }
}

fn name(id: &QueryId) -> String {
    match id {
        QueryId::Range(_, part) => part.concat().concat(),
        QueryId::Expression(expression) => expression.clone(),
    }
}

fn failed(problem: FetchProblem) -> FetchError {
    FetchError::Request { url: "http://prometheus".to_owned(), problem }
}

/// A server and its scheduler, in a time of their own.
struct World {
    scheduler: Scheduler,
    demands: Vec<QueryDemand>,
    /// Returns the time that an answer takes, and its error.
    answer: fn(&str, &QuerySettings) -> (Duration, Option<FetchError>),
    begin: Instant,
    now: Instant,
    in_flight: Vec<(Instant, DueQuery, Instant)>,
    /// The queries that were sent, with their seconds since the beginning.
    sent: Vec<(f64, String)>,
}

impl World {
    fn new(
        demands: Vec<QueryDemand>,
        answer: fn(&str, &QuerySettings) -> (Duration, Option<FetchError>),
    ) -> Self {
        let now = Instant::now();
        let (scheduler, in_flight, sent) =
            (Scheduler::new(&key(QueryPace::Normal)), Vec::new(), Vec::new());
        let mut world = Self { scheduler, demands, answer, begin: now, now, in_flight, sent };
        world.plan();
        world
    }

    fn plan(&mut self) {
        let plan = QueryPlan::merge(&self.demands, self.scheduler.splits());
        self.scheduler.set_plan(&plan, self.now);
    }

    /// Lets time pass up to this second.
    fn run_until(&mut self, second: u32) {
        let end = self.begin + second * SECOND;
        loop {
            if self.scheduler.is_outdated(self.now) {
                self.plan();
            }
            for due in self.scheduler.take_due(self.now) {
                let at = (self.now - self.begin).as_secs_f64();
                self.sent.push((at, name(&due.id)));
                let (took, _) = (self.answer)(&name(&due.id), &due.settings);
                self.in_flight.push((self.now + took, due, self.now));
            }
            self.in_flight.sort_by_key(|(at, ..)| *at);
            let answered = self.in_flight.first().map(|(at, ..)| *at);
            let next = answered.into_iter().chain(self.scheduler.next_due()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if answered.is_some_and(|at| at <= self.now) {
                let (_, due, sent) = self.in_flight.remove(0);
                let (_, error) = (self.answer)(&name(&due.id), &due.settings);
                self.scheduler.record(&due.id, error.as_ref(), self.now - sent, self.now);
            }
        }
        self.now = end;
    }

    /// Returns the seconds at which a query was sent.
    fn times(&self, name: &str) -> Vec<f64> {
        self.sent.iter().filter(|(_, sent)| sent == name).map(|(at, _)| *at).collect()
    }

    /// Returns the longest time between two queries of a name, after the first two.
    fn longest_gap(&self, name: &str) -> f64 {
        let times = self.times(name);
        times.windows(2).skip(1).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }
}

fn quick(_: &str, _: &QuerySettings) -> (Duration, Option<FetchError>) {
    (QUICK_ANSWER, None)
}

/// Queries with `slow` in their name never end before their timeout.
fn slow(name: &str, settings: &QuerySettings) -> (Duration, Option<FetchError>) {
    if name.contains("slow") {
        (settings.timeout, Some(failed(FetchProblem::Timeout(settings.timeout))))
    } else {
        (QUICK_ANSWER, None)
    }
}

/// Queries with the series x are refused.
fn refuse_x(name: &str, _: &QuerySettings) -> (Duration, Option<FetchError>) {
    let rejected = || FetchProblem::Rejected("execution: refused".to_owned());
    (QUICK_ANSWER, name.contains('x').then(|| failed(rejected())))
}

/// Queries with the series x time out.
fn time_out_x(name: &str, settings: &QuerySettings) -> (Duration, Option<FetchError>) {
    if name.contains('x') {
        (settings.timeout, Some(failed(FetchProblem::Timeout(settings.timeout))))
    } else {
        (QUICK_ANSWER, None)
    }
}

#[test]
fn each_query_has_the_interval_of_its_own_demands() {
    let demands = vec![
        demand(1, 5, "a", &["cheap"]),
        demand(60, 60, "b", &["dear"]),
        demand(5, 5, "c", &["shared"]),
        demand(10, 5, "d", &["shared"]),
    ];
    let mut world = World::new(demands, quick);
    world.run_until(600);
    for (name, interval) in
        [("a", 1), ("cheap", 1), ("b", 60), ("dear", 60), ("c", 5), ("shared", 5), ("d", 10)]
    {
        let count = world.times(name).len();
        let expected = 600 / interval;
        assert!((expected..=expected + 2).contains(&count), "{name}: {count}");
        assert!((world.longest_gap(name) - f64::from(interval as u32)).abs() < 0.1, "{name}");
    }
}

#[test]
fn a_slow_query_is_not_sent_again_in_flight_and_delays_no_other_one() {
    let demands = vec![demand(5, 60, "", &["slow"]), demand(5, 5, "a", &["quick"])];
    let mut world = World::new(demands, slow);
    world.run_until(300);
    let slow = world.times("slow");
    assert!(slow.len() <= 6 && slow.windows(2).all(|pair| pair[1] - pair[0] >= 60.0), "{slow:?}");
    for name in ["a", "quick"] {
        assert!(world.longest_gap(name) < 5.1, "{name}: {:?}", world.times(name));
    }
}

#[test]
fn many_slow_expressions_delay_no_range_and_no_expression_that_was_quick() {
    let mut world = World::new(vec![demand(5, 5, "a", &["quick"])], slow);
    world.run_until(7);
    let names: Vec<String> = (0..16).map(|number| format!("slow {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.demands.push(demand(1, 60, "", &names));
    world.plan();
    world.run_until(600);
    for name in ["a", "quick"] {
        assert!(world.longest_gap(name) < 5.1, "{name}: {:?}", world.times(name));
    }
    for name in names {
        assert!(!world.times(name).is_empty(), "{name} has its turn");
    }
}

#[test]
fn each_query_has_the_timeout_of_its_own_demands() {
    let demands = vec![
        demand(5, 2, "a", &["quick", "shared"]),
        demand(5, 60, "b", &["slow"]),
        demand(5, 10, "", &["shared"]),
    ];
    let mut world = World::new(demands, slow);
    let timeouts: BTreeMap<String, Duration> = world
        .scheduler
        .take_due(world.now)
        .into_iter()
        .map(|due| (name(&due.id), due.settings.timeout))
        .collect();
    let expected = [("a", 2), ("b", 60), ("quick", 2), ("shared", 10), ("slow", 60)];
    let expected = expected.map(|(name, timeout)| (name.to_owned(), timeout * SECOND));
    assert_eq!(timeouts, expected.into());
}

#[test]
fn a_refused_range_is_asked_again_in_parts_at_once_and_not_as_a_whole() {
    let mut world = World::new(vec![demand(5, 5, "abcdx", &["up"])], refuse_x);
    world.run_until(1);
    let names: Vec<&str> = world.sent.iter().map(|(_, name)| name.as_str()).collect();
    // The queries with x are halved until x is alone; then the others are one query again.
    for expected in ["abcdx", "ab", "cdx", "c", "dx", "d", "x"] {
        assert_eq!(names.iter().filter(|name| **name == expected).count(), 1, "{names:?}");
    }
    assert!(world.sent.iter().all(|(at, name)| *at < 0.1 || name == "x"), "{:?}", world.sent);
    world.run_until(590);
    assert_eq!(world.times("abcdx").len(), 1, "the refusal is remembered");
    assert!(world.times("abcd").len() >= 116 && world.longest_gap("abcd") < 5.1);
    assert!(world.times("up").len() >= 118);
    world.run_until(1800);
    assert_eq!(world.times("abcdx").len(), 1, "x is still refused");
}

#[test]
fn series_that_are_answered_again_join_the_others_after_ten_minutes() {
    let mut world = World::new(vec![demand(5, 5, "abx", &[])], refuse_x);
    world.run_until(60);
    world.answer = quick;
    world.run_until(640);
    assert_eq!(world.times("abx").len(), 1);
    world.run_until(800);
    let (joined, alone) = (world.times("abx"), world.times("x"));
    assert!(joined.len() > 20 && *alone.last().unwrap() < joined[2], "{joined:?}");
    assert!(joined[1] - alone.last().unwrap() < 5.1, "without a gap");
}

#[test]
fn a_range_that_times_out_is_asked_again_in_parts() {
    let mut world = World::new(vec![demand(5, 2, "abx", &[])], time_out_x);
    world.run_until(60);
    assert_eq!(world.times("abx").len(), 1);
    assert!(world.times("ab").len() >= 9, "{:?}", world.sent);
    assert!(world.times("x").len() >= 9, "{:?}", world.sent);
}

#[test]
fn a_server_that_is_not_reached_is_not_asked_in_parts() {
    let answer = |_: &str, _: &QuerySettings| {
        (QUICK_ANSWER, Some(failed(FetchProblem::Network("x".to_owned()))))
    };
    let mut world = World::new(vec![demand(5, 5, "abc", &[])], answer);
    world.run_until(60);
    assert_eq!(world.times("abc").len(), world.sent.len());
    assert!((12..=14).contains(&world.sent.len()), "{:?}", world.sent);
}

#[test]
fn a_new_demand_is_queried_at_once_and_a_smaller_one_at_its_time() {
    let mut world = World::new(vec![demand(60, 5, "ab", &["up"])], quick);
    world.run_until(130);
    let sent = world.sent.len();
    world.demands.push(demand(60, 5, "c", &["down"]));
    world.plan();
    world.run_until(131);
    let mut new: Vec<&str> = world.sent[sent..].iter().map(|(_, name)| name.as_str()).collect();
    new.sort_unstable();
    assert_eq!(new, ["abc", "down"]);
    world.demands = vec![demand(60, 5, "a", &["up"])];
    world.plan();
    let sent = world.sent.len();
    world.run_until(132);
    assert_eq!(world.sent.len(), sent, "{:?}", &world.sent[sent..]);
    world.run_until(260);
    assert!(world.times("a").len() >= 2 && world.longest_gap("up") < 60.1);
}

#[test]
fn what_nobody_wants_any_more_is_cancelled() {
    let mut world = World::new(vec![demand(5, 60, "", &["slow", "up"])], slow);
    let in_flight: Vec<_> = world
        .scheduler
        .take_due(world.now)
        .into_iter()
        .map(|due| (name(&due.id), Abortable::new(std::future::pending::<()>(), due.registration)))
        .collect();
    world.demands = vec![demand(5, 60, "", &["up"])];
    world.plan();
    for (name, future) in in_flight {
        assert_eq!(future.is_aborted(), name == "slow", "{name}");
    }
}

#[test]
fn queries_at_zero_share_the_limit_of_their_server() {
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (pace, crowd, most) in [
        (QueryPace::Normal, 100, 23.0),
        (QueryPace::AtZero, 100, 43.0),
        (QueryPace::AtZero, 200, 23.0),
    ] {
        let mut world = World::new(vec![demand(5, 5, "", &names)], quick);
        world.scheduler = Scheduler::new(&key(pace));
        world.scheduler.set_crowd(crowd);
        world.plan();
        world.run_until(10);
        let early = world.sent.len();
        world.run_until(110);
        let rate = (world.sent.len() - early) as f64 / 100.0;
        assert!(rate < most && rate > most - 6.0, "{pace:?} {crowd}: {rate} a second");
    }
}
