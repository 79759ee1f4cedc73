//! The options of starts and faults.

use llm_autoscaler_simulate::{Faults, Starts};

use super::numbers::{positive, share};

/// The options of starts.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// The median time from the creation of a pod until it is ready, in seconds.
    #[arg(long, default_value_t = 120.0, value_parser = positive, value_name = "SECONDS")]
    start: f64,
    /// The standard deviation of the logarithm of that time.
    #[arg(long, default_value_t = 0.25, value_parser = positive)]
    start_sigma: f64,
    /// The share of pods that never become ready.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    failing_starts: f64,
    /// The pods of one scale-up wait for the same thing, such as a registry: the more of them, the
    /// longer.
    #[arg(long)]
    correlated_starts: bool,
    /// The number of pods that have nodes. Each further one waits for --new-node seconds longer.
    #[arg(long, value_name = "PODS")]
    warm_nodes: Option<u32>,
    /// The time that a new node takes, in seconds.
    #[arg(long, default_value_t = 180.0, value_parser = positive, value_name = "SECONDS")]
    new_node: f64,
}

impl StartArgs {
    /// Returns the starts.
    pub(crate) fn starts(&self) -> Starts {
        Starts {
            median: self.start,
            sigma: self.start_sigma,
            failing: self.failing_starts,
            correlated: self.correlated_starts,
            warm_nodes: self.warm_nodes,
            node: self.new_node,
        }
    }
}

/// The options of faults.
#[derive(Debug, clap::Args)]
pub(crate) struct FaultArgs {
    /// The share of scrapes that fail.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    scrape_loss: f64,
    /// The time from a scrape until its page has arrived, in seconds.
    #[arg(long, default_value_t = 0.0, value_parser = positive, value_name = "SECONDS")]
    scrape_delay: f64,
    /// The number of times per hour that the page of a pod vanishes, for a minute each.
    #[arg(long, default_value_t = 0.0, value_parser = positive, value_name = "PER HOUR")]
    vanishing_pages: f64,
    /// The number of times per hour that the engine of a pod crashes.
    #[arg(long, default_value_t = 0.0, value_parser = positive, value_name = "PER HOUR")]
    crashes: f64,
    /// The wall clock of the autoscaler is set by so many seconds, half an hour after the warm-up.
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS")]
    clock_jump: Option<f64>,
}

impl FaultArgs {
    /// Returns the faults.
    pub(crate) fn faults(&self) -> Faults {
        Faults {
            loss: self.scrape_loss,
            delay: self.scrape_delay,
            vanishing: self.vanishing_pages,
            vanishes_for: 60.0,
            crashes: self.crashes,
            clock: self.clock_jump.filter(|jump| jump.is_finite()).map(|jump| (1800.0, jump)),
        }
    }
}
