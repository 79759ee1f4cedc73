//! What is known of a target between steps: its scale, its pods, their samples, its history.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use kube::{ResourceExt, core::Selector as PodSelector};
use llm_autoscaler_api::{
    Advice, LLMAutoscaler, Plan, Port, SourcePlan, TargetStatus, selector, messages::SelectorProblem,
};
use llm_autoscaler_core::{History, Resize, Selector, StartupTimes};
use tokio::sync::Notify;

use crate::{
    cluster::pods::PodView, drain::drainer::Drainer, observe::advice, observe::observer::Observer,
    observe::observer::Seen, observe::replicas::Replicas, observe::requests::Requests,
    observe::startup_tracker::Births, pod_monitor::keeper::Published, reconcile::context::Context,
    sampling::page_view::Pace, sampling::sources::Sources, scale::client::ScaleView,
    scale::client::TargetError,
};

/// How often a pod's time to end is compared with how long requests take.
const GRACE_EVERY: Duration = Duration::from_secs(15);

/// A target that has been found.
pub struct Tracked {
    /// Its scale as last read or written.
    pub view: ScaleView,
    /// The last attempt to read its scale failed: nothing is decided on the old one.
    pub unread: bool,
    /// Which pods are the target's, where that can be said.
    pub selector: Result<PodSelector, SelectorProblem>,
    /// The autoscalers of other targets that select some of its pods too.
    pub rivals: Vec<String>,
    /// Its pods.
    pub pods: PodView,
    /// Its replicas.
    pub replicas: Replicas,
    /// How long they take to start.
    pub start_ups: StartupTimes,
    births: Births,
    /// When somebody has called for it.
    woken: Option<Instant>,
    /// What is remembered.
    pub history: History,
    /// A decision has been made: the first samples are there.
    pub decided: bool,
    /// Where samples come from.
    pub sources: Sources,
    /// Its scale-downs.
    pub drain: Drainer,
    /// When a pod's time to end was last compared with how long requests take, and what came of it.
    grace: Option<(Instant, Option<Advice>)>,
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
        let selector = match selector::parse(&view.selector) {
            _ if view.selector.is_empty() => Err(SelectorProblem::Missing),
            Ok(selector) => Ok(selector),
            Err(error) => Err(SelectorProblem::Invalid { error: error.to_string() }),
        };
        let pods = selector.clone().unwrap_or_else(|_| selector::nothing());
        let namespace = object.namespace().unwrap_or_default();
        let mut pods = context.pods.view(&namespace, pods);
        pods.keep_in_service();
        let replicas = Replicas::of(&pods.members(), &plan.groupings);
        let remembered = before.filter(|before| before.view.uid == view.uid);
        let (history, mut start_ups) = remembered.map_or_else(
            || (restored(object, plan, &view, &replicas), start_ups(object, &view)),
            |before| (before.history, before.start_ups),
        );
        let mut births = Births::default();
        births.follow(&replicas, &mut start_ups, Utc::now());
        Drainer::greet(&context.in_service, &replicas);
        let mut sources = Sources::new(context, &namespace, fresh, plan);
        sources.follow(&replicas.speakers);
        Self {
            view,
            unread: false,
            selector,
            rivals: Vec::new(),
            pods,
            replicas,
            start_ups,
            births,
            woken: None,
            history,
            decided: false,
            sources,
            drain: Drainer::default(),
            grace: None,
            pending: None,
        }
    }

    /// Whether a scale that was read is of this target, with these pods.
    pub fn is_about(&self, view: &ScaleView) -> bool {
        self.view.uid == view.uid && self.view.selector == view.selector
    }

    /// Why it cannot be said which pods are the target's alone.
    pub fn selector_problem(&self) -> Option<SelectorProblem> {
        let ambiguous = || SelectorProblem::Ambiguous {
            selector: self.view.selector.clone(),
            autoscalers: self.rivals.join(", "),
        };
        let invalid = self.selector.as_ref().err().cloned();
        invalid.or_else(|| (!self.rivals.is_empty()).then(ambiguous))
    }

    /// Takes over a scale that was read.
    pub fn read(&mut self, plan: &Plan, view: ScaleView) {
        if let Some((from, to)) = self.pending.take()
            && view.scale.current == to
        {
            self.history.record_scale(&plan.policy, from, to, Utc::now());
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
    pub fn sample_by(
        &mut self,
        context: &Context,
        object: &LLMAutoscaler,
        fresh: &Arc<Notify>,
        plan: &Plan,
    ) {
        let mut sources =
            Sources::new(context, &object.namespace().unwrap_or_default(), fresh, plan);
        self.replicas = Replicas::of(&self.pods.members(), &plan.groupings);
        sources.follow(&self.replicas.speakers);
        self.sources = sources;
        self.decided = false;
    }

    /// Samples the pods that there are now.
    pub fn follow_pods(&mut self, plan: &Plan) {
        if self.replicas.follow(&self.pods.members(), &plan.groupings) {
            self.births.follow(&self.replicas, &mut self.start_ups, Utc::now());
        }
        self.sources.follow(&self.replicas.speakers);
    }

    /// Returns when a pod that is looked at has come, gone or changed.
    pub async fn pods_changed(&mut self) {
        let Self { pods, sources, .. } = self;
        tokio::select! {
            () = pods.changed() => {}
            () = sources.others_changed() => {}
        }
    }

    /// Whose pages are to be published: of those that are read by the first source that reads pages.
    pub fn published(&mut self, plan: &Plan, selector: PodSelector) -> Published {
        let scrape = plan.sources.iter().find_map(|source| match source {
            SourcePlan::Scrape(scrape) => Some(scrape),
            SourcePlan::Prometheus(_) => None,
        });
        // Of the target's own pods only those that speak have a page.
        let narrowed = plan.groupings.iter().find_map(|grouping| {
            let with = self
                .replicas
                .speakers
                .values()
                .find(|pod| pod.labels.contains_key(&grouping.label))?;
            Some(grouping.reporting_selector(&with.labels))
        });
        let others = self.sources.read();
        let selector = if others.is_some() {
            selector
        } else {
            selector.into_iter().chain(narrowed.into_iter().flatten()).collect()
        };
        let pods = others.unwrap_or_else(|| self.replicas.speakers.clone());
        let usual = plan.engine.profile();
        let usual_ports =
            || usual.port_names.iter().map(|name| Port::Name((*name).to_owned())).collect();
        let ports = scrape.map_or_else(usual_ports, |scrape| scrape.ports.clone());
        let port =
            pods.values().find_map(|pod| pod.first_port(&ports)).map(|(port, _)| port.clone());
        let port = port.or_else(|| ports.first().cloned()).unwrap_or(Port::Name("http".to_owned()));
        let path =
            scrape.map_or_else(|| usual.metrics_path.to_owned(), |scrape| scrape.path.clone());
        Published { selector, pods, port, path }
    }

    /// Somebody has called for it.
    pub fn wake(&mut self) {
        self.woken = Some(Instant::now());
    }

    /// Whether somebody has called within the time after which it may go to zero.
    fn is_woken(&self, plan: &Plan) -> bool {
        let after = plan.policy.to_zero.and_then(|to_zero| to_zero.after.to_std().ok());
        self.woken.zip(after).is_some_and(|(at, after)| at.elapsed() < after)
    }

    /// Reads pages more often, or as often as the plan says.
    pub fn pace(&mut self, pace: Pace) {
        self.sources.pace(pace);
    }

    fn observer<'a>(
        &'a mut self,
        plan: &'a Plan,
        strict: bool,
        now: DateTime<Utc>,
    ) -> Observer<'a> {
        let (patience, woken) = (self.start_ups.startup_timeout(), self.is_woken(plan));
        let (sources, replicas) = (&mut self.sources, &self.replicas);
        Observer { plan, sources, replicas, strict, now, patience, woken }
    }

    /// What each replica has still to do, as far as that is beyond doubt.
    pub fn requests(&mut self, plan: &Plan) -> Vec<Option<Requests>> {
        let measure = self.sources.requests.clone();
        self.observer(plan, true, Utc::now()).requests(measure.as_ref())
    }

    /// Whether a pod has less time to end than requests take; looked at now and then.
    pub fn grace_advice(&mut self, plan: &Plan) -> Option<Advice> {
        if let Some((at, advice)) = &self.grace
            && at.elapsed() < GRACE_EVERY
        {
            return advice.clone();
        }
        let measure = self.sources.latency.clone();
        let slowest =
            measure.and_then(|measure| self.observer(plan, false, Utc::now()).slowest(&measure));
        let pods = self.replicas.list.iter().flat_map(|group| &group.pods);
        let advice = slowest.and_then(|slowest| advice::short_grace(pods, slowest));
        self.grace = Some((Instant::now(), advice.clone()));
        advice
    }

    /// What is to be seen now; `strict` leaves out samples that are in doubt.
    pub fn observe(&mut self, plan: &Plan, scaled_to_zero: bool, strict: bool) -> Seen {
        // Looking at the members also takes note of their change, so the sources follow at once.
        self.follow_pods(plan);
        let scale = self.view.scale;
        let mut seen = self.observer(plan, strict, Utc::now()).observe(scale, scaled_to_zero);
        // A source that was found to be needed is asked from now on.
        self.sources.follow(&self.replicas.speakers);
        seen.observation.selector = match self.selector {
            Ok(_) if !self.rivals.is_empty() => Selector::Ambiguous,
            Ok(_) => Selector::Valid,
            Err(SelectorProblem::Missing) => Selector::Missing,
            Err(_) => Selector::Invalid,
        };
        seen
    }
}

/// What the status has of this very object.
fn recorded<'a>(object: &'a LLMAutoscaler, view: &ScaleView) -> Option<&'a TargetStatus> {
    let mut targets = object.status.iter().flat_map(|status| &status.targets);
    targets.find(|target| target.uid.as_ref() == Some(&view.uid))
}

fn start_ups(object: &LLMAutoscaler, view: &ScaleView) -> StartupTimes {
    recorded(object, view)
        .map_or_else(StartupTimes::default, |status| StartupTimes::from_seconds(&status.start_up_seconds))
}

/// What the status remembers of it. Replicas that are out of service were on their way out.
fn restored(object: &LLMAutoscaler, plan: &Plan, view: &ScaleView, replicas: &Replicas) -> History {
    let record = recorded(object, view).and_then(|target| target.history.as_ref());
    record.map_or_else(History::default, |record| {
        let current = view.scale.current;
        let closed = replicas.list.iter().filter(|group| group.is_closed()).count() as i32;
        let closed = if plan.drain.is_some() { closed } else { 0 };
        let stay = (replicas.alive() as i32).max(current) - closed;
        History::resume(record, &plan.policy, Resize { current, desired: stay.min(current) }, Utc::now())
    })
}
