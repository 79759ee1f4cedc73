//! Pods, targets, autoscalers and load that come and go.

use std::{collections::HashMap, convert::Infallible, ops::Range, time::Duration};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use llm_autoscaler_e2e::fleets::Fleets;
use llm_autoscaler_testbed::{EnginePage, PageServer};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

/// The number of pods of one target.
const TARGET: usize = 100;
/// The time between two replacements.
pub(crate) const EVERY: Duration = Duration::from_mins(1);
/// The share of pods and of autoscalers that are replaced each time.
const SHARE: usize = 10;
/// The scrape interval in seconds.
pub(crate) const INTERVAL: u64 = 10;
/// The number of requests to the API server that are under way at once.
const AT_ONCE: usize = 8;
/// The number of replicas by which a busy target grows.
const GROWTH: usize = 10;

/// Targets of a hundred pods, each with an autoscaler.
pub(crate) struct Churn<'a> {
    fleets: Fleets<'a>,
    server: PageServer,
    pods: usize,
    /// The names of the autoscalers by the numbers of their targets.
    autoscalers: HashMap<usize, String>,
    /// The number of the oldest pod. Pods are replaced in the order of their numbers.
    oldest: usize,
    /// The number of replacements so far.
    pub(crate) rounds: usize,
}

impl<'a> Churn<'a> {
    /// Creates the targets, their autoscalers and their pods.
    pub(crate) async fn begin(fleets: Fleets<'a>, server: PageServer, pods: usize) -> Result<Self> {
        let autoscalers = HashMap::new();
        let mut churn = Self { fleets, server, pods, autoscalers, oldest: 0, rounds: 0 };
        for target in 0..churn.targets() {
            churn.create_target(target).await?;
        }
        churn.create_pods(0..pods).await?;
        Ok(churn)
    }

    /// Returns the number of targets.
    pub(crate) fn targets(&self) -> usize {
        self.pods.div_ceil(TARGET)
    }

    /// Returns the number of pods that are replaced each time.
    pub(crate) fn replaced(&self) -> usize {
        self.pods.div_ceil(SHARE)
    }

    /// Returns the number of targets that are replaced each time, with their autoscalers.
    pub(crate) fn replaced_targets(&self) -> usize {
        self.targets().div_ceil(SHARE)
    }

    /// Replaces a tenth at every interval, until it fails.
    pub(crate) async fn run(&mut self) -> Result<Infallible> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.replace().await?;
        }
    }

    /// Replaces a tenth of the pods and of the targets with their autoscalers, and changes the
    /// load, by which the targets grow and shrink.
    async fn replace(&mut self) -> Result<()> {
        self.server.set(&page(self.rounds.is_multiple_of(2)));
        let count = self.replaced_targets();
        let first = self.rounds * count;
        let replaced: Vec<usize> =
            (first..first + count).map(|number| number % self.targets()).collect();
        for target in &replaced {
            self.delete_target(*target).await?;
        }
        let (oldest, tenth) = (self.oldest, self.replaced());
        self.delete_pods(oldest..oldest + tenth).await?;
        self.create_pods(oldest + self.pods..oldest + self.pods + tenth).await?;
        self.oldest += tenth;
        self.rounds += 1;
        for target in replaced {
            self.create_target(target).await?;
        }
        Ok(())
    }

    /// Creates a target and an autoscaler with a name that has not been used before.
    async fn create_target(&mut self, target: usize) -> Result<()> {
        let fleet = fleet(target);
        let size = self.pods / self.targets();
        let autoscaler = format!("{fleet}-{}", self.rounds);
        let spec = json!({
            "minReplicas": size,
            "maxReplicas": size + GROWTH,
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": "12"},
            }],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        });
        self.fleets.create(&fleet, size).await?;
        self.fleets.autoscaler(&autoscaler, &fleet, INTERVAL, spec).await?;
        self.autoscalers.insert(target, autoscaler);
        Ok(())
    }

    async fn delete_target(&mut self, target: usize) -> Result<()> {
        if let Some(autoscaler) = self.autoscalers.remove(&target) {
            self.fleets.delete_autoscaler(&autoscaler).await?;
        }
        self.fleets.delete(&fleet(target)).await
    }

    async fn create_pods(&self, numbers: Range<usize>) -> Result<()> {
        let create = |number: usize| async move {
            // Addresses are used again, by the second next pod at the earliest.
            let address = (number % (2 * self.pods)) as u32;
            let fleet = fleet(number % self.targets());
            self.fleets.create_pod(&pod(number), &fleet, address).await
        };
        let all = stream::iter(numbers).map(create).buffer_unordered(AT_ONCE);
        all.try_collect::<Vec<()>>().await.map(drop)
    }

    async fn delete_pods(&self, numbers: Range<usize>) -> Result<()> {
        let delete = |number: usize| async move { self.fleets.delete_pod(&pod(number)).await };
        let all = stream::iter(numbers).map(delete).buffer_unordered(AT_ONCE);
        all.try_collect::<Vec<()>>().await.map(drop)
    }
}

/// Returns the page of all pods: twice the target's requests in flight, or next to none.
pub(crate) fn page(is_busy: bool) -> String {
    if is_busy { EnginePage::Vllm.page(14, 10) } else { EnginePage::Vllm.page(1, 0) }
}

fn fleet(target: usize) -> String {
    format!("fleet-{target}")
}

fn pod(number: usize) -> String {
    format!("pod-{number}")
}
