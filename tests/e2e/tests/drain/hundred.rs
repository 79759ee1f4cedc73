//! A hundred scale-downs under load, three times: by this operator with `drain`, by a plain
//! HorizontalPodAutoscaler, and by the same HPA with pods that take care themselves. It counts the
//! requests that are cut off.
//!
//! Side by side, 25 StatefulSets for each shrink from five replicas to one, a replica at a time.
//! Five clients keep each StatefulSet busy through its Service's address, four with requests of
//! 30 s and one with requests of 100 s. All autoscalers have the same target per replica, no
//! window, and remove one replica at a time. The HPA is kube-controller-manager's with its default
//! period of 15 s; it reads the pods' pages through the custom metrics API.
//!
//! With `drain`, and beside the plain HPA, pods exit 5 s after SIGTERM, like engines that do not
//! wait for requests. The pods that take care are set up as well as it can be done without an
//! operator: they sleep for 15 s before SIGTERM, while they leave their Services, their engine ends
//! requests within 45 s, and their grace period is 75 s.

mod scale_downs;
mod side;

use std::{fmt::Write, time::Duration};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::CustomMetrics;

use crate::{clients::LONG_REQUEST, gated};
use side::{Scaler, Side};

/// The course of all of a side's scale-downs.
struct Shrunk {
    /// The time until the last pod was gone.
    took: Duration,
    /// The time that the pods beyond the last one lived meanwhile, in seconds.
    pod_seconds: f64,
}

/// The results of one of the sides.
struct Outcome {
    /// The number of times that a StatefulSet's requested replicas decreased.
    scale_downs: usize,
    answered: usize,
    cut_off: usize,
    /// The error of the first request that was cut off.
    first: Option<String>,
    shrunk: Shrunk,
}

/// Prints the table. Fails if a request is cut off with `drain`, and also if none is by the plain
/// HPA, because then the test shows nothing.
pub(crate) async fn a_hundred_scale_downs(stage: &Stage) -> Result<String> {
    gated::permit(stage).await?;
    let _metrics = CustomMetrics::start(stage.control_plane()).await?;
    let [mut ours, mut hpa, mut careful] =
        [Scaler::Ours, Scaler::Hpa, Scaler::CarefulHpa].map(|scaler| Side::new(stage, scaler));
    tokio::try_join!(ours.create(stage), hpa.create(stage), careful.create(stage))?;
    tokio::try_join!(ours.load(stage), hpa.load(stage), careful.load(stage))?;
    // By then all clients have sent a request, and some have been answered.
    tokio::time::sleep(LONG_REQUEST / 3).await;

    let late = gated::drains(stage, "deadline").await?;
    let shrunk = tokio::try_join!(ours.shrink(stage), hpa.shrink(stage), careful.shrink(stage))?;
    // By then the requests of the pods that were removed last have failed.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (ours, hpa, careful) =
        tokio::join!(ours.end(shrunk.0), hpa.end(shrunk.1), careful.end(shrunk.2));
    let late = gated::drains(stage, "deadline").await? - late;

    let sides = [&ours, &hpa, &careful];
    let table = table(sides, late);
    ensure!(sides.map(|side| side.scale_downs) == [100; 3], "{table}");
    ensure!(ours.cut_off == 0, "{}{table}", ours.first.unwrap_or_default());
    ensure!(20 * late <= 100, "{table}");
    ensure!(hpa.cut_off > 0, "what scales down at once was to cut off something:{table}");
    Ok(format!(
        "{table}\n    with the HPA the first failed with: {}\n    with the pods that take care: {}",
        hpa.first.unwrap_or_default(),
        careful.first.unwrap_or_default(),
    ))
}

/// Formats the results of the sides. `late` of our drains were ended by the deadline.
fn table(sides: [&Outcome; 3], late: u64) -> String {
    let mut table = String::from(
        "\n    |                            | with drain | plain HPA | HPA, pods that take care |\n    \
         |---|---|---|---|\n",
    );
    let mut row = |name: &str, [ours, hpa, careful]: [String; 3]| {
        let _ = writeln!(table, "    | {name:<26} | {ours:>10} | {hpa:>9} | {careful:>24} |");
    };
    let mut all = |name: &str, of: &dyn Fn(&Outcome) -> String| row(name, sides.map(of));
    all("scale-downs", &|outcome| outcome.scale_downs.to_string());
    all("requests answered", &|outcome| outcome.answered.to_string());
    all("requests cut off", &|outcome| outcome.cut_off.to_string());
    all("seconds from 5 to 1", &|outcome| outcome.shrunk.took.as_secs().to_string());
    all("pod-seconds a removal", &|outcome| {
        format!("{:.0}", outcome.shrunk.pod_seconds / outcome.scale_downs.max(1) as f64)
    });
    let of_ours = format!("{} %", 100 * late / sides[0].scale_downs.max(1) as u64);
    row("ended by the deadline", [of_ours, "–".to_owned(), "–".to_owned()]);
    table
}
