//! Measures the extraction of two families up to all signals from a real vLLM page, beside a plain
//! parse of every sample. The last row is the operator's case: an autoscaler's measures, read from
//! the pages of many pods in turn, so that no page is in the nearest cache.
//!
//! `cargo bench -p llm-autoscaler-engines`

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{collections::HashMap, hint::black_box, time::Instant};

use llm_autoscaler_engines::{
    Engine, Kind, Recipe, Signal,
    exposition::{Extractor, Scratch},
};

const PAGE: &str = include_str!("../../../tests/fixtures/engines/vllm-0.15.1-busy.txt");
/// Passes per round. The best of all rounds counts, because other work on the machine can only slow
/// one down.
const PASSES: u32 = 2_000;
const ROUNDS: u32 = 15;
/// The pages of the last row, which together are larger than a core's caches.
const PAGES: usize = 200;

fn main() {
    let in_flight = [signal(Signal::InFlightRequests)];
    let gauges = [Signal::InFlightRequests, Signal::KVCacheUsage].map(signal);
    let five = [
        Signal::InFlightRequests,
        Signal::KVCacheUsage,
        Signal::PromptTokenRate,
        Signal::GenerationTokenRate,
    ]
    .map(signal);
    let latencies = [Signal::TimeToFirstToken, Signal::InterTokenLatency].map(signal);
    let every: Vec<Recipe> =
        Engine::Vllm.profile().signals.iter().map(|def| signal(def.signal)).collect();
    // Several teams that read one page may want many families.
    let many: Vec<Recipe> = families()
        .into_iter()
        .step_by(3)
        .map(|name| Recipe::series(Kind::Gauge, name, []))
        .collect();

    println!("page: {} bytes, {} samples", PAGE.len(), samples().count());
    let plain = rate("every sample into a map of labels", || plain_parse().len());
    for (what, recipes) in [
        ("2 wanted families", &in_flight[..]),
        ("3 wanted families", &gauges),
        ("5 wanted families", &five),
        ("2 histograms", &latencies),
        ("all signals of vLLM", &every),
        ("every third family", &many),
    ] {
        let extractor = Extractor::new(recipes);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let label = format!("{what} ({} recipes)", recipes.len());
        let fast = rate(&label, || {
            let summary = extractor.read(black_box(PAGE.as_bytes()), &mut scratch, &mut out);
            black_box(summary).map_or(0, |summary| summary.samples)
        });
        println!("{:>46.1} times the plain parse", fast / plain);
    }
    let recipes = autoscaler();
    let extractor = Extractor::new(&recipes);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let pages: Vec<String> = (0..PAGES).map(page_of_model).collect();
    let mut pages = pages.iter().cycle();
    let fast = rate(&format!("in flight, {PAGES} pages ({} recipes)", recipes.len()), || {
        let page = pages.next().map_or("", String::as_str);
        let summary = extractor.read(black_box(page.as_bytes()), &mut scratch, &mut out);
        black_box(summary).map_or(0, |summary| summary.samples)
    });
    println!("{:>46.1} times the plain parse", fast / plain);
}

/// Returns the page with the name of another model. Ten names of different lengths take turns, so
/// that few lines end at the same place on all pages.
fn page_of_model(number: usize) -> String {
    PAGE.replace("qwen3-32b", &"qwen3-32b-instruct"[..9 + number % 10])
}

/// Returns what an autoscaler by the requests in flight reads: the requests, the processes that
/// sleep, the tokens by which the engine makes progress, and the gauges that move.
fn autoscaler() -> Vec<Recipe> {
    let engine = Engine::Vllm.profile();
    let sleep = engine.sleep.expect("vLLM reports it").recipes();
    let progress = engine.progress_recipe().expect("vLLM reports it");
    let gauges = [Signal::RunningRequests, Signal::KVCacheUsage].map(signal);
    let requests = signal(Signal::InFlightRequests);
    [requests].into_iter().chain(sleep).chain([progress]).chain(gauges).collect()
}

fn signal(signal: Signal) -> Recipe {
    Engine::Vllm.profile().recipe(signal).expect("vLLM reports it")
}

/// Runs `pass` and prints its best speed in MB/s.
fn rate(what: &str, mut pass: impl FnMut() -> usize) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PASSES {
            black_box(pass());
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(PASSES));
    }
    let speed = PAGE.len() as f64 / best / 1e6;
    println!("{what:<40} {:>8.1} µs {speed:>8.0} MB/s", best * 1e6);
    speed
}

fn samples() -> impl Iterator<Item = &'static str> {
    black_box(PAGE).lines().filter(|line| !line.starts_with('#'))
}

fn families() -> Vec<&'static str> {
    let mut names: Vec<_> = samples().filter_map(|line| line.split(['{', ' ']).next()).collect();
    names.dedup();
    names
}

/// Parses a page in the obvious way: line by line, every sample with its labels and its value.
fn plain_parse() -> Vec<(&'static str, HashMap<&'static str, &'static str>, f64)> {
    let sample = |line: &'static str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name, value.trim_matches('"'))).collect();
        Some((name, labels, value.parse().ok()?))
    };
    samples().filter_map(sample).collect()
}
