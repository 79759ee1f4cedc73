//! The report of a run, for a person: what was done, the figures, and what was broken.

use std::fmt::Write as _;

use crate::{
    evidence::{Second, Timeline},
    invariants::{Violation, convergence, neighbours, scale_downs, writers},
};

/// Returns the report as Markdown.
pub(crate) fn render(seed: &str, timeline: &Timeline, violations: &[Violation]) -> String {
    let mut text = format!("# Chaos, seed {seed}, {:.0} s\n\n", timeline.seconds);
    let _ = writeln!(text, "**{}**\n", verdict(violations));
    for (figure, value) in figures(timeline) {
        let _ = writeln!(text, "- {figure}: {value}");
    }
    text.push_str("\n## Violations\n\n");
    for it in violations {
        let _ = writeln!(
            text,
            "- at {:.2} s, {}: **{}** is broken: {}. Disturbances: {}. Seed {seed}.",
            it.at,
            it.subject,
            it.invariant,
            it.evidence,
            timeline.disturbed_at(it.at),
        );
    }
    if violations.is_empty() {
        text.push_str("None.\n");
    }
    text.push_str("\n## Timeline\n\n```text\n");
    for (at, line) in lines(timeline) {
        let _ = writeln!(text, "{at:8.2} s  {line}");
    }
    text.push_str("```\n");
    text
}

/// Returns the result in one sentence.
pub(crate) fn verdict(violations: &[Violation]) -> String {
    match violations.len() {
        0 => "no violations".to_owned(),
        1 => "1 violation".to_owned(),
        count => format!("{count} violations"),
    }
}

/// Returns the figures, by name.
pub(crate) fn figures(timeline: &Timeline) -> Vec<(&'static str, String)> {
    let writes = timeline.requests.iter().filter(|it| it.is_accepted_write()).count();
    let sizes = timeline.requests.iter().filter(|it| it.written_size().is_some()).count();
    let refused = timeline.requests.iter().filter(|it| it.code >= 400).count();
    let downs: usize =
        timeline.targets.iter().map(|it| scale_downs::scale_downs(timeline, it).len()).sum();
    let rests: usize =
        timeline.targets.iter().map(|it| convergence::at_rest(timeline, it).len()).sum();
    let reactions = neighbours::reactions(timeline);
    let took: Vec<_> = reactions.iter().filter_map(|it| it.took).collect();
    let memory = timeline.copies.iter().filter_map(|it| it.memory_mb).max().unwrap_or_default();
    vec![
        ("disturbances", timeline.disturbed.len().to_string()),
        ("loads set", timeline.loads.len().to_string()),
        ("pages served", served(timeline).to_string()),
        ("writes accepted", format!("{writes}, of sizes {sizes}; refused {refused}")),
        ("scale-downs judged", downs.to_string()),
        ("looks at targets at rest", format!("{rests} of {}", timeline.looks.len())),
        ("reactions of neighbours", quantiles(took)),
        ("time from the end of a holder to the next write", quantiles(gaps(timeline))),
        ("writes on their way at a handover", writers::overtaken(timeline).to_string()),
        ("most memory of a copy", format!("{memory} MB")),
    ]
}

fn served(timeline: &Timeline) -> usize {
    let is_served =
        |it: &&crate::evidence::PodEvent| matches!(it.what, crate::evidence::PodTrace::Served(_));
    timeline.pods.iter().filter(is_served).count()
}

/// Returns the times from the end of a holder to the first write of the other copy.
fn gaps(timeline: &Timeline) -> Vec<Second> {
    let ends = timeline
        .disturbed
        .iter()
        .filter(|it| it.what == "holder killed" || it.what == "holder terminated");
    let gap = |from: Second| {
        let before = timeline.requests.iter().rfind(|it| it.takes_lease() && it.answered < from)?;
        let is_next = |it: &&crate::evidence::Request| it.is_accepted_write() && it.received > from;
        let next = timeline.requests.iter().filter(is_next);
        let other = next.into_iter().find(|it| it.process != before.process)?;
        Some(other.received - from)
    };
    ends.filter_map(|it| gap(it.from)).collect()
}

fn quantiles(mut values: Vec<Second>) -> String {
    values.sort_by(Second::total_cmp);
    let Some(last) = values.last() else { return "none".to_owned() };
    let at = |part: Second| values[((values.len() - 1) as Second * part).round() as usize];
    format!("{}, p50 {:.2} s, p99 {:.2} s, longest {last:.2} s", values.len(), at(0.5), at(0.99))
}

/// Returns what happened, by time.
fn lines(timeline: &Timeline) -> Vec<(Second, String)> {
    let mut lines = Vec::new();
    for it in &timeline.disturbed {
        lines.push((it.from, format!("BEGIN {}", it.what)));
        lines.push((it.until, format!("END   {}", it.what)));
    }
    for it in &timeline.loads {
        lines.push((it.at, format!("load  {} for {}", it.target, it.size)));
    }
    let mut holder = "";
    for it in &timeline.requests {
        if it.takes_lease() && it.process != holder {
            holder = &it.process;
            lines.push((it.answered, format!("lease {holder}")));
        }
        if let Some(size) = it.written_size() {
            lines.push((it.received, format!("size  {} = {size} by {}", it.object, it.process)));
        }
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evidence::Reach,
        invariants::{
            examples::{disturbed, look, scale, timeline},
            violations,
        },
    };

    #[test]
    fn a_violation_names_its_moment_target_evidence_disturbance_and_seed() {
        let mut timeline = timeline(3);
        timeline.looks.push(look(0.0, 3));
        timeline.disturbed.push(disturbed(Reach::Clock, 8.0, 9.0));
        timeline.requests.push(scale("one", 9.5, 7));
        let found = violations(&timeline);
        let text = render("7", &timeline, &found);
        assert!(text.contains("**1 violation**"), "{text}");
        let line = "at 9.50 s, a/b: **a size is within its bounds** is broken: one wrote 7, and \
                    the bounds are 2 to 6. Disturbances: test (8.0 s to 9.0 s). Seed 7.";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("    9.50 s  size  a/b = 7 by one"), "{text}");
    }
}
