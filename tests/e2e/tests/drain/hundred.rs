//! A hundred scale-downs under load, by this operator with `drain` and by a plain
//! HorizontalPodAutoscaler; it counts the requests that are cut off.
//!
//! Side by side, 25 StatefulSets for each shrink from five replicas to one, a replica at a time.
//! Five clients keep each StatefulSet busy through its Service's address with requests of 30 s.
//! Pods exit 5 s after SIGTERM, like engines that do not wait for requests. Both autoscalers have
//! the same target per replica, no window, and remove one replica at a time. The HPA is
//! kube-controller-manager's with its default period of 15 s; it reads the pods' pages through the
//! custom metrics API.

mod scale_downs;
mod side;

use std::{fmt::Write, time::Duration};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::CustomMetrics;

use crate::{clients::REQUEST, gated};

use side::{Scaler, Side};

/// The results of one of the two sides.
struct Outcome {
    /// The number of times that a StatefulSet's requested replicas decreased.
    scale_downs: usize,
    answered: usize,
    cut_off: usize,
    /// The error of the first request that was cut off.
    first: Option<String>,
    /// The time until the last replica was removed.
    took: Duration,
}

/// Prints the table. Fails if a request is cut off with `drain`, and also if none is without it,
/// because then the test shows nothing.
pub(crate) async fn a_hundred_scale_downs(stage: &Stage) -> Result<String> {
    gated::permit(stage).await?;
    let _metrics = CustomMetrics::start(stage.control_plane()).await?;
    let mut sides = (Side::new(stage, Scaler::Ours), Side::new(stage, Scaler::Hpa));
    tokio::try_join!(sides.0.create(stage), sides.1.create(stage))?;
    tokio::try_join!(sides.0.load(stage), sides.1.load(stage))?;
    // By then all clients have sent a request, and some have been answered.
    tokio::time::sleep(REQUEST + REQUEST / 6).await;

    let late = gated::drains(stage, "deadline").await?;
    let (ours, hpa) = tokio::try_join!(sides.0.shrink(stage), sides.1.shrink(stage))?;
    // By then the pod that was removed last has exited, and its requests have failed.
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

/// Formats the results of both sides. `late` of our drains were ended by the deadline.
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
