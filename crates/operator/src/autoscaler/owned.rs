//! What keeps an autoscaler's hands off its target: others to whom it belongs.

use std::time::Duration;

use llm_autoscaler_api::selector;
use llm_autoscaler_core::Decision;

use super::{Failed, Keeper};
use crate::{
    owners::Standing,
    report::{self, Refusal},
    restraint::Restraint,
    target::ScaleView,
};

/// How long older autoscalers are waited for that have not looked for their target yet.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

impl Keeper {
    /// Whether the scale has to be read before anything is decided: the last attempt failed, or the target is somebody else's by now.
    pub(super) fn is_outdated(&self) -> bool {
        self.target.as_ref().is_none_or(|target| target.unread) || self.holding.standing() != Standing::Owner
    }

    /// Claims the target that was found, and ends the step if it is not ours.
    pub(super) async fn claim(&mut self, view: &ScaleView) -> Result<(), Failed> {
        let selector = Some(&view.selector).filter(|selector| !selector.is_empty());
        self.holding.target(&view.uid, selector.and_then(|selector| selector::parse(selector).ok()));
        let reference = report::reference(&self.object);
        match tokio::time::timeout(SETTLED_WITHIN, self.holding.settled()).await {
            Ok(Standing::Owner) => Ok(()),
            Ok(Standing::TakenBy(owner)) => Err(self.refuse(Refusal::taken(&reference, &owner)).await),
            Ok(Standing::Unsettled) | Err(_) => Err(Failed),
        }
    }

    /// The size that is to be written, unless something keeps us from it.
    pub(super) fn unrestrained(&mut self, decision: &Decision) -> Option<i32> {
        self.restraint = Restraint { paused: self.object.is_paused() };
        let replicas = decision.rescale()?;
        let Some(reason) = self.restraint.first() else { return Some(replicas) };
        self.context.telemetry.withheld(reason);
        None
    }

    /// Leaves the target alone, and says why. Nothing is asked of its pods meanwhile; what is remembered of it is in the status.
    async fn refuse(&mut self, Refusal { condition, event }: Refusal) -> Failed {
        self.target = None;
        self.announcer.warn(&self.object, vec![event]);
        self.writer.failed(&self.object, condition, false).await;
        Failed
    }
}
