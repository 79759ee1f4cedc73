//! The metrics pages of some pods, as one autoscaler sees them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use llm_autoscaler_api::{Access, Port, ScrapeConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Engine, Measure};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::Lookup,
};
use tokio::sync::Notify;

use crate::sampling::{
    connection::Address,
    feed::SubscriberId,
    page_lookup::PageLookup,
    page_state::{PageKey, PageSubscription},
    scrape_loop::ScrapeLoop,
    scrape_pool::ScrapePool,
};

/// Near a target, the interval of scrapes is divided by this.
const NEAR_TARGET_DIVISOR: u32 = 4;
/// The shortest interval of scrapes near a target, unless the spec's is shorter.
const NEAR_TARGET_INTERVAL: Duration = Duration::from_millis(500);

/// The frequency of scrapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScrapePace {
    /// Scrapes are at the interval of the spec.
    #[default]
    Normal,
    /// A metric is so near its target that the next sample may change the decision. Scrapes are
    /// more frequent.
    NearTarget,
}

/// The subscriptions of one autoscaler to the pages of some pods.
pub(crate) struct PageView {
    subscriber: SubscriberId,
    pool: ScrapePool,
    wake: Arc<Notify>,
    measures: Arc<[Arc<Measure>]>,
    config: ScrapeConfig,
    access: Arc<Access>,
    pace: ScrapePace,
    /// An entry per pod of `members`, in their order.
    pages: Vec<PodPage>,
    members: Option<Members>,
}

/// The page of one pod.
struct PodPage {
    pod_name: String,
    /// `None` if the pod has no address to scrape.
    subscription: Option<PageOfView>,
}

/// A page that the view is subscribed to.
struct PageOfView {
    page: Arc<ScrapeLoop>,
    since: Monotonic,
}

impl PageView {
    /// Returns a view without pods.
    pub(crate) fn new(
        pool: ScrapePool,
        wake: Arc<Notify>,
        measures: Arc<[Arc<Measure>]>,
        config: ScrapeConfig,
    ) -> Self {
        Self {
            subscriber: pool.new_subscriber(),
            pool,
            wake,
            measures,
            access: Arc::new(config.access.clone()),
            config,
            pace: ScrapePace::default(),
            pages: Vec::new(),
            members: None,
        }
    }

    /// Subscribes to the pages of these pods, as far as they run, and to no others.
    pub(crate) fn set_pods(&mut self, members: &Members, now: Monotonic) {
        if self.members.as_ref().is_some_and(|current| Arc::ptr_eq(current, members)) {
            return;
        }
        self.members = Some(members.clone());
        let mut former: HashMap<String, PageOfView> = std::mem::take(&mut self.pages)
            .into_iter()
            .filter_map(|page| Some((page.pod_name, page.subscription?)))
            .collect();
        for pod in members.values() {
            let subscription = match (self.key(pod), former.remove(&pod.name)) {
                (Some(key), Some(former)) if former.page.key == key => Some(former),
                (key, former) => {
                    if let Some(former) = former {
                        self.unsubscribe(&former);
                    }
                    key.map(|key| self.subscribe(&key, now))
                }
            };
            self.pages.push(PodPage { pod_name: pod.name.clone(), subscription });
        }
        for former in former.values() {
            self.unsubscribe(former);
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn clear_pods(&mut self) {
        for page in std::mem::take(&mut self.pages) {
            if let Some(subscription) = page.subscription {
                self.unsubscribe(&subscription);
            }
        }
        self.members = None;
    }

    /// Returns the number of pods.
    pub(crate) fn len(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Sets the frequency of scrapes.
    pub(crate) fn set_pace(&mut self, pace: ScrapePace) {
        if self.pace == pace {
            return;
        }
        self.pace = pace;
        for PageOfView { page, .. } in
            self.pages.iter().filter_map(|page| page.subscription.as_ref())
        {
            self.pool.subscribe(self.subscriber, &page.key, self.subscription());
        }
    }

    /// Returns the latest samples of a measure on the pages of these pods, in their order.
    pub(crate) fn lookups(
        &self,
        pods: &Members,
        measure: &Arc<Measure>,
        engine: Engine,
        now: Monotonic,
    ) -> Vec<Lookup> {
        let lookup = |(index, pod): (usize, &Arc<Pod>)| {
            if !pod.is_running() {
                return Lookup::Missing("it is not running".to_owned());
            }
            let Some(PageOfView { page, since }) = self.page(index, pod) else {
                return Lookup::Missing(self.unreachable(pod));
            };
            let lookup = PageLookup {
                address: &page.key.address,
                config: &self.config,
                engine,
                subscribed_at: *since,
                now,
            };
            lookup.sample(&page.state(), measure)
        };
        pods.values().enumerate().map(lookup).collect()
    }

    fn subscribe(&self, key: &PageKey, now: Monotonic) -> PageOfView {
        let page = self.pool.subscribe(self.subscriber, key, self.subscription());
        PageOfView { page, since: now }
    }

    fn unsubscribe(&self, subscription: &PageOfView) {
        self.pool.unsubscribe(self.subscriber, &subscription.page.key);
    }

    fn subscription(&self) -> PageSubscription {
        let normal = self.config.interval;
        let interval = match self.pace {
            ScrapePace::Normal => normal,
            ScrapePace::NearTarget => {
                (normal / NEAR_TARGET_DIVISOR).max(NEAR_TARGET_INTERVAL).min(normal)
            }
        };
        PageSubscription {
            interval,
            // A slow page does not fail because it is scraped more often.
            timeout: self.config.timeout.min(normal),
            measures: self.measures.clone(),
            wake: self.wake.clone(),
        }
    }

    fn key(&self, pod: &Pod) -> Option<PageKey> {
        if !pod.is_running() {
            return None;
        }
        let (_, port) = pod.first_port(&self.config.ports)?;
        let address =
            Address { ip: pod.ip?, port, tls: self.config.tls, path: self.config.path.clone() };
        let (namespace, pod_uid) = (pod.namespace.clone(), pod.uid.clone());
        Some(PageKey { namespace, pod_uid, address, access: self.access.clone() })
    }

    /// Returns the page of a pod. `index` is its likely position, which saves a search.
    fn page(&self, index: usize, pod: &Pod) -> Option<&PageOfView> {
        let found = match self.pages.get(index) {
            Some(page) if page.pod_name == pod.name => page,
            _ => {
                let by_name = |page: &PodPage| page.pod_name.cmp(&pod.name);
                &self.pages[self.pages.binary_search_by(by_name).ok()?]
            }
        };
        found.subscription.as_ref()
    }

    /// Returns the reason why a running pod is not scraped.
    fn unreachable(&self, pod: &Pod) -> String {
        if pod.ip.is_none() {
            return "it has no IP address yet".to_owned();
        }
        let named = pod.ports.iter().map(|(name, number)| format!("{name} ({number})"));
        let named: Vec<String> = named.collect();
        let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
        let wanted: Vec<String> = self.config.ports.iter().map(Port::to_string).collect();
        format!("no container port is named {}; named ports: {named}", wanted.join(" or "))
    }
}

impl Drop for PageView {
    fn drop(&mut self) {
        self.clear_pods();
    }
}
