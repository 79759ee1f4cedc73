//! The events, each with a constructor.

use kube::{
    Client, Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use llm_autoscaler_api::{LLMAutoscaler, conditions::Reason, messages::EventMessage};
use tracing::{debug, warn};

use crate::{
    kube_api::{CallError, writes::Writes},
    lease::Leases,
    supervise::Supervisor,
    telemetry::WriteKind,
};

/// The name in the column `From` of `kubectl describe`.
const REPORTER: &str = "llm-autoscaler";
/// The longest note that the API server accepts, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Publishes events about autoscalers.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
    writes: Writes,
    leases: Leases,
    /// Spawns the writes of events.
    pub(super) supervisor: Supervisor,
}

impl Events {
    /// Creates a publisher that uses this client.
    pub(crate) fn new(
        (client, writes, leases, supervisor): (Client, Writes, Leases, Supervisor),
    ) -> Self {
        let reporter = Reporter { controller: REPORTER.into(), instance: None };
        Self { recorder: Recorder::new(client, reporter), writes, leases, supervisor }
    }

    /// Publishes an event. A failure is logged and never stops the caller. What this copy of the
    /// operator may not tell any more, another one does.
    pub(crate) async fn publish(&self, about: &LLMAutoscaler, event: Event) {
        let permit = self.leases.permit(&about.namespace().unwrap_or_default());
        let object = about.object_ref(&());
        match self
            .writes
            .send(WriteKind::Event, &permit, self.recorder.publish(&event, &object))
            .await
        {
            Ok(()) => {}
            Err(CallError::NoPermit) => debug!(reason = event.reason, "an event is left out"),
            Err(error) => warn!(%error, reason = event.reason, "an event could not be written"),
        }
    }
}

/// Returns the event of a new size. The action contains both sizes, because the recorder takes
/// events with the same action for repetitions, and then repeats the note of the first one.
pub(crate) fn rescaled(from: i32, to: i32, note: String) -> Event {
    event(EventType::Normal, Reason::SuccessfulRescale, resize(from, to), note)
}

/// Returns the event of a scale-down that removed these replicas at their deadline, before they had
/// answered all requests.
pub(crate) fn drain_deadline_exceeded(from: i32, to: i32, names: &[&str]) -> Event {
    let note = format!("Removed before their requests were answered: {}", names.join(", "));
    event(EventType::Warning, Reason::DrainDeadlineExceeded, resize(from, to), note)
}

/// Returns the event about another writer that changes the size again and again.
pub(crate) fn size_contested(note: String) -> Event {
    event(EventType::Warning, Reason::ReplicasContested, "Contest".to_owned(), note)
}

/// Returns the event about another writer that sets the same size again and again over days.
pub(crate) fn size_set_again(note: String) -> Event {
    event(EventType::Warning, Reason::SizeSetAgain, "Repeat".to_owned(), note)
}

/// Returns the event of a size that belongs to the operator too from now on.
pub(crate) fn size_adopted(note: String) -> Event {
    event(EventType::Normal, Reason::SizeAdopted, "Adopt".to_owned(), note)
}

/// Returns the event of a warning. Warnings with different actions are not repetitions of each
/// other.
pub(crate) fn warning(message: EventMessage, action: String) -> Event {
    event(EventType::Warning, message.reason, action, message.message)
}

/// Returns the event with the name of its role, so that it is no repetition of the same event about
/// another role.
pub(crate) fn of_role(event: Event, role: &str) -> Event {
    let action = format!("{}:{role}", event.action);
    let note = event.note.map(|note| cut(format!("{role}: {note}")));
    Event { action, note, ..event }
}

/// Returns the action of a change of size.
fn resize(from: i32, to: i32) -> String {
    format!("Scale{from}To{to}")
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

/// Cuts a note to the length that the API server accepts.
fn cut(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_LIMIT));
    note
}
