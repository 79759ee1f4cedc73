//! The start of one copy: the time until all is decided, and what it costs then.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{
    Operator, Stage,
    reads::{Reads, SCRAPED},
    usage::OwnMetrics,
};
use tokio::time::Instant;

use crate::{
    cpu::CpuTimes,
    objects::Size,
    requests::{Peak, Requests},
};

/// The autoscalers that were decided on since the copy began.
const DECIDED: &str = "llm_autoscaler_autoscalers_decided";
/// The same of a build before that metric: the autoscalers that say so in their statuses. It is
/// right where no status was there before.
const ACTIVE: &str = "llm_autoscaler_conditions{type=\"ScalingActive\",status=\"True\"";
/// The same of a build before that one: all decisions, some of which are of the same autoscaler.
const DECISIONS: &str = "llm_autoscaler_decisions_total{";
/// The time in which all autoscalers decide, and all pages are read twice.
const SETTLED: Duration = Duration::from_mins(5);

/// The figures of a start.
pub(crate) struct Started {
    pub(crate) size: Size,
    pub(crate) first: Duration,
    pub(crate) all: Duration,
    /// The most requests in flight at the API server, and the most in a second.
    pub(crate) peak: Peak,
    /// The resident memory in MiB.
    pub(crate) memory: f64,
    /// The CPU time of a read in microseconds.
    pub(crate) read: f64,
}

/// Returns the number of autoscalers that an operator has decided on.
pub(crate) async fn decided(operator: &Operator) -> Option<f64> {
    let page = OwnMetrics::of(operator).await.ok()?;
    Some(page.value(DECIDED).unwrap_or_else(|| {
        let active = page.sum_of(ACTIVE);
        if active > 0.0 { active } else { page.sum_of(DECISIONS) }
    }))
}

/// Waits until an operator has decided on all autoscalers. Returns the times of the first and of
/// the last one.
pub(crate) async fn until_decided(
    (stage, operator): (&Stage, &Operator),
    autoscalers: u32,
    began: Instant,
    peak: &mut Peak,
) -> Result<(Duration, Duration)> {
    let (mut first, mut told, mut looked) = (None, Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let elapsed = began.elapsed();
        let decided = decided(operator).await.unwrap_or_default();
        first = first.or((decided >= 1.0).then_some(elapsed));
        if let Some(first) = first.filter(|_| decided >= f64::from(autoscalers)) {
            return Ok((first, elapsed));
        }
        if looked.elapsed() > Duration::from_secs(1) {
            looked = Instant::now();
            peak.observe(stage).await?;
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            println!("  {:.0} s: {decided:.0} have decided", elapsed.as_secs_f64());
        }
        ensure!(elapsed < SETTLED, "{decided} have decided in {elapsed:?}");
    }
}

/// Starts the operator, waits until all is decided and read twice, and measures for a while.
pub(crate) async fn measure(stage: &Stage, size: Size, time: Duration) -> Result<Started> {
    let operator = &stage.operator;
    let before = Requests::of(stage).await?;
    operator.kill();
    let spent = CpuTimes::of(stage, &[]);
    let began = Instant::now();
    operator.start()?;
    let mut peak = Peak::default();
    let (first, all) = until_decided((stage, operator), size.autoscalers, began, &mut peak).await?;
    let spent = CpuTimes::of(stage, &[operator]).since(spent);
    println!(
        "  first decision after {:.2} s, all after {:.2} s; at most {:.0} requests in flight, and \
         {:.0} a second",
        first.as_secs_f64(),
        all.as_secs_f64(),
        peak.in_flight,
        peak.per_second,
    );
    println!("  requests until then: {}", Requests::of(stage).await?.since(&before));
    println!("  CPU until then: {spent}");
    let began = Instant::now();
    while scraped(operator).await? < 2.0 * f64::from(size.pods) {
        ensure!(began.elapsed() < SETTLED, "all pages are not read twice in {SETTLED:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let (before, cpu) = (Reads::of(operator).await?, CpuTimes::of(stage, &[operator]));
    tokio::time::sleep(time).await;
    let spent = Reads::of(operator).await?.since(&before);
    println!("  {}; {:.0} reads failed", spent.text(), spent.failed);
    println!(
        "  CPU in {:.0} s: {}",
        time.as_secs_f64(),
        CpuTimes::of(stage, &[operator]).since(cpu)
    );
    Ok(Started { size, first, all, peak, memory: spent.memory, read: spent.cpu_per_read() })
}

async fn scraped(operator: &Operator) -> Result<f64> {
    Ok(OwnMetrics::of(operator).await?.value(SCRAPED).unwrap_or_default())
}

/// Prints the figures as a table, and what an autoscaler with a pod and one more pod add.
pub(crate) fn print_table(measured: &[Started]) {
    println!(
        "\n| pods | autoscalers | first decision | all | in flight | requests/s | memory | CPU a \
         read |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for Started { size, first, all, peak, memory, read } in measured {
        println!(
            "| {} | {} | {:.2} s | {:.2} s | {:.0} | {:.0} | {memory:.0} MB | {read:.0} µs |",
            size.pods,
            size.autoscalers,
            first.as_secs_f64(),
            all.as_secs_f64(),
            peak.in_flight,
            peak.per_second,
        );
    }
    let difference = |index: usize, count: fn(&Size) -> u32| {
        let (before, after) = (measured.get(index)?, measured.get(index + 1)?);
        let more = count(&after.size).checked_sub(count(&before.size)).filter(|more| *more > 0)?;
        Some((after.memory - before.memory) * 1024.0 / f64::from(more))
    };
    if let Some(each) = difference(0, |size| size.autoscalers) {
        println!("memory of an autoscaler with a pod: {each:.1} KiB");
    }
    if let Some(each) = difference(1, |size| size.pods) {
        println!("memory of one more pod: {each:.1} KiB");
    }
}
