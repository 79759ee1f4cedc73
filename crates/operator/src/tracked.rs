//! What is known of a target between steps: its scale, its pods, their samples, its history.

use std::sync::Arc;

use chrono::Utc;
use kube::{ResourceExt, core::Selector as PodSelector};
use llm_autoscaler_api::{LLMAutoscaler, Plan, selector, words::SelectorProblem};
use llm_autoscaler_core::{History, Selector};
use tokio::sync::Notify;

use crate::{
    autoscaler::Context,
    observe::{Seen, Subscriptions},
    pods::PodView,
    target::{ScaleView, TargetError},
};

/// A target that has been found.
pub struct Tracked {
    /// Its scale as last read or written.
    pub view: ScaleView,
    /// The last attempt to read its scale failed: nothing is decided on the old one.
    pub unread: bool,
    /// Which pods are the target's, where that can be said.
    pub selector: Result<PodSelector, SelectorProblem>,
    /// Its pods.
    pub pods: PodView,
    /// What is remembered.
    pub history: History,
    /// A decision has been made: the first samples are there.
    pub decided: bool,
    subscriptions: Subscriptions,
    /// A write that may or may not have been done: from, to.
    pending: Option<(i32, i32)>,
}

impl Tracked {
    /// A target that was not known before, or whose selector has changed. Its history is that of `before`, or in the
    /// status, if it is still the same object.
    pub fn begin(
        context: &Context,
        object: &LLMAutoscaler,
        fresh: &Arc<Notify>,
        plan: &Plan,
        view: ScaleView,
        before: Option<Self>,
    ) -> Self {
        let remembered = before.filter(|before| before.view.uid == view.uid).map(|before| before.history);
        let history = remembered.unwrap_or_else(|| restored(object, plan, &view));
        let selector = match selector::parse(&view.selector) {
            _ if view.selector.is_empty() => Err(SelectorProblem::Missing),
            Ok(selector) => Ok(selector),
            Err(error) => Err(SelectorProblem::Invalid { error: error.to_string() }),
        };
        let pods = selector.clone().unwrap_or_else(|_| selector::nothing());
        let mut pods = context.pods.view(&object.namespace().unwrap_or_default(), pods);
        let mut subscriptions = Subscriptions::new(context.sampler.clone(), fresh.clone(), plan);
        subscriptions.follow(&pods.members());
        Self { view, unread: false, selector, pods, history, decided: false, subscriptions, pending: None }
    }

    /// Whether a scale that was read is of this target, with these pods.
    pub fn is_about(&self, view: &ScaleView) -> bool {
        self.view.uid == view.uid && self.view.selector == view.selector
    }

    /// Takes over a scale that was read.
    pub fn read(&mut self, plan: &Plan, view: ScaleView) {
        if let Some((from, to)) = self.pending.take()
            && view.scale.current == to
        {
            self.history.scaled(&plan.policy, from, to, Utc::now());
        }
        self.view = view;
        self.unread = false;
    }

    /// A write failed. One that was not answered may have been done all the same; the next read tells.
    pub fn write_failed(&mut self, error: &TargetError, from: i32, to: i32) {
        self.pending = error.is_ambiguous().then_some((from, to));
        self.unread = true;
    }

    /// Samples what another plan needs. The new subscriptions begin before the old ones end, so that none of the pages
    /// is forgotten.
    pub fn sample_by(&mut self, context: &Context, fresh: &Arc<Notify>, plan: &Plan) {
        let mut subscriptions = Subscriptions::new(context.sampler.clone(), fresh.clone(), plan);
        subscriptions.follow(&self.pods.members());
        self.subscriptions = subscriptions;
        self.decided = false;
    }

    /// Samples the pods that there are now.
    pub fn follow_pods(&mut self) {
        self.subscriptions.follow(&self.pods.members());
    }

    /// What is to be seen now; `strict` leaves out samples of pods that missed their latest reads.
    pub fn observe(&mut self, scaled_to_zero: bool, strict: bool) -> Seen {
        // Looking at the members also takes note of their change, so the subscriptions follow at once.
        let members = self.pods.members();
        self.subscriptions.follow(&members);
        let mut seen = self.subscriptions.observe(&self.view, scaled_to_zero, &members, strict);
        seen.observation.selector = match self.selector {
            Ok(_) => Selector::Valid,
            Err(SelectorProblem::Missing) => Selector::Missing,
            Err(_) => Selector::Invalid,
        };
        seen
    }
}

/// What the status remembers of this very object.
fn restored(object: &LLMAutoscaler, plan: &Plan, view: &ScaleView) -> History {
    let targets = object.status.iter().flat_map(|status| &status.targets);
    let record =
        targets.filter(|target| target.uid.as_ref() == Some(&view.uid)).find_map(|t| t.history.as_ref());
    record.map_or_else(History::default, |record| {
        History::restore(record, &plan.policy, view.scale.current, Utc::now())
    })
}
