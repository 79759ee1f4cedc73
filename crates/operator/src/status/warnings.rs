//! The HPA's warnings as events: once per change instead of once per reconcile, and never blocking
//! a step.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::events::Event;
use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason, messages::EventMessage};
use tracing::warn;

use crate::status::{events::{Events, self}, write_limiter::Lane};

/// A warning with a changed text is published no more often than this.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// The time that the API server has to accept an event.
const DEADLINE: Duration = Duration::from_secs(10);

/// Publishes the warnings of one autoscaler.
pub struct Announcer {
    events: Events,
    lane: Lane,
    said: HashMap<Key, (String, Instant)>,
}

/// A warning of one step.
pub struct Warning {
    /// The role that it is about, if there are several.
    pub role: Option<String>,
    /// The event.
    pub words: EventMessage,
}

/// The key under which the last publication of a warning is kept: the role, the reason, and the
/// number among the warnings with the same reason.
type Key = (Option<String>, Reason, usize);

impl Announcer {
    /// Creates an announcer that has published nothing.
    pub fn new(events: Events, lane: Lane) -> Self {
        Self { events, lane, said: HashMap::new() }
    }

    /// Publishes the warnings of a step that are new. A warning that has ended is published again
    /// when it returns.
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

/// Publishes an event in the background.
pub fn publish(events: &Events, lane: &Lane, about: &Arc<LLMAutoscaler>, event: Event) {
    let (events, lane, about) = (events.clone(), lane.clone(), about.clone());
    tokio::spawn(async move {
        let _turn = lane.enter().await;
        if tokio::time::timeout(DEADLINE, events.publish(&about, event)).await.is_err() {
            warn!("an event could not be written within {} s", DEADLINE.as_secs());
        }
    });
}
