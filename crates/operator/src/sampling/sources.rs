//! The sources of one autoscaler, in the order of failover.
//!
//! A source beside the first is asked only while it is needed: when a replica has no sample in the sources before it,
//! and for a minute longer.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::{Access, Asked, PrometheusConfig, SourceConfig, TargetConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Engine, Measure, exposition::Value};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::{self, Found, Lookup, QueryLookup, Sample, Samples, SourceSamples},
};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    cluster::pods::{PodStore, PodView},
    sampling::{
        page_view::{Pace, Pages},
        prometheus::{Need, Server, ServerKey, Servers},
        scrape_pool::Sampler,
    },
};

/// What sources of all autoscalers share. Cheap to clone.
#[derive(Clone)]
pub struct Sampling {
    /// The pages that are scraped.
    pub pool: Sampler,
    /// The Prometheus servers that are queried.
    pub servers: Servers,
    /// The pods of the cluster.
    pub pods: PodStore,
    /// The clock of samples.
    pub clock: Clock,
}

/// For how long a source that was needed is asked.
const NEEDED_FOR: Duration = Duration::from_mins(1);

/// All sources.
pub struct Sources {
    /// In the order of failover.
    pub list: Vec<Source>,
    /// The measures of the plan's metrics, in their order; `None` for a query.
    measures: Vec<Option<Arc<Measure>>>,
    /// The plan's metrics that are queries, in their order; `None` for a measure.
    queries: Vec<Option<String>>,
    /// The requests of a replica, read so that it can be drained.
    requests: Option<Arc<Measure>>,
    /// How long requests take, where that is of interest.
    latency: Option<Arc<Measure>>,
    engine: Engine,
}

/// One source.
pub struct Source {
    /// What it is.
    pub kind: SourceKind,
    /// Until when it is asked; for ever if absent.
    until: Option<Monotonic>,
}

/// What a source is.
pub enum SourceKind {
    /// The pages of the target's own pods.
    Own(Pages),
    /// The pages of other pods, which know of the target as a whole.
    Others(Pages, PodView),
    /// A Prometheus server.
    Prometheus(Asking),
}

/// What one autoscaler needs of a server.
pub struct Asking {
    owner: u64,
    servers: Servers,
    key: ServerKey,
    need: Need,
    plan: PrometheusConfig,
    server: Option<Arc<Server>>,
    since: Monotonic,
}

impl Sources {
    /// The sources of a plan, for pods of a namespace. The first begins to be scraped or queried at once.
    pub fn new(
        sampling: &Sampling,
        namespace: &str,
        wake: &Arc<Notify>,
        plan: &TargetConfig,
    ) -> Self {
        let intern = |measure: &Measure| sampling.pool.intern(measure);
        let measure_of = |asked: &Asked| match asked {
            Asked::Measure { measure, .. } => Some(intern(measure)),
            Asked::Query(_) => None,
        };
        let query_of = |asked: &Asked| match asked {
            Asked::Measure { .. } => None,
            Asked::Query(query) => Some(query.clone()),
        };
        let measures: Vec<_> =
            plan.metrics.iter().map(|metric| measure_of(&metric.asked)).collect();
        let queries: Vec<_> = plan.metrics.iter().map(|metric| query_of(&metric.asked)).collect();
        let drain = plan.drain.as_ref();
        let requests = drain.and_then(|drain| drain.requests.as_ref()).map(intern);
        let latency = drain.and_then(|drain| drain.latency.as_ref()).map(intern);
        let all = measures.iter().flatten().chain(&requests).chain(&latency);
        let mut subscription = Subscription {
            sampling,
            namespace,
            wake,
            measures: Arc::default(),
            queries: queries.iter().flatten().cloned().collect(),
        };
        subscription.measures = distinct(all);
        let now = sampling.clock.monotonic();
        let list = plan.sources.iter().enumerate().map(|(index, source)| {
            let kind = subscription.source(source);
            // A query has no other source.
            let always = index == 0
                || matches!(&kind, SourceKind::Prometheus(asking) if asking.has_queries());
            Source { kind, until: (!always).then_some(now) }
        });
        Self { list: list.collect(), measures, queries, requests, latency, engine: plan.engine }
    }

    /// True where the engine has a series that counts its requests.
    pub fn measures_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// Scrapes and queries what active sources have to say about the target's pods as they are now; stops the others.
    pub fn follow(&mut self, members: &Members, now: Monotonic) {
        for source in &mut self.list {
            let active = source.is_active(now);
            match &mut source.kind {
                SourceKind::Own(pages) if active => pages.follow(members, now),
                SourceKind::Others(pages, view) if active => pages.follow(&view.members(), now),
                SourceKind::Own(pages) | SourceKind::Others(pages, _) => pages.stop(),
                SourceKind::Prometheus(asking) if active => asking.start(now),
                SourceKind::Prometheus(asking) => asking.stop(),
            }
        }
    }

    /// The other pods that are scraped, if the first source of pages is of other pods.
    pub fn other_pods(&mut self) -> Option<Members> {
        self.list.iter_mut().find_map(|source| match &mut source.kind {
            SourceKind::Own(_) => Some(None),
            SourceKind::Others(_, view) => Some(Some(view.members())),
            SourceKind::Prometheus(_) => None,
        })?
    }

    /// How many pods' pages are read.
    pub fn pods(&self) -> u32 {
        let pages = self.list.iter().filter_map(|source| match &source.kind {
            SourceKind::Own(pages) | SourceKind::Others(pages, _) => Some(pages.len()),
            SourceKind::Prometheus(_) => None,
        });
        pages.sum()
    }

    /// Sets the pace of what is read directly.
    pub fn pace(&mut self, pace: Pace) {
        for source in &mut self.list {
            if let SourceKind::Own(pages) | SourceKind::Others(pages, _) = &mut source.kind {
                pages.pace(pace);
            }
        }
    }

    /// Returns when other pods that are read have come, gone or changed.
    pub async fn others_changed(&mut self) {
        let views = self.list.iter_mut().filter_map(|source| match &mut source.kind {
            SourceKind::Others(_, view) => Some(Box::pin(view.changed())),
            _ => None,
        });
        let views: Vec<_> = views.collect();
        if views.is_empty() {
            std::future::pending::<()>().await;
        }
        futures::future::select_all(views).await;
    }

    /// Keeps those sources active that were needed, for a minute from now on.
    pub fn renew(&mut self, needed: &[bool], now: Monotonic) {
        for (source, needed) in self.list.iter_mut().zip(needed) {
            if let (true, Some(until)) = (*needed, &mut source.until) {
                *until = now.after(NEEDED_FOR);
            }
        }
    }

    /// The answers of all active sources about these reporting pods of the target; those about how long requests take only where
    /// they are asked for.
    pub fn samples(&mut self, reporting: &Members, with_latency: bool, now: Monotonic) -> Samples {
        let Self { list, measures, queries, requests, latency, engine } = self;
        let latency = latency.as_ref().filter(|_| with_latency);
        let sources = list.iter_mut().map(|source| {
            let is_active = source.is_active(now);
            let answers = Answers { pods: reporting, engine: *engine, now };
            if !is_active {
                return SourceSamples { is_active, ..source.kind.without_answers() };
            }
            let all = |measure: &Option<Arc<Measure>>| {
                measure
                    .as_ref()
                    .map(|measure| answers.of(&source.kind, measure))
                    .unwrap_or_default()
            };
            let own = |measure: Option<&Arc<Measure>>| match measure {
                Some(measure) if source.kind.is_per_pod() => answers.of(&source.kind, measure),
                _ => Vec::new(),
            };
            SourceSamples {
                is_active,
                metrics: measures.iter().map(all).collect(),
                queries: queries
                    .iter()
                    .map(|query| source.kind.reply(query.as_ref()?, now))
                    .collect(),
                requests: own(requests.as_ref()),
                latency: own(latency),
                ..source.kind.without_answers()
            }
        });
        Samples { sources: sources.collect() }
    }
}

/// What answers are about.
struct Answers<'a> {
    pods: &'a Members,
    engine: Engine,
    now: Monotonic,
}

impl Answers<'_> {
    fn of(&self, source: &SourceKind, measure: &Arc<Measure>) -> Vec<Lookup> {
        match source {
            SourceKind::Own(pages) => pages.lookups(self.pods, measure, self.engine, self.now),
            SourceKind::Others(pages, view) => {
                pages.lookups(&view.latest(), measure, self.engine, self.now)
            }
            SourceKind::Prometheus(asking) => {
                self.pods.values().map(|pod| asking.lookup(pod, measure, self.now)).collect()
            }
        }
    }
}

impl SourceKind {
    fn is_per_pod(&self) -> bool {
        !matches!(self, Self::Others(..))
    }

    fn reply(&self, query: &str, now: Monotonic) -> Option<QueryLookup> {
        match self {
            Self::Prometheus(asking) => Some(asking.reply(query, now)),
            Self::Own(_) | Self::Others(..) => None,
        }
    }

    /// The source, without any answer.
    fn without_answers(&self) -> SourceSamples {
        SourceSamples {
            kind: match self {
                Self::Own(_) => samples::SourceKind::OwnPods,
                Self::Others(_, view) => samples::SourceKind::OtherPods(view.latest()),
                Self::Prometheus(asking) => samples::SourceKind::Prometheus {
                    url: asking.url().to_owned(),
                    clock_ahead: asking.ahead(),
                    warning: asking.warning(),
                },
            },
            is_active: false,
            metrics: Vec::new(),
            queries: Vec::new(),
            requests: Vec::new(),
            latency: Vec::new(),
        }
    }
}

impl Source {
    /// True while it is scraped or queried.
    pub fn is_active(&self, now: Monotonic) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Its name in conditions and metrics.
    pub fn name(&self) -> &'static str {
        match self.kind {
            SourceKind::Own(_) => "scrape",
            SourceKind::Others(..) => "others",
            SourceKind::Prometheus(_) => "prometheus",
        }
    }
}

/// What the sources of one plan subscribe to.
struct Subscription<'a> {
    sampling: &'a Sampling,
    namespace: &'a str,
    wake: &'a Arc<Notify>,
    measures: Arc<[Arc<Measure>]>,
    queries: Arc<[String]>,
}

impl Subscription<'_> {
    fn source(&self, source: &SourceConfig) -> SourceKind {
        let scrape = match source {
            SourceConfig::Prometheus(prometheus) => {
                return SourceKind::Prometheus(self.prometheus(prometheus));
            }
            SourceConfig::Scrape(scrape) => scrape,
        };
        let pages = Pages::new(
            self.sampling.pool.clone(),
            self.wake.clone(),
            self.measures.clone(),
            scrape.clone(),
        );
        match &scrape.pods {
            None => SourceKind::Own(pages),
            Some(selector) => {
                let view = self.sampling.pods.view(self.namespace, selector.clone());
                SourceKind::Others(pages, view)
            }
        }
    }

    fn prometheus(&self, plan: &PrometheusConfig) -> Asking {
        let access: Arc<Access> = Arc::new(plan.access.clone());
        let key = ServerKey {
            url: plan.url.clone(),
            labels: plan.labels.clone(),
            namespace: (!access.is_open()).then(|| self.namespace.to_owned()),
            access,
        };
        let need = Need {
            namespace: self.namespace.to_owned(),
            measures: self.measures.clone(),
            queries: self.queries.clone(),
            interval: plan.interval,
            timeout: plan.timeout,
            stale_after: plan.stale_after,
            wake: self.wake.clone(),
        };
        Asking {
            owner: self.sampling.pool.new_owner(),
            servers: self.sampling.servers.clone(),
            key,
            need,
            plan: plan.clone(),
            server: None,
            since: self.sampling.clock.monotonic(),
        }
    }
}

/// Each measure once.
fn distinct<'a>(all: impl Iterator<Item = &'a Arc<Measure>>) -> Arc<[Arc<Measure>]> {
    let mut distinct: Vec<Arc<Measure>> = Vec::new();
    for measure in all {
        if !distinct.iter().any(|known| Arc::ptr_eq(known, measure)) {
            distinct.push(measure.clone());
        }
    }
    distinct.into()
}

impl Asking {
    fn has_queries(&self) -> bool {
        !self.need.queries.is_empty()
    }

    fn start(&mut self, now: Monotonic) {
        if self.server.is_none() {
            self.server = Some(self.servers.subscribe(self.owner, &self.key, self.need.clone()));
            self.since = now;
        }
    }

    fn stop(&mut self) {
        if self.server.take().is_some() {
            self.servers.unsubscribe(self.owner, &self.key);
        }
    }

    /// The answer about a measure of a pod.
    fn lookup(&self, pod: &Pod, measure: &Arc<Measure>, now: Monotonic) -> Lookup {
        let Some(server) = &self.server else { return Lookup::Pending { error: None } };
        let mut state = server.lock();
        let stale_after = self.plan.stale_after;
        let sample = match state.sample((&pod.namespace, &pod.name), measure, stale_after, now) {
            Ok(Some(sample)) => sample,
            Ok(None) if !state.has_tried(measure, stale_after) && self.is_early(now) => {
                return Lookup::Pending { error: None };
            }
            Ok(None) => {
                return Lookup::Missing(self.absent(measure, state.warnings(measure, stale_after)));
            }
            Err(error) => return Lookup::Missing(error.to_string()),
        };
        if sample.age > stale_after {
            if let Some(error) = state.error(measure, stale_after) {
                return Lookup::Missing(error.to_string());
            }
            let (url, age, limit) = (&self.key.url, sample.age.as_secs(), stale_after.as_secs());
            return Lookup::Missing(format!(
                "{url}: its latest sample is {age} s old, more than {limit} s"
            ));
        }
        let reading = sample.reading;
        let absent = || self.absent(measure, state.warnings(measure, stale_after));
        if reading.value == Value::Absent {
            return Lookup::Missing(absent());
        }
        let is_certain = sample.is_latest && reading.addresses <= 1 && !reading.is_young;
        let found = Found {
            alternative: reading.extract.alternative,
            ambiguous: reading.extract.ambiguous,
        };
        let copies = reading.scrapes.max(reading.addresses);
        let doubt = (!is_certain).then(absent);
        Lookup::Sample(Sample { value: reading.value, age: sample.age, doubt, found, copies })
    }

    fn absent(&self, measure: &Measure, warnings: &[String]) -> String {
        let says =
            warnings.first().map(|warning| format!(" (and says: {warning})")).unwrap_or_default();
        let (url, series) = (&self.key.url, measure.recipe.accepted_names());
        format!(
            "{url} has no {series} of it in the last {} s{says}",
            self.plan.stale_after.as_secs()
        )
    }

    /// The latest answer to a query of the spec, if it is recent.
    fn reply(&self, query: &str, now: Monotonic) -> QueryLookup {
        let Some(server) = &self.server else { return QueryLookup::Pending };
        let state = server.lock();
        let Some(reply) = state.reply(query) else {
            if self.is_early(now) {
                return QueryLookup::Pending;
            }
            return QueryLookup::Missing(format!("{}: no answer yet", self.key.url));
        };
        let limit = 3 * self.plan.interval + self.plan.timeout;
        match (&reply.numbers, &reply.error) {
            (Some((at, numbers)), _) if now.since(*at) <= limit => QueryLookup::Numbers {
                numbers: numbers.clone(),
                age: now.since(*at),
                warning: reply.warnings.first().cloned(),
                complete: reply.error.is_none() && reply.warnings.is_empty(),
            },
            (_, Some(error)) => QueryLookup::Missing(error.to_string()),
            _ => QueryLookup::Missing(format!(
                "{}: no answer for {} s",
                self.key.url,
                limit.as_secs()
            )),
        }
    }

    /// How many seconds the server's clock is ahead of ours.
    pub fn ahead(&self) -> Option<f64> {
        self.server.as_ref().and_then(|server| server.lock().ahead())
    }

    /// What the server said against its latest answer about pods.
    pub fn warning(&self) -> Option<String> {
        let state = self.server.as_ref()?.lock();
        let of = |measure: &Arc<Measure>| state.warnings(measure, self.plan.stale_after).first();
        let measures: &[Arc<Measure>] = &self.need.measures;
        measures.iter().find_map(of).cloned()
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.key.url
    }

    /// How long the first answer may take before its absence means something.
    fn is_early(&self, now: Monotonic) -> bool {
        now.since(self.since) < self.plan.timeout + Duration::from_secs(1)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop();
    }
}
