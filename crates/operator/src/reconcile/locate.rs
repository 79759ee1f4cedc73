//! Finds the target of a role: its scale is read, the target is claimed, and a size that something
//! else has set is noticed.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{TargetStatus, managers, memory::Remembered, messages, selector};
use llm_autoscaler_core::{Now, Profile};
use tracing::info;

use crate::{
    ownership::{
        claims::Ownership,
        manual_changes::{Attribution, SizeTracker},
        refusal::Refusal,
        size_change::SizeChange,
    },
    reconcile::{
        role::Role,
        step::StepFailed,
        target_state::{Beginning, TargetState},
        wake_call::last_wake_time,
    },
    scale::{
        error::TargetError,
        metadata::{self, Author},
        view::ScaleView,
    },
    status::{events, refusal::RefusalTexts, report},
};

/// The longest time for which older autoscalers are waited for that have not looked for their
/// target yet.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

impl Role {
    /// Returns whether the scale has to be read before anything is decided: the last attempt
    /// failed, or the target belongs to another autoscaler by now. A target that is left alone is
    /// read again at the next tick.
    pub(super) fn is_outdated(&self) -> bool {
        if self.refused.is_some() {
            return false;
        }
        self.target.as_ref().is_none_or(|target| target.is_outdated)
            || !self.recommends() && self.claim.ownership() != Ownership::Owner
    }

    /// Reads the target's scale, claims the target, and follows its pods. `remembered` is what the
    /// status knows of targets.
    pub(super) async fn locate(
        &mut self,
        remembered: &[Arc<TargetStatus>],
        now: Now,
    ) -> Result<(), StepFailed> {
        let namespace = self.namespace();
        let view = match self.read_scale(&namespace).await {
            Ok(view) => view,
            Err(error) => {
                self.record_not_found(&error, now);
                return Err(StepFailed);
            }
        };
        let remembered = Remembered::decode(remembered, &view.uid);
        if self.recommends() {
            self.stand_beside(&view);
        } else {
            self.own(&view, remembered.as_ref(), now).await?;
        }
        self.refused = None;
        match &mut self.target {
            Some(target) if target.is_about(&view) => {
                target.update_scale(&self.config, view, now.wall);
            }
            target => {
                let beginning = Beginning {
                    sampling: &self.context.sampling,
                    namespace: &namespace,
                    fresh: &self.fresh,
                    config: &self.config,
                    remembered,
                    woken: last_wake_time(&self.object),
                    scaled: self.status.last_scale_time.max(self.sizes.changed_at()),
                };
                *target = Some(Box::new(TargetState::new(beginning, view, target.take(), now)));
            }
        }
        self.follow_pods(now);
        let recommends = self.recommends();
        if let Some(target) = &mut self.target {
            self.claim.find_overlapping(&target.pods.members(), &mut target.overlapping);
            if !recommends && let Ok(selector) = target.selector.clone() {
                let pods = || target.monitored_pods(&self.config, selector);
                self.pod_monitor.reconcile(&self.object, &self.config, pods, now.monotonic);
            }
        }
        Ok(())
    }

    /// Reads the target's scale. One that is known to be as it was last read is not read again,
    /// unless the last attempt to read or write it failed.
    async fn read_scale(&self, namespace: &str) -> Result<ScaleView, TargetError> {
        let (scales, target) = (&self.context.scales, &self.config.target);
        let is_current = |view: &ScaleView| {
            scales.is_current(namespace, target, &view.location, view.resource_version.as_deref())
        };
        let read = self.target.as_ref().filter(|target| !target.is_outdated);
        let read = read.map(|target| &target.view).or(self.refused.as_deref());
        if let Some(view) = read.filter(|view| is_current(view)) {
            scales.want_versions(target, &view.location);
            return Ok(view.clone());
        }
        let view = scales.get_scale(namespace, target).await?;
        scales.want_versions(target, &view.location);
        Ok(view)
    }

    /// Makes sure that the target is this autoscaler's own, and ends the step if it is not.
    async fn own(
        &mut self,
        view: &ScaleView,
        remembered: Option<&Remembered>,
        now: Now,
    ) -> Result<(), StepFailed> {
        self.claim(view, now).await?;
        self.observe_size(view, remembered, now).await;
        match self.sizes.contest(now.wall) {
            Some(contest) => match self.owners.record_contest(&contest.change) {
                Some(refusal) => Err(self.refuse(view, &refusal)),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Leaves the target to whatever scales it. Its size is no change to respect or to undo, now or
    /// once the mode is another one.
    fn stand_beside(&mut self, view: &ScaleView) {
        self.claim.stand_beside(&view.uid);
        self.sizes = SizeTracker::driven(&view.uid, view.scale.current);
    }

    fn record_not_found(&mut self, error: &TargetError, now: Now) {
        self.claim.end_search();
        self.refused = None;
        if error.is_gone() || error.is_terminal() {
            self.target = None;
            self.claim.release();
        }
        self.target.iter_mut().for_each(|target| target.is_outdated = true);
        self.release_overdue_drain(now);
        let (update, event) = messages::failed_get_scale(&error.to_string());
        self.warn([event]);
        self.fail(update, error.is_terminal());
    }

    /// Claims the target that was found, and ends the step if it is to be left alone.
    async fn claim(&mut self, view: &ScaleView, now: Now) -> Result<(), StepFailed> {
        let selector = Some(&view.selector).filter(|selector| !selector.is_empty());
        let selector = selector.and_then(|selector| selector::parse(selector).ok());
        self.claim.claim(&view.uid, selector);
        let refusal =
            match tokio::time::timeout(SETTLED_WITHIN, self.claim.settled_ownership()).await {
                Ok(Ownership::Owner) => self.driven_by(view, now).await?,
                Ok(Ownership::TakenBy(owner)) => Some(Refusal::OlderClaim(owner)),
                Ok(Ownership::Unsettled) | Err(_) => {
                    self.refused = None;
                    return Err(StepFailed);
                }
            };
        match refusal {
            None => Ok(()),
            Some(refusal) => Err(self.refuse(view, &refusal)),
        }
    }

    /// Returns why the target is to be left alone although no older LLMAutoscaler has it.
    /// Ends the step where that is not known.
    async fn driven_by(
        &mut self,
        view: &ScaleView,
        now: Now,
    ) -> Result<Option<Refusal>, StepFailed> {
        let namespace = self.namespace();
        let target = &self.config.target;
        let targets = &self.context.scales;
        let owner = self.owners.refusal(targets, &namespace, target, view, now.monotonic).await;
        if owner.is_some() {
            return Ok(owner);
        }
        let objects = metadata::equivalent_references(target, view);
        let others = &self.context.other_autoscalers;
        match others.find(&namespace, &objects, self.others_since).await {
            Ok(other) => Ok(other.map(Refusal::OtherAutoscaler)),
            Err(unlisted) => {
                let (update, event) = messages::failed_get_scale(&unlisted.to_string());
                self.warn([event]);
                self.fail(update, false);
                Err(StepFailed)
            }
        }
    }

    /// Leaves the target alone, and says why. Its pods are not sampled meanwhile; what is
    /// remembered of it is in the status.
    fn refuse(&mut self, view: &ScaleView, refusal: &Refusal) -> StepFailed {
        (self.target, self.refused) = (None, Some(Box::new(view.clone())));
        self.sizes = SizeTracker::driven(&view.uid, view.scale.current);
        let RefusalTexts { condition, event, terminal } =
            RefusalTexts::new(&self.reference(), refusal);
        self.warn([event]);
        self.fail(condition, terminal);
        StepFailed
    }

    /// Finds out what has changed the size, if anything has since it was last read or written.
    async fn observe_size(&mut self, view: &ScaleView, remembered: Option<&Remembered>, now: Now) {
        let current = view.scale.current;
        let is_first = self.sizes.uid.is_empty();
        if self.sizes.uid != view.uid {
            self.sizes = SizeTracker::restored(&view.uid, remembered);
        }
        let was_own = self.sizes.is_own(current);
        if !self.sizes.observe_size(current, now.wall) {
            if !was_own && self.sizes.is_own(current) {
                self.record_unreported_write(current, Some(now.wall));
            }
            return;
        }
        let author = self.author(view).await;
        let has_none = author.as_ref().is_some_and(|author| author.name.is_none());
        let mut author = author.unwrap_or_default();
        if is_first && has_none && current == 0 && self.was_going_to_zero() {
            author.name = Some(managers::SCALE.to_owned());
        }
        let at = author.at.map(|at| at.min(now.wall));
        match self.sizes.attribute(current, author, now.wall) {
            Attribution::Ours => self.record_unreported_write(current, at),
            Attribution::Changed(change) => self.record_manual_change(&change),
            Attribution::Contested(change) => {
                self.record_manual_change(&change);
                let note = report::contested(&self.reference(), &change);
                self.publish(events::size_contested(note));
            }
            Attribution::Repeated(change, record) => {
                self.record_manual_change(&change);
                let note = report::repeated(&self.reference(), &record).text;
                self.publish(events::size_set_again(note));
            }
        }
    }

    /// Makes up for the report of a write that was carried out.
    fn record_unreported_write(&mut self, size: i32, at: Option<DateTime<Utc>>) {
        let policy = &self.config.policy;
        let is_own_zero = size == 0 && policy.may_be_at_zero();
        let to_zero = policy.settings.scale_to_zero.then(|| messages::scaled_to_zero(is_own_zero));
        self.status.record_write(at, to_zero, self.object.metadata.generation);
    }

    /// Returns whether this autoscaler was about to scale the target to zero, by the status of
    /// before its start. A zero without a writer is its own then: `managedFields` do not tell,
    /// because a scale of zero replicas has no field that could have an owner.
    fn was_going_to_zero(&self) -> bool {
        self.context.profile == Profile::Default
            && self.config.policy.may_be_at_zero()
            && !self.object.is_paused()
            && self.status.was_going_to_zero()
    }

    fn record_manual_change(&self, SizeChange { from, to, by, .. }: &SizeChange) {
        info!(autoscaler = self.path(), from, to, by, "the size was changed by another writer");
        self.context.telemetry.record_manual_change();
    }

    /// The writer of the size; `None` where the target's metadata cannot be read, which is no
    /// obstacle.
    async fn author(&self, view: &ScaleView) -> Option<Author> {
        let target = &self.config.target;
        match self.context.scales.get_metadata(&self.namespace(), target, view).await {
            Ok(found) => Some(metadata::author(&found, target.role.as_deref(), &view.location)),
            Err(error) => {
                self.context.scales.log_refusal(&self.namespace(), &target.name, &error);
                None
            }
        }
    }
}
