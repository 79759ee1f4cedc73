//! Events, every one of them a constructor.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason};
use tracing::warn;

/// Who reports, in the column `From` of `kubectl describe`.
const REPORTER: &str = "llm-autoscaler";

/// Publishes events about autoscalers.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter { controller: REPORTER.into(), instance: None }))
    }

    /// Publishes; an event that cannot be written is logged, never an obstacle.
    pub async fn publish(&self, about: &LLMAutoscaler, event: Event) {
        if let Err(error) = self.0.publish(&event, &about.object_ref(&())).await {
            warn!(%error, reason = event.reason, "an event could not be written");
        }
    }
}

/// The target has a new size. The action tells sizes apart: the recorder takes events of the same action for
/// repetitions, and repeats the first one's note.
pub fn rescaled(from: i32, to: i32, note: String) -> Event {
    event(EventType::Normal, Reason::SuccessfulRescale, format!("Scale{from}To{to}"), note)
}

/// Something is wrong, by the HPA's reason for it.
pub fn problem(reason: Reason, action: &str, note: String) -> Event {
    event(EventType::Warning, reason, action.to_owned(), note)
}

/// The same about one of several roles, which is no repetition of the same about another.
pub fn of_role(event: Event, role: &str) -> Event {
    let action = format!("{}:{role}", event.action);
    let note = event.note.map(|note| cut(format!("{role}: {note}")));
    Event { action, note, ..event }
}

/// The API server takes notes of up to 1024 bytes.
fn cut(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(1024));
    note
}

fn event(type_: EventType, reason: Reason, action: String, note: String) -> Event {
    Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(cut(note)),
        action,
        secondary: None,
    }
}
