//! The numbers of all policies.

use std::fmt::Write;

use super::{
    Policy,
    text::{attained, escaped, hours, latency, percent, whole},
};
use crate::score::Promise;

/// The columns after the policy's name: the head, and true if it is for wide windows only.
const COLUMNS: [(&str, bool); 8] = [
    ("Attainment", false),
    ("Worst 5 min", true),
    ("GPU-hours", false),
    ("TTFT P99", true),
    ("ITL P99", true),
    ("Changes", true),
    ("Cut off", true),
    ("No answer", true),
];

/// Returns the table, with links to the policies' sections.
pub(super) fn html(policies: &[Policy<'_>], promise: Promise) -> String {
    let mut html = String::from("<table>\n<thead><tr><th scope=\"col\">Policy</th>");
    for (head, is_wide) in COLUMNS {
        // Writing to a String cannot fail.
        let _ = write!(html, "<th scope=\"col\"{}>{head}</th>", wide(is_wide));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (index, policy) in policies.iter().enumerate() {
        let (number, name) = (index + 1, escaped(policy.name));
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><span class=\"ordinal\">{number}</span> <a \
             href=\"#policy-{number}\">{name}</a></th>"
        );
        for ((_, is_wide), (text, is_missed)) in COLUMNS.iter().zip(cells(policy, promise)) {
            let class = match (is_wide, is_missed) {
                (true, true) => " class=\"wide missed\"",
                (false, true) => " class=\"missed\"",
                (is_wide, false) => wide(*is_wide),
            };
            let _ = write!(html, "<td{class}>{text}</td>");
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody>\n</table>\n"
}

fn wide(is_wide: bool) -> &'static str {
    if is_wide { " class=\"wide\"" } else { "" }
}

/// Returns the texts of a row, and for each whether it misses the promise.
fn cells(policy: &Policy<'_>, promise: Promise) -> [(String, bool); 8] {
    let it = policy.outcome;
    let time = |time: Option<f64>, promised: f64| {
        let text = time.map_or_else(|| "–".to_owned(), latency);
        (text, time.is_some_and(|time| time > promised))
    };
    [
        (attained(it.attainment, promise.percentile), !it.promise_kept),
        (percent(it.worst_five_minutes), it.worst_five_minutes * 100.0 < promise.percentile),
        (hours(it.gpu_hours), false),
        time(it.ttft_p99, promise.time_to_first_token),
        time(it.itl_p99, promise.inter_token_latency),
        (whole(it.changes.into()), false),
        (whole(it.cut_off), false),
        (whole(it.refused + it.unfinished), false),
    ]
}
