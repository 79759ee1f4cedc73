//! The sources of one autoscaler, in the order of failover.
//!
//! A source after the first is only scraped or queried while it is needed: when a replica has no
//! sample in the sources before it, and for a minute longer. It is always needed where it is the
//! first that has a metric.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::{Asked, SloMeasures, SourceConfig, TargetConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Engine, Measure, Program};
use llm_autoscaler_observe::{
    pod::Members,
    samples::{self, Lookup, QueryLookup, Samples, SourceSamples, VitalLookups},
};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    cluster::pods::{PodStore, PodView},
    sampling::{
        activity::Activity,
        measure_set::distinct,
        page_view::{PageView, ScrapePace},
        prometheus::{
            demand::QueryPace,
            pool::PrometheusPool,
            server_view::{ServerView, TargetDemand},
        },
        scrape_pool::ScrapePool,
    },
};

/// The resources that the sources of all autoscalers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sampling {
    /// The pages that are scraped.
    pub(crate) scrape_pool: ScrapePool,
    /// The Prometheus servers that are queried.
    pub(crate) prometheus_pool: PrometheusPool,
    /// The pods of the cluster.
    pub(crate) pods: PodStore,
    /// The clock of samples.
    pub(crate) clock: Clock,
}

/// The sources of one autoscaler.
pub(crate) struct Sources {
    /// The sources, in the order of failover.
    pub list: Vec<Source>,
    /// For each metric, its PromQL expression; `None` for a measure.
    queries: Vec<Option<String>>,
    /// The requests of a replica, if scale-downs drain.
    requests: Option<Arc<Measure>>,
    /// The duration of requests, if scale-downs drain.
    latency: Option<Arc<Measure>>,
    /// The numbers of engine processes that are awake, and that sleep.
    sleep: Option<[Arc<Measure>; 2]>,
    /// The numbers that tell if the engines make progress.
    vitals: Option<Vitals>,
    /// The numbers by which the engines are learned, with `slo`; of the target's own pages only.
    slo: Vec<Arc<Measure>>,
}

/// The numbers that tell if an engine makes progress, as
/// [`VitalMeasures`](llm_autoscaler_api::VitalMeasures) has them.
struct Vitals {
    requests: Arc<Measure>,
    progress: Arc<Measure>,
    gauges: [Option<Arc<Measure>>; 2],
}

impl Vitals {
    fn measures(&self) -> impl Iterator<Item = &Arc<Measure>> {
        [&self.requests, &self.progress].into_iter().chain(self.gauges.iter().flatten())
    }
}

/// A source, and the time in which it is active.
pub(crate) struct Source {
    kind: SourceKind,
    /// For each metric, its measure in this source; `None` for a query, and for a signal that the
    /// source's program does not have.
    measures: Vec<Option<Arc<Measure>>>,
    /// The requests that its gateway holds, if a promise counts them.
    queue: Option<Arc<Measure>>,
    activity: Activity,
}

/// A source by its kind.
enum SourceKind {
    /// The pages of the target's own pods.
    OwnPods(PageView),
    /// The pages of other pods, which report for the target as a whole.
    OtherPods(PageView, Box<PodView>),
    /// A Prometheus server.
    Prometheus(Box<ServerView>),
}

impl Sources {
    /// Returns the sources of a configuration, for pods of a namespace. Samples wake `wake`.
    pub(crate) fn new(
        sampling: &Sampling,
        namespace: &str,
        wake: &Arc<Notify>,
        config: &TargetConfig,
    ) -> Self {
        let intern = |measure: &Measure| sampling.scrape_pool.intern(measure);
        let query_of = |asked: &Asked| match asked {
            Asked::Measure { .. } => None,
            Asked::Query(query) => Some(query.clone()),
        };
        let metrics = || config.metrics.iter().map(|metric| &metric.asked);
        let queries: Vec<_> = metrics().map(query_of).collect();
        let drain = config.drain.as_ref();
        let requests = drain.and_then(|drain| drain.requests.as_ref()).map(intern);
        let latency = drain.and_then(|drain| drain.latency.as_ref()).map(intern);
        let sleep = config.sleep.as_ref().map(|sleep| sleep.each_ref().map(intern));
        let vitals = config.vitals.as_ref().map(|vitals| Vitals {
            requests: intern(&vitals.requests),
            progress: intern(&vitals.progress),
            gauges: vitals.gauges.each_ref().map(|gauge| gauge.as_ref().map(intern)),
        });
        let of_pods = requests.iter().chain(&latency).chain(sleep.iter().flatten());
        let of_pods = of_pods.chain(vitals.iter().flat_map(Vitals::measures));
        let of_pods: Vec<_> = of_pods.cloned().collect();
        let slo = config.slo.as_ref().and_then(|slo| slo.measures.as_ref());
        let slo: Vec<_> = slo.into_iter().flat_map(SloMeasures::all).map(intern).collect();
        let all_queries: Arc<[String]> = queries.iter().flatten().cloned().collect();
        let now = sampling.clock.monotonic();
        let list = config.sources.iter().enumerate().map(|(index, source)| {
            let measures = config.metrics.iter().map(|metric| metric.measure_at(index).map(intern));
            let measures: Vec<_> = measures.collect();
            // Other pods report for the target as a whole, and not for one of its replicas.
            let per_pod = of_pods.iter().filter(|_| !source.is_of_other_pods());
            let of_page = slo.iter().filter(|_| source.is_of_own_pages());
            let queue = config.queue_at(index).map(intern);
            let all = measures.iter().flatten().chain(per_pod).chain(of_page).chain(&queue);
            let demand = TargetDemand {
                namespace,
                measures: distinct(all).into(),
                queries: all_queries.clone(),
                wake,
            };
            let kind = SourceKind::new(sampling, source, &demand, config.engine);
            // No other source has the result of a query.
            let is_always = config.is_first_source(index) || kind.has_queries();
            let activity = if is_always { Activity::Always } else { Activity::Until(now) };
            Source { kind, measures, queue, activity }
        });
        let list = list.collect();
        Self { list, queries, requests, latency, sleep, vitals, slo }
    }

    /// Returns true if the engine has a series that counts its requests.
    pub(crate) fn measures_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// Subscribes active sources to the pages of these pods of the target, and to servers. Ends the
    /// subscriptions of the other sources.
    pub(crate) fn update_subscriptions(&mut self, members: &Members, now: Monotonic) {
        for source in &mut self.list {
            let is_active = source.is_active(now);
            match &mut source.kind {
                SourceKind::OwnPods(pages) if is_active => pages.set_pods(members, now),
                SourceKind::OtherPods(pages, view) if is_active => {
                    pages.set_pods(&view.members(), now);
                }
                SourceKind::OwnPods(pages) | SourceKind::OtherPods(pages, _) => pages.clear_pods(),
                SourceKind::Prometheus(server) if is_active => server.subscribe(now),
                SourceKind::Prometheus(server) => server.unsubscribe(),
            }
        }
    }

    /// Returns the pods of the first source that scrapes, if they are other pods.
    pub(crate) fn other_pods(&mut self) -> Option<Members> {
        self.list.iter_mut().find_map(|source| match &mut source.kind {
            SourceKind::OwnPods(_) => Some(None),
            SourceKind::OtherPods(_, view) => Some(Some(view.members())),
            SourceKind::Prometheus(_) => None,
        })?
    }

    /// Returns one of the other pods that is too large to be known, and the limits.
    pub(crate) fn held_out(&self) -> Option<(String, &'static str)> {
        self.list.iter().find_map(|source| match &source.kind {
            SourceKind::OtherPods(_, view) => view.held_out(),
            SourceKind::OwnPods(_) | SourceKind::Prometheus(_) => None,
        })
    }

    /// Returns the number of pods that are scraped.
    pub(crate) fn pod_count(&self) -> u32 {
        let of = |source: &Source| match &source.kind {
            SourceKind::OwnPods(pages) | SourceKind::OtherPods(pages, _) => pages.len(),
            SourceKind::Prometheus(_) => 0,
        };
        self.list.iter().map(of).sum()
    }

    /// Returns the shortest interval at which samples come now; `None` if none does.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let of = |source: &Source| match &source.kind {
            SourceKind::OwnPods(pages) | SourceKind::OtherPods(pages, _) => pages.interval(),
            SourceKind::Prometheus(server) => server.interval(),
        };
        self.list.iter().filter_map(of).min()
    }

    /// Sets the frequency of scrapes, and of queries while the target is at zero.
    pub(crate) fn set_pace(&mut self, pace: ScrapePace, now: Monotonic) {
        let queries = match pace {
            ScrapePace::Normal | ScrapePace::NearTarget => QueryPace::Normal,
            ScrapePace::AtZero => QueryPace::AtZero,
        };
        for source in &mut self.list {
            match &mut source.kind {
                SourceKind::OwnPods(pages) | SourceKind::OtherPods(pages, _) => {
                    pages.set_pace(pace);
                }
                SourceKind::Prometheus(server) => server.set_pace(queries, now),
            }
        }
    }

    /// Has the pages of chosen pods of the target scraped at once where the last one is older than
    /// this. Returns whether there are any. Servers are queried on their schedule.
    pub(crate) fn demand(
        &self,
        is_chosen: impl Fn(&str) -> bool,
        oldest: Duration,
        now: Monotonic,
    ) -> bool {
        self.list.iter().fold(false, |is_any, source| match &source.kind {
            SourceKind::OwnPods(pages) => pages.demand(&is_chosen, oldest, now) || is_any,
            SourceKind::OtherPods(..) | SourceKind::Prometheus(_) => is_any,
        })
    }

    /// Returns when one of the other pods has been created, deleted or changed.
    pub(crate) async fn other_pods_changed(&mut self) {
        let views = self.list.iter_mut().filter_map(|source| match &mut source.kind {
            SourceKind::OtherPods(_, view) => Some(Box::pin(view.changed())),
            _ => None,
        });
        let views: Vec<_> = views.collect();
        if views.is_empty() {
            std::future::pending::<()>().await;
        }
        futures::future::select_all(views).await;
    }

    /// Keeps the sources that were needed active for another minute. `needed` has an entry per
    /// source.
    pub(crate) fn renew(&mut self, needed: &[bool], now: Monotonic) {
        for (source, needed) in self.list.iter_mut().zip(needed) {
            if *needed {
                source.activity.renew(now);
            }
        }
    }

    /// Returns the latest samples of all active sources about these reporting pods of the target.
    /// The duration of requests is only included on demand.
    pub(crate) fn samples(
        &mut self,
        reporting: &Members,
        with_latency: bool,
        now: Monotonic,
    ) -> Samples {
        let sources = self.list.iter().map(|source| {
            if source.is_active(now) {
                self.active_samples(source, reporting, with_latency, now)
            } else {
                SourceSamples::inactive(source.kind.describe())
            }
        });
        Samples { sources: sources.collect() }
    }

    fn active_samples(
        &self,
        Source { kind: source, measures, queue, .. }: &Source,
        reporting: &Members,
        with_latency: bool,
        now: Monotonic,
    ) -> SourceSamples {
        let kind = source.describe();
        // The other pods of the description are those of the lookups, one to one.
        let pods =
            if let samples::SourceKind::OtherPods(others) = &kind { others } else { reporting };
        let per_pod = |measure: Option<_>| measure.filter(|_| source.is_per_pod());
        let vitals = self.vitals.as_ref();
        let latency = self.latency.as_ref().filter(|_| with_latency);
        // All answers of a page are of one scrape, and in the order of the fields below.
        let mut wanted: Vec<Option<&Arc<Measure>>> = measures.iter().map(Option::as_ref).collect();
        wanted.push(queue.as_ref());
        wanted.extend([self.requests.as_ref(), latency].map(per_pod));
        wanted.extend([0, 1].map(|at| per_pod(self.sleep.as_ref().map(|sleep| &sleep[at]))));
        wanted.extend([
            per_pod(vitals.map(|vitals| &vitals.requests)),
            per_pod(vitals.map(|vitals| &vitals.progress)),
        ]);
        wanted.extend([0, 1].map(|at| per_pod(vitals.and_then(|it| it.gauges[at].as_ref()))));
        if matches!(source, SourceKind::OwnPods(_)) {
            wanted.extend(self.slo.iter().map(Some));
        }
        let mut found = source.lookups(pods, &wanted, now).into_iter();
        let mut next = || found.next().unwrap_or_default();
        let reply = |query: &Option<String>| source.reply(query.as_ref()?, now);
        SourceSamples {
            is_active: true,
            metrics: measures.iter().map(|_| next()).collect(),
            queries: self.queries.iter().map(reply).collect(),
            queued: next(),
            requests: next(),
            latency: next(),
            sleep: [next(), next()],
            vitals: VitalLookups { requests: next(), progress: next(), gauges: [next(), next()] },
            slo: found.collect(),
            kind,
        }
    }
}

impl SourceKind {
    fn new(
        sampling: &Sampling,
        config: &SourceConfig,
        demand: &TargetDemand<'_>,
        engine: Engine,
    ) -> Self {
        let scrape = match config {
            SourceConfig::Prometheus(config) => {
                let pool = sampling.prometheus_pool.clone();
                return Self::Prometheus(Box::new(ServerView::new(pool, config, demand)));
            }
            SourceConfig::Scrape(scrape) => scrape,
        };
        let (pool, wake) = (sampling.scrape_pool.clone(), demand.wake.clone());
        let program = scrape.gateway.map_or(Program::Engine(engine), Program::Gateway);
        let (namespace, measures) = (demand.namespace, demand.measures.clone());
        let pages = PageView::new(pool, namespace, wake, measures, scrape.clone(), program);
        match &scrape.pods {
            None => Self::OwnPods(pages),
            Some(selector) => {
                let view = sampling.pods.view(demand.namespace, selector.clone());
                Self::OtherPods(pages, Box::new(view))
            }
        }
    }

    fn has_queries(&self) -> bool {
        matches!(self, Self::Prometheus(server) if server.has_queries())
    }

    fn is_per_pod(&self) -> bool {
        !matches!(self, Self::OtherPods(..))
    }

    /// Returns the answers about each of these measures of each of these pods; none for `None`.
    fn lookups(
        &self,
        pods: &Members,
        wanted: &[Option<&Arc<Measure>>],
        now: Monotonic,
    ) -> Vec<Vec<Lookup>> {
        let measures: Vec<&Arc<Measure>> = wanted.iter().copied().flatten().collect();
        let found = match self {
            Self::OwnPods(pages) | Self::OtherPods(pages, _) => pages.lookups(pods, &measures, now),
            Self::Prometheus(server) => {
                let of = |measure: &&Arc<Measure>| {
                    pods.values().map(|pod| server.lookup(pod, measure, now)).collect()
                };
                measures.iter().map(of).collect()
            }
        };
        let mut found = found.into_iter();
        let each = |measure: &Option<_>| measure.and_then(|_| found.next()).unwrap_or_default();
        wanted.iter().map(each).collect()
    }

    fn reply(&self, query: &str, now: Monotonic) -> Option<QueryLookup> {
        match self {
            Self::Prometheus(server) => Some(server.reply(query, now)),
            Self::OwnPods(_) | Self::OtherPods(..) => None,
        }
    }

    /// Returns the description of the source as it is now.
    fn describe(&self) -> samples::SourceKind {
        match self {
            Self::OwnPods(_) => samples::SourceKind::OwnPods,
            Self::OtherPods(_, view) => samples::SourceKind::OtherPods(view.latest()),
            Self::Prometheus(server) => samples::SourceKind::Prometheus {
                url: server.url().to_owned(),
                clock_ahead: server.clock_ahead(),
                warning: server.warning(),
            },
        }
    }
}

impl Source {
    fn is_active(&self, now: Monotonic) -> bool {
        self.activity.is_active(now)
    }

    /// Returns the name of the source in the operator's own metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            SourceKind::OwnPods(_) => "scrape",
            SourceKind::OtherPods(..) => "others",
            SourceKind::Prometheus(_) => "prometheus",
        }
    }
}
