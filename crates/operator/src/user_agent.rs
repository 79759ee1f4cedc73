//! The names under which the project's processes send requests, for the logs of servers and the
//! audit log of the API server.

use axum::http::{HeaderValue, header::USER_AGENT};

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A part of the project that sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The operator's requests to the API server.
    Operator,
    /// The operator's scrapes of pods.
    Scrape,
    /// The operator's queries to Prometheus servers.
    Query,
    /// The subcommand `bill`.
    Bill,
    /// The subcommand `explain`.
    Explain,
    /// The subcommand `probe`.
    Probe,
    /// The subcommand `convert`.
    Convert,
    /// The subcommand `replay`.
    Replay,
    /// The subcommand `migrate`.
    Migrate,
    /// The subcommand `ui`.
    Ui,
}

impl Component {
    /// Returns the component's value of the header User-Agent.
    pub const fn user_agent(self) -> &'static str {
        match self {
            Self::Operator => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (operator)"),
            Self::Scrape => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (scrape)"),
            Self::Query => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (query)"),
            Self::Bill => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (bill)"),
            Self::Explain => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (explain)"),
            Self::Probe => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (probe)"),
            Self::Convert => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (convert)"),
            Self::Replay => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (replay)"),
            Self::Migrate => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (migrate)"),
            Self::Ui => concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION"), " (ui)"),
        }
    }

    /// Adds the header User-Agent to the requests to an API server.
    pub fn introduce(self, cluster: &mut kube::Config) {
        cluster.headers.push((USER_AGENT, HeaderValue::from_static(self.user_agent())));
    }
}

/// Adds the operator's User-Agent to the requests to the API server. `identity` names this copy of
/// the operator in the election, so that the audit log tells the copies apart.
pub(crate) fn introduce_operator(cluster: &mut kube::Config, identity: Option<&str>) {
    let copy = identity.map(|it| format!("llm-autoscaler/{VERSION} (operator; {it})"));
    match copy.map(|agent| HeaderValue::from_str(&agent)) {
        Some(Ok(agent)) => cluster.headers.push((USER_AGENT, agent)),
        // A name of a pod has only characters that a header may have.
        None | Some(Err(_)) => Component::Operator.introduce(cluster),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(introduce: impl FnOnce(&mut kube::Config)) -> String {
        let mut cluster = kube::Config::new("https://127.0.0.1:6443".parse().unwrap());
        introduce(&mut cluster);
        let [(name, value)] = &*cluster.headers else { panic!("{:?}", cluster.headers) };
        assert_eq!(name, USER_AGENT);
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_user_agent_has_the_version_the_component_and_the_copy() {
        let operator = |identity| agent(|cluster| introduce_operator(cluster, identity));
        let agents = [
            (operator(None), "(operator)"),
            (operator(Some("pod-0_1")), "(operator; pod-0_1)"),
            (operator(Some("pod\n0")), "(operator)"),
            (agent(|cluster| Component::Explain.introduce(cluster)), "(explain)"),
            (Component::Scrape.user_agent().to_owned(), "(scrape)"),
            (Component::Query.user_agent().to_owned(), "(query)"),
            (Component::Probe.user_agent().to_owned(), "(probe)"),
            (Component::Convert.user_agent().to_owned(), "(convert)"),
            (Component::Migrate.user_agent().to_owned(), "(migrate)"),
            (Component::Ui.user_agent().to_owned(), "(ui)"),
        ];
        for (agent, end) in agents {
            let start = format!("llm-autoscaler/{VERSION} ");
            assert_eq!(agent.strip_prefix(&start), Some(end), "{agent}");
        }
    }
}
