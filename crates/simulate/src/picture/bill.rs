//! The GPU-hours of each policy by what the replicas did.

use std::fmt::Write;

use super::{
    Policy,
    text::{escaped, hours, percent},
};

/// The parts of a bill: the class, and the name.
const PARTS: [(&str, &str); 4] =
    [("needed", "needed"), ("spare", "spare"), ("starting", "starting"), ("draining", "draining")];

/// The hours of a bill, in the order of the parts.
pub(super) fn parts(policy: &Policy<'_>) -> [f64; 4] {
    let hours = policy.outcome.gpu_hours_by_state;
    let needed = hours.serving * policy.needed_share();
    [needed, hours.serving - needed, hours.starting, hours.draining]
}

/// Returns a bar for each policy, all to one scale, and the key to the parts.
pub(super) fn html(policies: &[Policy<'_>]) -> String {
    let highest = policies.iter().map(|it| it.outcome.gpu_hours).fold(0.0, f64::max).max(1e-9);
    let mut html = String::from("<p class=\"key\" aria-hidden=\"true\">");
    let knows_need = policies.iter().any(|policy| !policy.need.is_empty());
    for (class, name) in PARTS {
        let name = if knows_need {
            name
        } else if class == "needed" {
            "serving"
        } else {
            name
        };
        if knows_need || class != "spare" {
            // Writing to a String cannot fail.
            let _ = write!(html, "<span class=\"{class}\">{name}</span>");
        }
    }
    html.push_str("</p>\n<ul class=\"bill\">\n");
    for policy in policies {
        html.push_str(&line(policy, highest));
    }
    html + "</ul>\n"
}

fn line(policy: &Policy<'_>, highest: f64) -> String {
    let total = policy.outcome.gpu_hours;
    let (mut rects, mut words, mut x) = (String::new(), String::new(), 0.0);
    for ((class, name), part) in PARTS.into_iter().zip(parts(policy)) {
        let width = part / highest * 100.0;
        if width >= 0.05 {
            let _ = write!(
                rects,
                "<rect class=\"{class}\" x=\"{x:.2}%\" width=\"{width:.2}%\" height=\"14\"/>"
            );
            let share = percent(part / total.max(1e-9));
            let _ = write!(words, ", {} {name} ({share})", hours(part));
        }
        x += width;
    }
    let (name, total) = (escaped(policy.name), hours(total));
    format!(
        "<li><span class=\"who\">{name}</span><svg role=\"img\" height=\"14\" aria-label=\"{total} \
         GPU-hours{words}\"><title>{total} GPU-hours{words}</title>{rects}</svg>\
         <span class=\"number\">{total}</span></li>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        score::{GpuHours, Outcome},
        timeline::Moment,
    };

    #[test]
    fn a_bill_is_the_sum_of_its_parts() {
        let moments = |sizes: &[u32]| -> Vec<Moment> {
            sizes.iter().map(|serving| Moment { serving: *serving, ..Moment::default() }).collect()
        };
        let gpu_hours_by_state = GpuHours { serving: 8.0, starting: 1.0, draining: 0.5 };
        for (serving, need, expected) in [
            (&[4, 4][..], &[2, 4][..], [6.0, 2.0, 1.0, 0.5]),
            (&[4, 4], &[9, 4], [8.0, 0.0, 1.0, 0.5]),
            (&[4, 4], &[0, 0], [0.0, 8.0, 1.0, 0.5]),
            (&[0, 0], &[3, 3], [8.0, 0.0, 1.0, 0.5]),
            (&[4, 4], &[], [8.0, 0.0, 1.0, 0.5]),
        ] {
            let timeline = moments(serving);
            let outcome =
                Outcome { timeline, gpu_hours_by_state, gpu_hours: 9.5, ..Outcome::default() };
            let policy = Policy { name: "<a>", outcome: &outcome, need: need.to_vec() };
            let off = parts(&policy).into_iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f64::max) < 1e-9, "{serving:?} {need:?}");
            let html = html(&[policy]);
            assert!(html.contains("&lt;a&gt;") && html.contains(">9.50<"), "{html}");
            assert_eq!(html.contains(">spare</span>"), !need.is_empty(), "{html}");
        }
    }
}
