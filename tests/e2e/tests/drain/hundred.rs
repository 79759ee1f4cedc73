//! A hundred scale-downs under load, by this operator with `drain` and by a plain HorizontalPodAutoscaler: which requests are cut off?
//!
//! Side by side, 25 StatefulSets of each shrink from five replicas to one, a replica at a time, while five clients keep each busy
//! through its Service's address with requests of 30 s. Pods end 5 s after they are told to, as engines do that do not wait for
//! requests. Both have the same target for each replica, no window, and let one replica go at a time; the HPA is
//! kube-controller-manager's with its own period of 15 s, fed from the pods' pages.

mod busy;
mod downs;
mod side;

use std::{fmt::Write, time::Duration};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::CustomMetrics;

use crate::gated;
use busy::REQUEST;
use side::{Scaler, Side};

/// What came of one of the two sides.
struct Outcome {
    /// Counted where the sizes are: how often a StatefulSet was asked for fewer replicas.
    scale_downs: usize,
    answered: usize,
    cut_off: usize,
    /// Why the first of those was.
    first: Option<String>,
    /// Until the last replica that was to go had been taken away.
    took: Duration,
}

/// The table; no request cut off with `drain`, and some without, or else this shows nothing.
pub async fn a_hundred_scale_downs(stage: &Stage) -> Result<String> {
    gated::permit(stage).await?;
    let _metrics = CustomMetrics::start(stage.control_plane()).await?;
    let mut sides = (Side::new(stage, Scaler::Ours), Side::new(stage, Scaler::Hpa));
    tokio::try_join!(sides.0.create(stage), sides.1.create(stage))?;
    tokio::try_join!(sides.0.load(stage), sides.1.load(stage))?;
    // Until everybody has sent a request, and some have been answered.
    tokio::time::sleep(REQUEST + REQUEST / 6).await;

    let late = gated::drains(stage, "deadline").await?;
    let (ours, hpa) = tokio::try_join!(sides.0.shrink(stage), sides.1.shrink(stage))?;
    // Whatever was removed last is gone by then, and its requests with it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (ours, hpa) = tokio::join!(sides.0.end(ours), sides.1.end(hpa));
    let late = gated::drains(stage, "deadline").await? - late;

    let table = table(&ours, &hpa, late);
    ensure!((ours.scale_downs, hpa.scale_downs) == (100, 100), "{table}");
    ensure!(ours.cut_off == 0, "{}{table}", ours.first.unwrap_or_default());
    ensure!(20 * late <= 100, "{table}");
    ensure!(hpa.cut_off > 0, "what scales down at once was to cut off something:{table}");
    Ok(format!(
        "{table}\n    with the HPA the first failed with: {}",
        hpa.first.unwrap_or_default()
    ))
}

/// Both, for people; `late` of ours were ended by the deadline.
fn table(ours: &Outcome, hpa: &Outcome, late: u64) -> String {
    let mut table = String::from(
        "\n    |                            | with drain | plain HPA |\n    |---|---|---|\n",
    );
    let mut row = |name: &str, ours: String, hpa: String| {
        let _ = writeln!(table, "    | {name:<26} | {ours:>10} | {hpa:>9} |");
    };
    let mut both = |name: &str, of: &dyn Fn(&Outcome) -> String| row(name, of(ours), of(hpa));
    both("scale-downs", &|outcome| outcome.scale_downs.to_string());
    both("requests answered", &|outcome| outcome.answered.to_string());
    both("requests cut off", &|outcome| outcome.cut_off.to_string());
    both("seconds from 5 to 1", &|outcome| outcome.took.as_secs().to_string());
    row(
        "ended by the deadline",
        format!("{} %", 100 * late / ours.scale_downs.max(1) as u64),
        "–".to_owned(),
    );
    table
}
