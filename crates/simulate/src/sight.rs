//! What an autoscaler sees of a fleet: pods as the API server lists them, and metrics pages.

use std::{collections::VecDeque, rc::Rc};

use llm_autoscaler_sim::{Gauges, Histogram, Metrics};

use crate::{
    faults::{Faults, Pages},
    fleet::{Fleet, Pod, PodPhase},
};

/// The number of the gateway's page among those of the pods.
const GATEWAY: u64 = u64::MAX;

/// The numbers of a metrics page.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The time of the scrape, in seconds.
    pub at: f64,
    /// The gauges.
    pub gauges: Gauges,
    /// The counters and histograms.
    pub metrics: Metrics,
    /// The mean times between two tokens of the finished requests.
    pub time_per_output_token: Histogram,
    /// The number of the engine's steps.
    pub steps: u64,
    /// The prompt tokens that were not computed, since a prefix cache had them.
    pub cached_tokens: u64,
}

/// The numbers of a gateway's page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatewayReading {
    /// The time of the scrape, in seconds.
    pub at: f64,
    /// The requests in the gateway's queue.
    pub queued: u64,
    /// The requests that it has sent to replicas and that have no end yet.
    pub running: u64,
    /// The requests that have arrived so far.
    pub arrived: u64,
}

/// The gateway as an autoscaler sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct GatewaySight {
    /// The latest page that has arrived.
    pub reading: Option<GatewayReading>,
    /// True if the latest scrape that was due has failed.
    pub has_failed: bool,
}

/// A pod as an autoscaler sees it.
#[allow(clippy::struct_excessive_bools, reason = "a pod has as many conditions")]
#[derive(Debug, Clone)]
pub struct PodSight {
    /// The number of the pod: later ones are higher.
    pub id: u64,
    /// The time of its creation.
    pub created_at: f64,
    /// True if it has a node.
    pub is_scheduled: bool,
    /// True if its containers run.
    pub is_running: bool,
    /// True if it serves, or would if it were not taken out of service.
    pub is_ready: bool,
    /// True if it is being deleted.
    pub is_terminating: bool,
    /// True if it has been taken out of service.
    pub is_closed: bool,
    /// True if it is or has been ready.
    pub was_ready: bool,
    /// The time since which it is not ready, if it is not.
    pub unready_since: f64,
    /// The number of times that its engine has been restarted.
    pub restarts: u32,
    /// The latest page that has arrived.
    pub reading: Option<Rc<Reading>>,
    /// True if the latest scrape that was due has failed.
    pub has_failed: bool,
}

/// Everything that an autoscaler decides by.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The time since the start of the simulation, in seconds.
    pub now: f64,
    /// The seconds that the wall clock is ahead of the simulation.
    pub clock_ahead: f64,
    /// The size that was requested last.
    pub requested: u32,
    /// The pods, the oldest first.
    pub pods: &'a [PodSight],
    /// The number of requests in the gateway's queue.
    pub queued: usize,
    /// The requests that have arrived at the gateway since the start, and their prompt tokens.
    pub arrived: (u64, u64),
    /// The gateway by its page, if the autoscaler reads that.
    pub gateway: GatewaySight,
}

impl Sight<'_> {
    /// Returns the pods that serve, with their latest pages.
    pub fn serving(&self) -> impl Iterator<Item = (&PodSight, &Reading)> {
        let serving = self.pods.iter().filter(|pod| pod.is_ready && !pod.is_terminating);
        serving.filter_map(|pod| Some((pod, pod.reading.as_deref()?)))
    }

    /// Returns the number of pods that are not being deleted and do not serve yet.
    pub fn starting(&self) -> u32 {
        self.pods.iter().filter(|pod| !pod.is_ready && !pod.is_terminating).count() as u32
    }
}

/// The scrapes of all pods' pages.
#[derive(Debug)]
pub(crate) struct Scraper {
    delay: f64,
    pages: Pages,
    pods: Vec<PodSight>,
    /// The results of scrapes that have not arrived yet: the time, the pod, and its page.
    under_way: VecDeque<(f64, u64, Option<Rc<Reading>>)>,
    gateway: GatewaySight,
    /// The results of scrapes of the gateway that have not arrived yet: the time, and the page.
    gateway_under_way: VecDeque<(f64, Option<GatewayReading>)>,
}

impl Scraper {
    pub(crate) fn new(faults: Faults, pages: Pages) -> Self {
        Self {
            delay: faults.delay,
            pages,
            pods: Vec::new(),
            under_way: VecDeque::new(),
            gateway: GatewaySight::default(),
            gateway_under_way: VecDeque::new(),
        }
    }

    /// Scrapes the gateway.
    pub(crate) fn scrape_gateway(&mut self, reading: GatewayReading) {
        let page = self.pages.answers(GATEWAY, reading.at).then_some(reading);
        self.gateway_under_way.push_back((reading.at + self.delay, page));
    }

    /// Returns the gateway, with the page that has arrived.
    pub(crate) fn look_at_gateway(&mut self, now: f64) -> GatewaySight {
        while let Some((_, page)) = self.gateway_under_way.pop_front_if(|(at, _)| *at <= now) {
            self.gateway.has_failed = page.is_none();
            self.gateway.reading = page.or(self.gateway.reading);
        }
        self.gateway
    }

    /// Scrapes all running pods.
    pub(crate) fn scrape(&mut self, fleet: &mut Fleet, now: f64) {
        fleet.synchronize(now);
        for pod in fleet.pods().iter().filter(|pod| pod.is_running(now)) {
            let serves = matches!(pod.phase, PodPhase::Ready | PodPhase::Terminating { .. });
            let answers = self.pages.answers(pod.id, now) && serves;
            let page = answers.then(|| {
                let (gauges, metrics) = (pod.replica.gauges(), pod.replica.metrics().clone());
                let time_per_output_token = pod.replica.time_per_output_token().clone();
                let (steps, cached_tokens) = (pod.replica.steps(), pod.replica.cached_tokens());
                let at = now;
                Rc::new(Reading {
                    at,
                    gauges,
                    metrics,
                    time_per_output_token,
                    steps,
                    cached_tokens,
                })
            });
            self.under_way.push_back((now + self.delay, pod.id, page));
        }
    }

    /// Returns the pods as they are now, with the pages that have arrived.
    pub(crate) fn look(&mut self, fleet: &Fleet, now: f64) -> &[PodSight] {
        let mut known = std::mem::take(&mut self.pods).into_iter().peekable();
        self.pods.extend(fleet.pods().iter().map(|pod| {
            while known.next_if(|before| before.id < pod.id).is_some() {}
            let before = known.next_if(|before| before.id == pod.id);
            let (reading, has_failed) =
                before.map_or((None, false), |before| (before.reading, before.has_failed));
            PodSight { reading, has_failed, ..PodSight::of(pod, now) }
        }));
        while let Some((_, id, page)) = self.under_way.pop_front_if(|(at, ..)| *at <= now) {
            let Ok(place) = self.pods.binary_search_by_key(&id, |pod| pod.id) else { continue };
            self.pods[place].has_failed = page.is_none();
            if page.is_some() {
                self.pods[place].reading = page;
            }
        }
        &self.pods
    }
}

impl PodSight {
    fn of(pod: &Pod, now: f64) -> Self {
        Self {
            id: pod.id,
            created_at: pod.created_at,
            is_scheduled: pod.scheduled_at.is_some(),
            is_running: pod.is_running(now),
            is_ready: pod.phase == PodPhase::Ready,
            is_terminating: pod.is_terminating(),
            is_closed: pod.closed,
            was_ready: pod.was_ready,
            unready_since: pod.unready_since,
            restarts: pod.restarts,
            reading: None,
            has_failed: false,
        }
    }
}
