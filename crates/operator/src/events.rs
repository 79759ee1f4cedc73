//! Events, every one of them a constructor.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use llm_autoscaler_api::LLMAutoscaler;
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
    event(EventType::Normal, "SuccessfulRescale", format!("Scale{from}To{to}"), note)
}

/// Something is wrong, by the HPA's reason for it.
pub fn problem(reason: &'static str, action: &str, note: String) -> Event {
    event(EventType::Warning, reason, action.to_owned(), note)
}

/// The API server takes notes of up to 1024 bytes.
fn event(type_: EventType, reason: &str, action: String, mut note: String) -> Event {
    note.truncate(note.floor_char_boundary(1024));
    Event { type_, reason: reason.to_owned(), note: Some(note), action, secondary: None }
}
