//! The warnings of steps as events: once per change instead of once per step, and never blocking a
//! step.

use std::{collections::HashMap, sync::Arc, time::Duration};

use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason, messages::EventMessage};
use llm_autoscaler_core::Monotonic;
use tracing::warn;

use super::{
    event_queue::{EventKind, EventQueue},
    events,
};

/// A warning with a changed text is published no more often than this.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Publishes the warnings of one autoscaler.
pub(crate) struct Warnings {
    events: EventQueue,
    /// The warnings of the last step.
    published: HashMap<Key, Publication>,
}

/// A warning of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The role that it is about, if there are several.
    pub role: Option<String>,
    /// The event.
    pub message: EventMessage,
}

/// The identity of a warning from step to step, whatever its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    role: Option<String>,
    reason: Reason,
    /// The number among the step's warnings with the same role and reason.
    number: usize,
}

/// The last publication of a warning.
struct Publication {
    text: String,
    at: Monotonic,
}

impl Warnings {
    /// Begins with no warning published.
    pub(crate) fn new(events: EventQueue) -> Self {
        Self { events, published: HashMap::new() }
    }

    /// Publishes the warnings of a step that are new. A warning that has ended is published again
    /// when it returns.
    pub(crate) fn publish_new(
        &mut self,
        about: &Arc<LLMAutoscaler>,
        warnings: Vec<Warning>,
        now: Monotonic,
    ) {
        let mut current = HashMap::with_capacity(warnings.len());
        for (key, message) in with_keys(warnings) {
            let publication = match self.published.remove(&key) {
                Some(last) if last.stands_for(&message.message, now) => last,
                _ => {
                    let text = message.message.clone();
                    self.publish(about, &key, message);
                    Publication { text, at: now }
                }
            };
            current.insert(key, publication);
        }
        self.published = current;
    }

    fn publish(&self, about: &Arc<LLMAutoscaler>, key: &Key, message: EventMessage) {
        let Key { role, reason, number } = key;
        warn!(
            namespace = about.metadata.namespace,
            name = about.metadata.name,
            role,
            reason = reason.as_str(),
            message = message.message
        );
        let event = events::warning(message, format!("{reason}{number}"));
        let event = match role {
            Some(role) => events::of_role(event, role),
            None => event,
        };
        let (role, reason) = (role.clone(), reason.as_str().to_owned());
        self.events.publish_kind(about, EventKind { role, reason, number: *number }, event);
    }
}

impl Publication {
    /// Returns whether a warning with this text is not to be published again: the text is the same,
    /// or changes too fast.
    fn stands_for(&self, text: &str, now: Monotonic) -> bool {
        self.text == text || now.since(self.at) < AGAIN_AFTER
    }
}

/// Numbers the warnings that have the same role and reason.
fn with_keys(warnings: Vec<Warning>) -> Vec<(Key, EventMessage)> {
    let mut counts: HashMap<(Option<String>, Reason), usize> = HashMap::new();
    warnings
        .into_iter()
        .map(|Warning { role, message }| {
            let reason = message.reason;
            let count = counts.entry((role.clone(), reason)).or_default();
            let number = *count;
            *count += 1;
            (Key { role, reason, number }, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(role: Option<&str>, reason: Reason, text: &str) -> Warning {
        let message = EventMessage { warning: true, reason, message: text.to_owned() };
        Warning { role: role.map(str::to_owned), message }
    }

    #[test]
    fn warnings_of_one_reason_are_numbered_by_role() {
        let keyed = with_keys(vec![
            warning(None, Reason::FailedGetPodsMetric, "a"),
            warning(None, Reason::FailedGetPodsMetric, "b"),
            warning(None, Reason::FailedRescale, "c"),
            warning(Some("decode"), Reason::FailedGetPodsMetric, "d"),
        ]);
        let numbers: Vec<_> = keyed.iter().map(|(key, _)| key.number).collect();
        assert_eq!(numbers, [0, 1, 0, 0]);
    }

    #[test]
    fn a_changed_text_is_published_after_a_minute_and_the_same_one_never_again() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        let last = Publication { text: "refused".to_owned(), at: at(100) };
        // text, seconds, whether the last publication is enough
        let table = [
            ("refused", 100, true),
            ("refused", 900, true),
            ("no answer", 159, true),
            ("no answer", 160, false),
        ];
        for (text, seconds, expected) in table {
            assert_eq!(last.stands_for(text, at(seconds)), expected, "{text} at {seconds}");
        }
    }
}
