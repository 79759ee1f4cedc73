//! Chaos: everything that can go wrong goes wrong at once, by a plan that a seed decides, and the
//! invariants are judged afterwards by what was recorded.
//!
//! ```text
//!            plan of the seed
//!        ┌─────────┴─────────┐
//!      loads           disturbances ──> the API server, the copies, pages, clocks, a tenant
//!        └─────────┬─────────┘
//!                world: seven targets, two copies of the operator, each behind a proxy
//!        ┌─────────┼─────────┐
//!    observer    audit    pages served
//!        └─────────┼─────────┘
//!              timeline ──> invariants ──> report
//! ```
//!
//! `SEED` is a number, or `short` for a minute with fixed disturbances; `MINUTES` is the length.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

// The tests of these run by the program of `rules.rs`, so they are unused here.
#[allow(dead_code, unused_imports)]
mod evidence;
#[allow(dead_code, unused_imports)]
mod invariants;
#[allow(dead_code, unused_imports)]
mod plan;
#[allow(dead_code, unused_imports)]
mod report;

mod audit;
mod clock;
mod copies;
mod disturbances;
mod observer;
mod pages;
mod recorder;
mod world;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Cluster;
use llm_autoscaler_testbed::controlplane::Options;

use crate::{
    evidence::Timeline,
    invariants::{convergence, scale_downs, violations},
    plan::Plan,
    recorder::Recorder,
    world::World,
};

/// The length of a run in minutes, if `MINUTES` does not say.
const MINUTES: u64 = 20;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the chaos run could not be made: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode> {
    let targets = world::targets();
    let plan = match std::env::var("SEED").as_deref() {
        Ok("short") => Plan::short(&targets),
        Ok(seed) if !seed.is_empty() => {
            let seed = seed.parse().context("SEED is a number, or short")?;
            Plan::of(seed, minutes()?, &targets)
        }
        _ => Plan::of(fastrand::u64(0..1_000_000), minutes()?, &targets),
    };
    println!(
        "\nchaos: seed {}, {:.0} s, {} disturbances",
        plan.seed,
        plan.seconds,
        plan.disturbances.len()
    );
    let options = Options { audit: true, ..Options::default() };
    let cluster = Arc::new(Cluster::start_with(options).await?);
    let world = World::start(cluster).await?;
    let timeline = play(&world, &plan).await.inspect_err(|_| println!("{}", world.logs()))?;
    let found = violations(&timeline);
    let path = write_report(&plan.seed, &report::render(&plan.seed, &timeline, &found))?;
    for (figure, value) in report::figures(&timeline) {
        println!("    {figure}: {value}");
    }
    for it in &found {
        let (at, during) = (it.at, timeline.disturbed_at(it.at));
        println!(
            "VIOLATION at {at:.2} s, {}: {} is broken: {}; disturbances: {during}",
            it.subject, it.invariant, it.evidence
        );
    }
    if !found.is_empty() {
        println!("{}", world.logs());
    }
    println!(
        "\ntest result: seed {}: {}; report: {}\n",
        plan.seed,
        report::verdict(&found),
        path.display()
    );
    ensure_judged(&timeline)?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn minutes() -> Result<u64> {
    match std::env::var("MINUTES") {
        Ok(minutes) => minutes.parse().context("MINUTES is a whole number"),
        Err(_) => Ok(MINUTES),
    }
}

/// Plays the plan, and returns what was recorded meanwhile.
async fn play(world: &World, plan: &Plan) -> Result<Timeline> {
    let recorder = Recorder::begin();
    let end = recorder.began() + Duration::from_secs_f64(plan.seconds);
    let playing = async {
        tokio::join!(
            disturbances::play(world, &recorder, plan),
            world.play_loads(&recorder, plan),
            tokio::time::sleep_until(end),
        )
    };
    tokio::select! {
        (disturbed, (), ()) = playing => disturbed?,
        () = observer::observe(world, &recorder) => {}
    }
    world.timeline(recorder, plan).await
}

fn write_report(seed: &str, text: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("this program has no target folder")?;
    let folder = target.join("chaos");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("{seed}.md"));
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Fails if the run judged nothing: a checker without evidence finds nothing.
fn ensure_judged(timeline: &Timeline) -> Result<()> {
    for target in &timeline.targets {
        let name = &target.name;
        let rests = convergence::at_rest(timeline, target).len();
        ensure!(rests > 0, "{name} was never at rest, so nothing was judged");
        let served = timeline.pods.iter().any(|it| it.target == *name);
        ensure!(served, "no page of {name} was served");
    }
    let downs = timeline.targets.iter().map(|it| scale_downs::scale_downs(timeline, it).len());
    ensure!(downs.sum::<usize>() > 0, "no target was made smaller");
    ensure!(!timeline.copies.is_empty(), "no copy was looked at");
    Ok(())
}
