//! The options of the election among the copies of the operator.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use llm_autoscaler_operator::LeaseConfig;

/// Several copies of the operator divide the namespaces among themselves by Leases. The copies of
/// one installation have the same lease namespace, lease name and buckets.
#[derive(Debug, clap::Args)]
pub(crate) struct Election {
    /// Serve only what this copy holds Leases of, so that several copies may run. By default on
    /// where --lease-namespace is known, which is in a pod of the manifests, and off elsewhere.
    #[arg(
        long,
        env = "LEADER_ELECT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
    )]
    leader_elect: Option<bool>,
    /// The namespace of the Leases.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of the Leases. A second installation has another one.
    #[arg(long, env = "LEASE_NAME", default_value = "llm-autoscaler")]
    lease_name: String,
    /// The time after which another copy takes over from one that has fallen silent, in seconds.
    #[arg(
        long,
        env = "LEASE_DURATION_SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(3..=300),
    )]
    lease_duration_seconds: u64,
    /// The number of Leases among which the namespaces are divided. Each copy has an even share.
    #[arg(
        long,
        env = "BUCKETS",
        default_value_t = 1,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=64),
    )]
    buckets: usize,
    /// The name of this copy in its Leases, to which each start adds a random text.
    #[arg(long, env = "POD_NAME", default_value = "llm-autoscaler")]
    pod_name: String,
}

impl Election {
    /// Returns the configuration; `None` if this copy is alone.
    pub(crate) fn config(self) -> anyhow::Result<Option<LeaseConfig>> {
        let is_on = self.leader_elect.unwrap_or(self.lease_namespace.is_some());
        if !is_on {
            return Ok(None);
        }
        let Some(namespace) = self.lease_namespace.filter(|namespace| !namespace.is_empty()) else {
            anyhow::bail!(
                "--leader-elect needs the namespace of the Leases: set --lease-namespace, or \
                 POD_NAMESPACE as in config/manager/deployment.yaml"
            );
        };
        Ok(Some(LeaseConfig {
            namespace,
            name: self.lease_name,
            identity: self.pod_name,
            duration: Duration::from_secs(self.lease_duration_seconds),
            buckets: self.buckets,
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        election: Election,
    }

    fn config(flags: &[&str]) -> anyhow::Result<Option<LeaseConfig>> {
        Args::try_parse_from(["operator"].iter().chain(flags))?.election.config()
    }

    #[test]
    fn copies_are_elected_where_the_namespace_of_the_leases_is_known() {
        // flags; the namespace of the Leases if copies are elected
        type Row<'a> = (&'a [&'a str], Result<Option<&'a str>, ()>);
        let table: [Row; 6] = [
            (&[], Ok(None)),
            (&["--leader-elect"], Err(())),
            (&["--lease-namespace=system"], Ok(Some("system"))),
            (&["--lease-namespace=system", "--leader-elect"], Ok(Some("system"))),
            (&["--lease-namespace=system", "--leader-elect=false"], Ok(None)),
            (&["--lease-namespace=system", "--buckets=0"], Err(())),
        ];
        for (flags, expected) in table {
            let found = config(flags).map_err(drop);
            let found = found.map(|config| config.map(|config| config.namespace));
            assert_eq!(found, expected.map(|name| name.map(str::to_owned)), "{flags:?}");
        }
    }
}
