//! The metrics pages of some pods, as one autoscaler sees them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use llm_autoscaler_api::{Access, Port, ScrapeConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Measure, Program};
use llm_autoscaler_observe::{
    pod::{Members, Pod},
    samples::Lookup,
};
use tokio::sync::Notify;

use crate::sampling::{
    connection::Address,
    feed::SubscriberId,
    page_lookup::PageLookup,
    page_state::{Page, PageKey, PageSubscription},
    scrape_pool::ScrapePool,
};

/// Near a target, the interval of scrapes is divided by this.
const NEAR_TARGET_DIVISOR: u32 = 4;
/// The shortest interval of scrapes near a target, and the interval while a target is at zero,
/// unless the spec's is shorter.
const SHORT_INTERVAL: Duration = Duration::from_millis(500);

/// The frequency of scrapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScrapePace {
    /// Scrapes are at the interval of the spec.
    #[default]
    Normal,
    /// A metric is so near its target that the next sample may change the decision. Scrapes are
    /// more frequent.
    NearTarget,
    /// The target was scaled to zero. Scrapes are as frequent as they get, because a client waits
    /// for the first replica.
    AtZero,
}

/// The subscriptions of one autoscaler to the pages of some pods.
pub(crate) struct PageView {
    subscriber: SubscriberId,
    pool: ScrapePool,
    wake: Arc<Notify>,
    measures: Arc<[Arc<Measure>]>,
    config: ScrapeConfig,
    /// The engine or gateway that runs in the pods.
    program: Program,
    namespace: Arc<str>,
    path: Arc<str>,
    access: Arc<Access>,
    pace: ScrapePace,
    /// An entry per pod of `members`, in their order.
    pages: Vec<PodPage>,
    members: Option<Members>,
}

/// The page of one pod.
struct PodPage {
    pod: Arc<Pod>,
    /// `None` if the pod has no address to scrape.
    subscription: Option<PageOfView>,
}

/// A page that the view is subscribed to.
struct PageOfView {
    page: Arc<Page>,
    since: Monotonic,
}

impl PageView {
    /// Returns a view without pods.
    pub(crate) fn new(
        pool: ScrapePool,
        namespace: &str,
        wake: Arc<Notify>,
        measures: Arc<[Arc<Measure>]>,
        config: ScrapeConfig,
        program: Program,
    ) -> Self {
        Self {
            subscriber: pool.new_subscriber(),
            pool,
            wake,
            measures,
            namespace: namespace.into(),
            path: config.path.as_str().into(),
            access: config.access.clone(),
            config,
            program,
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
        let pages = std::mem::replace(&mut self.pages, Vec::with_capacity(members.len()));
        let subscribed = |page: PodPage| Some((page.pod, page.subscription?));
        let subscribed: Vec<_> = pages.into_iter().filter_map(subscribed).collect();
        let mut former: HashMap<&str, PageOfView> = HashMap::with_capacity(subscribed.len());
        let (pods, subscriptions): (Vec<_>, Vec<_>) = subscribed.into_iter().unzip();
        former.extend(pods.iter().map(|pod| &*pod.name).zip(subscriptions));
        for pod in members.values() {
            let subscription = match (self.key(pod), former.remove(&*pod.name)) {
                (Some(key), Some(former)) if former.page.key == key => Some(former),
                (key, former) => {
                    if let Some(former) = former {
                        self.unsubscribe(&former);
                    }
                    key.map(|key| self.subscribe(&key, now))
                }
            };
            self.pages.push(PodPage { pod: pod.clone(), subscription });
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

    /// Returns the interval at which pages are scraped now; `None` if none is.
    pub(crate) fn interval(&self) -> Option<Duration> {
        (!self.pages.is_empty()).then(|| interval(self.config.interval, self.pace))
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

    /// Has the pages of chosen pods scraped at once where the last one is older than this. Returns
    /// whether there are any.
    pub(crate) fn demand(
        &self,
        is_chosen: impl Fn(&str) -> bool,
        oldest: Duration,
        now: Monotonic,
    ) -> bool {
        let mut is_any = false;
        let chosen = self.pages.iter().filter(|page| is_chosen(&page.pod.name));
        for PageOfView { page, .. } in chosen.filter_map(|page| page.subscription.as_ref()) {
            if page.state().demand(oldest, now) {
                self.pool.hasten(page);
                is_any = true;
            }
        }
        is_any
    }

    /// Returns the latest samples of each of these measures on the pages of these pods, in their
    /// order. Those of a pod are of one scrape.
    pub(crate) fn lookups(
        &self,
        pods: &Members,
        measures: &[&Arc<Measure>],
        now: Monotonic,
    ) -> Vec<Vec<Lookup>> {
        let mut found: Vec<Vec<Lookup>> =
            measures.iter().map(|_| Vec::with_capacity(pods.len())).collect();
        for (index, pod) in pods.values().enumerate() {
            let Some(PageOfView { page, since }) = self.page(index, pod) else {
                for lookups in &mut found {
                    lookups.push(Lookup::Missing(self.unreachable(pod)));
                }
                continue;
            };
            let lookup = PageLookup {
                address: &page.key.address,
                config: &self.config,
                program: self.program,
                subscribed_at: *since,
                now,
            };
            let state = page.state();
            for (of, measure) in found.iter_mut().zip(measures) {
                of.push(lookup.sample(&state, measure));
            }
        }
        found
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
        PageSubscription {
            interval: interval(normal, self.pace),
            timeout: timeout_of(&self.config),
            measures: self.measures.clone(),
            wake: self.wake.clone(),
        }
    }

    fn key(&self, pod: &Pod) -> Option<PageKey> {
        if !pod.is_running() {
            return None;
        }
        let port = port_of(pod, &self.config)?;
        let address = Address { ip: pod.ip?, port, tls: self.config.tls, path: self.path.clone() };
        let (namespace, pod_uid) = (self.namespace.clone(), pod.uid.clone());
        Some(PageKey { namespace, pod_uid, address, access: self.access.clone() })
    }

    /// Returns the page of a pod that runs. `index` is its likely position, which saves a search.
    fn page(&self, index: usize, pod: &Arc<Pod>) -> Option<&PageOfView> {
        let found = match self.pages.get(index) {
            Some(page) if Arc::ptr_eq(&page.pod, pod) || page.pod.name == pod.name => page,
            _ => {
                let by_name = |page: &PodPage| page.pod.name.cmp(&pod.name);
                &self.pages[self.pages.binary_search_by(by_name).ok()?]
            }
        };
        found.subscription.as_ref().filter(|_| pod.is_running())
    }

    /// Returns the reason why a pod is not scraped.
    fn unreachable(&self, pod: &Pod) -> String {
        if !pod.is_running() {
            return "it is not running".to_owned();
        }
        if pod.ip.is_none() {
            return "it has no IP address yet".to_owned();
        }
        no_port(pod, &self.config)
    }
}

impl Drop for PageView {
    fn drop(&mut self) {
        self.clear_pods();
    }
}

/// Returns the port to scrape: the first of the usual names, or the engine's usual number if the
/// pod declares no other port.
fn port_of(pod: &Pod, config: &ScrapeConfig) -> Option<u16> {
    let named = pod.first_port(&config.ports).map(|(_, port)| port);
    named.or_else(|| config.usual_port.filter(|port| pod.has_only_port(*port)))
}

/// Returns the reason why none of a pod's ports is scraped.
fn no_port(pod: &Pod, config: &ScrapeConfig) -> String {
    let wanted: Vec<String> = config.ports.iter().map(Port::to_string).collect();
    let text = format!("no container port is named {}", wanted.join(" or "));
    let named = pod.ports.iter().map(|(name, number)| format!("{name} ({number})"));
    let unnamed: Vec<String> = pod.unnamed_ports.iter().map(u16::to_string).collect();
    let set = "set the source's port to one of these numbers";
    match (&named.collect::<Vec<_>>()[..], &unnamed[..]) {
        ([], []) => format!("{text}, and the pod declares none: set the source's port to a number"),
        (named, []) => format!("{text}; named ports: {}", named.join(", ")),
        ([], unnamed) => format!("{text}; ports without a name: {}: {set}", unnamed.join(", ")),
        (named, unnamed) => {
            let (named, unnamed) = (named.join(", "), unnamed.join(", "));
            format!("{text}; named ports: {named}; ports without a name: {unnamed}: {set}")
        }
    }
}

/// Returns the timeout of a scrape at any pace: a slow page does not fail because it is scraped
/// more often.
fn timeout_of(config: &ScrapeConfig) -> Duration {
    config.timeout.min(config.interval)
}

/// Returns the interval of scrapes at a pace, given that of the spec.
fn interval(normal: Duration, pace: ScrapePace) -> Duration {
    match pace {
        ScrapePace::Normal => normal,
        ScrapePace::NearTarget => (normal / NEAR_TARGET_DIVISOR).max(SHORT_INTERVAL).min(normal),
        ScrapePace::AtZero => normal.min(SHORT_INTERVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // docs/sources.md has these numbers.
    #[test]
    fn near_a_target_and_at_zero_the_interval_is_shorter_but_the_timeout_stays() {
        let near = |ms| interval(Duration::from_millis(ms), ScrapePace::NearTarget).as_millis();
        for (normal, expected) in [(1000, 500), (2000, 500), (4000, 1000), (15_000, 3750)] {
            assert_eq!(near(normal), expected, "{normal} ms");
        }
        let at_zero = interval(Duration::from_secs(15), ScrapePace::AtZero);
        assert_eq!(at_zero, Duration::from_millis(500));
        for (timeout, interval, expected) in [(1, 2, 1), (5, 15, 5), (15, 15, 15)] {
            let seconds = Duration::from_secs;
            let config = ScrapeConfig {
                interval: seconds(interval),
                timeout: seconds(timeout),
                ..config(None)
            };
            assert_eq!(timeout_of(&config), seconds(expected));
        }
    }

    fn config(usual_port: Option<u16>) -> ScrapeConfig {
        ScrapeConfig {
            ports: ["http", "metrics"].map(|name| Port::Name(name.to_owned())).to_vec(),
            usual_port,
            path: "/metrics".to_owned(),
            tls: false,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            pods: None,
            gateway: None,
            access: Arc::default(),
        }
    }

    #[test]
    fn a_pod_without_a_usual_name_is_scraped_at_its_only_port_or_its_numbers_are_shown() {
        let no_name = "no container port is named http or metrics";
        let set = "set the source's port to one of these numbers";
        for (ports, unnamed, expected) in [
            (&[("http", 9000)][..], &[8000][..], Ok(9000)),
            (&[], &[8000], Ok(8000)),
            (&[("api", 8000)], &[], Ok(8000)),
            (&[], &[9000], Err(format!("; ports without a name: 9000: {set}"))),
            (&[], &[8000, 9000], Err(format!("; ports without a name: 8000, 9000: {set}"))),
            (&[("api", 9000)], &[], Err("; named ports: api (9000)".to_owned())),
            (
                &[("api", 9000)],
                &[8000],
                Err(format!("; named ports: api (9000); ports without a name: 8000: {set}")),
            ),
            (
                &[],
                &[],
                Err(", and the pod declares none: set the source's port to a number".to_owned()),
            ),
        ] {
            let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
            let pod = Pod { ports, unnamed_ports: unnamed.into(), ..Pod::serving("a", "a") };
            let config = config(Some(8000));
            let found = port_of(&pod, &config).ok_or_else(|| no_port(&pod, &config));
            assert_eq!(found, expected.map_err(|rest| format!("{no_name}{rest}")));
        }
        // A port of the spec, and an engine without a usual number, are never replaced.
        let pod =
            Pod { ports: [].into(), unnamed_ports: Box::new([8000]), ..Pod::serving("a", "a") };
        assert_eq!(port_of(&pod, &config(None)), None);
    }
}
