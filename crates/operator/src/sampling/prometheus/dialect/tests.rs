use llm_autoscaler_engines::prometheus::{QueryData, QueryResponse, Series};

use super::*;
use crate::sampling::{error::FetchProblem, memory::NamespaceBudget};

/// The text by which Google's managed Prometheus refuses a regular expression.
const NO_REGEX: &str = "the server rejected the query: bad_data: invalid parameter \"query\": \
    substitute queries failed: convert vector selector failed: =~ is an unsupported matchtype for \
    the __name__ label: invalid argument";

fn range(names: &[&str]) -> InstantQuery {
    let by_name = names.iter().map(|name| (*name).to_owned()).collect();
    let timeout = Duration::from_secs(5);
    InstantQuery { expression: names.join("|"), by_name, lookback: None, timeout }
}

fn failure(problem: FetchProblem) -> FetchError {
    FetchError::Request { url: String::new(), problem }
}

fn result(name: &str) -> QueryResult {
    let series = Series { name: name.into(), ..Series::default() };
    let warnings = vec!["a store is missing".to_owned()];
    QueryResult {
        response: QueryResponse { data: QueryData::Series(vec![series]), warnings },
        now: if name == "a" { 10.0 } else { 11.0 },
        clock_ahead: None,
        memory: NamespaceBudget::plenty().empty(),
    }
}

/// A server that records its queries, and answers with an error where `refuses` has one.
struct Server {
    refuses: fn(&str, Parameters) -> Option<FetchProblem>,
    got: Mutex<Vec<String>>,
}

impl Server {
    fn new(refuses: fn(&str, Parameters) -> Option<FetchProblem>) -> Self {
        Self { refuses, got: Mutex::default() }
    }

    /// Returns the names of the series of the answer, and the queries that were sent.
    async fn ask(
        &self,
        dialect: &Dialect,
        query: &InstantQuery,
        now: Instant,
    ) -> (Result<Vec<String>, FetchError>, Vec<String>) {
        let answered = dialect.ask(query, now, async |expression, parameters| {
            lock(&self.got).push(expression.clone());
            let problem = (self.refuses)(&expression, parameters);
            problem.map_or_else(|| Ok(result(&expression)), |problem| Err(failure(problem)))
        });
        let names = answered.await.map(|result| {
            let QueryData::Series(series) = result.response.data else { panic!("no series") };
            assert_eq!(result.response.warnings, ["a store is missing"]);
            assert!(series.len() == 1 || (result.now - 11.0).abs() < 1e-9, "the latest time");
            series.iter().map(|series| series.name.to_string()).collect()
        });
        (names, std::mem::take(&mut *lock(&self.got)))
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn no_regexes(expression: &str, _: Parameters) -> Option<FetchProblem> {
    expression.contains('|').then(|| FetchProblem::Rejected(NO_REGEX.to_owned()))
}

#[tokio::test]
async fn a_server_without_regular_expressions_for_names_is_queried_by_name() {
    let (dialect, server, now) = (Dialect::default(), Server::new(no_regexes), Instant::now());
    let (names, sent) = server.ask(&dialect, &range(&["a", "b"]), now).await;
    assert_eq!((names, sent), (Ok(texts(&["a", "b"])), texts(&["a|b", "a", "b"])));
    // It is remembered for all queries of the server, and the usual form is tried now and then.
    let (_, sent) = server.ask(&dialect, &range(&["c", "d"]), now).await;
    assert_eq!(sent, ["c", "d"]);
    let later = now + REMEMBERED;
    let (_, sent) = server.ask(&dialect, &range(&["a", "b"]), later).await;
    assert_eq!(sent, ["a|b", "a", "b"]);
    let (_, sent) = server.ask(&dialect, &range(&["a", "b"]), later).await;
    assert_eq!(sent, ["a", "b"]);
    // Expressions of specs have one form of their own.
    let expression = InstantQuery { lookback: Some(REMEMBERED), ..range(&[]) };
    assert_eq!(server.ask(&dialect, &expression, later).await.1.len(), 1);
}

#[tokio::test]
async fn a_part_that_fails_fails_the_query_and_no_name_is_missing_from_an_answer() {
    let refuses = |expression: &str, parameters| match expression {
        "b" => Some(FetchProblem::Status(503)),
        _ => no_regexes(expression, parameters),
    };
    let (dialect, server, now) = (Dialect::default(), Server::new(refuses), Instant::now());
    let (names, _) = server.ask(&dialect, &range(&["a", "b"]), now).await;
    assert!(names.unwrap_err().to_string().contains("unsupported matchtype"));
    let (names, _) = server.ask(&dialect, &range(&["a", "c"]), now).await;
    assert_eq!(names, Ok(texts(&["a", "c"])));
    let (names, sent) = server.ask(&dialect, &range(&["a", "b"]), now).await;
    assert_eq!((names, sent), (Err(failure(FetchProblem::Status(503))), texts(&["a", "b"])));
}

#[tokio::test]
async fn four_requests_by_name_are_in_flight_at_once_whatever_the_number_of_queries() {
    let (dialect, now) = (Dialect::default(), Instant::now());
    dialect.names.narrow(now);
    let (in_flight, most) = (Mutex::new(0), Mutex::new(0));
    let names: Vec<String> = (0..20).map(|number| format!("name_{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let query = range(&names);
    let ask = || {
        dialect.ask(&query, now, async |name, _| {
            let count = {
                let mut in_flight = lock(&in_flight);
                *in_flight += 1;
                *in_flight
            };
            {
                let mut most = lock(&most);
                *most = count.max(*most);
            }
            tokio::task::yield_now().await;
            *lock(&in_flight) -= 1;
            Ok(result(&name))
        })
    };
    let answers = futures::future::join_all((0..3).map(|_| ask())).await;
    for answer in answers {
        let QueryData::Series(series) = answer.unwrap().response.data else { panic!("no series") };
        let found: Vec<&str> = series.iter().map(|series| &*series.name).collect();
        assert_eq!(found, names);
    }
    assert_eq!(*lock(&most), AT_ONCE);
}

#[tokio::test]
async fn other_errors_change_no_form() {
    let problems: [fn(&str, Parameters) -> Option<FetchProblem>; 4] = [
        |_, _| Some(FetchProblem::Status(503)),
        |_, _| Some(FetchProblem::Status(422)),
        |_, _| Some(FetchProblem::Rejected("execution: too many samples".to_owned())),
        |_, _| Some(FetchProblem::Timeout(Duration::from_secs(1))),
    ];
    for refuses in problems {
        let (dialect, server) = (Dialect::default(), Server::new(refuses));
        let (names, sent) = server.ask(&dialect, &range(&["a", "b"]), Instant::now()).await;
        assert!(names.is_err());
        assert_eq!(sent, ["a|b"]);
    }
    // A query that is wrong in both forms is asked in both each time, and the error is the first.
    let wrong = |expression: &str, _| {
        Some(FetchProblem::Rejected(format!("bad_data: {expression} is wrong")))
    };
    let (dialect, server) = (Dialect::default(), Server::new(wrong));
    for _ in 0..2 {
        let (names, sent) = server.ask(&dialect, &range(&["a", "b"]), Instant::now()).await;
        assert_eq!(names.unwrap_err().to_string(), ": bad_data: a|b is wrong");
        assert_eq!(sent, ["a|b", "a"]);
    }
}

#[tokio::test]
async fn a_server_that_refuses_unknown_parameters_gets_the_documented_ones() {
    let refuses =
        |_: &str, parameters| (parameters == Parameters::All).then_some(FetchProblem::Status(400));
    let (dialect, server, now) = (Dialect::default(), Server::new(refuses), Instant::now());
    let expression =
        InstantQuery { expression: "q".to_owned(), lookback: Some(REMEMBERED), ..range(&[]) };
    for tries in [2, 1] {
        let (names, sent) = server.ask(&dialect, &expression, now).await;
        assert_eq!((names, sent.len()), (Ok(texts(&["q"])), tries));
    }
}
