//! The changes of size as dots on the line of the requested size, with their reasons.

use std::fmt::Write;

use super::{
    plot::MARGIN,
    points::Scale,
    text::{counted, duration, escaped},
};
use crate::timeline::SizeChange;

/// The columns of dots: the changes within one column share a dot.
const COLUMNS: f64 = 80.0;
/// The reasons that one dot tells.
const REASONS: usize = 3;
/// The lines of the list of changes.
const LISTED: usize = 200;

/// Returns the dots of the changes, as an overlay of a plot.
pub(super) fn dots(changes: &[SizeChange], policy: &str, scale: &Scale, height: f64) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let column = |change: &SizeChange| (scale.across(change.t) * COLUMNS) as usize;
    let mut html = format!(
        "<svg class=\"dots\" height=\"{}\" role=\"group\" aria-label=\"Changes of size by {}, \
         oldest first; the arrow keys move\">",
        height + 2.0 * MARGIN,
        escaped(policy)
    );
    let mut tab_index = 0;
    for group in changes.chunk_by(|a, b| column(a) == column(b)) {
        let Some(((first, rest), last)) = group.split_first().zip(group.last()) else { continue };
        let (x, y) =
            (100.0 * scale.across(last.t), MARGIN + scale.down(f64::from(last.to)) * height);
        let class = match last.to.cmp(&first.from) {
            std::cmp::Ordering::Greater => "up",
            std::cmp::Ordering::Less => "down",
            std::cmp::Ordering::Equal => "back",
        };
        let text = if rest.is_empty() { sentence(first) } else { summary(group) };
        // Writing to a String cannot fail.
        let _ = write!(
            html,
            "<g class=\"dot {class}\" role=\"img\" tabindex=\"{tab_index}\"><title>{}</title>\
             <circle class=\"reach\" cx=\"{x:.2}%\" cy=\"{y:.1}\" r=\"11\"/>\
             <circle cx=\"{x:.2}%\" cy=\"{y:.1}\" r=\"4\"/></g>",
            escaped(&text)
        );
        tab_index = -1;
    }
    html + "</svg>"
}

/// Returns a change in words: a head, and after it the reason and the state.
fn sentence(change: &SizeChange) -> String {
    let SizeChange { t, from, to, .. } = change;
    format!("{from} → {to} after {}\n{}", duration(*t), reason(change, "\n"))
}

/// Returns the changes of one dot in words.
fn summary(group: &[SizeChange]) -> String {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return String::new() };
    let changes = counted(group.len() as u64, "change");
    let (from, to, begin) = (first.from, last.to, duration(first.t));
    let mut text = format!("{from} → {to} in {changes} from {begin} on");
    for change in group.iter().take(REASONS) {
        let SizeChange { t, from, to, .. } = change;
        let _ = write!(text, "\n{}: {from} → {to}. {}", duration(*t), reason(change, "; "));
    }
    if group.len() > REASONS {
        let _ = write!(text, "\n{} more", group.len() - REASONS);
    }
    text
}

/// Returns the reason of a change, if it has one, and the state in which it was decided; `between`
/// is between them.
fn reason(change: &SizeChange, between: &str) -> String {
    let state = format!(
        "{} running and {} waiting on {}",
        counted(change.running, "request"),
        change.waiting,
        counted(change.serving.into(), "replica"),
    );
    match &change.why {
        Some(why) => format!("{}{between}{state}", capitalized(why)),
        None => state,
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Returns the list of all changes, which needs neither a pointer nor a script.
pub(super) fn list(changes: &[SizeChange]) -> String {
    let count = counted(changes.len() as u64, "change");
    if changes.is_empty() {
        return "<p class=\"quiet\">The size never changed.</p>\n".to_owned();
    }
    let mut html = format!("<details><summary>{count} of size, with their reasons</summary><ol>");
    for change in changes.iter().take(LISTED) {
        let SizeChange { t, from, to, .. } = change;
        let _ = write!(
            html,
            "<li><span class=\"when\">{}</span><strong>{from} → {to}</strong><span>{}</span></li>",
            duration(*t),
            escaped(&reason(change, "; "))
        );
    }
    if changes.len() > LISTED {
        let more = changes.len() - LISTED;
        let _ = write!(html, "<li class=\"quiet\">{more} more: -o json has all of them</li>");
    }
    html + "</ol></details>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { end: 800.0, low: 0.0, high: 10.0, is_log: false };

    fn change(t: f64, from: u32, to: u32, why: Option<&str>) -> SizeChange {
        let why = why.map(str::to_owned);
        SizeChange { t, from, to, serving: 1, running: 9, waiting: 0, why }
    }

    #[test]
    fn a_dot_tells_its_reason() {
        let state = "9 requests running and 0 waiting on 1 replica";
        for (changes, expected) in [
            (vec![change(65.0, 1, 3, None)], format!("1 → 3 after 1 min 5 s\n{state}")),
            (
                vec![change(65.0, 1, 3, Some("a <b"))],
                format!("1 → 3 after 1 min 5 s\nA &lt;b\n{state}"),
            ),
            (
                vec![change(60.0, 1, 3, None), change(61.0, 3, 2, None)],
                format!(
                    "1 → 2 in 2 changes from 1 min on\n1 min: 1 → 3. {state}\n1 min 1 s: 3 → 2. {state}"
                ),
            ),
        ] {
            let html = dots(&changes, "kpa=\"8\"", &SCALE, 100.0);
            assert!(html.contains(&format!("<title>{expected}</title>")), "{html}");
            assert!(html.contains("kpa=&quot;8&quot;"), "{html}");
        }
        assert_eq!(dots(&[], "kpa", &SCALE, 100.0), "");
    }

    #[test]
    fn many_changes_have_few_dots_and_one_tab_stop() {
        let changes: Vec<_> =
            (0..8_000).map(|it| change(f64::from(it) / 10.0, 3, 4, None)).collect();
        let html = dots(&changes, "kpa", &SCALE, 100.0);
        assert_eq!(html.matches("<g ").count(), 80);
        assert_eq!(html.matches("tabindex=\"0\"").count(), 1);
        assert!(html.len() < 60_000 && list(&changes).len() < 40_000);
        assert!(list(&changes).contains("7800 more"));
        assert!(list(&[]).contains("never changed"));
    }
}
