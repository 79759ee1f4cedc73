//! `spec.sources` → how to get samples.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::core::Selector;
use llm_autoscaler_engines::{EngineProfile, Gateway, prometheus::PodLabels};

use super::{
    SpecError,
    access::Access,
    safety::{check_access, check_url},
};
use crate::spec::{LLMAutoscalerSpec, Port, PrometheusSpec, Scheme, ScrapeSpec, SourceSpec};

/// A source of samples.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// The metrics pages of pods.
    Scrape(ScrapeConfig),
    /// A Prometheus server.
    Prometheus(PrometheusConfig),
}

/// A source that scrapes pods.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// The container ports, by name or number. The first one that a pod has is used.
    pub ports: Vec<Port>,
    /// The engine's usual number, which is used if a pod has none of `ports` and declares this port
    /// and no other. `None` if the spec has a port.
    pub usual_port: Option<u16>,
    /// The path of the page.
    pub path: String,
    /// Uses TLS if true.
    pub tls: bool,
    /// The longest interval between two scrapes of a pod.
    pub interval: Duration,
    /// The timeout of a scrape.
    pub timeout: Duration,
    /// Selects pods that report for the whole target. If `None`, the target's own pods are scraped.
    pub pods: Option<Selector>,
    /// The gateway that runs in these pods, if it is known.
    pub gateway: Option<Gateway>,
    /// Credentials and TLS. Whatever uses the source shares them.
    pub access: Arc<Access>,
}

/// A source that queries a Prometheus server.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusConfig {
    /// The URL of the server, without a slash at the end.
    pub url: String,
    /// The interval between two queries.
    pub interval: Duration,
    /// The timeout of a query.
    pub timeout: Duration,
    /// The age after which a sample is ignored.
    pub stale_after: Duration,
    /// The names of the labels that contain the pod and its namespace.
    pub labels: PodLabels,
    /// Labels and values that series must have. They do not apply to queries of the spec.
    pub matchers: BTreeMap<String, String>,
    /// Credentials and TLS. Whatever uses the source shares them.
    pub access: Arc<Access>,
}

impl SourceConfig {
    /// Returns the gateway of the source, if it has one.
    pub fn gateway(&self) -> Option<Gateway> {
        match self {
            Self::Scrape(scrape) => scrape.gateway,
            Self::Prometheus(_) => None,
        }
    }

    /// Returns true if the source is the metrics pages of the target's own pods.
    pub fn is_of_own_pages(&self) -> bool {
        matches!(self, Self::Scrape(scrape) if scrape.pods.is_none())
    }

    /// Returns true if the source reports for the target as a whole, so that it is known without
    /// the target's pods.
    pub fn is_of_other_pods(&self) -> bool {
        matches!(self, Self::Scrape(scrape) if scrape.pods.is_some())
    }
}

/// Parses the sources, in the order of failover.
pub(super) fn sources(spec: &LLMAutoscalerSpec) -> Result<Vec<SourceConfig>, SpecError> {
    let engine = spec.engine.0.profile();
    let Some(sources) = &spec.sources else {
        return Ok(vec![SourceConfig::Scrape(scrape(engine, &ScrapeSpec::default(), "")?)]);
    };
    let source = |(index, source): (usize, &SourceSpec)| {
        let field = format!("sources[{index}]");
        match (&source.scrape, &source.prometheus) {
            (Some(spec), None) => Ok(SourceConfig::Scrape(scrape(engine, spec, &field)?)),
            (None, Some(spec)) => Ok(SourceConfig::Prometheus(prometheus(spec, &field)?)),
            _ => Err(SpecError::new(field, "set exactly one of scrape and prometheus")),
        }
    };
    // One at a time, since a collected list has room for four, of 600 bytes each.
    let mut all = Vec::with_capacity(sources.len());
    for next in sources.iter().enumerate() {
        all.push(source(next)?);
    }
    Ok(all)
}

fn scrape(
    engine: &EngineProfile,
    spec: &ScrapeSpec,
    field: &str,
) -> Result<ScrapeConfig, SpecError> {
    let pods = match &spec.pod_selector {
        None => None,
        Some(selector) => {
            let selector = Selector::try_from(selector.clone());
            let wrong = |error| {
                SpecError::new(
                    format!("{field}.scrape.podSelector"),
                    format!("it cannot be parsed: {error}"),
                )
            };
            let selector = selector.map_err(wrong)?;
            if selector.selects_all() {
                let problem = "it selects every pod of the namespace: select only those that \
                               report for the target";
                return Err(SpecError::new(format!("{field}.scrape.podSelector"), problem));
            }
            Some(selector)
        }
    };
    let access = Access {
        authorization: spec.authorization.clone(),
        basic_auth: spec.basic_auth.clone(),
        tls: spec.tls_config.clone(),
        ..Access::default()
    };
    check_access(&access, &format!("{field}.scrape"))?;
    let gateway = spec.gateway.map(|name| name.0);
    if gateway.is_some() && pods.is_none() {
        let problem = "it needs podSelector, which selects the gateway's pods";
        return Err(SpecError::new(format!("{field}.scrape.gateway"), problem));
    }
    let program = gateway.map_or(engine, |gateway| &gateway.profile().table);
    let usual = || program.port_names.iter().map(|name| Port::Name((*name).to_owned())).collect();
    Ok(ScrapeConfig {
        ports: spec.port.as_ref().map_or_else(usual, |port| vec![port.clone()]),
        usual_port: program.port.filter(|_| spec.port.is_none()),
        path: spec.path.clone().unwrap_or_else(|| program.metrics_path.to_owned()),
        tls: spec.scheme == Scheme::HTTPS,
        interval: positive(spec.interval_seconds),
        timeout: positive(spec.timeout_seconds),
        pods,
        gateway,
        access: Arc::new(access),
    })
}

/// The length of the longest name of a label, and of the longest value of a matcher, in bytes.
const LONGEST_LABEL: usize = 128;
const LONGEST_VALUE: usize = 1024;

/// Returns why a label can be neither matched nor ignored; `None` if it can.
fn label_problem(spec: &PrometheusSpec, name: &str) -> Option<String> {
    if name.is_empty() || name.len() > LONGEST_LABEL || name.contains(char::is_control) {
        return Some(format!(
            "{name:?} is no name of a label: give 1 to {LONGEST_LABEL} bytes without control \
             characters"
        ));
    }
    let is_reserved = ["__name__", "le"].contains(&name)
        || [&spec.namespace_label, &spec.pod_label].into_iter().any(|label| label == name);
    is_reserved.then(|| format!("the operator reads {name} by itself: remove it"))
}

/// Checks the labels by which series are selected, and those that only repeat a series.
fn check_labels(spec: &PrometheusSpec, field: &str) -> Result<(), SpecError> {
    for (name, value) in &spec.matchers {
        let problem = label_problem(spec, name).or_else(|| {
            let is_wrong = value.len() > LONGEST_VALUE || value.contains(char::is_control);
            is_wrong.then(|| {
                format!(
                    "the value of {name} has more than {LONGEST_VALUE} bytes, or control \
                     characters"
                )
            })
        });
        if let Some(problem) = problem {
            return Err(SpecError::new(format!("{field}.prometheus.matchers"), problem));
        }
    }
    let problem = spec.replica_labels.iter().find_map(|name| label_problem(spec, name));
    problem.map_or(Ok(()), |problem| {
        Err(SpecError::new(format!("{field}.prometheus.replicaLabels"), problem))
    })
}

fn prometheus(spec: &PrometheusSpec, field: &str) -> Result<PrometheusConfig, SpecError> {
    check_labels(spec, field)?;
    let field = format!("{field}.prometheus");
    check_url(&spec.url, &field)?;
    let access = Access {
        headers: spec.headers.clone(),
        headers_from: spec.headers_from.clone().unwrap_or_default(),
        authorization: spec.authorization.clone(),
        basic_auth: spec.basic_auth.clone(),
        tls: spec.tls_config.clone(),
    };
    check_access(&access, &field)?;
    Ok(PrometheusConfig {
        url: spec.url.trim_end_matches('/').to_owned(),
        interval: positive(spec.interval_seconds),
        timeout: positive(spec.timeout_seconds),
        stale_after: positive(spec.stale_after_seconds),
        labels: PodLabels {
            namespace: spec.namespace_label.clone(),
            pod: spec.pod_label.clone(),
            replicas: spec.replica_labels.as_slice().into(),
        },
        matchers: spec.matchers.clone(),
        access: Arc::new(access),
    })
}

fn positive(seconds: i32) -> Duration {
    Duration::from_secs(u64::from(seconds.max(1).unsigned_abs()))
}
