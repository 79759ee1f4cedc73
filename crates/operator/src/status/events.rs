//! The events, each with a constructor.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason};
use tracing::warn;

/// The name in the column `From` of `kubectl describe`.
const REPORTER: &str = "llm-autoscaler";

/// Publishes events about autoscalers.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Creates a publisher that uses this client.
    pub fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter { controller: REPORTER.into(), instance: None }))
    }

    /// Publishes an event. A failure is logged and never stops the caller.
    pub async fn publish(&self, about: &LLMAutoscaler, event: Event) {
        if let Err(error) = self.0.publish(&event, &about.object_ref(&())).await {
            warn!(%error, reason = event.reason, "an event could not be written");
        }
    }
}

/// Returns the event of a new size. The action contains both sizes, because the recorder takes
/// events with the same action for repetitions, and then repeats the note of the first one.
pub fn rescaled(from: i32, to: i32, note: String) -> Event {
    event(EventType::Normal, Reason::SuccessfulRescale, format!("Scale{from}To{to}"), note)
}

/// Returns a warning, with the HPA's reason where the HPA has one.
pub fn problem(reason: Reason, action: &str, note: String) -> Event {
    event(EventType::Warning, reason, action.to_owned(), note)
}

/// Returns the event with the name of its role, so that it is no repetition of the same event about
/// another role.
pub fn of_role(event: Event, role: &str) -> Event {
    let action = format!("{}:{role}", event.action);
    let note = event.note.map(|note| cut(format!("{role}: {note}")));
    Event { action, note, ..event }
}

/// Cuts a note to the 1024 bytes that the API server accepts.
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
