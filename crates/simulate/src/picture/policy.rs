//! One policy over time.

use super::{
    Policy, axis, changes,
    plot::{Plot, Series, time_axis},
    points::{Point, Scale},
    text::{attained, counted, escaped, hours, latency, round_latency, whole},
};
use crate::{
    score::{Outcome, Promise},
    timeline::Moment,
};

/// The heights of the plots, in pixels.
const REPLICAS: f64 = 150.0;
const LATENCY: f64 = 96.0;
const QUEUE: f64 = 64.0;

/// A time of a moment.
type Latency = fn(&Moment) -> Option<f64>;

/// The ranges of the latencies, which are those of all policies, so that they can be compared.
pub(super) struct Ranges {
    ttft: (f64, f64),
    itl: (f64, f64),
}

impl Ranges {
    pub(super) fn of(outcomes: &[(String, Outcome)], promise: Promise) -> Self {
        let range = |promised: f64, latencies: [Latency; 2]| {
            let moments = outcomes.iter().flat_map(|(_, outcome)| &outcome.timeline);
            let all = moments.flat_map(|moment| latencies.map(|latency| latency(moment)));
            all.flatten().fold((promised * 0.5, promised * 2.0), |(low, high), it| {
                (low.min(it).max(1e-4), high.max(it))
            })
        };
        Self {
            ttft: range(promise.time_to_first_token, [|it| it.ttft_p50, |it| it.ttft_p99]),
            itl: range(promise.inter_token_latency, [|it| it.itl_p50, |it| it.itl_p99]),
        }
    }
}

/// Returns the section of a policy.
pub(super) fn html(
    number: usize,
    policy: &Policy<'_>,
    promise: Promise,
    ranges: &Ranges,
) -> String {
    let outcome = policy.outcome;
    let name = escaped(policy.name);
    let (kept, verdict) = verdict(outcome, promise);
    let ttft = latencies(
        policy,
        ranges.ttft,
        promise.time_to_first_token,
        [|it| it.ttft_p50, |it| it.ttft_p99],
    );
    let itl = latencies(
        policy,
        ranges.itl,
        promise.inter_token_latency,
        [|it| it.itl_p50, |it| it.itl_p99],
    );
    format!(
        "<section class=\"one\" aria-labelledby=\"policy-{number}\">\n\
         <h2 id=\"policy-{number}\"><span class=\"ordinal\">{number}</span> {name}</h2>\n\
         <p class=\"verdict\"><span class=\"mark {kept}\" aria-hidden=\"true\"></span>{verdict}</p>\n\
         {}{}{}{}{}{}</section>\n",
        replicas(policy).html(),
        queue(policy).html(),
        Plot { title: "Time to first token", ..ttft }.html(),
        Plot { title: "Time between tokens", ..itl }.html(),
        time_axis(policy.end()),
        changes::list(&outcome.size_changes),
    )
}

/// Returns the verdict in a sentence, with its class.
fn verdict(outcome: &Outcome, promise: Promise) -> (&'static str, String) {
    let attained = attained(outcome.attainment, promise.percentile);
    let promised = super::text::tick(promise.percentile);
    let (class, head) = if outcome.promise_kept {
        ("kept", format!("The promise was kept for {attained} of the requests"))
    } else {
        (
            "missed",
            format!("The promise was kept for {attained} of the requests, not for {promised} %"),
        )
    };
    let mut text = format!(
        "{head}, at {} GPU-hours: {:.1} replicas on average, {} at most.",
        hours(outcome.gpu_hours),
        outcome.mean_replicas,
        outcome.peak_replicas,
    );
    let unanswered = outcome.refused + outcome.unfinished;
    for (number, what) in [(outcome.cut_off, "cut off"), (unanswered, "left without an answer")] {
        if number > 0 {
            let were = if number == 1 { "was" } else { "were" };
            text = format!("{text} {} {were} {what}.", counted(number, "request"));
        }
    }
    (class, text)
}

fn replicas(policy: &Policy<'_>) -> Plot<'static> {
    let (timeline, changes) = (&policy.outcome.timeline, &policy.outcome.size_changes);
    let end = policy.end();
    let values = |of: fn(&Moment) -> u32| -> Vec<(f64, f64)> {
        timeline.iter().map(|moment| (moment.t, f64::from(of(moment)))).collect()
    };
    let need: Vec<(f64, f64)> =
        timeline.iter().zip(&policy.need).map(|(it, need)| (it.t, f64::from(*need))).collect();
    let start = changes
        .first()
        .map_or_else(|| timeline.first().map(|first| first.requested), |first| Some(first.from));
    let mut requested: Vec<(f64, f64)> =
        start.map(|size| (0.0, f64::from(size))).into_iter().collect();
    requested.extend(changes.iter().map(|change| (change.t, f64::from(change.to))));
    let serving = values(|moment| moment.serving);
    let most = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
    let highest = most(&need).max(most(&requested)).max(most(&serving));
    let marks = axis::numbers(highest);
    let high = marks.last().map_or(1.0, |mark| mark.0);
    let scale = Scale { end, low: 0.0, high, is_log: false };
    let series = |name, class, points: &[(f64, f64)], is_area| Series {
        name,
        class,
        path: scale.steps(points, end),
        is_area,
        ends_at: points.last().map(|point| scale.down(point.1)),
    };
    Plot {
        title: "Replicas",
        summary: format!(
            "at most {} requested, {} ready, {} needed",
            most(&requested),
            most(&serving),
            most(&need)
        ),
        height: REPLICAS,
        scale,
        marks,
        series: vec![
            series("needed", "need", &need, true),
            series("ready", "ready", &serving, false),
            series("requested", "requested", &requested, false),
        ],
        overlay: changes::dots(changes, policy.name, &scale, REPLICAS),
    }
}

fn queue(policy: &Policy<'_>) -> Plot<'static> {
    let timeline = &policy.outcome.timeline;
    let end = policy.end();
    let points: Vec<(f64, f64)> =
        timeline.iter().map(|moment| (moment.t, moment.waiting as f64)).collect();
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let marks = axis::numbers(highest);
    let high = marks.last().map_or(1.0, |mark| mark.0);
    let scale = Scale { end, low: 0.0, high, is_log: false };
    let last = marks.len().saturating_sub(1);
    let middle = last / 2;
    let is_kept = |index: usize| index == 0 || index == last || (last > 3 && index == middle);
    let kept = marks.into_iter().enumerate().filter(|(index, _)| is_kept(*index));
    let ends_at = points.last().map(|point| scale.down(point.1));
    let path = scale.steps(&points, end);
    let class = "waiting";
    Plot {
        title: "Waiting requests",
        summary: format!("at most {}", whole(highest as u64)),
        height: QUEUE,
        scale,
        marks: kept.map(|(_, mark)| mark).collect(),
        series: vec![Series { name: "waiting", class, path, is_area: true, ends_at }],
        overlay: String::new(),
    }
}

fn latencies(
    policy: &Policy<'_>,
    (low, high): (f64, f64),
    promised: f64,
    [median, highest]: [Latency; 2],
) -> Plot<'static> {
    let timeline = &policy.outcome.timeline;
    let end = policy.end();
    let scale = Scale { end, low, high, is_log: true };
    let series = |name, class, latency: Latency| {
        let points: Vec<Point> = timeline.iter().map(|it| (it.t, latency(it))).collect();
        let last = points.iter().rev().find_map(|point| point.1);
        let ends_at = last.map(|last| scale.down(last));
        Series { name, class, path: scale.line(&points), is_area: false, ends_at }
    };
    let worst = timeline.iter().filter_map(highest).fold(0.0, f64::max);
    let path = scale.steps(&[(0.0, promised)], end);
    let (is_area, ends_at) = (false, Some(scale.down(promised)));
    Plot {
        title: "",
        summary: format!("P99 at most {}, promised {}", latency(worst), round_latency(promised)),
        height: LATENCY,
        scale,
        marks: axis::latencies(low, high),
        series: vec![
            Series { name: "promise", class: "promise", path, is_area, ends_at },
            series("P50", "median", median),
            series("P99", "worst", highest),
        ],
        overlay: String::new(),
    }
}
