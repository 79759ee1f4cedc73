//! What keeps an autoscaler's hands off its target: others to whom it belongs, others who have set its size, a pause.

use std::time::Duration;

use chrono::Utc;
use kube::ResourceExt;
use llm_autoscaler_api::{conditions::Reason, selector};
use llm_autoscaler_core::Decision;
use tracing::{debug, info};

use crate::{ownership::{claims::Standing, manual_changes::{Change, Meaning, Sizes}, write_block::Restraint}, scale::{client::{ScaleView, TargetError}, metadata::{Author, self}}, status::{events, report::{Refusal, self}}};
use crate::reconcile::autoscaler::{Failed, role::Role};

/// How long older autoscalers are waited for that have not looked for their target yet.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

impl Role {
    /// Whether the scale has to be read before anything is decided: the last attempt failed, or the target is somebody else's by now.
    pub(super) fn is_outdated(&self) -> bool {
        self.target.as_ref().is_none_or(|target| target.unread)
            || self.holding.standing() != Standing::Owner
    }

    /// Claims the target that was found, and ends the step if it is not ours.
    pub(super) async fn claim(&mut self, view: &ScaleView) -> Result<(), Failed> {
        let selector = Some(&view.selector).filter(|selector| !selector.is_empty());
        self.holding
            .target(&view.uid, selector.and_then(|selector| selector::parse(selector).ok()));
        let reference = self.reference();
        match tokio::time::timeout(SETTLED_WITHIN, self.holding.settled()).await {
            Ok(Standing::Owner) => match self.driven(view).await {
                None => Ok(()),
                Some(refusal) => Err(self.refuse(view, refusal)),
            },
            Ok(Standing::TakenBy(owner)) => {
                Err(self.refuse(view, Refusal::taken(&reference, &owner)))
            }
            Ok(Standing::Unsettled) | Err(_) => Err(Failed),
        }
    }

    /// Finds out who has changed the size, if anybody has since it was last seen or written.
    pub(super) async fn notice_change(&mut self, view: &ScaleView) {
        let current = view.scale.current;
        if self.sizes.uid != view.uid {
            self.sizes = Sizes::restored(&view.uid, &self.status.targets);
        }
        if !self.sizes.differs(current) {
            return;
        }
        let author = self.author(view).await;
        match self.sizes.changed(current, author, Utc::now()) {
            Meaning::Ours => {}
            Meaning::Changed(change) => self.changed_by_others(&change),
            Meaning::Contested(change) => {
                self.changed_by_others(&change);
                let note = report::contested(&self.reference(), &change);
                self.publish(events::problem(Reason::ReplicasContested, "Contest", note));
            }
        }
    }

    fn changed_by_others(&self, Change { from, to, by, .. }: &Change) {
        info!(name = self.path(), from, to, by, "somebody else has changed the size");
        self.context.telemetry.changed_by_others();
    }

    /// Who has written the size; nobody where that cannot be read, which is no obstacle.
    async fn author(&self, view: &ScaleView) -> Author {
        let namespace = self.object.namespace().unwrap_or_default();
        let target = &self.plan.target;
        match self.context.targets.metadata(&namespace, target, view).await {
            Ok(metadata) => metadata::author(&metadata, target.role.as_deref(), &view.place),
            Err(error) => {
                debug!(name = self.path(), %error, "the target's metadata cannot be read, so nobody knows who has changed its size");
                Author::default()
            }
        }
    }

    /// Takes note of a write of ours.
    pub(super) fn remember_write(&mut self, result: &Result<ScaleView, TargetError>, to: i32) {
        match result {
            // What admission has made of it, perhaps.
            Ok(view) => self.sizes.wrote(view.scale.current),
            Err(error) if error.is_ambiguous() => self.sizes.attempted(to),
            Err(_) => {}
        }
    }

    /// Takes note of what keeps us from writing.
    pub(super) fn restrain(&mut self) {
        let respected = self.sizes.respected(self.plan.respect, Utc::now());
        self.restraint = Restraint { paused: self.object.is_paused(), respected };
    }

    /// The size that is to be written, unless something keeps us from it.
    pub(super) fn unrestrained(&self, decision: &Decision) -> Option<i32> {
        let replicas = decision.rescale()?;
        let Some(reason) = self.restraint.first() else { return Some(replicas) };
        self.context.telemetry.withheld(reason);
        None
    }

    /// Leaves the target alone, and says why. Nothing is asked of its pods meanwhile; what is remembered of it is in the status.
    fn refuse(
        &mut self,
        view: &ScaleView,
        Refusal { condition, event, terminal }: Refusal,
    ) -> Failed {
        self.target = None;
        self.sizes = Sizes::driven(&view.uid, view.scale.current);
        self.warn([event]);
        self.failed(condition, terminal);
        Failed
    }
}
