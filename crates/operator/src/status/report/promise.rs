//! The promise of a spec (`slo`) in a status: its condition, and whether it is kept.

use llm_autoscaler_api::{
    SloConfig, SloStatus, TargetConfig,
    conditions::{ConditionType, ConditionUpdate, Reason},
    messages::{promised_size, short},
};
use llm_autoscaler_core::slo::SloRole;
use llm_autoscaler_observe::promise::{Attained, PromiseTarget, PromiseTracker, Verdict};

/// Returns the status of the promise, if the spec has one.
pub(super) fn status(config: &TargetConfig, promise: &PromiseTracker) -> Option<SloStatus> {
    config.slo.as_ref()?;
    let milliseconds = |seconds: f64| (1000.0 * seconds).round() as i64;
    let Attained { time_to_first_token, inter_token_latency } = promise.attained();
    Some(SloStatus {
        time_to_first_token_milliseconds: time_to_first_token.map(milliseconds),
        inter_token_latency_milliseconds: inter_token_latency.map(milliseconds),
        needed_replicas: promise.size().and_then(|size| i32::try_from(size.needed).ok()),
        reason: promise.size().map(promised_size),
    })
}

/// Returns what is attained and promised, such as `ttft 1.2/2 s, itl 74/100 ms`; of a role, its
/// part.
pub(super) fn summary(config: &SloConfig, promise: &PromiseTracker) -> String {
    let unknown = || "<unknown>".to_owned();
    let Attained { time_to_first_token, inter_token_latency } = promise.attained();
    let promised = config.policy.promise;
    let first = time_to_first_token.map_or_else(unknown, short);
    let between = inter_token_latency.map_or_else(unknown, |it| format!("{:.0}", 1000.0 * it));
    let (most_first, most_between) =
        (short(promised.time_to_first_token), 1000.0 * promised.inter_token_latency);
    let first = format!("ttft {first}/{most_first} s");
    let between = format!("itl {between}/{most_between:.0} ms");
    match config.policy.role {
        SloRole::Both => format!("{first}, {between}"),
        SloRole::Prefill => first,
        SloRole::Decode => between,
    }
}

/// Returns `SLOActive`, if the spec has a promise.
pub(super) fn condition(
    config: &TargetConfig,
    promise: &PromiseTracker,
) -> Option<ConditionUpdate> {
    config.slo.as_ref()?;
    let type_ = ConditionType::SLOActive;
    if let Some(size) = promise.size() {
        let message =
            format!("the size follows the promise, which needs a size of {}", size.needed);
        return Some(ConditionUpdate::yes(type_, Reason::SizedByPromise, message));
    }
    let (reason, why) = obstacle(config, promise);
    let instead = config.metrics.first().map_or("", |metric| &*metric.target);
    let removes = if promise.promised().is_some() { ", and nothing is removed" } else { "" };
    let message = format!(
        "{why}; meanwhile {instead} running and waiting requests for each replica decide{removes}"
    );
    Some(ConditionUpdate::no(type_, reason, message))
}

/// Returns why the promise does not decide, and what to do.
fn obstacle(config: &TargetConfig, promise: &PromiseTracker) -> (Reason, String) {
    let engine = config.engine.profile().display;
    match promise.verdict() {
        None => (Reason::LearningEngine, learning(0.0)),
        Some(Verdict::Learning(seconds)) => (Reason::LearningEngine, learning(*seconds)),
        Some(Verdict::PoorFit(error)) => {
            let text = format!(
                "the learned time of a step is off by {:.0} % of what the replicas do: they may \
                 share their GPUs, or be of different kinds; give each kind a workload and an \
                 autoscaler of its own",
                100.0 * error
            );
            (Reason::PoorFit, text)
        }
        Some(Verdict::NoSeries) => {
            let text = format!(
                "{engine} has no series by which the time of its step is learned (docs/engines.md \
                 lists those that have): use metrics instead of slo"
            );
            (Reason::EngineUnsupported, text)
        }
        Some(Verdict::SeveralServers { pod }) => {
            let text = format!(
                "the page of {pod} is of several API servers, each of which counts the steps of \
                 the engine: start it with --api-server-count=1, or use metrics instead of slo"
            );
            (Reason::EngineUnsupported, text)
        }
        Some(Verdict::Missing { pod, series }) => {
            let text = format!(
                "the page of {pod} has no usable {series}: check the engine's version and flags, \
                 and what llm-autoscaler probe says about the page"
            );
            (Reason::SeriesMissing, text)
        }
        Some(Verdict::Stale) => (
            Reason::NoFreshSamples,
            "no replica has had a new sample lately (see SamplesComplete)".to_owned(),
        ),
        Some(Verdict::NotMeasurable { target, shortest }) => {
            let text = format!(
                "{} is below the first bucket of the engine's histogram, so that late requests \
                 cannot be told: set it to {:.0} or more",
                field(*target),
                (1000.0 * shortest).ceil()
            );
            (Reason::TargetNotMeasurable, text)
        }
        Some(Verdict::BelowEngine { target, alone }) => {
            let text = format!(
                "{} is less than what one request alone takes on an idle replica, {:.0} ms: set \
                 more, or use a faster engine",
                field(*target),
                1000.0 * alone
            );
            (Reason::TargetBelowEngine, text)
        }
        Some(Verdict::Sized(_)) => (Reason::SizedByPromise, String::new()),
    }
}

fn learning(seconds: f64) -> String {
    format!(
        "the engine is being learned: {seconds:.0} of 60 s of replicas with requests have been \
         seen; it needs nothing but load"
    )
}

/// Returns the field of a target.
fn field(target: PromiseTarget) -> &'static str {
    match target {
        PromiseTarget::TimeToFirstToken => "slo.timeToFirstTokenMilliseconds",
        PromiseTarget::InterTokenLatency => "slo.interTokenLatencyMilliseconds",
    }
}
