//! The sources of one autoscaler, in the order of failover.
//!
//! A source beside the first is asked only while it is needed: when a replica has no sample in the sources before it,
//! and for a minute longer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::core::Selector;
use llm_autoscaler_api::{Access, Asked, Plan, PrometheusPlan, SourcePlan};
use llm_autoscaler_engines::{Engine, Measure};
use tokio::sync::Notify;

use crate::{
    cluster::pods::Members, cluster::pods::Pod, cluster::pods::PodView,
    reconcile::context::Context, sampling::page_view::Pace, sampling::page_view::Pages,
    sampling::page_view::Said, sampling::page_view::Sample, sampling::prometheus::Need,
    sampling::prometheus::Reply, sampling::prometheus::Server, sampling::prometheus::ServerKey,
    sampling::prometheus::Servers, sampling::scrape_loop::Found,
};

/// For how long a source that was needed is asked.
const NEEDED_FOR: Duration = Duration::from_mins(1);

/// All sources.
pub struct Sources {
    /// In the order of failover.
    pub list: Vec<Source>,
    /// The measures of the plan's metrics, in their order; `None` for a query.
    pub measures: Vec<Option<Arc<Measure>>>,
    /// The requests of a replica, read so that it can be drained.
    pub requests: Option<Arc<Measure>>,
    /// How long requests take, where that is of interest.
    pub latency: Option<Arc<Measure>>,
    engine: Engine,
}

/// One source.
pub struct Source {
    /// What it is.
    pub kind: SourceKind,
    /// Until when it is asked; for ever if absent.
    until: Option<Instant>,
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
    plan: PrometheusPlan,
    server: Option<Arc<Server>>,
    since: Instant,
}

impl Sources {
    /// Those of a plan, for pods of a namespace. The first begins to be asked at once.
    pub fn new(context: &Context, namespace: &str, wake: &Arc<Notify>, plan: &Plan) -> Self {
        let intern = |asked: &Asked| match asked {
            Asked::Measure { measure, .. } => Some(context.sampler.intern(measure)),
            Asked::Query(_) => None,
        };
        let measures: Vec<_> = plan.metrics.iter().map(|metric| intern(&metric.asked)).collect();
        let drain = plan.drain.as_ref();
        let further =
            |measure: Option<&Measure>| measure.map(|measure| context.sampler.intern(measure));
        let requests = further(drain.and_then(|drain| drain.requests.as_ref()));
        let latency = further(drain.and_then(|drain| drain.latency.as_ref()));
        let mut of_pods: Vec<Arc<Measure>> = measures.iter().flatten().cloned().collect();
        for measure in requests.iter().chain(&latency) {
            if !of_pods.iter().any(|known| Arc::ptr_eq(known, measure)) {
                of_pods.push(measure.clone());
            }
        }
        let of_pods: Arc<[Arc<Measure>]> = of_pods.into();
        let kind = |source: &SourcePlan| match source {
            SourcePlan::Scrape(scrape) => {
                let pages = Pages::new(
                    context.sampler.clone(),
                    wake.clone(),
                    of_pods.clone(),
                    scrape.clone(),
                );
                match &scrape.pods {
                    None => SourceKind::Own(pages),
                    Some(selector) => {
                        SourceKind::Others(pages, others(context, namespace, selector))
                    }
                }
            }
            SourcePlan::Prometheus(prometheus) => SourceKind::Prometheus(Asking::new(
                context, namespace, wake, plan, prometheus, &of_pods,
            )),
        };
        let now = Instant::now();
        let list = plan.sources.iter().enumerate().map(|(index, source)| {
            let kind = kind(source);
            // Queries have no other source.
            let always = index == 0
                || matches!(&kind, SourceKind::Prometheus(asking) if asking.has_queries());
            Source { kind, until: (!always).then_some(now) }
        });
        Self { list: list.collect(), measures, requests, latency, engine: plan.engine }
    }

    /// Asks whoever is to be asked, about the target's pods as they are now.
    pub fn follow(&mut self, members: &Members) {
        for source in &mut self.list {
            let active = source.is_active();
            match &mut source.kind {
                SourceKind::Own(pages) if active => pages.follow(members),
                SourceKind::Others(pages, view) if active => {
                    let members = view.members();
                    pages.follow(&members);
                }
                SourceKind::Own(pages) | SourceKind::Others(pages, _) => pages.stop(),
                SourceKind::Prometheus(asking) if active => asking.start(),
                SourceKind::Prometheus(asking) => asking.stop(),
            }
        }
    }

    /// The other pods that are read, if the first source that reads pages is of others.
    pub fn read(&mut self) -> Option<Members> {
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

    /// The engine that the plan names.
    pub fn engine(&self) -> Engine {
        self.engine
    }
}

impl Source {
    /// Whether it is asked now.
    pub fn is_active(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    /// It is needed; whether it was asked already.
    pub fn is_needed(&mut self) -> bool {
        let was_active = self.is_active();
        if let Some(until) = &mut self.until {
            *until = Instant::now() + NEEDED_FOR;
        }
        was_active
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

fn others(context: &Context, namespace: &str, selector: &Selector) -> PodView {
    context.pods.view(namespace, selector.clone())
}

impl Asking {
    fn new(
        context: &Context,
        namespace: &str,
        wake: &Arc<Notify>,
        plan: &Plan,
        prometheus: &PrometheusPlan,
        measures: &Arc<[Arc<Measure>]>,
    ) -> Self {
        let queries = plan.metrics.iter().filter_map(|metric| match &metric.asked {
            Asked::Query(query) => Some(query.clone()),
            Asked::Measure { .. } => None,
        });
        let access: Arc<Access> = Arc::new(prometheus.access.clone());
        let key = ServerKey {
            url: prometheus.url.clone(),
            labels: prometheus.labels.clone(),
            namespace: (!access.is_open()).then(|| namespace.to_owned()),
            access,
        };
        let need = Need {
            namespace: namespace.to_owned(),
            measures: measures.clone(),
            queries: queries.collect(),
            interval: prometheus.interval,
            timeout: prometheus.timeout,
            stale_after: prometheus.stale_after,
            wake: wake.clone(),
        };
        Self {
            owner: context.sampler.new_owner(),
            servers: context.servers.clone(),
            key,
            need,
            plan: prometheus.clone(),
            server: None,
            since: Instant::now(),
        }
    }

    fn has_queries(&self) -> bool {
        !self.need.queries.is_empty()
    }

    fn start(&mut self) {
        if self.server.is_none() {
            self.server = Some(self.servers.subscribe(self.owner, &self.key, self.need.clone()));
            self.since = Instant::now();
        }
    }

    fn stop(&mut self) {
        if self.server.take().is_some() {
            self.servers.unsubscribe(self.owner, &self.key);
        }
    }

    /// What the server says about a measure of a pod. `strict` leaves out what is in doubt.
    pub fn look(&self, pod: &Pod, measure: &Arc<Measure>, strict: bool) -> Said {
        let Some(server) = &self.server else { return Said::Pending };
        let mut state = server.lock();
        let stale_after = self.plan.stale_after;
        let sample = match state.sample((&pod.namespace, &pod.name), measure, stale_after) {
            Ok(Some(sample)) => sample,
            Ok(None) if !state.has_tried(measure, stale_after) && self.is_early() => {
                return Said::Pending;
            }
            Ok(None) => {
                return Said::Nothing(self.absent(measure, state.warnings(measure, stale_after)));
            }
            Err(error) => return Said::Nothing(error.to_string()),
        };
        if sample.age > stale_after {
            if let Some(error) = state.error(measure, stale_after) {
                return Said::Nothing(error.to_string());
            }
            let (url, age, limit) = (&self.key.url, sample.age.as_secs(), stale_after.as_secs());
            return Said::Nothing(format!(
                "{url}: its latest sample is {age} s old, more than {limit} s"
            ));
        }
        let reading = sample.reading;
        let is_certain = sample.is_latest && reading.addresses <= 1 && !reading.is_young;
        if reading.value == llm_autoscaler_engines::exposition::Value::Absent
            || strict && !is_certain
        {
            return Said::Nothing(self.absent(measure, state.warnings(measure, stale_after)));
        }
        let found = Found {
            alternative: reading.extract.alternative,
            ambiguous: reading.extract.ambiguous,
        };
        let copies = reading.scrapes.max(reading.addresses);
        Said::Sample(Sample { value: reading.value, age: sample.age, is_certain, found, copies })
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

    /// The latest answer to a query, if it is recent; or why there is none, unless it is too early to say.
    pub fn reply(&self, query: &str) -> Result<Reply, Option<String>> {
        let Some(server) = &self.server else { return Err(None) };
        let state = server.lock();
        let Some(reply) = state.reply(query) else {
            let late = || format!("{}: no answer yet", self.key.url);
            return Err((!self.is_early()).then(late));
        };
        let limit = 3 * self.plan.interval + self.plan.timeout;
        match (&reply.numbers, &reply.error) {
            (Some((at, _)), _) if at.elapsed() <= limit => Ok(reply.clone()),
            (_, Some(error)) => Err(Some(error.to_string())),
            _ => Err(Some(format!("{}: no answer for {} s", self.key.url, limit.as_secs()))),
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
    fn is_early(&self) -> bool {
        self.since.elapsed() < self.plan.timeout + Duration::from_secs(1)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop();
    }
}
