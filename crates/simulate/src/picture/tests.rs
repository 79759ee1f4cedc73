//! Whole pages: what they hold, how large they are, and that nothing breaks out of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    score::GpuHours,
    timeline::{Moment, SizeChange},
};

fn outcome(moments: u32) -> Outcome {
    let timeline = (0..moments).map(|it| {
        let wave = (f64::from(it) / 40.0).sin() + f64::from(it % 7) / 7.0;
        let ready = (4.0 + 3.0 * wave).max(1.0) as u32;
        Moment {
            t: f64::from(it) * 60.0,
            arrivals: 100,
            load: 1.0 + wave,
            requested: ready + it % 2,
            serving: ready,
            running: 30,
            waiting: u64::from(it * 37 % 100),
            ttft_p50: Some(0.1 + 0.05 * wave.abs()),
            ttft_p99: (it % 50 != 9).then_some(0.4 + wave.abs()),
            itl_p50: Some(0.03),
            itl_p99: Some(0.05 + 0.02 * wave.abs()),
            ..Moment::default()
        }
    });
    let change = |it: u32| SizeChange {
        t: f64::from(it) * 60.0,
        from: 3 + it % 2,
        to: 4 - it % 2,
        serving: 3,
        running: 40,
        waiting: 2,
        why: Some("InFlightRequests is at 140 % of its target 32".to_owned()),
    };
    Outcome {
        requests: 100 * u64::from(moments),
        attainment: 0.995,
        promise_kept: true,
        gpu_hours: 12.0,
        gpu_hours_by_state: GpuHours { serving: 10.0, starting: 1.5, draining: 0.5 },
        timeline: timeline.collect(),
        size_changes: (0..moments / 3).map(change).collect(),
        ..Outcome::default()
    }
}

fn page(outcomes: &[(String, Outcome)], bearable_load: Option<f64>) -> String {
    let (load, engine) = ("day:peak=100", "Qwen3-32B on H100");
    let promise = Promise::default();
    Picture { load, engine, promise, seed: 1, bearable_load, notes: &[], outcomes }.html()
}

fn named(count: usize, moments: u32) -> Vec<(String, Outcome)> {
    (0..count).map(|it| (format!("policy-{it}"), outcome(moments))).collect()
}

/// A page that a browser reads without repairs has an end for each beginning, and no number that is
/// none.
fn check(html: &str) {
    for tag in
        ["section", "svg", "div", "table", "tr", "td", "ul", "ol", "li", "g", "text", "details"]
    {
        let ends = html.matches(&format!("</{tag}>")).count();
        let begins = [" ", ">"].map(|after| html.matches(&format!("<{tag}{after}")).count());
        assert_eq!(begins.iter().sum::<usize>(), ends, "{tag}");
    }
    for bad in ["NaN", "inf ", "\"inf", " style=", "http://", "https://", "url(", "@import"] {
        assert!(!html.contains(bad), "{bad}: {html}");
    }
}

#[test]
fn pages_are_sound_and_small() {
    for (name, outcomes, most) in [
        ("no policy", named(0, 0), 30_000),
        ("an empty series", named(1, 0), 30_000),
        ("one moment", named(1, 1), 30_000),
        ("one policy", named(1, 60), 40_000),
        ("a day", named(1, 1_440), 115_000),
        ("a week", named(1, 10_080), 120_000),
        ("20 policies", named(20, 10_080), 2_000_000),
    ] {
        for bearable_load in [None, Some(0.5)] {
            let html = page(&outcomes, bearable_load);
            check(&html);
            assert!(html.len() < most, "{name}: {} bytes", html.len());
            assert_eq!(html.matches("<section class=\"one\"").count(), outcomes.len(), "{name}");
            assert_eq!(html.contains("<b>Needed</b>"), bearable_load.is_some(), "{name}");
        }
    }
}

#[test]
fn a_name_never_becomes_markup() {
    let evil = "</title><script>alert(1)</script><img src=x onerror=\"alert(1)\">'";
    let mut outcome = outcome(60);
    outcome.size_changes.iter_mut().for_each(|change| change.why = Some(evil.to_owned()));
    let outcomes = [(evil.to_owned(), outcome)];
    let promise = Promise::default();
    let picture = Picture {
        load: evil,
        engine: evil,
        promise,
        seed: 1,
        bearable_load: Some(0.5),
        notes: &[evil.to_owned()],
        outcomes: &outcomes,
    };
    let html = picture.html();
    check(&html);
    assert_eq!(html.matches("<script>").count(), 1);
    assert!(!html.contains("<img"), "{html}");
}

#[test]
fn a_page_says_what_was_promised_and_kept() {
    let mut missed = outcome(60);
    (missed.attainment, missed.promise_kept) = (0.989_99, false);
    (missed.cut_off, missed.unfinished) = (1, 1_200);
    let html = page(&[("kpa=8".to_owned(), outcome(60)), ("wva".to_owned(), missed)], None);
    for text in [
        "TTFT ≤ 2 s and ITL ≤ 100 ms for 99 % of the requests",
        "6,000 requests in 1 h",
        "The promise was kept for 99.50 % of the requests, at 12.00 GPU-hours",
        "The promise was kept for 98.99 % of the requests, not for 99 %",
        "1 request was cut off. 1,200 requests were left without an answer.",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

#[test]
fn the_policy_of_content_allows_style_and_script_by_their_hashes() {
    for (text, hash) in [(STYLE, STYLE_HASH), (SCRIPT, SCRIPT_HASH)] {
        let found = format!("sha256-{}", STANDARD.encode(Sha256::digest(text)));
        assert_eq!(found, hash, "set the constant to the first of the two");
    }
}
