//! Inspection of a page: which signals of an engine it has, and which are missing.

mod form;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use self::form::OtherForm;
use crate::{
    definition::SignalDef,
    engine::SleepDef,
    exposition::{
        DeclaredTypes, Extract, Extractor, ListedSeries, PageError, PageSummary, Scratch, Value,
        list_series,
    },
    gateway::Program,
    kind::Kind,
    recipe::Recipe,
    recognize::recognize_program,
    window::Track,
};

/// The number of similar names that are shown for a missing one.
const SIMILAR: usize = 3;
/// The length of the longest name that is shown, in bytes.
const LONGEST_NAME: usize = 200;

/// The signals of an engine on one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The engine or gateway that the signals are of.
    pub program: Program,
    /// Counts of the page's lines.
    pub summary: PageSummary,
    /// The first malformed line of a wanted family, if there is one.
    pub problem: Option<PageError>,
    /// The signals, in the order of the engine's table.
    pub findings: Vec<Finding>,
    /// The engine or gateway that the page's series are of, whatever it was read as.
    pub recognized: Option<Program>,
    /// The processes of the engine that are awake, and those that sleep; `None` if the page does
    /// not have both numbers.
    pub processes: Option<Processes>,
}

/// The processes of an engine, by its series about sleep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processes {
    /// The number of processes that are awake.
    pub awake: f64,
    /// The number of processes that sleep.
    pub asleep: f64,
}

impl Processes {
    /// Returns true if all of them sleep. Before its first request an engine may report neither.
    pub fn all_sleep(self) -> bool {
        self.awake == 0.0 && self.asleep > 0.0
    }
}

/// A signal on a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The definition of the signal.
    pub def: &'static SignalDef,
    /// The value: a counter's total, or a histogram's events, since the start of the process.
    /// Absent if the signal is missing.
    pub value: Value,
    /// The series that it was read from, or would be read from: one for each term.
    pub series: Vec<String>,
    /// A former name that is in use, and the name that has replaced it.
    pub former: Option<(&'static str, &'static str)>,
    /// True if a former name is on the page as well, with a different value.
    pub ambiguous: bool,
    /// The reason why a series that is on the page has no value: it is NaN, or of another type or
    /// form.
    pub flaw: Option<String>,
    /// Names on the page that resemble the missing ones.
    pub similar: Vec<String>,
}

/// Reads all signals of an engine or a gateway from a page.
///
/// # Errors
/// Fails if the page is not a metrics page, or is cut off.
pub fn inspect(page: &[u8], program: impl Into<Program>) -> Result<Inspection, PageError> {
    let program = program.into();
    let profile = program.profile();
    let signals = profile.signals.iter().map(|def| profile.recipe_of(def));
    let sleep = profile.sleep.iter().flat_map(SleepDef::recipes);
    let recipes: Vec<_> = signals.chain(sleep).collect();
    let mut out = Vec::new();
    let read = Extractor::new(&recipes).read(page, &mut Scratch::default(), &mut out);
    let (summary, problem) = match read {
        Ok(summary) => (summary, None),
        Err(problem @ PageError::BadLine { .. }) => (PageSummary::default(), Some(problem)),
        Err(error) => return Err(error),
    };
    let names = names(page);
    let processes = processes(&out[profile.signals.len()..]);
    let findings = profile.signals.iter().zip(out).zip(&recipes).map(|((def, extract), recipe)| {
        let contradiction = extract.contradiction.map(|flaw| flaw.describe(recipe));
        let not_finite = extract.not_finite.map(|flaw| flaw.describe(recipe));
        let value = if contradiction.is_some() { Value::Absent } else { extract.value.clone() };
        let missing = value == Value::Absent;
        let former =
            extract.alternative.and_then(|(term, alternative)| def.former_name(term, alternative));
        let other_form = || OtherForm::find(page, &names, recipe);
        let other_form = if missing { other_form() } else { None };
        let other_form = other_form.map(|OtherForm { name, form }| format!("{name} {form}"));
        Finding {
            def,
            series: recipe
                .names_as_found(extract.alternative)
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            former: former.filter(|_| !missing),
            ambiguous: extract.ambiguous,
            similar: if missing { similar(recipe, &names) } else { Vec::new() },
            flaw: contradiction.or(not_finite).or(other_form),
            value,
        }
    });
    let findings = findings.collect();
    let recognized = recognize_program(page);
    Ok(Inspection { program, summary, problem, findings, recognized, processes })
}

/// Returns the processes of an engine, given the numbers of those that are awake, and that sleep.
fn processes(extracts: &[Extract]) -> Option<Processes> {
    match extracts.iter().map(|extract| &extract.value).collect::<Vec<_>>()[..] {
        [Value::Number(awake), Value::Number(asleep)] => {
            Some(Processes { awake: *awake, asleep: *asleep })
        }
        _ => None,
    }
}

impl Inspection {
    /// Returns the change since an earlier inspection of the same page: the rates of counters, and
    /// the events of histograms. Gauges keep their latest value.
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

/// Returns names on a page that resemble those of a recipe, the most alike first. If the page has a
/// name of the recipe in another form, it is the only one, with its form.
pub fn similar_names(page: &[u8], recipe: &Recipe) -> Vec<String> {
    let names = names(page);
    match OtherForm::find(page, &names, recipe) {
        Some(OtherForm { name, form }) => vec![format!("{name}, which {form}")],
        None => similar(recipe, &names),
    }
}

/// Returns the names of all series of a page.
fn names(page: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(page);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.trim().split(['{', ' ', '\t']).next());
    names.filter(|name| (1..=LONGEST_NAME).contains(&name.len())).map(str::to_owned).collect()
}

fn without_suffix(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count", "_created"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// Returns the names that share the most words with one of the names of a recipe; a histogram's are
/// without the suffixes.
fn similar(recipe: &Recipe, names: &BTreeSet<String>) -> Vec<String> {
    let wanted = recipe.terms().iter().flatten();
    let wanted: Vec<BTreeSet<&str>> = wanted.map(|selector| words(&selector.name)).collect();
    let mut alike = Vec::new();
    let names: BTreeSet<&str> = names.iter().map(|name| without_suffix(name)).collect();
    for name in names {
        let found = words(name);
        let best = wanted.iter().map(|wanted| similarity(wanted, &found)).fold(0.0, f64::max);
        if best >= 0.5 {
            alike.push((best, name));
        }
    }
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike.into_iter().take(SIMILAR).map(|(_, name)| name.to_owned()).collect()
}

/// The words in the names of gauges that may tell the load.
const LIKELY: [&str; 7] = ["request", "reqs", "queue", "running", "inflight", "active", "waiting"];

/// A gauge that may tell the load.
#[derive(Clone, Debug, PartialEq)]
pub struct LikelyGauge {
    /// Its name.
    pub name: String,
    /// The number of its series.
    pub series: usize,
    /// The sum of their values.
    pub sum: f64,
}

/// Returns the gauges of a page that may tell the load, by their names, in the page's order.
pub fn likely_gauges(page: &[u8]) -> Vec<LikelyGauge> {
    let mut found: Vec<LikelyGauge> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for ListedSeries { name, value, .. } in list_series(page) {
        if name.len() > LONGEST_NAME || !LIKELY.iter().any(|word| name.contains(word)) {
            continue;
        }
        if let Some(gauge) = places.get(&name).and_then(|place| found.get_mut(*place)) {
            gauge.series += 1;
            gauge.sum += value;
        } else {
            places.insert(name.clone(), found.len());
            found.push(LikelyGauge { name, series: 1, sum: value });
        }
    }
    let types = DeclaredTypes::of(page);
    let is_gauge = |gauge: &LikelyGauge| match types.get(&gauge.name).as_deref() {
        Some("gauge") => true,
        Some("counter" | "histogram" | "summary") => false,
        _ => Kind::of_name(&gauge.name, false) == Kind::Gauge,
    };
    found.retain(is_gauge);
    found
}

fn words(name: &str) -> BTreeSet<&str> {
    name.split(['_', ':']).filter(|word| !word.is_empty()).collect()
}

/// Returns the Jaccard index of two sets of words: the share of all their words that both have.
fn similarity(a: &BTreeSet<&str>, b: &BTreeSet<&str>) -> f64 {
    a.intersection(b).count() as f64 / a.union(b).count().max(1) as f64
}

impl Finding {
    /// Returns the value as text. `since` is the time between two pages, if the value is the change
    /// between them.
    pub fn describe(&self, since: Option<Duration>) -> String {
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
                let shown = |quantile| match buckets.quantile(quantile) {
                    Some(size) if buckets.is_beyond(quantile) => format!(">{}", round(size)),
                    Some(size) => round(size),
                    None => "-".to_owned(),
                };
                let [p50, p90, p99] = [0.5, 0.9, 0.99].map(shown);
                let events = buckets.events();
                format!("p50 {p50}, p90 {p90}, p99 {p99} s of {events} {when}")
            }
        }
    }
}

/// Rounds to three decimal places.
fn round(number: f64) -> String {
    let rounded = (number * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Engine, signal::Signal};

    fn finding(page: &str, signal: Signal) -> Finding {
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        inspection.findings.into_iter().find(|finding| finding.def.signal == signal).unwrap()
    }

    #[test]
    fn a_finding_is_described_by_its_value() {
        let page = concat!(
            "vllm:num_requests_waiting 11\n",
            "vllm:gpu_cache_usage_perc 0.6771653\n",
            "vllm:generation_tokens_total 1200\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"1\"} 5\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"2\"} 10\n",
            "vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 10\n",
        );
        let shown = |signal, over| finding(page, signal).describe(over);
        assert_eq!(shown(Signal::WaitingRequests, None), "11");
        assert_eq!(shown(Signal::KVCacheUsage, Some(Duration::from_secs(5))), "0.677");
        assert_eq!(shown(Signal::GenerationTokenRate, None), "1200 since its start");
        let percentiles = "p50 1, p90 1.8, p99 1.98 s of 10 since its start";
        assert_eq!(shown(Signal::TimeToFirstToken, None), percentiles);
        let kv = finding(page, Signal::KVCacheUsage);
        assert_eq!(kv.former, Some(("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc")));
        assert_eq!(kv.series, ["vllm:gpu_cache_usage_perc"]);
    }

    #[test]
    fn two_inspections_make_a_rate() {
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
                .describe(Some(time))
        };
        assert_eq!(shown(Signal::WaitingRequests), "1200");
        assert_eq!(shown(Signal::GenerationTokenRate), "40/s");
        assert_eq!(shown(Signal::QueueTime), "p50 0.5, p90 0.9, p99 0.99 s of 10 in 5s");
    }

    #[test]
    fn similar_names_are_shown_for_a_missing_signal() {
        let page = "vllm:num_requests_queued 11\nprocess_open_fds 3\n";
        let missing = finding(page, Signal::WaitingRequests);
        assert_eq!(missing.describe(None), "missing");
        assert_eq!(missing.similar, ["vllm:num_requests_queued"]);
        assert_eq!(finding(page, Signal::KVCacheUsage).similar, [""; 0]);
    }

    #[test]
    fn the_processes_that_sleep_are_counted() {
        let page = |awake: u32, asleep: u32| {
            format!(
                "vllm:engine_sleep_state{{sleep_state=\"awake\"}} {awake}\n\
                 vllm:engine_sleep_state{{sleep_state=\"weights_offloaded\"}} {asleep}\n\
                 vllm:engine_sleep_state{{sleep_state=\"discard_all\"}} 0\n"
            )
        };
        let processes =
            |page: &str, program: Engine| inspect(page.as_bytes(), program).unwrap().processes;
        for (awake, asleep, all_sleep) in
            [(0, 1, true), (1, 1, false), (1, 0, false), (0, 0, false)]
        {
            let found = processes(&page(awake, asleep), Engine::Vllm).unwrap();
            assert_eq!((found.awake, found.asleep), (awake.into(), asleep.into()));
            assert_eq!(found.all_sleep(), all_sleep, "{awake} awake, {asleep} asleep");
        }
        assert_eq!(processes("vllm:num_requests_waiting 0\n", Engine::Vllm), None);
        assert_eq!(processes(&page(0, 1), Engine::Sglang), None);
    }

    #[test]
    fn a_summary_is_not_said_to_be_missing() {
        let page = "# TYPE vllm:time_to_first_token_seconds summary\n\
            vllm:time_to_first_token_seconds{quantile=\"0.5\"} 1\n\
            vllm:time_to_first_token_seconds_sum 5\nvllm:time_to_first_token_seconds_count 4\n";
        let found = finding(page, Signal::TimeToFirstToken);
        let form = "is a summary and not a histogram";
        let flaw = format!("vllm:time_to_first_token_seconds {form}");
        assert_eq!((found.value, found.flaw), (Value::Absent, Some(flaw)));
        let recipe = Engine::Vllm.profile().recipe(Signal::TimeToFirstToken).unwrap();
        let similar = similar_names(page.as_bytes(), &recipe);
        assert_eq!(similar, [format!("vllm:time_to_first_token_seconds, which {form}")]);
        let other = finding(page, Signal::InterTokenLatency);
        assert_eq!(
            (other.flaw, &*other.similar),
            (None, &["vllm:time_to_first_token_seconds".to_owned()][..])
        );
    }

    #[test]
    fn a_malformed_line_is_reported_and_costs_only_the_signals_that_need_it() {
        let page = "vllm:num_requests_waiting many\nvllm:num_requests_running 3\n";
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        assert!(matches!(inspection.problem, Some(PageError::BadLine { line: 1, .. })));
        assert_eq!(finding(page, Signal::WaitingRequests).value, Value::Absent);
        assert_eq!(finding(page, Signal::RunningRequests).value, Value::Number(3.0));
        assert!(inspect(b"<html>\n", Engine::Vllm).is_err());
    }
}
