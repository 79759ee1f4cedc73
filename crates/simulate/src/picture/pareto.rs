//! The policies by attainment and GPU-hours, and those that no other one beats in both.

use std::fmt::Write;

use super::{
    axis,
    text::{escaped, hours, percent},
};
use crate::score::Outcome;

/// The height of the plot in pixels, and the room above and below it.
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 12.0;
/// The width for which names are placed, in pixels, and that of a letter.
const WIDTH: f64 = 640.0;
const LETTER: f64 = 7.2;
/// The shares of misses that are marked.
const MISSES: [f64; 7] = [1.0, 0.5, 0.1, 0.01, 0.001, 0.000_1, 0.000_01];
/// Names longer than this are cut; the table has them whole.
const NAME: usize = 24;

/// A policy in the plot: its place in pixels.
struct Dot<'a> {
    number: usize,
    name: &'a str,
    outcome: &'a Outcome,
    x: f64,
    y: f64,
}

/// The scales of the plot.
struct Scales {
    hours: f64,
    most: f64,
    least: f64,
}

impl Scales {
    fn of(outcomes: &[(String, Outcome)], promised: f64) -> Self {
        let misses = || outcomes.iter().map(|(_, outcome)| 1.0 - outcome.attainment);
        let worst = misses().fold(1.0 - promised, f64::max);
        let best = misses().filter(|miss| *miss > 0.0).fold((1.0 - promised).max(1e-4), f64::min);
        let most = MISSES.into_iter().rev().find(|mark| *mark >= worst).unwrap_or(1.0);
        let least = MISSES.into_iter().find(|mark| *mark < best * 0.999).unwrap_or(1e-5);
        let highest = outcomes.iter().map(|(_, outcome)| outcome.gpu_hours).fold(0.0, f64::max);
        Self { hours: highest.max(0.01) * 1.06, most, least }
    }

    fn x(&self, hours: f64) -> f64 {
        hours / self.hours * WIDTH
    }

    /// Returns the pixels from the top at a share of misses. No miss is at the top.
    fn y(&self, miss: f64) -> f64 {
        let miss = miss.clamp(self.least, self.most);
        let share = (miss.ln() - self.least.ln()) / (self.most.ln() - self.least.ln());
        MARGIN + share * HEIGHT
    }
}

/// Returns the plot. `promised` is the promised share of requests.
pub(super) fn html(outcomes: &[(String, Outcome)], promised: f64) -> String {
    let scales = Scales::of(outcomes, promised);
    let dots = outcomes.iter().enumerate().map(|(index, (name, outcome))| Dot {
        number: index + 1,
        name,
        outcome,
        x: scales.x(outcome.gpu_hours),
        y: scales.y(1.0 - outcome.attainment),
    });
    let dots: Vec<Dot<'_>> = dots.collect();
    let outer = HEIGHT + 2.0 * MARGIN;
    let (marks, grid) = marks(&scales, promised);
    format!(
        "<div class=\"plot pareto\"><svg class=\"marks\" height=\"{outer}\" aria-hidden=\"true\">\
         {marks}</svg><div class=\"area\"><svg class=\"lines\" height=\"{outer}\" role=\"img\" \
         aria-label=\"Attainment against GPU-hours; the table below has the numbers\">{grid}{}{}\
         </svg></div></div>\n<div class=\"plot pareto time\"><svg height=\"22\" \
         aria-hidden=\"true\">{}</svg></div>\n",
        frontier(&dots),
        labels(&dots),
        hour_marks(&scales),
    )
}

/// Returns the marks of attainment, and the lines at them.
fn marks(scales: &Scales, promised: f64) -> (String, String) {
    let (mut texts, mut lines) = (String::new(), String::new());
    let within = |mark: &&f64| **mark >= scales.least && **mark <= scales.most;
    for miss in MISSES.iter().filter(within) {
        let y = scales.y(*miss);
        let text = match 100.0 * (1.0 - miss) {
            _ if *miss <= scales.least => "100 %".to_owned(),
            percent => format!("{} %", super::text::tick(percent)),
        };
        // Writing to a String cannot fail.
        let _ = write!(texts, "<text x=\"100%\" y=\"{:.1}\">{text}</text>", y + 4.0);
        let _ = write!(lines, "<line x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    }
    let y = scales.y(1.0 - promised);
    let _ = write!(
        lines,
        "<line class=\"promise\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"promise last\" x=\"100%\" y=\"{:.1}\">promise</text>",
        y - 6.0
    );
    (texts, lines)
}

fn hour_marks(scales: &Scales) -> String {
    let mut html = String::new();
    let finest = axis::numbers(scales.hours * 100.0).into_iter().map(|(it, _)| it / 100.0);
    for (index, hours) in finest.filter(|it| *it <= scales.hours).enumerate() {
        let x = hours / scales.hours * 100.0;
        let class = if index == 0 {
            "first"
        } else if x > 90.0 {
            "last"
        } else {
            "even"
        };
        let unit = if index == 0 { " <tspan class=\"unit\">GPU-hours</tspan>" } else { "" };
        let text = super::text::tick(hours);
        let _ = write!(html, "<text class=\"{class}\" x=\"{x:.2}%\" y=\"15\">{text}{unit}</text>");
    }
    html
}

/// Returns the line through the policies that no other one beats in both, the cheapest first.
fn frontier(dots: &[Dot<'_>]) -> String {
    let mut by_cost: Vec<&Dot<'_>> = dots.iter().collect();
    by_cost.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let mut html = String::new();
    let mut best: Option<&Dot<'_>> = None;
    for dot in by_cost {
        if best.is_some_and(|best| best.y <= dot.y) {
            continue;
        }
        if let Some(before) = best {
            let [x0, x1] = [before.x, dot.x].map(|x| x / WIDTH * 100.0);
            let (y0, y1) = (before.y, dot.y);
            let _ = write!(
                html,
                "<line class=\"frontier\" x1=\"{x0:.2}%\" x2=\"{x1:.2}%\" y1=\"{y0:.1}\" \
                 y2=\"{y0:.1}\"/><line class=\"frontier\" x1=\"{x1:.2}%\" x2=\"{x1:.2}%\" \
                 y1=\"{y0:.1}\" y2=\"{y1:.1}\"/>"
            );
        }
        best = Some(dot);
    }
    html
}

/// A part of the plot that a label or a dot takes up, in pixels.
#[derive(Clone, Copy)]
struct Room {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Room {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Returns the dots with their names, where there is room for these; else the number alone.
fn labels(dots: &[Dot<'_>]) -> String {
    let around = |dot: &Dot<'_>, reach: f64| Room {
        left: dot.x - reach,
        right: dot.x + reach,
        top: dot.y - reach,
        bottom: dot.y + reach,
    };
    let mut taken: Vec<Room> = dots.iter().map(|dot| around(dot, 5.0)).collect();
    let mut html = String::new();
    for dot in dots {
        let name: String = dot.name.chars().take(NAME).collect();
        let name = if name == dot.name { name } else { format!("{name}…") };
        let width = LETTER * (name.chars().count() as f64 + 3.0);
        let sides =
            [(1.0, 0.0), (-1.0, 0.0), (1.0, -15.0), (1.0, 15.0), (-1.0, -15.0), (-1.0, 15.0)];
        let rooms = sides.map(|(side, down)| {
            let (near, far) = (dot.x + side * 6.0, dot.x + side * (6.0 + width));
            let (top, bottom) = (dot.y + down - 7.0, dot.y + down + 7.0);
            (side, down, Room { left: near.min(far), right: near.max(far), top, bottom })
        });
        let is_free = |(.., room): &&(f64, f64, Room)| {
            let is_inside = room.left >= 0.0
                && room.right <= WIDTH
                && room.top >= 0.0
                && room.bottom <= HEIGHT + 2.0 * MARGIN;
            is_inside && !taken.iter().any(|other| other.meets(room))
        };
        let found = rooms.iter().find(is_free).copied();
        let (x, y) = (dot.x / WIDTH * 100.0, dot.y);
        let (side, down) = found.map_or((1.0, 0.0), |(side, down, _)| (side, down));
        taken.extend(found.map(|(.., room)| room));
        let kept = if dot.outcome.promise_kept { "kept" } else { "missed" };
        let anchor = if side > 0.0 { "right" } else { "left" };
        let title = format!(
            "{}\n{} of the requests, {} GPU-hours",
            dot.name,
            percent(dot.outcome.attainment),
            hours(dot.outcome.gpu_hours)
        );
        let name = found.map_or_else(String::new, |_| {
            format!(" <tspan class=\"name\">{}</tspan>", escaped(&name))
        });
        let _ = write!(
            html,
            "<g class=\"policy {kept}\"><title>{}</title><circle cx=\"{x:.2}%\" cy=\"{y:.1}\" \
             r=\"5\"/><text class=\"{anchor}\" x=\"{x:.2}%\" y=\"{:.1}\" dx=\"{}\">{}{name}</text></g>",
            escaped(&title),
            y + down + 4.0,
            side * 9.0,
            dot.number,
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(attainment: f64, gpu_hours: f64) -> Outcome {
        let promise_kept = attainment >= 0.99;
        Outcome { attainment, promise_kept, gpu_hours, ..Outcome::default() }
    }

    fn plot(policies: &[(f64, f64)]) -> String {
        let named = policies.iter().enumerate().map(|(index, (attainment, hours))| {
            (format!("policy-{index}"), outcome(*attainment, *hours))
        });
        html(&named.collect::<Vec<_>>(), 0.99)
    }

    #[test]
    fn the_line_joins_those_that_no_other_one_beats() {
        for (policies, steps) in [
            (&[(1.0, 3.0)][..], 0),
            (&[(0.7, 1.0), (1.0, 3.0)], 1),
            (&[(0.7, 1.0), (0.6, 2.0), (1.0, 3.0), (1.0, 9.0)], 1),
            (&[(0.7, 1.0), (0.9, 2.0), (0.999, 3.0)], 2),
            (&[(0.9, 1.0), (0.7, 2.0)], 0),
        ] {
            let found = plot(policies).matches("class=\"frontier\"").count();
            assert_eq!(found, 2 * steps, "{policies:?}");
        }
    }

    #[test]
    fn every_policy_has_a_dot_and_no_two_names_meet() {
        for count in [0, 1, 20, 60] {
            let policies: Vec<_> =
                (0..count).map(|it| (0.98 + 0.0001 * f64::from(it), 2.0)).collect();
            let html = plot(&policies);
            assert_eq!(html.matches("<circle").count(), policies.len());
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
        let html = plot(&[(0.995, 2.0), (0.995, 2.0)]);
        assert_eq!(html.matches("class=\"name\"").count(), 2, "{html}");
    }

    #[test]
    fn no_miss_is_at_the_top_and_marks_are_attainments() {
        let html = plot(&[(1.0, 2.0), (0.7, 1.0)]);
        for mark in ["50 %", "90 %", "99 %", "100 %"] {
            assert!(html.contains(&format!(">{mark}</text>")), "{mark}: {html}");
        }
        assert!(html.contains("cy=\"12.0\""), "{html}");
    }
}
