//! Two copies of the operator for one namespace.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::Lease;
use llm_autoscaler_testbed::wait;

use crate::{
    audit::{self, Log, Request},
    election,
    operator::Operator,
    stage::{SOON, Stage},
};

/// The name of the Lease.
const LEASE: &str = "llm-autoscaler";

/// Two copies of the operator, of which one serves.
pub struct Copies<'a> {
    stage: &'a Stage,
    second: Operator,
    lease_seconds: u64,
    log: Mutex<Log>,
}

/// A copy: the first or the second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy(usize);

impl Copy {
    /// Both copies.
    pub const BOTH: [Self; 2] = [Self(0), Self(1)];

    /// Returns its number, from 0.
    pub fn number(self) -> usize {
        self.0
    }

    /// Returns the other copy.
    #[must_use]
    pub fn other(self) -> Self {
        Self(1 - self.0)
    }
}

impl<'a> Copies<'a> {
    /// Starts both, and waits until one serves and the other one is ready to.
    ///
    /// # Errors
    /// One of them does not start in time.
    pub async fn start(stage: &'a Stage, lease_seconds: u64) -> Result<Self> {
        stage.operator.kill();
        election::permit(stage).await?;
        let log = stage.control_plane().audit_log();
        let log = Mutex::new(Log::new(log, format!("{}-copy-", stage.namespace)));
        let copies = Self { stage, second: stage.second_operator(), lease_seconds, log };
        copies.run(Copy(0))?;
        // The first copy of all waits for a while, in case that there are others.
        copies.until_serving(Copy(0)).await?;
        copies.run(Copy(1))?;
        copies.until_ready(Copy(1)).await?;
        Ok(copies)
    }

    /// Returns the operator of a copy.
    pub fn operator(&self, copy: Copy) -> &Operator {
        if copy.0 == 0 { &self.stage.operator } else { &self.second }
    }

    /// Starts a copy.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn run(&self, copy: Copy) -> Result<()> {
        self.operator(copy).start_elected(&self.name(copy), self.lease_seconds)
    }

    fn name(&self, copy: Copy) -> String {
        format!("{}-copy-{}", self.stage.namespace, copy.0)
    }

    /// Waits until a copy serves.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until_serving(&self, copy: Copy) -> Result<()> {
        wait::until(&format!("{} to serve", self.name(copy)), SOON, async || {
            let page = self.operator(copy).metrics().await.unwrap_or_default();
            let is_held = |line: &str| line == "llm_autoscaler_leases_held 1";
            Ok(page.lines().any(is_held).then_some(()))
        })
        .await
    }

    /// Returns the ends of the logs of both.
    pub fn logs(&self) -> String {
        let tail = |copy| format!("{}:\n{}", self.name(copy), self.operator(copy).log_tail(25));
        format!("{}\n{}", tail(Copy(0)), tail(Copy(1)))
    }

    /// Waits until a copy is ready: its watches work.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn until_ready(&self, copy: Copy) -> Result<()> {
        let url = format!("{}/readyz", self.operator(copy).url());
        let client = llm_autoscaler_testbed::http_client();
        wait::until("a copy to be ready", SOON, async || {
            let answer = client.get(&url).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await
    }

    /// Returns the copy that the Lease names, and the name of its process.
    ///
    /// # Errors
    /// It names none, or the API server does not answer.
    pub async fn holder(&self) -> Result<(Copy, String)> {
        self.named().await?.context("the Lease names no copy")
    }

    async fn named(&self) -> Result<Option<(Copy, String)>> {
        let lease = self.stage.api::<Lease>().get_opt(LEASE).await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        let of = |copy: &Copy| holder.starts_with(&self.name(*copy));
        Ok(Copy::BOTH.into_iter().find(of).map(|copy| (copy, holder.clone())))
    }

    /// Waits until a copy holds the Lease. Returns the name of its process.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until_held_by(&self, copy: Copy) -> Result<String> {
        wait::until(&format!("{} to hold the Lease", self.name(copy)), SOON, async || {
            Ok(self.named().await?.filter(|(holder, _)| *holder == copy).map(|(_, name)| name))
        })
        .await
    }

    /// Returns the requests of both copies so far.
    ///
    /// # Errors
    /// The control plane has no audit log.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(log.requests()?.to_vec())
    }

    /// Waits for the first write of a copy after a moment. Returns the time in between.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn gap(&self, copy: Copy, since: DateTime<Utc>) -> Result<Duration> {
        let name = self.name(copy);
        let is_next = |request: &Request| {
            request.process.starts_with(&name) && request.is_write() && request.received > since
        };
        let within = SOON + Duration::from_secs(self.lease_seconds);
        let first = wait::until("the first write of the other copy", within, async || {
            Ok(self.requests()?.into_iter().find(is_next))
        });
        let first = first.await.with_context(|| self.logs())?;
        (first.received - since).to_std().context("a time before the moment")
    }

    /// Returns the number of writes.
    ///
    /// # Errors
    /// There was a double write, one that the operator's roles do not permit, or none at all.
    pub fn ensure_one_writer(&self) -> Result<usize> {
        audit::ensure_one_writer(&self.requests()?, 1)
    }
}
