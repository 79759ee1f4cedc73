//! The answers of a case's sources, as the observation takes them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Asked, SourceConfig, TargetConfig};
use llm_autoscaler_engines::{Kind, Measure, exposition::Value};
use llm_autoscaler_observe::{
    pod::Members,
    samples::{Lookup, QueryLookup, Sample, Samples, SourceKind, SourceSamples, VitalLookups},
};

use super::{
    case::{SourceCase, VitalsCase},
    lookup::{LookupCase, QueryCase},
    pods::Pods,
    problem::Problem,
};

/// The time for which a source stays active after an observation has needed it.
const NEEDED_FOR: TimeDelta = TimeDelta::minutes(1);
/// The key of the answer about all pods that are not named.
const ANY_POD: &str = "*";

/// The sources of a target between steps.
#[derive(Debug)]
pub(super) struct Sources {
    given: Vec<SourceCase>,
    /// The pods of the sources with `podSelector`.
    others: Vec<Members>,
    /// The time until which each source is active; `None` for those that always are.
    until: Vec<Option<DateTime<Utc>>>,
}

impl Sources {
    /// Returns sources without any answers. The first source is always active, and so is a
    /// Prometheus server that answers queries, because a query has no other source.
    pub(super) fn new(config: &TargetConfig, now: DateTime<Utc>) -> Self {
        let has_queries =
            config.metrics.iter().any(|metric| matches!(metric.asked, Asked::Query(_)));
        let always = |place: usize, source: &SourceConfig| {
            config.is_first_source(place)
                || has_queries && matches!(source, SourceConfig::Prometheus(_))
        };
        let sources = config.sources.iter().enumerate();
        Self {
            given: vec![SourceCase::default(); config.sources.len()],
            others: vec![Members::default(); config.sources.len()],
            until: sources.map(|(place, source)| (!always(place, source)).then_some(now)).collect(),
        }
    }

    /// Takes the answers of a step.
    pub(super) fn set(
        &mut self,
        config: &TargetConfig,
        sources: &[SourceCase],
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        for (place, source) in sources.iter().enumerate() {
            let field = format!("[{place}]");
            let Some(given) = self.given.get_mut(place) else {
                let count = config.sources.len();
                return Err(Problem::new(field, format!("the spec has {count} sources")));
            };
            check(config, place, source).map_err(|problem| problem.below(&field))?;
            given.clone_from(source);
            self.others[place] = Pods::new(&source.pods, now).members();
        }
        Ok(())
    }

    /// Keeps the sources active that an observation has needed.
    pub(super) fn renew(&mut self, needed: &[bool], now: DateTime<Utc>) {
        for (until, needed) in self.until.iter_mut().zip(needed) {
            if let (Some(until), true) = (until, *needed) {
                *until = now + NEEDED_FOR;
            }
        }
    }

    /// Returns the answers about the reporting pods of the target.
    pub(super) fn samples(
        &self,
        config: &TargetConfig,
        reporting: &Members,
        now: DateTime<Utc>,
    ) -> Samples {
        let source = |place| self.source(config, place, reporting, now);
        Samples { sources: (0..config.sources.len()).map(source).collect() }
    }

    fn source(
        &self,
        config: &TargetConfig,
        place: usize,
        reporting: &Members,
        now: DateTime<Utc>,
    ) -> SourceSamples {
        let (given, others) = (&self.given[place], &self.others[place]);
        let kind = match &config.sources[place] {
            SourceConfig::Scrape(scrape) if scrape.pods.is_some() => {
                SourceKind::OtherPods(others.clone())
            }
            SourceConfig::Scrape(_) => SourceKind::OwnPods,
            SourceConfig::Prometheus(prometheus) => SourceKind::Prometheus {
                url: prometheus.url.clone(),
                clock_ahead: given.clock_ahead_seconds,
                warning: given.warning.clone(),
            },
        };
        let is_active =
            given.active.unwrap_or_else(|| self.until[place].is_none_or(|until| now < until));
        let silent = SourceSamples { is_active, ..SourceSamples::inactive(kind) };
        if !is_active {
            return silent;
        }
        let is_prometheus = matches!(silent.kind, SourceKind::Prometheus { .. });
        let pods = if silent.kind.is_per_pod() { reporting } else { others };
        let metrics = config.metrics.iter().map(|metric| match metric.measure_at(place) {
            Some(_) => lookups(given.metrics.get(&metric.name), pods),
            None => Vec::new(),
        });
        let queries = config.metrics.iter().map(|metric| match &metric.asked {
            Asked::Query(_) if is_prometheus => Some(query(given.queries.get(&metric.name))),
            Asked::Query(_) | Asked::Measure { .. } => None,
        });
        let drain = config.drain.as_ref().filter(|_| silent.kind.is_per_pod());
        let of_drain = |measure: Option<&Measure>, given: &BTreeMap<String, LookupCase>| {
            measure.map_or_else(Vec::new, |_| lookups(Some(given), pods))
        };
        SourceSamples {
            metrics: metrics.collect(),
            queries: queries.collect(),
            requests: of_drain(drain.and_then(|drain| drain.requests.as_ref()), &given.requests),
            latency: of_drain(drain.and_then(|drain| drain.latency.as_ref()), &given.latency),
            sleep: match config.sleep.as_ref().filter(|_| silent.kind.is_per_pod()) {
                Some(_) => [&given.awake, &given.asleep].map(|given| lookups(Some(given), pods)),
                None => Default::default(),
            },
            vitals: match config.vitals.as_ref().filter(|_| silent.kind.is_per_pod()) {
                Some(_) => vital_lookups(&given.vitals, pods),
                None => VitalLookups::default(),
            },
            ..silent
        }
    }
}

fn vital_lookups(given: &VitalsCase, pods: &Members) -> VitalLookups {
    let VitalsCase { requests, progress, running, kv_cache } = given;
    VitalLookups {
        requests: lookups(Some(requests), pods),
        progress: lookups(Some(progress), pods),
        gauges: [running, kv_cache].map(|gauge| lookups(Some(gauge), pods)),
    }
}

/// Returns the answer about each pod. A pod without one has no sample.
fn lookups(given: Option<&BTreeMap<String, LookupCase>>, pods: &Members) -> Vec<Lookup> {
    let missing = || Lookup::Missing("it has no sample".to_owned());
    let lookup = |name: &String| {
        let answer = given.and_then(|given| given.get(name).or_else(|| given.get(ANY_POD)));
        answer.map_or_else(missing, |LookupCase(lookup)| lookup.clone())
    };
    pods.keys().map(lookup).collect()
}

fn query(given: Option<&QueryCase>) -> QueryLookup {
    let missing = || QueryLookup::Missing("it has no answer".to_owned());
    given.map_or_else(missing, |QueryCase(lookup)| lookup.clone())
}

/// Checks that the answers of a source are about metrics of the spec, and of their kinds.
fn check(config: &TargetConfig, place: usize, source: &SourceCase) -> Result<(), Problem> {
    for (name, answers) in &source.metrics {
        let field = format!("metrics.{name}");
        let metric = config.metrics.iter().find(|metric| metric.name == *name);
        let Some(metric) = metric.filter(|metric| matches!(metric.asked, Asked::Measure { .. }))
        else {
            return Err(Problem::new(field, "the spec has no signal or series with this name"));
        };
        let Some(measure) = metric.measure_at(place) else {
            return Err(Problem::new(field, "the source's engine or gateway has no such signal"));
        };
        check_kinds(measure, answers).map_err(|problem| problem.below(&field))?;
    }
    for name in source.queries.keys() {
        let is_query = config
            .metrics
            .iter()
            .any(|metric| metric.name == *name && matches!(metric.asked, Asked::Query(_)));
        let is_prometheus = matches!(config.sources[place], SourceConfig::Prometheus(_));
        if !is_query || !is_prometheus {
            let problem = "the spec has no query with this name for this source";
            return Err(Problem::new(format!("queries.{name}"), problem));
        }
    }
    let drain = config.drain.as_ref();
    let of_drain = [
        ("requests", &source.requests, drain.and_then(|drain| drain.requests.as_ref())),
        ("latency", &source.latency, drain.and_then(|drain| drain.latency.as_ref())),
    ];
    for (field, answers, measure) in of_drain {
        match measure {
            Some(measure) => {
                check_kinds(measure, answers).map_err(|problem| problem.below(field))?;
            }
            None if answers.is_empty() => {}
            None => return Err(Problem::new(field, "the spec does not drain by these")),
        }
    }
    Ok(())
}

/// Checks that a histogram has buckets, and another measure numbers.
fn check_kinds(measure: &Measure, answers: &BTreeMap<String, LookupCase>) -> Result<(), Problem> {
    let is_histogram = measure.recipe.kind() == Kind::Histogram;
    for (pod, LookupCase(lookup)) in answers {
        let Lookup::Sample(Sample { value, .. }) = lookup else { continue };
        if matches!(value, Value::Buckets(_)) != is_histogram {
            let wanted = if is_histogram { "buckets" } else { "a number" };
            let series = measure.recipe.series_name();
            return Err(Problem::new(pod.clone(), format!("{series} takes {wanted}")));
        }
    }
    Ok(())
}
