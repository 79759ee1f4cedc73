//! The subcommand `migrate`: from another autoscaler to an LLMAutoscaler, and back.
//!
//! The steps are planned by `convert::migration`; here the cluster is read and written.

mod cluster;
mod quiet;

use std::time::Duration;

use llm_autoscaler_api::{LLMAutoscaler, ScalingMode};
use llm_autoscaler_convert::migration::{Plan, Refusal, Sight, Step, back, forward};
use tokio::time::Instant;

use self::{
    cluster::{Cluster, StepError},
    quiet::Quiet,
};
use crate::output::print;

/// The time between two looks at the cluster while a step waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many conflicts in a row end a call: something changes an object all the time.
const MOST_CONFLICTS: u32 = 20;

/// The options of `migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// The name of the LLMAutoscaler. It has mode: Recommend, beside the autoscaler that it
    /// replaces.
    name: String,
    /// Its namespace; by default that of the current context.
    #[arg(long, short)]
    namespace: Option<String>,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long)]
    context: Option<String>,
    /// Go back to the autoscaler that was replaced.
    #[arg(long)]
    back: bool,
    /// Take the steps. Without it they are only printed.
    #[arg(long, visible_alias = "apply")]
    yes: bool,
    /// The longest time that one step waits, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(10..))]
    timeout: u64,
}

impl Migrate {
    /// Prints the steps, and takes them if that is wanted.
    pub(crate) async fn migrate(self) -> anyhow::Result<()> {
        let context = self.context.as_deref();
        let cluster = Cluster::connect(context, self.namespace.clone(), &self.name).await?;
        let mut quiet = Quiet::default();
        let sight = cluster.look(&mut quiet).await?;
        let plan = self.plan(&sight)?;
        print(&state(&sight))?;
        if plan.steps.is_empty() {
            return print(&format!("Nothing is left to do. {}\n", outcome(&sight.autoscaler)));
        }
        if !self.yes {
            let back = if self.back { " --back" } else { "" };
            let again = format!("llm-autoscaler migrate {}{back} --yes", cluster.address());
            print(&format!("{}{}", steps(&plan), notes(&plan)))?;
            return print(&format!("\nNothing has been written. To take these steps:\n{again}\n"));
        }
        self.carry_out(&cluster, quiet).await?;
        print(&notes(&plan))
    }

    fn plan(&self, sight: &Sight) -> Result<Plan, Refusal> {
        if self.back { back(sight) } else { forward(sight) }
    }

    /// Takes the first step of each plan until none is left.
    async fn carry_out(&self, cluster: &Cluster, mut quiet: Quiet) -> anyhow::Result<()> {
        let limit = Duration::from_secs(self.timeout);
        let (mut announced, mut began, mut conflicts) = (None, now(), 0);
        loop {
            let sight = cluster.look(&mut quiet).await?;
            let plan = self.plan(&sight)?;
            let Some(step) = plan.steps.first() else {
                return print(&format!("Done. {}\n", outcome(&sight.autoscaler)));
            };
            if announced.as_ref() != Some(step) {
                print(&format!("{step}\n"))?;
                (announced, began) = (Some(step.clone()), now());
            }
            match cluster.take(step, &sight).await {
                Ok(true) => conflicts = 0,
                Ok(false) if began.elapsed() > limit => {
                    anyhow::bail!("{}", self.overdue(step, &sight));
                }
                Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
                Err(StepError::Conflict(_)) if conflicts < MOST_CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(LOOK_EVERY / 5).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the error of a step that has waited too long.
    fn overdue(&self, step: &Step, sight: &Sight) -> String {
        let ready = sight.autoscaler.status.iter().flat_map(|status| &status.conditions);
        let ready = ready.filter(|it| it.type_ == "Ready" && it.status != "True");
        let why = match step {
            Step::AwaitScaling { .. } => ready.map(|it| it.message.clone()).next(),
            Step::AwaitStopped { .. } => Some(
                "it is not gone or not paused, or the size goes on changing; is its controller \
                 running?"
                    .to_owned(),
            ),
            _ => Some("is the operator running?".to_owned()),
        };
        let other = if self.back { "" } else { ", or --back goes back" };
        format!(
            "after {} s it is still to {step} ({}); the steps before are done, and the next call \
             goes on from here{other}",
            self.timeout,
            why.unwrap_or_else(|| "the operator has not reported".to_owned())
        )
    }
}

/// Reads the clock.
fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "waits have an end")]
    Instant::now()
}

/// Returns a sentence on the sizes.
fn state(sight: &Sight) -> String {
    let name = sight.autoscaler.metadata.name.as_deref().unwrap_or_default();
    let status = sight.autoscaler.status.clone().unwrap_or_default();
    let reference = status.reference.unwrap_or_else(|| "the target".to_owned());
    let replicas = sight.size.map_or(0, |size| size.replicas);
    let computed = match status.desired_replicas {
        Some(desired) => format!("computes {desired}"),
        None => "has computed no size yet".to_owned(),
    };
    let plural = if replicas == 1 { "" } else { "s" };
    format!("{reference} has {replicas} replica{plural}; the LLMAutoscaler {name} {computed}.\n")
}

/// Returns the steps of a plan, numbered.
fn steps(plan: &Plan) -> String {
    let each = plan.steps.iter().enumerate();
    let lines = each.map(|(index, step)| format!("{:>3}. {step}\n", index + 1));
    format!("\n{}", lines.collect::<Vec<_>>().concat())
}

/// Returns the notes of a plan.
fn notes(plan: &Plan) -> String {
    let lines: Vec<String> = plan.notes.iter().map(|note| format!("Note: {note}\n")).collect();
    let gap = if lines.is_empty() { "" } else { "\n" };
    format!("{gap}{}", lines.concat())
}

/// Returns a sentence on the autoscaler that scales the target.
fn outcome(autoscaler: &LLMAutoscaler) -> String {
    let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
    match autoscaler.spec.mode {
        ScalingMode::Scale => format!("The LLMAutoscaler {name} scales its target."),
        ScalingMode::Recommend => format!("The LLMAutoscaler {name} only recommends."),
    }
}
