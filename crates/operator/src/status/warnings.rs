//! The HPA's warnings as events: once per change instead of once per reconcile, and never in the way.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::events::Event;
use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason, messages::EventMessage};
use tracing::warn;

use crate::{status::events, status::events::Events, status::write_limiter::Lane};

/// A warning whose text changes is said again no more often than this.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How long the API server may take over an event.
const DEADLINE: Duration = Duration::from_secs(10);

/// Says what changed about one autoscaler.
pub struct Announcer {
    events: Events,
    lane: Lane,
    said: HashMap<Key, (String, Instant)>,
}

/// A warning of one step.
pub struct Warning {
    /// The role that it is about, where there are several.
    pub role: Option<String>,
    /// What is said.
    pub words: EventMessage,
}

/// What was said last and when is kept by role, by reason and by number among those of the same reason.
type Key = (Option<String>, Reason, usize);

impl Announcer {
    /// Nothing has been said yet.
    pub fn new(events: Events, lane: Lane) -> Self {
        Self { events, lane, said: HashMap::new() }
    }

    /// Says those warnings of a step that are new; those that are over may be said again when they return.
    pub fn warn(&mut self, about: &Arc<LLMAutoscaler>, warnings: Vec<Warning>) {
        let mut counts: HashMap<(Option<String>, Reason), usize> = HashMap::new();
        let mut now = HashMap::with_capacity(warnings.len());
        for Warning { role, words: EventMessage { reason, message, .. } } in warnings {
            let count = counts.entry((role.clone(), reason)).or_default();
            let key = (role.clone(), reason, *count);
            *count += 1;
            let before = self.said.remove(&key);
            let still =
                |(text, at): &(String, Instant)| *text == message || at.elapsed() < AGAIN_AFTER;
            let said = before.filter(still).unwrap_or_else(|| {
                warn!(
                    namespace = about.metadata.namespace,
                    name = about.metadata.name,
                    role,
                    reason = reason.as_str(),
                    message
                );
                let event = events::problem(reason, &format!("{reason}{}", key.2), message.clone());
                let event = match &role {
                    Some(role) => events::of_role(event, role),
                    None => event,
                };
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
