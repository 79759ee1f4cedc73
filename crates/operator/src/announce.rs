//! The HPA's warnings as events: once per change instead of once per reconcile, and never in the way.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::events::Event;
use llm_autoscaler_api::{LLMAutoscaler, words::EventWords};
use tracing::warn;

use crate::{
    events::{self, Events},
    lane::Lane,
};

/// A warning whose text changes is said again no more often than this.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How long the API server may take over an event.
const DEADLINE: Duration = Duration::from_secs(10);

/// Says what changed about one autoscaler.
pub struct Announcer {
    events: Events,
    lane: Lane,
    /// What was said last and when, by reason and by number among those of the same reason.
    said: HashMap<(&'static str, usize), (String, Instant)>,
}

impl Announcer {
    /// Nothing has been said yet.
    pub fn new(events: Events, lane: Lane) -> Self {
        Self { events, lane, said: HashMap::new() }
    }

    /// Says those warnings of a step that are new; those that are over may be said again when they return.
    pub fn warn(&mut self, about: &Arc<LLMAutoscaler>, warnings: Vec<EventWords>) {
        let mut counts: HashMap<&'static str, usize> = HashMap::new();
        let mut now = HashMap::with_capacity(warnings.len());
        for EventWords { reason, message, .. } in warnings {
            let count = counts.entry(reason).or_default();
            let key = (reason, *count);
            *count += 1;
            let before = self.said.remove(&key);
            let still = |(text, at): &(String, Instant)| *text == message || at.elapsed() < AGAIN_AFTER;
            let said = before.filter(still).unwrap_or_else(|| {
                warn!(namespace = about.metadata.namespace, name = about.metadata.name, reason, message);
                let event = events::problem(reason, &format!("{reason}{}", key.1), message.clone());
                publish(&self.events, &self.lane, about, event);
                (message, Instant::now())
            });
            now.insert(key, said);
        }
        self.said = now;
    }
}

/// Says something that has happened.
pub fn publish(events: &Events, lane: &Lane, about: &Arc<LLMAutoscaler>, event: Event) {
    let (events, lane, about) = (events.clone(), lane.clone(), about.clone());
    tokio::spawn(async move {
        let _turn = lane.enter().await;
        if tokio::time::timeout(DEADLINE, events.publish(&about, event)).await.is_err() {
            warn!("an event could not be written within {} s", DEADLINE.as_secs());
        }
    });
}
