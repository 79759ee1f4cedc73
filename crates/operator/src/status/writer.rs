//! Writes status, and only if it differs enough from the last one.
//!
//! Sizes, and conditions that begin or cease to hold, are written at once, but at most every
//! second; reasons and rules at most every 5 s; values that merely drift at most every 15 s. A tick
//! that changes nothing writes nothing.
//!
//! A task writes, and steps never wait for it: a webhook or an etcd that makes writes of a status
//! slow delays no size. What has become old while a write was under way is never written. The task
//! ends once nothing is left to be written, since few of thousands of autoscalers have a write.
//!
//! A write names the version of the object that this copy of the operator has last seen. One that
//! comes late, after another copy has taken over and written, is refused; one that is refused
//! because a user has changed the object is repeated as soon as the watch shows the change.

mod parts;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::TimeDelta;
use kube::{Api, Client, ResourceExt, api::Patch};
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, bill, managers,
    memory::{self, MEMORY_BUDGET},
};
use llm_autoscaler_core::Monotonic;
use serde_json::json;
use tokio::{sync::Notify, task::AbortHandle};
use tracing::{debug, warn};

use self::parts::{Written, bill_until, reasons, urgent, values};
use super::write_limiter::WriteLimiter;
use crate::{
    clock::Clock,
    kube_api::{CallError, apply_as, is_older, writes::Writes},
    lease::Leases,
    lock::lock,
    schema::InstalledSchema,
    supervise::Supervisor,
    telemetry::{Telemetry, WriteKind},
};

/// The task's name in the operator's metrics.
const NAME: &str = "status";
/// The shortest time between two writes.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two writes for reasons and rules that change, because these may change
/// with every sample.
const REASONS_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two writes for values that drift.
const VALUES_EVERY: Duration = Duration::from_secs(15);
/// The longest time between two writes while the bill is all that changes.
const BILL_EVERY: TimeDelta = TimeDelta::seconds(bill::WRITTEN_EVERY_SECONDS);
/// The longest time for which a write that was refused as outdated waits for the watch.
const CHANGE_SEEN_WITHIN: Duration = Duration::from_secs(5);

/// The handles that the writers of all autoscalers share.
pub(crate) struct StatusClient {
    /// The client of the API server.
    pub client: Client,
    /// The clock.
    pub clock: Clock,
    /// The operator's own metrics.
    pub telemetry: Telemetry,
    /// The limit for writes that only report.
    pub limiter: WriteLimiter,
    /// Sends the writes.
    pub writes: Writes,
    /// Permits them.
    pub leases: Leases,
    /// The fields that the API server takes.
    pub schema: InstalledSchema,
    /// Spawns the tasks that write.
    pub supervisor: Supervisor,
}

/// Writes one autoscaler's status.
pub(crate) struct StatusWriter {
    /// The status as it should be now.
    status: LLMAutoscalerStatus,
    writes: Arc<StatusWrites>,
    /// The latest task that wrote.
    task: Option<AbortHandle>,
}

/// A status that is to be written.
struct Wanted {
    name: String,
    uid: Option<String>,
    status: LLMAutoscalerStatus,
}

/// The record of what has been written.
struct Ledger {
    /// The status that the API server has, as far as is known.
    written: Written,
    /// The beginning of the latest write.
    written_at: Option<Monotonic>,
    has_failed: bool,
    /// The latest status that is to be written.
    wanted: Option<Arc<Wanted>>,
    /// True while a task writes.
    is_writing: bool,
}

/// The time at which a status is to be written.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is not different enough.
    No,
    /// After this time.
    In(Duration),
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl StatusWriter {
    /// Begins with the status that the object has.
    pub(crate) fn new(client: &Arc<StatusClient>, object: &LLMAutoscaler) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let writes = StatusWrites {
            namespace: object.namespace().unwrap_or_default(),
            client: client.clone(),
            ledger: Mutex::new(Ledger::new(&status)),
            version: Version::of(object),
        };
        Self { status, writes: Arc::new(writes), task: None }
    }

    /// Takes note of the version of the object that the watch has shown.
    pub(crate) fn observe_version(&self, object: &LLMAutoscaler) {
        self.writes.version.observe(object.resource_version());
    }

    /// Returns the status as it should be now.
    pub(crate) fn status(&self) -> &LLMAutoscalerStatus {
        &self.status
    }

    /// Takes over a status. If it differs enough from the last one, it is written in the
    /// background.
    pub(crate) fn write(&mut self, object: &LLMAutoscaler, mut status: LLMAutoscalerStatus) {
        // Both are kept: the status, and the memory of a task for as long as it has a handle.
        status.conditions.shrink_to_fit();
        self.task.take_if(|task| task.is_finished());
        let mut ledger = lock(&self.writes.ledger);
        if ledger.due(&status, self.writes.client.clock.monotonic()) != Due::No {
            ledger.wanted = Some(Arc::new(Wanted::new(object, status.clone())));
            if !std::mem::replace(&mut ledger.is_writing, true) {
                let (supervisor, writes) = (&self.writes.client.supervisor, self.writes.clone());
                self.task = Some(supervisor.spawn(NAME, writes.run()));
            }
        }
        drop(ledger);
        self.status = status;
    }
}

/// Writes a status once, whatever the version of the object is by now, and waits for that. Returns
/// whether it was written.
pub(crate) async fn write_once(
    client: &Arc<StatusClient>,
    object: &LLMAutoscaler,
    status: LLMAutoscalerStatus,
) -> bool {
    let namespace = object.namespace().unwrap_or_default();
    let writes = StatusWrites {
        namespace,
        client: client.clone(),
        ledger: Mutex::new(Ledger::new(&LLMAutoscalerStatus::default())),
        version: Version::default(),
    };
    writes.write(&Wanted::new(object, status)).await;
    let has_failed = lock(&writes.ledger).has_failed;
    !has_failed
}

impl Wanted {
    fn new(object: &LLMAutoscaler, status: LLMAutoscalerStatus) -> Self {
        Self { name: object.name_any(), uid: object.uid(), status }
    }

    /// Returns the status with no more memory than the budget allows.
    fn within_budget(&self) -> LLMAutoscalerStatus {
        // It belongs to the copy of the operator that gets a call.
        let mut status = LLMAutoscalerStatus { last_wake_time: None, ..self.status.clone() };
        let bytes = memory::size(&status.targets);
        if bytes > MEMORY_BUDGET {
            let name = &self.name;
            debug!(name, bytes, budget = MEMORY_BUDGET, "the memory in the status is cut");
        }
        memory::fit(&mut status.targets, MEMORY_BUDGET);
        status
    }
}

impl Ledger {
    fn new(written: &LLMAutoscalerStatus) -> Self {
        let written = Written::new(written);
        Self { written, written_at: None, has_failed: false, wanted: None, is_writing: false }
    }

    fn due(&self, status: &LLMAutoscalerStatus, now: Monotonic) -> Due {
        let written = &self.written;
        if written.urgent != urgent(status) {
            let every = if self.has_failed { REASONS_EVERY } else { EVERY };
            let rested = self.written_at.map_or(every, |at| now.since(at));
            return Due::In(every.saturating_sub(rested));
        }
        let is_due = self.rested(REASONS_EVERY, now) && written.reasons != reasons(status)
            || self.rested(VALUES_EVERY, now)
                && (written.values != values(status) || is_bill_old(written, status));
        if is_due { Due::In(Duration::ZERO) } else { Due::No }
    }

    /// Returns whether the last write is at least so long ago.
    fn rested(&self, time: Duration, now: Monotonic) -> bool {
        self.written_at.is_none_or(|at| now.since(at) >= time)
    }
}

/// Returns whether the bill that was written is too old to be that of a quiet autoscaler.
fn is_bill_old(written: &Written, status: &LLMAutoscalerStatus) -> bool {
    match (written.bill_until, bill_until(status)) {
        (Some(written), Some(until)) => until - written >= BILL_EVERY,
        (written, until) => written.is_none() && until.is_some(),
    }
}

/// The latest version of an object that is known.
#[derive(Default)]
struct Version {
    latest: Mutex<Option<String>>,
    /// Notified when another one is known.
    changed: Notify,
}

impl Version {
    fn of(object: &LLMAutoscaler) -> Self {
        Self { latest: Mutex::new(object.resource_version()), changed: Notify::new() }
    }

    /// Takes over a version, unless it is an older one: the watch shows one's own writes late.
    fn observe(&self, version: Option<String>) {
        let Some(version) = version else { return };
        let mut latest = lock(&self.latest);
        if latest.as_ref().is_none_or(|known| *known != version && !is_older(&version, known)) {
            *latest = Some(version);
            self.changed.notify_waiters();
        }
    }

    fn latest(&self) -> Option<String> {
        lock(&self.latest).clone()
    }

    /// Waits for another version than this one.
    async fn changed_from(&self, version: Option<&String>) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // A change from here on is noticed.
            changed.as_mut().enable();
            if self.latest().as_ref() != version {
                return;
            }
            changed.await;
        }
    }
}

/// The writes of one autoscaler's status, one after the other.
struct StatusWrites {
    namespace: String,
    client: Arc<StatusClient>,
    ledger: Mutex<Ledger>,
    version: Version,
}

impl StatusWrites {
    /// Writes the latest status whenever it is due, until nothing is to be written. After a panic a
    /// later step begins again.
    async fn run(self: Arc<Self>) {
        // In a box, so that the supervision costs no memory of the size of its own.
        let written = self.client.supervisor.attempt(NAME, Box::pin(self.write_wanted())).await;
        if written.is_err() {
            let mut ledger = lock(&self.ledger);
            (ledger.wanted, ledger.is_writing, ledger.has_failed) = (None, false, true);
        }
    }

    async fn write_wanted(&self) {
        while let Some(latest) = self.next_wanted() {
            let due = lock(&self.ledger).due(&latest.status, self.client.clock.monotonic());
            match due {
                Due::No => self.forget(&latest),
                Due::In(Duration::ZERO) => {
                    let version = self.version.latest();
                    if self.write(&latest).await == Outcome::Outdated {
                        let changed = self.version.changed_from(version.as_ref());
                        let _ = tokio::time::timeout(CHANGE_SEEN_WITHIN, changed).await;
                    } else {
                        self.forget(&latest);
                    }
                }
                // While it waits, a later one may come.
                Due::In(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Returns the latest status that is to be written. If there is none, nothing writes any more.
    fn next_wanted(&self) -> Option<Arc<Wanted>> {
        let mut ledger = lock(&self.ledger);
        ledger.is_writing = ledger.wanted.is_some();
        ledger.wanted.clone()
    }

    /// Removes a status that was to be written, unless a later one has come.
    fn forget(&self, done: &Arc<Wanted>) {
        let mut ledger = lock(&self.ledger);
        ledger.wanted.take_if(|wanted| Arc::ptr_eq(wanted, done));
    }

    async fn write(&self, wanted: &Wanted) -> Outcome {
        self.client.schema.looked().await;
        let _turn = self.client.limiter.enter(&self.namespace).await;
        // In a box, so that a status that waits for its turn has no memory of a call.
        Box::pin(self.send(wanted)).await
    }

    /// Sends a status, in its turn.
    async fn send(&self, wanted: &Wanted) -> Outcome {
        // With the UID, a status never reaches another object of the same name.
        let mut metadata = json!({"name": wanted.name, "uid": wanted.uid});
        if let Some(version) = self.version.latest() {
            metadata["resourceVersion"] = json!(version);
        }
        let patch = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": metadata,
            "status": self.client.schema.accepted(&wanted.within_budget()),
        });
        let (params, patch) = (apply_as(managers::STATUS), Patch::Apply(patch));
        lock(&self.ledger).written_at = Some(self.client.clock.monotonic());
        let api = Api::<LLMAutoscaler>::namespaced(self.client.client.clone(), &self.namespace);
        let call = api.patch_status(&wanted.name, &params, &patch);
        let permit = self.client.leases.permit(&self.namespace);
        let result = self.client.writes.send(WriteKind::Status, &permit, call).await;
        self.record(wanted, result)
    }

    fn record(&self, wanted: &Wanted, result: Result<LLMAutoscaler, CallError>) -> Outcome {
        let (namespace, name, telemetry) = (&self.namespace, &wanted.name, &self.client.telemetry);
        let mut ledger = lock(&self.ledger);
        ledger.has_failed = result.is_err();
        match result {
            Ok(object) => {
                telemetry.record_status_write("ok");
                ledger.written = Written::new(&wanted.status);
                self.version.observe(object.resource_version());
                Outcome::Done
            }
            Err(error) if error.is_conflict() => {
                telemetry.record_status_write("conflict");
                ledger.has_failed = false;
                debug!(namespace, name, "the object was changed while its status was written");
                Outcome::Outdated
            }
            Err(error) => {
                telemetry.record_status_write("error");
                self.client.schema.note_refusal(&error);
                warn!(namespace, name, %error, "the status could not be written; a later step will");
                Outcome::Done
            }
        }
    }
}

/// The result of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was taken, or has failed.
    Done,
    /// The object has been changed since the version that the write names.
    Outdated,
}

#[cfg(test)]
mod tests;
