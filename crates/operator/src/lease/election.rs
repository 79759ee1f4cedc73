//! The elections of all buckets: the machines, driven by the clock and the API server.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use llm_autoscaler_core::Monotonic;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    kube_api::{CallError, WritePermit},
    lease::{
        board::{Board, Change},
        calls,
        config::LeaseConfig,
        elector::Elector,
        steps::{Answer, Call, Request, Settings, Step},
        watching::Watching,
    },
    lock::lock,
    telemetry::{Telemetry, WriteKind},
};

/// The time between two comparisons of the clocks.
const GUARD: Duration = Duration::from_millis(250);
/// The time for giving up all Leases.
const RELEASE: Duration = Duration::from_secs(2);

/// The elections of all buckets.
pub(super) struct Election {
    slots: Vec<Slot>,
    api: Api<Lease>,
    board: Mutex<Board>,
    held: watch::Sender<Arc<[bool]>>,
    is_ending: watch::Sender<bool>,
    clock: Clock,
    telemetry: Telemetry,
    identity: String,
}

/// The election for one Lease.
struct Slot {
    name: String,
    /// Locked by whatever drives it: the election, and after its end the release.
    elector: tokio::sync::Mutex<Elector>,
    watching: Watching,
    /// The latest problem that was logged.
    problem: Mutex<Option<String>>,
}

impl Election {
    /// Begins with buckets that others may hold.
    pub(super) fn new(
        client: Client,
        config: &LeaseConfig,
        clock: Clock,
        telemetry: Telemetry,
    ) -> Self {
        let slot = |bucket: usize| Slot {
            name: match bucket {
                0 => config.name.clone(),
                _ => format!("{}-{bucket}", config.name),
            },
            elector: tokio::sync::Mutex::new(Elector::new(Settings {
                me: config.identity.clone(),
                duration: config.duration,
                buckets: config.buckets,
                is_anchor: bucket == 0,
            })),
            watching: Watching::default(),
            problem: Mutex::default(),
        };
        telemetry.set_leases_held(0);
        Self {
            slots: (0..config.buckets).map(slot).collect(),
            api: Api::namespaced(client, &config.namespace),
            board: Mutex::new(Board::new(config.identity.clone(), config.buckets, config.duration)),
            held: watch::Sender::new(vec![false; config.buckets].into()),
            is_ending: watch::Sender::new(false),
            clock,
            telemetry,
            identity: config.identity.clone(),
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn permit(&self, bucket: usize) -> WritePermit {
        lock(&self.board).permit(bucket)
    }

    pub(super) fn holds(&self, bucket: usize) -> bool {
        self.refresh();
        lock(&self.board).left(bucket, self.clock.readings()).is_some()
    }

    pub(super) fn holder(&self, bucket: usize) -> Option<String> {
        lock(&self.board).holder(bucket).map(str::to_owned)
    }

    pub(super) fn renewed_by_another(&self, bucket: usize) -> Option<Monotonic> {
        lock(&self.board).renewed_by_another(bucket, self.clock.readings())
    }

    pub(super) fn changes(&self) -> watch::Receiver<Arc<[bool]>> {
        self.held.subscribe()
    }

    /// Runs the elections until the copy is to end.
    pub(super) async fn run(&self) {
        info!(identity = self.identity, buckets = self.slots.len(), "takes part in the election");
        let guard = async {
            loop {
                tokio::time::sleep(GUARD).await;
                self.refresh();
            }
        };
        let elections = join_all((0..self.slots.len()).map(|bucket| self.elect(bucket)));
        let watches = join_all(
            self.slots.iter().map(|slot| slot.watching.follow(&self.api, &slot.name, self.clock)),
        );
        let mut is_ending = self.is_ending.subscribe();
        tokio::select! {
            _ = is_ending.wait_for(|is_ending| *is_ending) => {}
            _ = async { tokio::join!(elections, watches, guard) } => {}
        }
    }

    /// Ends all permits for good.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
        let mut board = lock(&self.board);
        let changes = board.close(self.clock.readings());
        self.tell(&board, &changes, "released");
    }

    /// Gives up all Leases that are held. A call that is in flight is dropped, and the Lease read
    /// back before it is written.
    pub(super) async fn release(&self) {
        self.end();
        let releases = join_all((0..self.slots.len()).map(|bucket| async move {
            let mut elector = self.slots[bucket].elector.lock().await;
            elector.release();
            while self.turn(bucket, &mut elector).await {}
        }));
        if tokio::time::timeout(RELEASE, releases).await.is_err() {
            warn!(
                seconds = RELEASE.as_secs(),
                "not all Leases could be released in time; other copies wait until they run out"
            );
        }
    }

    async fn elect(&self, bucket: usize) {
        let mut elector = self.slots[bucket].elector.lock().await;
        while self.turn(bucket, &mut elector).await {}
    }

    /// Does the next thing of an election. Returns false if there is none any more.
    async fn turn(&self, bucket: usize, elector: &mut Elector) -> bool {
        let Some(slot) = self.slots.get(bucket) else { return false };
        match self.step(bucket, slot, elector) {
            Step::Done => return false,
            Step::Wait(wait) => {
                let known = elector.record().map(|record| record.version.clone());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = slot.watching.changed(known.as_deref()) => elector.nudge(),
                }
            }
            Step::Call(request) => self.call(bucket, slot, elector, &request).await,
        }
        true
    }

    fn step(&self, bucket: usize, slot: &Slot, elector: &mut Elector) -> Step {
        let (mut board, now) = (lock(&self.board), self.clock.readings());
        let around = board.surroundings(bucket, slot.watching.works(), now);
        let step = board.step(bucket, elector, around, now);
        let changes = board.refresh(now);
        self.tell(&board, &changes, "lost");
        if step.is_wish_of(&self.identity) {
            let holder = board.holder(bucket);
            info!(lease = slot.name, holder, "wishes for a Lease of a copy that holds more");
        }
        step
    }

    async fn call(&self, bucket: usize, slot: &Slot, elector: &mut Elector, request: &Request) {
        let version = |elector: &Elector| elector.record().map(|record| record.version.clone());
        let (before, is_told) = (version(elector), elector.is_nudged());
        let sent = self.clock.monotonic();
        let (answer, error) = calls::make(&self.api, &slot.name, request).await;
        self.count(request, &answer, sent);
        elector.answer(request, answer, self.clock.readings());
        let is_look = before.is_some() && matches!(request.call, Call::Get);
        if is_look && !is_told && version(elector) != before {
            slot.watching.record_behind();
        }
        slot.log(error.as_ref(), elector.other_layout());
        if lock(&self.board).record(bucket, elector, self.clock.readings()) {
            self.slots.iter().skip(1).for_each(|slot| slot.watching.wake());
        }
        self.refresh();
    }

    /// Counts a call that changes the Lease.
    fn count(&self, request: &Request, answer: &Answer, sent: Monotonic) {
        let result = match answer {
            _ if matches!(request.call, Call::Get) => return,
            Answer::Found(_) => "ok",
            Answer::Conflict => "conflict",
            Answer::Absent | Answer::Refused(_) => "refused",
            Answer::Unknown(_) => "error",
        };
        let duration = self.clock.monotonic().since(sent);
        self.telemetry.record_write(WriteKind::Lease, result, duration);
    }

    fn refresh(&self) {
        let mut board = lock(&self.board);
        let changes = board.refresh(self.clock.readings());
        self.tell(&board, &changes, "lost");
    }

    /// Tells of the buckets that were won or lost. The lock of the board is held meanwhile, so that
    /// the latest word is the last one.
    fn tell(&self, board: &Board, changes: &[Change], loss: &'static str) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            let lease = self.slots.get(change.bucket).map(|slot| &slot.name);
            let result = match change {
                Change { is_held: true, .. } => "acquired",
                Change { is_given: true, .. } => "released",
                _ => loss,
            };
            let heir = board.wanted_by(change.bucket).filter(|_| change.is_given);
            info!(lease, result, to = heir, "a Lease has changed hands");
            self.telemetry.record_lease_transition(result);
        }
        let held = board.held();
        self.telemetry.set_leases_held(held.iter().filter(|held| **held).count());
        self.held.send_replace(held.into());
    }
}

impl Slot {
    /// Logs a problem when it appears, changes or is gone.
    fn log(&self, error: Option<&CallError>, other_layout: Option<usize>) {
        let other = |buckets| {
            format!(
                "its holder divides the namespaces into {buckets} buckets, and this copy into \
                 another number: it holds nothing until that one has ended"
            )
        };
        let text = error.map(ToString::to_string).or_else(|| other_layout.map(other));
        let mut problem = lock(&self.problem);
        if *problem == text {
            return;
        }
        if let Some(text) = &text {
            warn!(lease = self.name, problem = text, "trouble with a Lease");
        } else {
            info!(lease = self.name, "no more trouble with the Lease");
        }
        *problem = text;
    }
}

#[cfg(test)]
mod tests;
