//! The two copies of the operator, each behind a proxy and with a clock of its own.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use llm_autoscaler_e2e::{Operator, SOON, Stage, election};
use llm_autoscaler_testbed::{
    ApiProxy,
    api_proxy::{ApiFault, Rule},
    http_client, wait,
};

use tokio::time::Instant;

use crate::{
    clock::Clock,
    evidence::{CopyLook, LEASE, Second},
    plan::Kind,
};

/// What the names of the copies begin with.
pub(crate) const COPIES: &str = "chaos-copy-";
/// The memory that pages may take; pages of a tenant try to take more.
const BUDGET: &str = "--memory-budget=64Mi";
/// The time in which a process that was started may not be there yet.
const STARTING: Duration = Duration::from_secs(5);
/// The timeout of a request to a copy, which may be paused.
const PATIENCE: Duration = Duration::from_millis(500);

/// Two copies of the operator, of which one serves.
pub(crate) struct Copies {
    copies: [Copy; 2],
}

/// A copy of the operator.
struct Copy {
    operator: Operator,
    clock: Clock,
    proxy: ApiProxy,
    /// The faults of its requests, by disturbance.
    faults: Mutex<Vec<(Kind, Vec<Rule>)>>,
    life: Mutex<Life>,
}

/// The life of a copy's process.
#[derive(Default)]
struct Life {
    starts: u32,
    started: Option<Instant>,
    /// It was started, and nothing has ended it since.
    is_running: bool,
    panics: u64,
}

impl Copies {
    /// Starts both, and waits until one serves and the other one is ready to.
    pub(crate) async fn start(stage: &Stage) -> Result<Self> {
        election::permit(stage).await?;
        let copy = async |index: usize| {
            let operator = stage.second_operator();
            let folder = stage.folder()?;
            let clock = Clock::new(&folder, &format!("copy-{index}"))?;
            let proxy = ApiProxy::start(stage.control_plane().url()).await?;
            operator.watch_all_namespaces();
            operator.connect_behind(proxy.url())?;
            let environment = clock.environment();
            let variables = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
            operator.configure(&[BUDGET], &variables);
            anyhow::Ok(Copy {
                operator,
                clock,
                proxy,
                faults: Mutex::default(),
                life: Mutex::default(),
            })
        };
        let copies = Self { copies: [copy(0).await?, copy(1).await?] };
        copies.run(0)?;
        wait::until("the first copy to serve", SOON, async || {
            Ok((copies.holder().await == Some(0)).then_some(()))
        })
        .await?;
        copies.run(1)?;
        copies.until_ready(1).await?;
        Ok(copies)
    }

    /// Starts a copy.
    pub(crate) fn run(&self, copy: usize) -> Result<()> {
        let it = &self.copies[copy];
        let mut life = it.life();
        it.operator.start_elected(&format!("{COPIES}{copy}"), LEASE as u64)?;
        life.starts += 1;
        life.started = Some(Instant::now());
        life.is_running = true;
        life.panics = 0;
        Ok(())
    }

    /// Kills a copy.
    pub(crate) fn kill(&self, copy: usize) {
        let mut life = self.copies[copy].life();
        life.is_running = false;
        self.copies[copy].operator.kill();
    }

    /// Lets a copy end.
    pub(crate) fn terminate(&self, copy: usize) -> Result<()> {
        let mut life = self.copies[copy].life();
        life.is_running = false;
        self.copies[copy].operator.terminate()
    }

    /// Pauses a copy.
    pub(crate) fn pause(&self, copy: usize) -> Result<()> {
        self.copies[copy].operator.pause()
    }

    /// Lets a paused copy go on.
    pub(crate) fn resume(&self, copy: usize) -> Result<()> {
        self.copies[copy].operator.resume()
    }

    /// Sets the clock of a copy.
    pub(crate) fn set_clock(&self, copy: usize, seconds: i64) -> Result<()> {
        self.copies[copy].clock.set(seconds)
    }

    /// Breaks requests of a copy until the disturbance ends.
    pub(crate) fn break_requests(&self, copy: usize, kind: Kind, rules: Vec<Rule>) {
        self.copies[copy].change_faults(|faults| faults.push((kind, rules)));
    }

    /// Ends the faults of a disturbance.
    pub(crate) fn repair_requests(&self, kind: Kind) {
        for copy in &self.copies {
            copy.change_faults(|faults| faults.retain(|(its, _)| *its != kind));
        }
    }

    /// Returns the copy that serves, by its own account.
    pub(crate) async fn holder(&self) -> Option<usize> {
        for (index, copy) in self.copies.iter().enumerate() {
            let page = copy.metrics().await.unwrap_or_default();
            if page.lines().any(|line| line == "llm_autoscaler_leases_held 1") {
                return Some(index);
            }
        }
        None
    }

    /// Looks at both copies.
    pub(crate) async fn look(&self, at: Second) -> Vec<CopyLook> {
        let mut looks = Vec::new();
        for (index, copy) in self.copies.iter().enumerate() {
            let panics = copy.metrics().await.as_deref().and_then(panics);
            let mut life = copy.life();
            life.panics = panics.unwrap_or(life.panics);
            let memory_mb = copy.operator.memory_mb().ok().map(|(now, _)| now);
            let is_new = life.started.is_some_and(|started| started.elapsed() < STARTING);
            if life.is_running && (memory_mb.is_some() || !is_new) {
                looks.push(CopyLook {
                    life: format!("copy {index}, start {}", life.starts),
                    at,
                    memory_mb,
                    panics: life.panics,
                });
            }
        }
        looks
    }

    /// Returns the ends of the logs of both.
    pub(crate) fn logs(&self) -> String {
        let tail = |(index, copy): (usize, &Copy)| {
            format!("{COPIES}{index}:\n{}\n", copy.operator.log_tail(80))
        };
        self.copies.iter().enumerate().map(tail).collect()
    }

    async fn until_ready(&self, copy: usize) -> Result<()> {
        let url = format!("{}/readyz", self.copies[copy].operator.url());
        wait::until("a copy to be ready", SOON, async || {
            let answer = http_client().get(&url).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await
        .with_context(|| self.logs())
    }
}

impl Copy {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_faults(&self, change: impl FnOnce(&mut Vec<(Kind, Vec<Rule>)>)) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut faults);
        let mut rules: Vec<_> = faults.iter().flat_map(|(_, rules)| rules).cloned().collect();
        // A copy that is cut off gets no other answer.
        rules.sort_by_key(|rule| rule.fault != ApiFault::Hang);
        self.proxy.break_requests(rules);
    }

    async fn metrics(&self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.operator.metrics()).await.ok()?.ok()
    }
}

/// Returns the number of panics on the operator's page.
fn panics(page: &str) -> Option<u64> {
    let lines = page.lines().filter(|line| line.starts_with("llm_autoscaler_panics_total"));
    lines.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
