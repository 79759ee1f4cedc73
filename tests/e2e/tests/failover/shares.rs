//! Several copies have even shares of several Leases.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use llm_autoscaler_e2e::{
    Operator, Stage,
    audit::{self, Log},
    election,
    usage::OwnMetrics,
};
use llm_autoscaler_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

/// The number of copies.
const COPIES: usize = 3;
/// The number of Leases, each with a namespace.
const BUCKETS: u64 = 8;
/// The time for which a Lease lasts, in seconds.
const LEASE: u64 = 5;
/// The longest time until shares are even: a copy takes part for two durations before it wishes.
const LONGEST: Duration = Duration::from_secs(8 * LEASE);

/// Three copies divide eight Leases evenly; two do so when one is killed, and it gets its share
/// back when it returns. All namespaces are written all the time, and never without their Lease.
pub(crate) async fn leases_are_divided_evenly(stage: &Stage) -> Result<String> {
    stage.operator.kill();
    // Those of earlier scenarios would be served too.
    let all = ["delete", "llmautoscalers", "--all", "--all-namespaces"];
    stage.control_plane().kubectl(all).await?;
    let spaces = namespaces(stage).await?;
    let copies = Several::start(stage).await?;
    let times = tokio::select! {
        times = copies.play() => times?,
        () = swing(&spaces) => Vec::new(),
    };
    let requests = copies.log.lock().unwrap_or_else(PoisonError::into_inner).requests()?.to_vec();
    let writes = audit::ensure_one_writer(&requests, BUCKETS)?;
    for space in &spaces {
        let is_its =
            |request: &&audit::Request| request.namespace == space.namespace && request.is_write();
        let count = requests.iter().filter(is_its).count();
        ensure!(count > 0, "nothing was written in {}", space.namespace);
    }
    let [first, killed, returned] = times[..] else { anyhow::bail!("{times:?}") };
    Ok(format!(
        "even {first:.1} s after the start, {killed:.1} s after a kill and {returned:.1} s after \
         its return, with a Lease of {LEASE} s; {writes} writes, none without the Lease"
    ))
}

/// Creates a namespace for each bucket, with a target of its own.
async fn namespaces(stage: &Stage) -> Result<Vec<Stage>> {
    let mut spaces = Vec::new();
    for bucket in 0..BUCKETS {
        let names = (0..).map(|number| format!("{}-{number}", stage.namespace));
        let name = names.into_iter().find(|name| audit::bucket(name, BUCKETS) == bucket);
        let space = stage.further(&name.context("a name for each bucket")?).await?;
        space.create_engine("a", 1).await?;
        let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        space.autoscaler("a", json!({"behavior": window})).await?;
        spaces.push(space);
    }
    for space in &spaces {
        space.until_ready("a", 1).await?;
    }
    Ok(spaces)
}

/// Changes the load of one namespace after the other.
async fn swing(spaces: &[Stage]) {
    loop {
        for space in spaces {
            space.waiting("a", [0, 6, 11][fastrand::usize(0..3)]);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
}

/// The copies of the operator, of which the stage's own is the first.
struct Several<'a> {
    stage: &'a Stage,
    others: Vec<Operator>,
    log: Mutex<Log>,
}

impl<'a> Several<'a> {
    async fn start(stage: &'a Stage) -> Result<Self> {
        election::permit_buckets(stage, usize::try_from(BUCKETS)?).await?;
        let log = stage.control_plane().audit_log();
        let log = Mutex::new(Log::new(log, format!("{}-copy-", stage.namespace)));
        let others = (1..COPIES).map(|_| stage.second_operator()).collect();
        let copies = Self { stage, others, log };
        for (number, copy) in copies.all().into_iter().enumerate() {
            copy.watch_all_namespaces();
            copy.configure(&[&format!("--buckets={BUCKETS}")], &[]);
            copies.run(number)?;
        }
        Ok(copies)
    }

    fn all(&self) -> Vec<&Operator> {
        [&self.stage.operator].into_iter().chain(&self.others).collect()
    }

    fn run(&self, number: usize) -> Result<()> {
        let name = format!("{}-copy-{number}", self.stage.namespace);
        self.all()[number].start_elected(&name, LEASE)
    }

    /// Starts all, kills one, and lets it return. Returns the times until the shares were even, in
    /// seconds.
    async fn play(&self) -> Result<Vec<f64>> {
        let first = self.until_shares(&[2, 3, 3]).await?;
        self.stay().await?;
        self.stage.operator.kill();
        let killed = self.until_shares(&[0, 4, 4]).await?;
        self.run(0)?;
        let returned = self.until_shares(&[2, 3, 3]).await?;
        self.stay().await?;
        Ok(vec![first, killed, returned])
    }

    /// Returns the number of Leases that each copy holds, the fewest first.
    async fn shares(&self) -> Vec<usize> {
        let mut shares = Vec::new();
        for copy in self.all() {
            let page = OwnMetrics::of(copy).await.ok();
            let held = page.and_then(|page| page.value("llm_autoscaler_leases_held"));
            shares.push(held.unwrap_or_default() as usize);
        }
        shares.sort_unstable();
        shares
    }

    async fn until_shares(&self, expected: &[usize]) -> Result<f64> {
        let (began, what) = (Instant::now(), format!("shares of {expected:?}"));
        let even = wait::until(&what, LONGEST, async || {
            Ok((self.shares().await == expected).then_some(()))
        });
        if let Err(error) = even.await {
            return Err(error.context(format!("{:?}\n{}", self.shares().await, self.logs())));
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Waits for two durations, in which no Lease changes hands.
    async fn stay(&self) -> Result<()> {
        let before = self.transitions().await?;
        tokio::time::sleep(Duration::from_secs(2 * LEASE)).await;
        let after = self.transitions().await?;
        ensure!(before == after, "Leases go to and fro: {before} and {after} transitions");
        Ok(())
    }

    /// Returns the number of changes of the holders of all Leases.
    async fn transitions(&self) -> Result<i32> {
        let leases = self.stage.api::<Lease>().list(&kube::api::ListParams::default()).await?;
        let count = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        Ok(leases.iter().filter_map(count).sum())
    }

    fn logs(&self) -> String {
        let tails = self.all().into_iter().map(|copy| copy.log_tail(25));
        tails.collect::<Vec<_>>().join("\n\n")
    }
}
