//! Several copies: one is killed, the others take over, and it returns.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{Operator, Stage, election, reads::Reads, usage::OwnMetrics};
use tokio::time::Instant;

use crate::{
    cpu::CpuTimes,
    objects::Size,
    requests::{Peak, Requests},
    start::{decided, until_decided},
};

/// The series that each autoscaler has one of, with its namespace and name.
const EACH: &str = "llm_autoscaler_desired_replicas{";
/// The time in which the copies divide everything among themselves.
const DIVIDED: Duration = Duration::from_mins(4);

/// The copies of the operator, of which the stage's own is the first.
pub(crate) struct Copies<'a> {
    stage: &'a Stage,
    others: Vec<Operator>,
    lease_seconds: u64,
    size: Size,
    buckets: usize,
}

impl<'a> Copies<'a> {
    /// Starts copies that divide the namespaces by this number of Leases, and waits until all is
    /// decided.
    pub(crate) async fn start(
        stage: &'a Stage,
        size: Size,
        (count, buckets, lease_seconds): (usize, usize, u64),
        args: &[&str],
    ) -> Result<Self> {
        stage.operator.kill();
        election::permit_buckets(stage, buckets).await?;
        let others = (1..count).map(|_| stage.second_operator()).collect();
        let copies = Self { stage, others, lease_seconds, size, buckets };
        let buckets = format!("--buckets={buckets}");
        let args = [args, &[&buckets, "--autoscaler-metrics"]].concat();
        for copy in copies.all() {
            copy.watch_all_namespaces();
            copy.configure(&args, &[]);
        }
        for number in 0..count {
            copies.run(number)?;
        }
        copies.until_divided().await?;
        Ok(copies)
    }

    fn all(&self) -> Vec<&Operator> {
        [&self.stage.operator].into_iter().chain(&self.others).collect()
    }

    fn run(&self, number: usize) -> Result<()> {
        let name = format!("{}-copy-{number}", self.stage.namespace);
        self.all()[number].start_elected(&name, self.lease_seconds)
    }

    /// Waits until the copies that run have decided on all autoscalers together, and have even
    /// shares of all Leases. Returns the time that it took.
    async fn until_divided(&self) -> Result<Duration> {
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            let (mut sum, mut shares) = (0.0, Vec::new());
            for copy in self.all().into_iter().filter(|copy| copy.pid().is_some()) {
                let page = OwnMetrics::of(copy).await.ok();
                let leases = page.and_then(|page| page.value("llm_autoscaler_leases_held"));
                shares.push(leases.unwrap_or_default() as usize);
                sum += decided(copy).await.unwrap_or_default();
            }
            let (most, least) = (shares.iter().max(), shares.iter().min());
            let is_even = most.zip(least).is_some_and(|(most, least)| most - least <= 1);
            let is_all = shares.iter().sum::<usize>() == self.buckets;
            if is_even && is_all && sum >= f64::from(self.size.autoscalers) {
                return Ok(began.elapsed());
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                println!(
                    "  {:.0} s: {shares:?} Leases are held, {sum:.0} have decided",
                    began.elapsed().as_secs_f64()
                );
            }
            ensure!(began.elapsed() < DIVIDED, "{sum} of {} have decided", self.size);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Prints what each copy serves and costs, and that no autoscaler is served by two.
    async fn print_shares(&self, title: &str, time: Duration) -> Result<()> {
        let (mut before, mut served) = (Vec::new(), BTreeMap::<String, usize>::new());
        for copy in self.all() {
            before.push(Reads::of(copy).await?);
            for autoscaler in autoscalers_of(copy).await? {
                *served.entry(autoscaler).or_default() += 1;
            }
        }
        let twice = served.values().filter(|copies| **copies > 1).count();
        let all = served.len();
        println!("\n{title}: {all} autoscalers are served, {twice} of them by two copies");
        ensure!(twice == 0 && all == self.size.autoscalers as usize, "it is not divided");
        let cpu = CpuTimes::of(self.stage, &self.all());
        tokio::time::sleep(time).await;
        println!("| copy | Leases | autoscalers | reads and cost |");
        println!("|---|---|---|---|");
        for (number, (copy, before)) in self.all().into_iter().zip(&before).enumerate() {
            let (page, spent) = (OwnMetrics::of(copy).await?, Reads::of(copy).await?.since(before));
            let value = |name: &str| page.value(name).unwrap_or_default();
            println!(
                "| {number} | {:.0} | {:.0} | {} |",
                value("llm_autoscaler_leases_held"),
                value("llm_autoscaler_autoscalers"),
                spent.text()
            );
        }
        let cpu = CpuTimes::of(self.stage, &self.all()).since(cpu);
        println!("CPU in {:.0} s: {cpu}", time.as_secs_f64());
        Ok(())
    }
}

/// Returns the autoscalers that a copy has a series of.
async fn autoscalers_of(copy: &Operator) -> Result<BTreeSet<String>> {
    let page = copy.metrics().await?;
    let lines = page.lines().filter(|line| line.starts_with(EACH));
    let label = |line: &str, name: &str| {
        Some(line.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.to_owned())
    };
    Ok(lines
        .filter_map(|line| Some(format!("{}/{}", label(line, "namespace")?, label(line, "name")?)))
        .collect())
}

/// Kills the one of two copies that serves, and measures how the other one takes over.
pub(crate) async fn failover(
    stage: &Stage,
    size: Size,
    lease_seconds: u64,
    args: &[&str],
) -> Result<()> {
    stage.operator.kill();
    election::permit(stage).await?;
    let copies =
        Copies { stage, others: vec![stage.second_operator()], lease_seconds, size, buckets: 1 };
    for (number, copy) in copies.all().into_iter().enumerate() {
        copy.watch_all_namespaces();
        copy.configure(args, &[]);
        copies.run(number)?;
        copies.until_divided().await?;
    }
    // The follower has its listings, and the statuses of the first decisions are written.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let follower = &copies.others[0];
    let before = Requests::of(stage).await?;
    println!("the copy that serves is killed; its Lease lasts for {lease_seconds} s");
    stage.operator.kill();
    let (killed, spent) = (Instant::now(), CpuTimes::of(stage, &[follower]));
    let held = loop {
        let page = OwnMetrics::of(follower).await?;
        if page.value("llm_autoscaler_leases_held").unwrap_or_default() >= 1.0 {
            break Instant::now();
        }
        ensure!(killed.elapsed() < DIVIDED, "the follower does not get the Lease");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut peak = Peak::default();
    let (first, all) = until_decided((stage, follower), size.autoscalers, held, &mut peak).await?;
    println!(
        "| pods | autoscalers | Lease held after the kill | first decision after that | all | \
         in flight |"
    );
    println!("|---|---|---|---|---|---|");
    println!(
        "| {} | {} | {:.2} s | {:.2} s | {:.2} s | {:.0} |",
        size.pods,
        size.autoscalers,
        (held - killed).as_secs_f64(),
        first.as_secs_f64(),
        all.as_secs_f64(),
        peak.in_flight
    );
    println!("  requests: {}", Requests::of(stage).await?.since(&before));
    println!("  CPU: {}", CpuTimes::of(stage, &[follower]).since(spent));
    follower.kill();
    Ok(())
}

/// Divides everything among copies, kills one, and lets it return.
pub(crate) async fn divide(
    stage: &Stage,
    size: Size,
    (count, buckets, lease_seconds): (usize, usize, u64),
    args: &[&str],
    time: Duration,
) -> Result<()> {
    let began = Instant::now();
    let copies = Copies::start(stage, size, (count, buckets, lease_seconds), args).await?;
    println!("{count} copies have divided {size} after {:.1} s", began.elapsed().as_secs_f64());
    copies.print_shares("divided", time).await?;
    copies.stage.operator.kill();
    let taken = copies.until_divided().await?;
    println!(
        "\none is killed: the others have decided on all after {:.1} s, of which its Leases take \
         {lease_seconds} s",
        taken.as_secs_f64()
    );
    copies.run(0)?;
    let returned = copies.until_divided().await?;
    println!("it has its share {:.1} s after its return", returned.as_secs_f64());
    copies.print_shares("it has returned", time).await?;
    copies.all().iter().for_each(|copy| copy.kill());
    Ok(())
}
