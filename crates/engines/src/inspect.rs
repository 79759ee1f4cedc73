//! A page, looked at as a whole: whose it is, which signals it gives, and which it does not.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Engine, Kind, SignalDef, Track,
    exposition::{Extractor, PageError, PageSummary, Scratch, Value},
};

/// How many names of a page are told beside one that is missing.
const SIMILAR: usize = 3;

/// What a page says of an engine's signals.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The engine whose signals were looked for.
    pub engine: Engine,
    /// What was on the page in all.
    pub summary: PageSummary,
    /// A wanted line that could not be read, if there was one.
    pub problem: Option<PageError>,
    /// The signals in the order of the engine's table.
    pub findings: Vec<Finding>,
}

/// What a page says of one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The signal, as the engine gives it.
    pub def: &'static SignalDef,
    /// Its value: of a counter all since its start, of a histogram all events since then. Absent where it is missing.
    pub value: Value,
    /// The series that it was, or would have been, read from: one of each summand.
    pub series: Vec<&'static str>,
    /// A former name that is in use, and the name that has taken its place.
    pub former: Option<(&'static str, &'static str)>,
    /// The former name is there as well, with another value.
    pub ambiguous: bool,
    /// Names on the page that are like the missing ones.
    pub similar: Vec<String>,
}

/// Looks for the signals of `engine` on a page.
///
/// # Errors
/// The page is none, or cut off.
pub fn inspect(page: &[u8], engine: Engine) -> Result<Inspection, PageError> {
    let profile = engine.profile();
    let recipes: Vec<_> = profile.signals.iter().map(|def| def.recipe(profile.repeats)).collect();
    let mut out = Vec::new();
    let read = Extractor::new(&recipes).read(page, &mut Scratch::default(), &mut out);
    let (summary, problem) = match read {
        Ok(summary) => (summary, None),
        Err(problem @ PageError::BadLine { .. }) => (PageSummary::default(), Some(problem)),
        Err(error) => return Err(error),
    };
    let names = names(page);
    let findings = profile.signals.iter().zip(out).map(|(def, extract)| {
        let missing = extract.value == Value::Absent;
        let used = |(index, term): (usize, &crate::Term)| match extract.alternative {
            Some((of, alternative)) if of == index => term.0[alternative].series,
            _ => term.0[0].series,
        };
        let former =
            extract.alternative.and_then(|(term, alternative)| def.former(term, alternative));
        Finding {
            def,
            series: def.terms.iter().enumerate().map(used).collect(),
            former: former.filter(|_| !missing),
            ambiguous: extract.ambiguous,
            similar: if missing { similar(def, &names) } else { Vec::new() },
            value: extract.value,
        }
    });
    Ok(Inspection { engine, summary, problem, findings: findings.collect() })
}

impl Inspection {
    /// What has come about since an earlier look at the same page: rates of counters, and the events of that time. Gauges
    /// are as they are.
    #[must_use]
    pub fn since(mut self, earlier: &Self, elapsed: Duration) -> Self {
        for (now, before) in self.findings.iter_mut().zip(&earlier.findings) {
            let kind = now.def.signal.info().kind;
            if kind != Kind::Gauge {
                let mut track = Track::new(kind, elapsed, elapsed);
                track.push(Duration::ZERO, &before.value);
                track.push(elapsed, &now.value);
                now.value = track.value();
            }
        }
        self
    }
}

/// The names of all series of a page; a histogram's without its endings.
fn names(page: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(page);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.trim().split(['{', ' ', '\t']).next());
    let stem = |name: &str| {
        let ends = ["_bucket", "_sum", "_count", "_created"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names.filter(|name| !name.is_empty()).map(stem).collect()
}

/// The names that share most words with one of those that a signal has had.
fn similar(def: &SignalDef, names: &BTreeSet<String>) -> Vec<String> {
    let words = |name: &str| -> BTreeSet<String> {
        name.split(['_', ':']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let wanted: Vec<_> =
        def.terms.iter().flat_map(|term| term.0).map(|name| words(name.series)).collect();
    let likeness = |name: &String| {
        let found = words(name);
        let shared = |wanted: &BTreeSet<String>| {
            let both = wanted.intersection(&found).count() as f64;
            both / wanted.union(&found).count().max(1) as f64
        };
        wanted.iter().map(shared).fold(0.0, f64::max)
    };
    let mut alike: Vec<_> = names.iter().map(|name| (likeness(name), name)).collect();
    alike.retain(|(likeness, _)| *likeness >= 0.5);
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike.into_iter().take(SIMILAR).map(|(_, name)| name.clone()).collect()
}

impl Finding {
    /// Its value for people; `since` is the time that it is about, where it is of two pages.
    pub fn shown(&self, since: Option<Duration>) -> String {
        match (&self.value, self.def.signal.info().kind, since) {
            (Value::Absent, ..) => "missing".to_owned(),
            (Value::Number(number), Kind::Counter, Some(_)) => format!("{}/s", round(*number)),
            (Value::Number(number), Kind::Counter, None) => {
                format!("{} since its start", round(*number))
            }
            (Value::Number(number), ..) => round(*number),
            (Value::Buckets(buckets), _, since) => {
                let when =
                    since.map_or("since its start".to_owned(), |time| format!("in {time:?}"));
                let at = |percentile: f64| {
                    buckets.quantile(percentile / 100.0).map_or("-".to_owned(), round)
                };
                let (events, p50, p90, p99) = (buckets.events(), at(50.0), at(90.0), at(99.0));
                format!("p50 {p50}, p90 {p90}, p99 {p99} s of {events} {when}")
            }
        }
    }
}

/// At most three digits behind the point.
fn round(number: f64) -> String {
    let rounded = (number * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    fn finding(page: &str, signal: Signal) -> Finding {
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        inspection.findings.into_iter().find(|finding| finding.def.signal == signal).unwrap()
    }

    #[test]
    fn what_is_there_is_shown() {
        let page = concat!(
            "vllm:num_requests_waiting 11\n",
            "vllm:gpu_cache_usage_perc 0.6771653\n",
            "vllm:generation_tokens_total 1200\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"1\"} 5\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"2\"} 10\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 10\n",
        );
        let shown = |signal, over| finding(page, signal).shown(over);
        assert_eq!(shown(Signal::WaitingRequests, None), "11");
        assert_eq!(shown(Signal::KvCacheUsage, Some(Duration::from_secs(5))), "0.677");
        assert_eq!(shown(Signal::GenerationTokenRate, None), "1200 since its start");
        let percentiles = "p50 1, p90 1.8, p99 1.98 s of 10 since its start";
        assert_eq!(shown(Signal::TimeToFirstToken, None), percentiles);
        let kv = finding(page, Signal::KvCacheUsage);
        assert_eq!(kv.former, Some(("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc")));
        assert_eq!(kv.series, ["vllm:gpu_cache_usage_perc"]);
    }

    #[test]
    fn two_looks_make_a_rate() {
        let page = |tokens: u32, events: u32| {
            format!(
                "vllm:num_requests_waiting {tokens}\nvllm:generation_tokens_total {tokens}\n\
                 vllm:request_queue_time_seconds_bucket{{le=\"1\"}} {events}\n\
                 vllm:request_queue_time_seconds_bucket{{le=\"+Inf\"}} {events}\n"
            )
        };
        let (first, second) = (page(1000, 50), page(1200, 60));
        let earlier = inspect(first.as_bytes(), Engine::Vllm).unwrap();
        let time = Duration::from_secs(5);
        let later = inspect(second.as_bytes(), Engine::Vllm).unwrap().since(&earlier, time);
        let shown = |signal| {
            later
                .findings
                .iter()
                .find(|finding| finding.def.signal == signal)
                .unwrap()
                .shown(Some(time))
        };
        assert_eq!(shown(Signal::WaitingRequests), "1200");
        assert_eq!(shown(Signal::GenerationTokenRate), "40/s");
        assert_eq!(shown(Signal::QueueTime), "p50 0.5, p90 0.9, p99 0.99 s of 10 in 5s");
    }

    #[test]
    fn what_is_missing_has_likenesses() {
        let page = "vllm:num_requests_queued 11\nprocess_open_fds 3\n";
        let missing = finding(page, Signal::WaitingRequests);
        assert_eq!(missing.shown(None), "missing");
        assert_eq!(missing.similar, ["vllm:num_requests_queued"]);
        assert_eq!(finding(page, Signal::KvCacheUsage).similar, [""; 0]);
    }

    #[test]
    fn a_bad_line_is_told_and_costs_what_needs_it() {
        let page = "vllm:num_requests_waiting many\nvllm:num_requests_running 3\n";
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        assert!(matches!(inspection.problem, Some(PageError::BadLine { line: 1, .. })));
        assert_eq!(finding(page, Signal::WaitingRequests).value, Value::Absent);
        assert_eq!(finding(page, Signal::RunningRequests).value, Value::Number(3.0));
        assert!(inspect(b"<html>\n", Engine::Vllm).is_err());
    }
}
